"""What was measured, structure by structure: the findings of an Opinion with a quantity, gathered as a reader wants them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from consilium.imaging import measure
from consilium.imaging.overlay import quantity
from consilium.types import Code, Finding, Opinion

_SIZES = (measure.VOLUME, measure.AREA, measure.PICTURE_AREA)
_LARGEST = (measure.LARGEST_VOLUME, measure.LARGEST_AREA)
_KNOWN = frozenset(
    {*_SIZES, *_LARGEST, measure.LONGEST, measure.SHORT, measure.PARTS, measure.FIRST, measure.LAST, measure.MEAN}
    | {measure.RIGHT, measure.LEFT}
)


@dataclass(frozen=True)
class Structure:
    """One structure of one picture or volume: `amounts` by what was measured (the site of the finding); `confidence` in [0, 1],
    None where it was not stated; `outlined`: whether a segmentation of the same opinion names it."""

    concept: Code
    amounts: Mapping[str, Finding]
    confidence: float | None = None
    outlined: bool = False

    @property
    def name(self) -> str:
        return self.concept.meaning

    @property
    def found(self) -> bool:
        """Whether anything of it was seen: not where its size is 0."""
        return all(self.amounts[site].quantity for site in _SIZES if site in self.amounts)

    @property
    def size(self) -> str:
        """Its volume or area with its unit; "" where neither was measured."""
        return self._said(*_SIZES)

    @property
    def longest(self) -> str:
        return self._said(measure.LONGEST)

    @property
    def short(self) -> str:
        return self._said(measure.SHORT)

    @property
    def intensity(self) -> str:
        return self._said(measure.MEAN)

    @property
    def slices(self) -> str:
        """'12 to 40', counted from 1; "" of a picture."""
        ends = [self._said(site) for site in (measure.FIRST, measure.LAST)]
        return " to ".join(dict.fromkeys(ends)) if all(ends) else ""

    @property
    def side(self) -> str:
        """The side of the patient on which it lies almost whole; "" where that is not known or it lies on both."""
        return next((side for side in (measure.RIGHT, measure.LEFT) if side in self.amounts), "")

    @property
    def parts(self) -> str:
        """'3, the largest 1.2 mL', or '1'; "" where they were not counted."""
        largest = self._said(*_LARGEST)
        return self._said(measure.PARTS) + (f", the largest {largest}" if largest else "")

    @property
    def others(self) -> tuple[str, ...]:
        """What was measured beside all this, each as 'site quantity'."""
        return tuple(f"{site} {_amount(f)}".strip() for site, f in self.amounts.items() if site not in _KNOWN)

    def _said(self, *sites: str) -> str:
        return next((_amount(self.amounts[site]) for site in sites if site in self.amounts), "")


def structures(opinion: Opinion) -> tuple[Structure, ...]:
    """Each structure with a measurement in the order of the findings: one entry for each picture or volume that it was measured
    in. What was outlined but not measured follows, with no amounts."""
    gathered: list[tuple[Code, dict[str, Finding]]] = []
    where: list[str] = []
    for finding in opinion.findings:
        if finding.quantity is None:
            continue
        places = [
            i for i, (concept, _) in enumerate(gathered) if (concept, where[i]) == (finding.concept, finding.image_uid)
        ]
        last = gathered[places[-1]][1] if places else None
        if last is None or finding.site in last:
            last = {}
            gathered.append((finding.concept, last))
            where.append(finding.image_uid)
        last[finding.site] = finding
    confidences = _confidences(opinion)
    measured = tuple(Structure(concept, amounts, *_next(confidences, concept)) for concept, amounts in gathered)
    left = [(concept, value) for concept, values in confidences.items() for value in values]
    return measured + tuple(Structure(concept, {}, value, True) for concept, value in left)


def sentence(structure: Structure) -> str:
    """'left hippocampus: volume 3.21 mL, longest diameter 41 mm, short axis 14 mm, slices 12 to 40; confidence 0.88'."""
    if not structure.amounts:
        return f"{structure.name}: outlined, not measured"
    if not structure.found:
        return f"{structure.name}: looked for, not found"
    said = {
        "": structure.size,
        "longest diameter": structure.longest,
        "short axis": structure.short,
        "mean intensity": structure.intensity,
        "on the": f"{structure.side} of the patient" if structure.side else "",
        "slices": structure.slices,
        "connected parts": "" if structure.parts == "1" else structure.parts,
    }
    told = [f"{what} {value}".strip() for what, value in said.items() if value]
    sure = "" if structure.confidence is None else f"; confidence {structure.confidence:.2f}"
    return f"{structure.name}: {', '.join([*told, *structure.others])}{sure}"


def _confidences(opinion: Opinion) -> dict[Code, list[float | None]]:
    """Concept -> its confidence in each segmentation that names it, in their order."""
    found: dict[Code, list[float | None]] = {}
    for segmentation in opinion.segmentations:
        padded = (*segmentation.confidence, *[None] * len(segmentation.concepts))
        for concept, value in zip(segmentation.concepts, padded, strict=False):
            found.setdefault(concept, []).append(value)
    return found


def _next(confidences: dict[Code, list[float | None]], concept: Code) -> tuple[float | None, bool]:
    values = confidences.get(concept)
    return (values.pop(0) if values else None), values is not None


def _amount(finding: Finding) -> str:
    return quantity(replace(finding, site="" if finding.site != measure.PICTURE_AREA else finding.site))
