"""Outlines as a DICOM SEG (binary) that refers to the instances and frames they were drawn on, made with highdicom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

import consilium
from consilium.errors import NothingError, UsageError
from consilium.formats.out.coding import category, colour, concept, tidy
from consilium.formats.out.sources import Traced, discreet, locate
from consilium.formats.out.views import INSTEAD, is_placed, view
from consilium.types import Array, Code, Opinion, Segmentation

_PER_FRAME = ("SegmentIdentificationSequence", "DerivationImageSequence")
_SERIES_NUMBER = 9000


@dataclass(frozen=True, eq=False)
class Outline:
    """A DICOM SEG, which segment number each (segmentation, label) has in it, and what was left out."""

    dataset: Any
    numbers: Mapping[tuple[int, int], int]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Part:
    """One concept that was outlined: the label `label` of the segmentation `index`."""

    index: int
    label: int
    code: Code
    confidence: float | None


def build(
    opinion: Opinion, segmentations: Sequence[Segmentation], traced: Mapping[str, Traced], number: int = 1
) -> Outline:
    """One SEG of what `opinion` outlined on one picture; `number` (from 1) tells it from others of this consultation.

    `segmentations` lie on the same Image or Volume and may overlap; `traced` is `sources.trace` of the files it was read from.
    A concept of which no pixel was outlined gets no segment, and a note.
    Raises UsageError where the sources are no DICOM, where sizes differ, or where DICOM has no way to refer to the source;
    NothingError where nothing was outlined at all.
    """
    if len({segmentation.image_uid for segmentation in segmentations}) != 1:
        raise UsageError("a SEG needs outlines of one picture; build one for each picture")
    source = locate(traced, segmentations[0].image_uid)
    for segmentation in segmentations:
        _check(segmentation, source)
    parts = [part for index, drawn in enumerate(segmentations) for part in _parts(drawn, index)]
    shown = [part for part in parts if (segmentations[part.index].labels == part.label).any()]
    if not shown:
        raise NothingError("nothing was outlined: every mask is empty, so there is no SEG to write")
    pixels = _stacked(segmentations, shown)
    empty = [
        f"{opinion.specialist}: nothing was outlined as {part.code.meaning}" for part in parts if part not in shown
    ]
    with discreet():
        dataset = _dataset(_describe(opinion, shown), pixels, source, number)
    numbers = {(part.index, part.label): place for place, part in enumerate(shown, 1)}
    return Outline(dataset, numbers, tuple(empty))


def _check(segmentation: Segmentation, source: Traced) -> None:
    size, expected = segmentation.labels.shape, (len(source.headers), *source.size)
    if size != expected and (1, *size) != expected:
        raise UsageError(f"the outline is {size}, what it lies on is {expected}; outline the picture at its own size")
    if int(segmentation.labels.max(initial=0)) > len(segmentation.concepts):
        raise UsageError("the outline holds a label that no concept stands for; name every label")


def _parts(segmentation: Segmentation, index: int) -> Iterator[_Part]:
    confidence = (*segmentation.confidence, *[None] * len(segmentation.concepts))
    for label, code in enumerate(segmentation.concepts, 1):
        yield _Part(index, label, code, confidence[label - 1])


def _stacked(segmentations: Sequence[Segmentation], parts: Sequence[_Part]) -> Array:
    """(frames, rows, columns) of segment numbers, or (frames, rows, columns, segments) of 0 and 1 where parts overlap."""
    solid = [drawn.labels if drawn.labels.ndim == 3 else drawn.labels[np.newaxis] for drawn in segmentations]
    merged = np.zeros(solid[0].shape, np.uint16)
    for number, part in enumerate(parts, 1):
        inside = solid[part.index] == part.label
        if merged[inside].any():
            return np.stack([solid[p.index] == p.label for p in parts], axis=-1).astype(np.uint8)
        merged[inside] = number
    return merged


def _describe(opinion: Opinion, parts: Sequence[_Part]) -> list[Any]:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription
    from pydicom.sr.codedict import codes

    described = []
    for number, part in enumerate(parts, 1):
        item = SegmentDescription(
            segment_number=number,
            segment_label=tidy(part.code.meaning, 64),
            segmented_property_category=category(part.code),
            segmented_property_type=concept(part.code),
            algorithm_type="AUTOMATIC",
            algorithm_identification=AlgorithmIdentificationSequence(
                name=tidy(opinion.specialist, 64),
                family=codes.cid7162.ArtificialIntelligence,
                version=tidy(opinion.version, 64) or "unknown",
                source="consilium",
            ),
            display_color=CIELabColor.from_rgb(*colour(number - 1)),
        )
        if part.confidence is not None:
            item.SegmentDescription = f"confidence {part.confidence:.2f} (expected Dice)"
        described.append(item)
    return described


def _dataset(descriptions: list[Any], pixels: Array, source: Traced, number: int) -> Any:
    from highdicom import UID
    from highdicom.seg import Segmentation as SegmentationObject

    seen = view(source)
    try:
        dataset = SegmentationObject(
            source_images=seen.images,
            pixel_array=pixels,
            segmentation_type="BINARY",
            segment_descriptions=descriptions,
            series_instance_uid=UID(),
            series_number=_SERIES_NUMBER + number,
            sop_instance_uid=UID(),
            instance_number=1,
            manufacturer="consilium",
            manufacturer_model_name="consilium",
            software_versions=consilium.__version__,
            device_serial_number=consilium.__version__,
            content_qualification="RESEARCH",
            content_label="CONSILIUM",
            content_description="Outlined by software, not verified",
            series_description=tidy(f"consilium: {descriptions[0].SegmentAlgorithmName}", 64),
            specific_character_set="ISO_IR 192",
            tile_pixel_array=seen.tiled,
        )
        _complete(dataset, source, seen.frames)
        return dataset
    except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        # its words may quote the header, and so the patient
        raise UsageError(
            f"no SEG can refer to this source ({type(error).__name__} in highdicom: its header is incomplete); {INSTEAD}"
        ) from error


def _complete(dataset: Any, source: Traced, frames: Sequence[int]) -> None:
    """What highdicom leaves out of pictures that lie in no patient, and the numbers that frames have in their own file."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    if "PlaneOrientationSequence" not in shared:
        dataset.PatientOrientation = source.headers[0].get("PatientOrientation") or ""
    if not is_placed(source.headers[0]) and "FrameOfReferenceUID" in dataset:
        # a frame of reference without a place in it says nothing, and obliges the rest to say more
        del dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator
    if "PixelMeasuresSequence" in shared and "SliceThickness" not in shared.PixelMeasuresSequence[0]:
        # readers, highdicom first, refuse the spacing of a picture without a thickness; the source states it anyway
        del shared.PixelMeasuresSequence
    for name in _PER_FRAME:  # of one segment alone highdicom has them shared, where it does not look for them itself
        if name in shared:
            for group in dataset.PerFrameFunctionalGroupsSequence:
                setattr(group, name, deepcopy(shared[name].value))
            delattr(shared, name)
    groups = dataset.PerFrameFunctionalGroupsSequence if frames else ()
    references = [group.DerivationImageSequence[0].SourceImageSequence[0] for group in groups]
    for reference in {id(reference): reference for reference in references}.values():  # segments share theirs
        reference.ReferencedFrameNumber = frames[int(reference.get("ReferencedFrameNumber") or 1) - 1]
