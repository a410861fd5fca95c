"""Findings as measurement groups of an SR: those of one segment together (TID 1410, 1411), each other by itself (TID 1501)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from consilium.formats.out.coding import anatomy, concept, tidy, unit
from consilium.formats.out.seg import Outline
from consilium.imaging.measure import AREA, MEASURED, VOLUME
from consilium.types import Code, Consultation, Finding, Opinion, Segmentation

_SIDES = ("right", "left")
_COMMENT_LIMIT = 2000


@dataclass(frozen=True, eq=False)
class Grouped:
    """What was made, and notes of what could not be."""

    items: tuple[Any, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Segment:
    """One segment of a SEG: its number there and what it outlines."""

    dataset: Any
    number: int
    code: Code
    solid: bool
    image_uid: str


def groups_of(held: Consultation, opinion: Opinion, outlines: Sequence[tuple[tuple[int, ...], Outline]]) -> Grouped:
    """The measurement groups of one opinion; `outlines` say which of its segmentations lie in which SEG."""
    segments = list(_segments(opinion, outlines))
    notes = [f"{opinion.specialist}: what it wrote stands on the page and in the record alone"] if opinion.draft else []
    measured: dict[int, list[Finding]] = {}
    made: list[Any] = []
    part = next((study.body_part for study in held.case.studies if study.body_part), None)
    for finding in opinion.findings:
        value = finding.quantity if finding.quantity is not None else finding.probability
        if value is not None and not math.isfinite(value):
            notes.append(f"{opinion.specialist}: {finding.concept.meaning} is {value}, which a report cannot hold")
            continue
        place = _place_of(finding, segments)
        if place is None or finding.quantity is None:
            made.append(_group(opinion, len(made), **_said(finding), finding_sites=_sites(finding.site, part)))
        else:
            measured.setdefault(place, []).append(finding)
    for place, findings in measured.items():
        made.append(_measured(opinion, len(made), segments[place], findings))
    if opinion.abstained is not None:
        made.append(_abstained(opinion, len(made)))
    return Grouped(tuple(made), tuple(notes))


def _segments(opinion: Opinion, outlines: Sequence[tuple[tuple[int, ...], Outline]]) -> Iterator[_Segment]:
    for chosen, outline in outlines:
        for (index, label), number in outline.numbers.items():
            drawn: Segmentation = opinion.segmentations[chosen[index]]
            yield _Segment(outline.dataset, number, drawn.concepts[label - 1], drawn.labels.ndim == 3, drawn.image_uid)


def _place_of(finding: Finding, segments: Sequence[_Segment]) -> int | None:
    """Which of the segments a finding was measured on: of the picture that it was measured in alone."""
    near = [i for i, segment in enumerate(segments) if finding.image_uid in ("", segment.image_uid)]
    place = segment_of(finding, [segments[i].code for i in near])
    return None if place is None else near[place]


def segment_of(finding: Finding, outlined: Sequence[Code]) -> int | None:
    """Which of the outlined concepts a finding was measured on; None where it does not say, or says it of several.

    Its site names it, else its concept is it, else it is the only one there is.
    """
    site = finding.site.casefold()
    for matches in (
        [
            place
            for place, code in enumerate(outlined)
            if site and site in {code.meaning.casefold(), code.value.casefold()}
        ],
        [place for place, code in enumerate(outlined) if code == finding.concept],
    ):
        if matches:
            return matches[0] if len(matches) == 1 else None
    return 0 if len(outlined) == 1 and (not site or site in _SIDES) else None


def _sites(site: str, body_part: str | None, code: Code | None = None) -> list[Any] | None:
    """The finding site: a side of the body part, or the words of `site` as a local code."""
    from highdicom.sr import CodedConcept, FindingSite
    from pydicom.sr.codedict import codes

    side = {"right": codes.SCT.Right, "left": codes.SCT.Left}.get(site.casefold())
    location = concept(code) if code is not None else anatomy(body_part) if body_part else None
    if side is not None and location is not None:
        return [FindingSite(location, laterality=side)]
    if code is not None:
        return [FindingSite(concept(code))]
    return [FindingSite(CodedConcept(tidy(site, 64), "99CONSILIUM", tidy(site, 64)))] if site else None


def _said(finding: Finding) -> dict[str, Any]:
    """What `_group` takes of a finding: a quantity, a probability, or its concept alone."""
    from highdicom.sr import CodedConcept, QualitativeEvaluation

    if finding.quantity is not None:
        return {"measurements": [_measurement(finding)]}
    said: dict[str, Any] = {"finding_type": concept(finding.concept)}
    if finding.probability is None:
        return said
    words = "calibrated" if finding.calibrated else "not calibrated"
    calibration = QualitativeEvaluation(
        CodedConcept("calibration", "99CONSILIUM", "Calibration of the probability"),
        CodedConcept(words, "99CONSILIUM", words),
    )
    return {**said, "measurements": [_measurement(finding)], "qualitative_evaluations": [calibration]}


def _measurement(finding: Finding) -> Any:
    from highdicom.sr import Measurement
    from pydicom.sr.codedict import codes

    if finding.quantity is not None:
        return Measurement(_what(finding), float(finding.quantity), unit(finding.unit))
    return Measurement(codes.DCM.Probability, float(finding.probability or 0.0), unit("1"))


def _what(finding: Finding) -> Any:
    """What was measured: volume, area, a diameter ... of the concept; the concept itself where the finding does not say."""
    from highdicom.sr import CodedConcept
    from pydicom.sr.codedict import codes

    standard = {VOLUME: codes.SCT.Volume, AREA: codes.SCT.Area}
    if finding.site in standard:
        return standard[finding.site]
    if finding.site in MEASURED:
        return CodedConcept(finding.site.replace(" ", "-"), "99CONSILIUM", finding.site)
    return concept(finding.concept)


def _measured(opinion: Opinion, number: int, segment: _Segment, findings: Sequence[Finding]) -> Any:
    """One group of all that was measured on a segment, with the reference to it."""
    from highdicom.sr import ReferencedSegment

    referenced: Any = (
        ReferencedSegment.from_segmentation(segment.dataset, segment_number=segment.number)
        if segment.solid
        else _frame_of(segment)
    )
    sides = {finding.site for finding in findings if finding.site.casefold() in _SIDES}
    return _group(
        opinion,
        number,
        finding_type=concept(segment.code),
        finding_sites=_sites(sides.pop(), None, segment.code) if len(sides) == 1 else None,
        measurements=[_measurement(finding) for finding in findings],
        referenced_segment=referenced,
    )


def _frame_of(segment: _Segment) -> Any:
    """The reference to the one frame of a planar segment; the frame alone, since DICOM has frame or segment, not both."""
    from highdicom.sr import ReferencedSegmentationFrame, SourceImageForSegmentation

    groups = segment.dataset.PerFrameFunctionalGroupsSequence
    owners = [int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber) for group in groups]
    index = owners.index(segment.number)
    source = groups[index].DerivationImageSequence[0].SourceImageSequence[0]
    frame = source.get("ReferencedFrameNumber")
    reference = ReferencedSegmentationFrame(
        segment.dataset.SOPClassUID,
        segment.dataset.SOPInstanceUID,
        frame_number=index + 1,
        segment_number=segment.number,
        source_image=SourceImageForSegmentation(
            source.ReferencedSOPClassUID,
            source.ReferencedSOPInstanceUID,
            referenced_frame_numbers=None if frame is None else [int(frame)],
        ),
    )
    del reference[0].ReferencedSOPSequence[0].ReferencedSegmentNumber
    return reference


def _abstained(opinion: Opinion, number: int) -> Any:
    from highdicom.sr import CodedConcept, QualitativeEvaluation

    said = QualitativeEvaluation(
        CodedConcept("opinion", "99CONSILIUM", "Opinion"), CodedConcept("abstained", "99CONSILIUM", "abstained")
    )
    return _group(opinion, number, qualitative_evaluations=[said])


def _group(opinion: Opinion, number: int, **said: Any) -> Any:
    """A measurement group in the name of the specialist, with what speaks against it, or why there is none, as a comment."""
    from highdicom import UID
    from highdicom.sr import (
        AlgorithmIdentification,
        MeasurementsAndQualitativeEvaluations,
        PlanarROIMeasurementsAndQualitativeEvaluations,
        ReferencedSegment,
        TextContentItem,
        TrackingIdentifier,
        VolumetricROIMeasurementsAndQualitativeEvaluations,
    )
    from pydicom.sr.codedict import codes

    form: Any = MeasurementsAndQualitativeEvaluations
    if "referenced_segment" in said:
        solid = isinstance(said["referenced_segment"], ReferencedSegment)
        form = (
            VolumetricROIMeasurementsAndQualitativeEvaluations
            if solid
            else PlanarROIMeasurementsAndQualitativeEvaluations
        )
    group = form(
        tracking_identifier=TrackingIdentifier(UID(), tidy(f"{opinion.specialist} {number + 1}", 64)),
        algorithm_id=AlgorithmIdentification(tidy(opinion.specialist, 64), tidy(opinion.version, 64) or "unknown"),
        **said,
    )
    comment = opinion.abstained if opinion.abstained is not None else opinion.caution
    if comment:
        group[0].ContentSequence.append(TextContentItem(codes.DCM.Comment, tidy(comment, _COMMENT_LIMIT), "CONTAINS"))
    return group
