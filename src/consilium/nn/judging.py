"""How a trained specialist examines a case, whatever its head: views, limits for foreign pictures, calibrated findings, the
accuracy in this region of feature space. Each loader under specialists/ gives the part that differs: the logits."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from consilium.errors import MemberError
from consilium.imaging.picture import views
from consilium.nn import light_head, region
from consilium.nn.light_head import LightHead
from consilium.protocols import Card, Encoder
from consilium.registry import read_card
from consilium.types import Array, Case, Code, Finding, Image, Opinion, Region, Score

# Tensors (1,): how much the member counts among those trained with it, near its own pictures and afar.
NEAR, AFAR = "pool.near", "pool.afar"

Logits = Callable[[Sequence[Image], Array], Array]
"""(n pictures, their pooled features (n, d) by the shared encoder) -> (n, c) logits before calibration."""

Evidence = Callable[[Image, Array, Array | None, int], Region | None]
"""(picture, its pooled features, its patches where asked for, a concept) -> where the evidence for the concept lies."""


@dataclass(frozen=True, eq=False)
class Judge:
    """A Specialist over the shared encoder's features, which tell whether a picture is like its training pictures.

    tensors   calibration.*, foreign.* (of the shared features) and, where it has them, region.*
    evidence  shows where; None: this kind of specialist cannot. `patches`: it needs the shared encoder's patch features.
    """

    card: Card
    exclusive: bool
    tensors: Mapping[str, Array]
    encoder: Encoder
    logits: Logits
    evidence: Evidence | None = None
    patches: bool = False

    def examine(self, case: Case, args: Mapping[str, Any] | None = None) -> Opinion:
        """Findings with calibrated probabilities, or an abstention where no view is like the training pictures. The logits
        of the views that are like them are averaged."""
        images = [view for study in case.studies for item in study.images for view in views(item)]
        if not images:
            return self._opinion(abstained="the case holds no picture")
        features = self.encoder.embed(images, patches=self.patches)
        foreignness = light_head.foreignness(self.tensors, features.pooled)
        known = np.flatnonzero(foreignness <= light_head.limit(self.tensors))
        if not len(known):
            return self._opinion(
                abstained=self._unlike(features.pooled),
                foreignness=float(foreignness.min()),
            )
        raw = self.logits([images[i] for i in known], features.pooled[known])
        logits = light_head.calibrated(self.tensors, raw).mean(axis=0)[None]
        probabilities = light_head.to_probabilities(logits, self.exclusive)[0]
        best, first = int(probabilities.argmax()), int(known[0])
        shown = None
        if self.evidence is not None:
            patches = None if features.patches is None else features.patches[first]
            shown = self.evidence(images[first], features.pooled[first], patches, best)
        farthest = float(foreignness[known].max())
        apart = sum(isinstance(item, Image) for study in case.studies for item in study.images)
        doubts = [f"{len(images) - len(known)} of {len(images)} views are unlike its training pictures: not judged"]
        doubts = doubts if len(known) < len(images) else []
        if apart > 1:
            doubts.append(f"the mean over {apart} pictures, taken as one case: its probabilities are of single ones")
        if farthest > 1:
            doubts.append(
                f"{farthest:.2f} times as far as most of its training pictures: its probabilities are not calibrated here"
            )
        caution = "; ".join(doubts)
        findings = self._findings(probabilities, best, shown, farthest <= 1 and apart < 2)
        local = region.scores(self.tensors, features.pooled[known].mean(axis=0)[None])
        return self._opinion(findings, caution, farthest, local, weight_of(self.tensors, farthest))

    def _unlike(self, pooled: Array) -> str:
        """Why none of these views is judged."""
        nearest = float(light_head.remoteness(self.tensors, pooled).min())
        how = f"{nearest:.2f} times as far as most of them"
        if nearest <= light_head.limit(self.tensors):
            how += ", but more like another modality or body part, or like none that it knows"
        return f"unlike the pictures it was trained on ({how})"

    def _findings(self, p: Array, best: int, shown: Region | None, calibrated: bool) -> tuple[Finding, ...]:
        by_label = {c.meaning: float(value) for c, value in zip(self.card.concepts, p, strict=True)}
        own = [
            Finding(c, by_label[c.meaning], calibrated, region=shown if i == best else None, source=self.card.name)
            for i, c in enumerate(self.card.concepts)
        ]
        sums = [
            Finding(Code.local(group), min(1.0, sum(by_label[m] for m in members)), calibrated, source=self.card.name)
            for group, members in self.card.groups.items()
        ]
        return tuple(sorted(own + sums, key=lambda finding: -(finding.probability or 0)))

    def _opinion(
        self,
        findings: tuple[Finding, ...] = (),
        caution: str = "",
        foreignness: float | None = None,
        local: tuple[Score, ...] = (),
        weight: float = 1.0,
        abstained: str | None = None,
    ) -> Opinion:
        return Opinion(
            specialist=self.card.name,
            version=self.card.version,
            findings=findings,
            abstained=abstained,
            caution=caution,
            exclusive=self.exclusive,
            reliability=(*self.card.scores, *local),
            licence=self.card.licence,
            foreignness=foreignness,
            weight=weight,
        )


def weight_of(tensors: Mapping[str, Array], foreignness: float) -> float:
    """How much the member counts among those trained with it: from its weight near, at a foreignness of 1, to that afar, from
    2 on; 1 where it was trained by itself."""
    if NEAR not in tensors:
        return 1.0
    near, afar = float(tensors[NEAR][0]), float(tensors[AFAR][0])
    return near + (afar - near) * min(max(foreignness - 1, 0.0), 1.0)


def relevance(head: LightHead, pooled: Array, patches: Array, concept: int, image: Image) -> Region:
    """Where a head on [CLS, mean patch] features finds its evidence: the gradient of the concept's logit by the patch
    features, times each patch's difference from the mean patch. The mean patch's share of the logit is a sum over patches,
    so each one's is exact."""
    gradient = head.gradient(pooled, concept)[-patches.shape[-1] :]
    share = np.maximum((patches - patches.mean(axis=(0, 1))) @ gradient, 0)
    return Region((share / share.max() if share.max() > 0 else share).astype(np.float32), image.uid)


@dataclass(frozen=True, eq=False)
class Opened:
    """A trained folder: its card, all of card.json, whether its classes exclude each other, its tensors."""

    card: Card
    made: Mapping[str, Any]
    exclusive: bool
    tensors: Mapping[str, Array]


def open_member(folder: Path, encoder: Encoder, required: Sequence[str]) -> Opened:
    """Reads card.json and model.safetensors; MemberError where they are damaged or of another encoder's features."""
    card = read_card(folder / "card.json")
    made = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    tensors = light_head.read(folder / "model.safetensors", required)
    missing = [name for name in ("exclusive", "encoder") if name not in made]
    if missing:
        raise MemberError(f"{folder / 'card.json'} does not say {', '.join(missing)}. Train the specialist again.")
    if made["encoder"] != encoder.card.version:
        again = "suite FOLDER" if "suite" in made else f"train FOLDER --name {card.name}"
        raise MemberError(
            f"specialist {card.name} was trained on features of {made['encoder']}, this council's encoder gives "
            f"{encoder.card.version}. Train it again: consilium specialist {again}."
        )
    return Opened(card, made, bool(made["exclusive"]), tensors)
