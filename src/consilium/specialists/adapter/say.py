"""What a foreign model may say: its numbers as an Opinion, or an abstention where they are not what its card promises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from consilium.imaging.picture import views
from consilium.protocols import Card
from consilium.specialists.adapter.card import UNMEASURED
from consilium.types import Array, Case, Code, Finding, Image, Opinion, Segmentation, Study

# DICOM's terms for projection radiography: for a card they are one.
XRAY = frozenset({"CR", "DX", "RG"})
_ROUNDING = 1e-3


@dataclass(frozen=True)
class Speaker:
    """Whose opinion it is. exclusive: exactly one of the concepts holds; calibrated: the card says so, with evidence."""

    card: Card
    exclusive: bool
    calibrated: bool = False
    caution: str = UNMEASURED

    @classmethod
    def of(cls, card: Card, made: Mapping[str, Any]) -> Speaker:
        """As card.json says."""
        calibrated = bool(made.get("calibrated", False))
        return cls(card, bool(made["exclusive"]), calibrated, "" if calibrated else made.get("caution", UNMEASURED))

    def abstain(self, reason: str) -> Opinion:
        return self._opinion(abstained=reason)

    def judge(self, probabilities: Array) -> Opinion:
        """(views, concepts) -> the mean over the views, or an abstention where these are no probabilities."""
        wrong = self.fault(probabilities)
        if wrong:
            return self.abstain(wrong)
        mean = np.clip(probabilities.astype(np.float64).mean(axis=0), 0, 1)
        by_label = {code.meaning: float(p) for code, p in zip(self.card.concepts, mean, strict=True)}
        named = [(code, by_label[code.meaning]) for code in self.card.concepts]
        named += [
            (Code.local(g), min(1.0, sum(by_label[m] for m in members))) for g, members in self.card.groups.items()
        ]
        findings = [Finding(code, p, self.calibrated, source=self.card.name) for code, p in named]
        return self._opinion(tuple(sorted(findings, key=lambda finding: -(finding.probability or 0))))

    def show(
        self, segmentations: tuple[Segmentation, ...], findings: tuple[Finding, ...], caution: str = ""
    ) -> Opinion:
        """What was outlined and what was measured of it."""
        return self._opinion(findings, segmentations=segmentations, caution=caution)

    def fault(self, numbers: Array) -> str:
        """What is wrong with (views, concepts) numbers that should be probabilities; "" where nothing is."""
        expected = len(self.card.concepts)
        if numbers.ndim != 2 or numbers.shape[1] != expected:
            found = numbers.shape[1] if numbers.ndim == 2 else f"an array of {numbers.shape}"
            return f"its model gave {found} numbers a picture, its card names {expected} concepts"
        if not np.isfinite(numbers).all():
            return "its model gave numbers that are not finite"
        if numbers.min() < -_ROUNDING or numbers.max() > 1 + _ROUNDING:
            return f"its model gave {numbers.min():.3g} to {numbers.max():.3g}, which are no probabilities as its card says"
        sums = numbers.sum(axis=1)
        if self.exclusive and np.abs(sums - 1).max() > _ROUNDING:
            return f"its classes exclude each other, but their probabilities sum to {float(sums[np.abs(sums - 1).argmax()]):.3g}"
        return ""

    def admitted(self, case: Case) -> tuple[tuple[Study, ...], str]:
        """The studies that the card lets it see, and why there is none."""
        if not any(study.images for study in case.studies):
            return (), "the case holds no picture"
        allowed = set(self.card.modalities) | (XRAY if XRAY & set(self.card.modalities) else set())
        seen = tuple(study for study in case.studies if study.modality in allowed and study.images)
        if seen:
            return seen, ""
        found = ", ".join(sorted({study.modality or "unknown" for study in case.studies}))
        return (), f"it is for {', '.join(self.card.modalities)}; the modality is {found}"

    def _opinion(
        self,
        findings: tuple[Finding, ...] = (),
        abstained: str | None = None,
        segmentations: tuple[Segmentation, ...] = (),
        caution: str = "",
    ) -> Opinion:
        said = "; ".join(
            part for part in (caution, self.caution if abstained is None and not segmentations else "") if part
        )
        return Opinion(
            specialist=self.card.name,
            version=self.card.version,
            findings=findings,
            abstained=abstained,
            caution=said,
            exclusive=self.exclusive,
            reliability=self.card.scores,
            licence=self.card.licence,
            segmentations=segmentations,
        )


def pictures(studies: tuple[Study, ...]) -> list[Image]:
    """The views of all studies, a Volume's included."""
    return list(_views(studies))


def _views(studies: tuple[Study, ...]) -> Iterator[Image]:
    for study in studies:
        yield from views(study)
