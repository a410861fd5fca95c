"""Source headers as highdicom takes them: regular, and of the frames that were outlined alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from consilium.errors import UsageError
from consilium.formats.out.sources import Traced

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

INSTEAD = "write masks (NIfTI or PNG) instead"


@dataclass(frozen=True, eq=False)
class View:
    """`images` for highdicom; `tiled`: they are the tiles of one picture; `frames`: the numbers, from 1, that the frames of a
    multi-frame source have in their file (highdicom counts those of the view), empty for files of one frame."""

    images: list[Dataset]
    tiled: bool = False
    frames: tuple[int, ...] = ()


def is_placed(header: Dataset) -> bool:
    """Whether the header says where its picture lies in a frame of reference."""
    from highdicom.spatial import get_image_coordinate_system

    return get_image_coordinate_system(header) is not None


def view(source: Traced) -> View:
    """The view of `source`; UsageError where a SEG cannot refer to it."""
    first, instances = source.headers[0], source.instances
    count = int(first.get("NumberOfFrames") or 1)
    if count == 1 and ("NumberOfFrames" not in first or "ImagePositionPatient" in first):
        return View(_slices(instances, source.step_mm))
    if len(instances) > 1:
        raise UsageError(f"the picture is spread over {len(instances)} multi-frame files, and a SEG has one; {INSTEAD}")
    if source.size != (int(first.Rows), int(first.Columns)):
        return View([first], tiled=True)
    frames = tuple(number + 1 for number in source.numbers) if count > 1 else ()
    return View([_of_frames(first, source.numbers)], frames=frames)


def _slices(headers: Sequence[Dataset], step_mm: float | None) -> list[Dataset]:
    """Slices of one orientation and thickness: highdicom takes neither a trifle of difference nor a missing thickness."""
    first = headers[0]
    if not is_placed(first):
        if len(headers) > 1:
            raise UsageError(f"the slices of this series do not say where they lie in a frame of reference; {INSTEAD}")
        return list(headers)
    thickness = first.get("SliceThickness") or step_mm
    if thickness is None:
        raise UsageError(f"the slice says nothing of its thickness, which a SEG must state; {INSTEAD}")
    regular = []
    for header in headers:
        same = header.copy()
        same.ImageOrientationPatient, same.SliceThickness = first.ImageOrientationPatient, thickness
        regular.append(same)
    return regular


def _of_frames(header: Dataset, numbers: Sequence[int]) -> Dataset:
    """The header as though the file held the frames `numbers` (from 0) alone, with what they share where highdicom seeks it."""
    from pydicom.dataset import Dataset as New

    groups = header.get("PerFrameFunctionalGroupsSequence") or ()
    chosen = [groups[number] if number < len(groups) else New() for number in numbers]
    shared = New()
    shared.update((header.get("SharedFunctionalGroupsSequence") or [New()])[0])
    for keyword in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        if keyword not in shared and keyword in chosen[0]:
            setattr(shared, keyword, getattr(chosen[0], keyword))
    if "PixelMeasuresSequence" not in shared:
        shared.PixelMeasuresSequence = [_measures(header)]
    alone = header.copy()
    alone.NumberOfFrames = len(numbers)
    alone.SharedFunctionalGroupsSequence = [shared]
    alone.PerFrameFunctionalGroupsSequence = chosen
    return alone


def _measures(header: Dataset) -> Any:
    from pydicom.dataset import Dataset as New

    measures = New()
    for keyword in ("PixelSpacing", "SliceThickness"):
        if header.get(keyword):
            setattr(measures, keyword, getattr(header, keyword))
    return measures
