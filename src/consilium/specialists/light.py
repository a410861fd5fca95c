"""Light specialists: a trained folder (card.json, model.safetensors) over the shared encoder's features.

It abstains on a picture unlike those it was trained on. For its most probable concept it shows where the evidence lies: the
gradient of that logit by the patch features, times each patch's difference from the mean patch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from consilium.errors import MemberError
from consilium.imaging.picture import views
from consilium.nn.light_head import LightHead, to_probabilities
from consilium.nn.light_head import load as load_head
from consilium.protocols import Card, Encoder
from consilium.registry import read_card
from consilium.types import Array, Case, Code, Finding, Image, Opinion, Region


class LightSpecialist:
    """Examines every view of a case that is like its training pictures and averages their logits."""

    def __init__(self, card: Card, head: LightHead, encoder: Encoder) -> None:
        self.card = card
        self.head = head
        self.encoder = encoder

    def examine(self, case: Case, args: Mapping[str, Any] | None = None) -> Opinion:
        """Findings with calibrated probabilities, or an abstention where no view is like the training pictures."""
        images = [view for study in case.studies for item in study.images for view in views(item)]
        if not images:
            return self._opinion(abstained="the case holds no picture")
        features = self.encoder.embed(images, patches=True)
        foreignness = self.head.foreignness(features.pooled)
        known = foreignness <= self.head.limit
        if not known.any():
            nearest = float(foreignness.min())
            return self._opinion(
                abstained=f"unlike the pictures it was trained on ({nearest:.2f} times as far as most of them)",
                foreignness=nearest,
            )
        probabilities = to_probabilities(
            self.head.logits(features.pooled[known]).mean(axis=0)[None], self.head.exclusive
        )[0]
        best = int(probabilities.argmax())
        first = int(np.flatnonzero(known)[0])
        region = None
        if features.patches is not None:
            region = self._relevance(features.pooled[first], features.patches[first], best, images[first])
        farthest = float(foreignness[known].max())
        caution = ""
        if farthest > 1:
            caution = f"{farthest:.2f} times as far as most of its training pictures: its probabilities are not calibrated here"
        findings = self._findings(probabilities, best, region, farthest <= 1)
        return self._opinion(findings, caution=caution, foreignness=farthest)

    def _findings(self, p: Array, best: int, region: Region | None, calibrated: bool) -> tuple[Finding, ...]:
        by_label = {c.meaning: float(value) for c, value in zip(self.card.concepts, p, strict=True)}
        own = [
            Finding(c, by_label[c.meaning], calibrated, region=region if i == best else None, source=self.card.name)
            for i, c in enumerate(self.card.concepts)
        ]
        sums = [
            Finding(Code.local(group), min(1.0, sum(by_label[m] for m in members)), calibrated, source=self.card.name)
            for group, members in self.card.groups.items()
        ]
        return tuple(sorted(own + sums, key=lambda finding: -(finding.probability or 0)))

    def _relevance(self, pooled: Array, patches: Array, concept: int, image: Image) -> Region:
        # pooled is [CLS, mean patch]: the mean patch's share of the logit is a sum over patches, so each one's is exact.
        gradient = self.head.gradient(pooled, concept)[-patches.shape[-1] :]
        share = (patches - patches.mean(axis=(0, 1))) @ gradient
        share = np.maximum(share, 0)
        return Region((share / share.max() if share.max() > 0 else share).astype(np.float32), image.uid)

    def _opinion(
        self,
        findings: tuple[Finding, ...] = (),
        abstained: str | None = None,
        caution: str = "",
        foreignness: float | None = None,
    ) -> Opinion:
        return Opinion(
            specialist=self.card.name,
            version=self.card.version,
            findings=findings,
            abstained=abstained,
            caution=caution,
            exclusive=self.head.exclusive,
            reliability=self.card.scores,
            licence=self.card.licence,
            foreignness=foreignness,
        )


def load(folder: Path, encoder: Encoder, **_: Any) -> LightSpecialist:
    """The specialist trained into `folder`; MemberError where it was trained on another encoder's features."""
    card = read_card(folder / "card.json")
    made = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    head = load_head(folder / "model.safetensors", bool(made["exclusive"]))
    if made["encoder"] != encoder.card.version:
        raise MemberError(
            f"specialist {card.name} was trained on features of {made['encoder']}, this council's encoder gives "
            f"{encoder.card.version}. Train it again: consilium specialist train FOLDER --name {card.name}."
        )
    return LightSpecialist(card, head, encoder)
