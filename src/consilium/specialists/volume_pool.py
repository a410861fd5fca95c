"""Specialists that judge a volume as a whole: a trained folder (card.json, model.safetensors) over the shared encoder's features
of a few slices, weighed by attention.

It abstains on pictures that are no volumes, and on volumes unlike those it was trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from consilium.errors import MemberError
from consilium.nn import attention_pool, light_head
from consilium.nn.judging import open_member
from consilium.protocols import Card, Encoder
from consilium.types import Array, Case, Finding, Opinion, Volume


@dataclass(frozen=True, eq=False)
class VolumePool:
    """A Specialist. `slices`: how many of each volume are seen; `exclusive`: exactly one of its concepts holds."""

    card: Card
    exclusive: bool
    tensors: Mapping[str, Array]
    encoder: Encoder
    slices: int

    def examine(self, case: Case, args: Mapping[str, Any] | None = None) -> Opinion:
        """Findings with calibrated probabilities; the logits of several volumes that are like its own are averaged."""
        volumes = [item for study in case.studies for item in study.images if isinstance(item, Volume)]
        if not volumes:
            return self._opinion(abstained="the case holds no volume, and it judges volumes")
        features, present = attention_pool.slice_features(volumes, self.encoder, self.slices)
        far = light_head.foreignness(self.tensors, attention_pool.mean_slice(features, present))
        known = far <= light_head.limit(self.tensors)
        if not known.any():
            nearest = float(far.min())
            return self._opinion(
                abstained=f"unlike the volumes it was trained on ({nearest:.2f} times as far as most of them)",
                foreignness=nearest,
            )
        raw = attention_pool.raw_logits(self.tensors, features[known], present[known])
        logits = light_head.calibrated(self.tensors, raw).mean(axis=0)[None]
        farthest = float(far[known].max())
        return self._opinion(
            self._findings(light_head.to_probabilities(logits, self.exclusive)[0], farthest <= 1),
            caution=_caution(len(volumes) - int(known.sum()), len(volumes), farthest),
            foreignness=farthest,
        )

    def _findings(self, probabilities: Array, calibrated: bool) -> tuple[Finding, ...]:
        order = np.argsort(-probabilities, kind="stable")
        concepts = self.card.concepts
        return tuple(Finding(concepts[i], float(probabilities[i]), calibrated, source=self.card.name) for i in order)

    def _opinion(
        self,
        findings: tuple[Finding, ...] = (),
        abstained: str | None = None,
        caution: str = "",
        foreignness: float | None = None,
    ) -> Opinion:
        return Opinion(
            self.card.name,
            self.card.version,
            findings,
            abstained,
            caution,
            self.exclusive,
            reliability=self.card.scores,
            licence=self.card.licence,
            foreignness=foreignness,
        )


def _caution(left_out: int, count: int, farthest: float) -> str:
    said = [f"{left_out} of {count} volumes are unlike those it was trained on and are not judged"] if left_out else []
    if farthest > 1:
        said.append(f"{farthest:.2f} times as far as most of its own: its probabilities are not calibrated here")
    return "; ".join(said)


def load(folder: Path, encoder: Encoder, **_: Any) -> VolumePool:
    """The specialist trained into `folder`; MemberError where it is damaged or was trained on another encoder's features."""
    opened = open_member(folder, encoder, light_head.REQUIRED)
    slices = opened.made.get("slices")
    if not isinstance(slices, int) or not 1 <= slices <= 85:
        raise MemberError(f"{folder / 'card.json'} says {slices!r} slices, not 1 to 85. Train the specialist again.")
    return VolumePool(opened.card, opened.exclusive, opened.tensors, encoder, slices)
