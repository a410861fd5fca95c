"""Which DICOM instances and frames a Volume or an Image was made of, from the files that it was read from."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from consilium.errors import ReadError, UsageError
from consilium.formats.archive import listing, unpacked
from consilium.formats.dicom import Frame, read_dicom
from consilium.formats.series import by_geometry, is_slice, key_of, layers_of
from consilium.formats.sniff import sniff
from consilium.types import Consultation, Image, Study, Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)
_MUST_BE_THERE = ("SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID")


@dataclass(frozen=True, eq=False)
class Traced:
    """The frames that one Image or Volume is made of, in its order.

    headers   a data set without pixels for each frame (frames of one file share theirs).
    numbers   the index, from 0, of each frame in its file.
    size      (rows, columns) of the picture.
    step_mm   the median distance between neighbouring slices; None where there is one, or where they have no place.
    """

    headers: tuple[Dataset, ...]
    numbers: tuple[int, ...]
    size: tuple[int, int]
    step_mm: float | None = None

    @property
    def instances(self) -> tuple[Dataset, ...]:
        """The headers, one for each file."""
        return tuple({str(header.SOPInstanceUID): header for header in self.headers}.values())


@contextmanager
def discreet() -> Iterator[None]:
    """pydicom warns of odd values word for word, and they may name the patient: it says nothing, and takes them as they are."""
    from pydicom.config import disable_value_validation

    with warnings.catch_warnings(), disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def pictures(held: Consultation) -> tuple[Image | Volume, ...]:
    """Every Image and Volume of the case, the prior studies included."""
    found: list[Image | Volume] = []
    for study in held.case.studies:
        current: Study | None = study
        while current is not None:
            found += current.images
            current = current.prior
    return tuple(found)


def trace(sources: Sequence[Path]) -> dict[str, Traced]:
    """uid of each Image and Volume that `formats.read` makes of the DICOM files among `sources` -> what it is made of.

    Files that are no readable DICOM pictures are passed over, as `read` does. Raises UsageError where there is no file.
    """
    frames: list[Frame] = []
    headers: dict[str, Dataset] = {}
    with discreet():
        for path in sources:
            for load in listing(Path(path)).loaders:
                found, header = _opened(load)
                frames += found
                if header is not None:
                    headers[str(header.SOPInstanceUID)] = header
    return dict(_made(frames, headers))


def _opened(load: Callable[[], bytes]) -> tuple[tuple[Frame, ...], Dataset | None]:
    """The frames of one file, and its header where it has all that a reference needs."""
    import pydicom

    try:
        data = unpacked(load())
        if sniff(data) != "DICOM":
            return (), None
        frames = read_dicom(data)
    except ReadError:
        return (), None
    stream = io.BytesIO(data[4:] if data.startswith(b"DICM") else data)
    header = pydicom.dcmread(stream, stop_before_pixels=True, force=True)
    if not header.get("SOPInstanceUID"):
        return frames, None
    for keyword in _MAY_BE_EMPTY:
        if keyword not in header:
            setattr(header, keyword, "")
    return frames, header


def _made(frames: Sequence[Frame], headers: Mapping[str, Dataset]) -> Iterator[tuple[str, Traced]]:
    """What `series.assemble` would make, by the same rules: name and frames of each Image and Volume."""
    groups: dict[tuple[str | None, ...], list[Frame]] = {}
    for frame in frames:
        groups.setdefault(key_of(frame), []).append(frame)
    for group in groups.values():
        if not is_slice(group[0]):
            yield from ((frame.image.uid, _traced([frame], headers)) for frame in group if _is_known(frame, headers))
            continue
        number = 0
        for layer in (layer for part in by_geometry(group) for layer in layers_of(part, [])):
            known = all(_is_known(frame, headers) for frame in layer)
            if len(layer) == 1:
                uid = layer[0].image.uid
            else:
                uid = layer[0].series or layer[0].image.uid
                uid, number = f"{uid}/{number}" if number else uid, number + 1
            if known:
                yield uid, _traced(layer, headers)


def _is_known(frame: Frame, headers: Mapping[str, Dataset]) -> bool:
    return frame.image.uid.partition("#")[0] in headers


def _traced(frames: Sequence[Frame], headers: Mapping[str, Dataset]) -> Traced:
    named = [frame.image.uid.partition("#") for frame in frames]
    rows, columns = frames[0].image.pixels.shape[:2]
    numbers = tuple(int(number or 0) for _, _, number in named)
    return Traced(tuple(headers[uid] for uid, _, _ in named), numbers, (rows, columns), _step(frames))


def _step(frames: Sequence[Frame]) -> float | None:
    places = [frame.place for frame in frames if frame.place is not None]
    if len(places) < 2 or len(places) < len(frames):
        return None
    heights = np.asarray([place.position @ places[0].normal for place in places])
    return round(float(np.median(np.abs(np.diff(heights)))), 6)


def locate(traced: Mapping[str, Traced], uid: str) -> Traced:
    """What the picture `uid` is made of, also a slice of a volume (``uid#n``).

    Raises UsageError where the sources hold no DICOM, not this picture, or a header without what a reference needs.
    """
    if not traced:
        raise UsageError(
            "a DICOM result refers to DICOM pictures, and the sources hold none; write masks (NIfTI or PNG) instead"
        )
    found = traced.get(uid)
    if found is None:
        whole, _, number = uid.rpartition("#")
        stack = traced.get(whole)
        if stack is None or not number.isdigit() or int(number) >= len(stack.headers):
            raise UsageError(
                "the sources do not hold the picture that was outlined; give the files the case was read from"
            )
        found = Traced((stack.headers[int(number)],), (stack.numbers[int(number)],), stack.size, stack.step_mm)
    missing = [word for word in _MUST_BE_THERE if any(not header.get(word) for header in found.headers)]
    if missing:
        raise UsageError(
            f"the source lacks {', '.join(missing)}, without which nothing can refer to it; write masks (NIfTI or PNG) instead"
        )
    return found
