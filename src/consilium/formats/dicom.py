"""One DICOM file: parse it, refuse what is no picture, and give its frames with their place in the patient."""

from __future__ import annotations

import io
import math
import warnings
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from consilium.errors import DamagedFileError, NotAnImageError, UnknownFormatError
from consilium.formats.anatomy import body_part_of, modality_of
from consilium.formats.limits import expansion_limit, guarded, read_at_most
from consilium.formats.pixels import decode, joined_tiles
from consilium.formats.sniff import AuxiliaryFileError
from consilium.formats.values import shown
from consilium.formats.volume import identified, plain
from consilium.types import Array, Image

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_DIRECTORY = "1.2.840.10008.1.3.10"
_REFUSED = {
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation: regions drawn on other pictures; read the pictures it refers to",
    "1.2.840.10008.5.1.4.1.1.66.7": "a segmentation: regions drawn on other pictures; read the pictures it refers to",
    "1.2.840.10008.5.1.4.1.1.481.2": "a radiotherapy dose grid; read the planning CT",
}
_HEADER = (
    *("PixelSpacing", "ImagerPixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "PixelRepresentation", "SamplesPerPixel", "Modality"),
)


@dataclass(frozen=True, eq=False)
class Place:
    """Where a frame lies: `position` of its first pixel centre and `axes` (along a row, along a column), LPS mm."""

    position: Array
    axes: Array
    reference: str

    @property
    def normal(self) -> Array:
        return np.cross(self.axes[:3], self.axes[3:])


@dataclass(frozen=True, eq=False)
class Frame:
    """One decoded picture, and what `series.assemble` needs to lay it beside others; `patient` is only compared."""

    image: Image
    modality: str | None
    body_part: str | None
    study: str
    series: str
    patient: str
    place: Place | None
    number: tuple[float, ...]
    notes: tuple[str, ...] = ()


def read_dicom(data: bytes) -> tuple[Frame, ...]:
    """The frames of one DICOM file, decoded, brighter is larger.

    Raises NotAnImageError saying what the object is instead, UnknownFormatError for an unsupported compression,
    DamagedFileError or UnsafeFileError.
    """
    from pydicom.config import disable_value_validation

    # pydicom logs values against the standard word for word, and they may name the patient
    with warnings.catch_warnings(record=True) as caught, disable_value_validation():
        warnings.simplefilter("always")
        with guarded("read the DICOM header", quote=False):
            dataset = _parse(data)
            _refuse(dataset)
        notes = [f"pydicom warned {len(caught)} times about the header"] if caught else []
        before = len(caught)
        with guarded("decode the DICOM pixel data"):
            pixels = joined_tiles(dataset, decode(dataset, notes), notes)
        notes += dict.fromkeys(str(warning.message)[:200] for warning in caught[before:])
        with guarded("apply the DICOM header to the pixels", quote=False):
            return tuple(_frame(dataset, pixels, index, tuple(notes)) for index in range(len(pixels)))


def _parse(data: bytes) -> Dataset:
    import pydicom

    _check_deflated(data)
    marked = data[128:132] == b"DICM"
    stream = io.BytesIO(data[4:] if data.startswith(b"DICM") else data)
    dataset = pydicom.dcmread(stream, force=not marked)
    if not marked and "SOPClassUID" not in dataset:
        raise UnknownFormatError("this has neither the DICOM mark nor a DICOM header; export the file again.")
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        names = {(True, True): "1.2.840.10008.1.2", (False, True): "1.2.840.10008.1.2.1"}
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(
            names.get((bool(implicit), bool(little)), "1.2.840.10008.1.2.2")
        )
    return dataset


def _check_deflated(data: bytes) -> None:
    """pydicom inflates a deflated data set without a limit; measure it first."""
    if _DEFLATED not in data[:1024]:
        return
    start = 144 + int.from_bytes(data[140:144], "little")
    packed = data[start:]
    limit = expansion_limit(len(packed))
    inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, limit + 1)
    read_at_most(io.BytesIO(inflated), limit)


def _refuse(dataset: Dataset) -> None:
    sop_class = dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID") or ""
    name = getattr(sop_class, "name", "") or "DICOM object of an unnamed class"
    if sop_class == _DIRECTORY:
        raise AuxiliaryFileError("this is a DICOMDIR, a table of contents; name its folder.")
    if sop_class in _REFUSED:
        raise NotAnImageError(f"this is {_REFUSED[sop_class]}.")
    if any(keyword in dataset for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        return
    if "Rows" in dataset or not len(dataset):
        raise DamagedFileError(f"the file ends before the pixels of this {name}; copy it again.")
    raise NotAnImageError(f"this is a DICOM {name}, which holds no picture.")


def _frame(dataset: Dataset, pixels: Array, index: int, notes: tuple[str, ...]) -> Frame:
    header = _flat(dataset, index)
    picture = shown(pixels[index], header)
    uid = str(dataset.get("SOPInstanceUID") or "")
    spacing, spacing_notes = _spacing(header)
    image = Image(
        plain(picture.pixels), f"{uid}#{index}" if len(pixels) > 1 else uid, spacing, picture.window, picture.units
    )
    if image.pixels.ndim == 2 and image.units == "RGB":
        image = Image(image.pixels, image.uid, spacing)
    place = _place(header, str(dataset.get("FrameOfReferenceUID") or ""))
    return Frame(
        image=image if uid else identified(image),
        modality=modality_of(dataset),
        body_part=body_part_of(dataset),
        study=str(dataset.get("StudyInstanceUID") or ""),
        series=str(dataset.get("SeriesInstanceUID") or ""),
        patient=str(dataset.get("PatientID") or ""),
        place=place,
        number=(*(_number(dataset.get(k)) for k in ("AcquisitionNumber", "EchoTime", "InstanceNumber")), float(index)),
        notes=(*notes, *picture.notes, *spacing_notes, *_turned(place)),
    )


def _flat(dataset: Dataset, index: int) -> Dataset:
    """The header that holds for frame `index`: functional groups, shared then per frame, laid over the top level."""
    import pydicom

    header = pydicom.Dataset()
    header.set_original_encoding(*dataset.original_encoding)
    groups = [dataset]
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    for group in (*shared[:1], *per_frame[index : index + 1]):
        groups += [element.value[0] for element in group if element.VR == "SQ" and element.value]
    for group in groups:
        for keyword in _HEADER:
            if keyword in group:
                header[keyword] = group[keyword]
    return header


def _spacing(header: Dataset) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    for keyword, note in (("PixelSpacing", ()), ("ImagerPixelSpacing", ("spacing at the detector, not in the body",))):
        spacing = _numbers(header.get(keyword), 2)
        if spacing is not None:
            if min(spacing) > 0:
                return (float(spacing[0]), float(spacing[1])), note
            return None, ("spacing that is not positive left out",)
    return None, ()


def _place(header: Dataset, reference: str) -> Place | None:
    position = _numbers(header.get("ImagePositionPatient"), 3)
    axes = _numbers(header.get("ImageOrientationPatient"), 6)
    if position is None or axes is None or abs(np.linalg.norm(np.cross(axes[:3], axes[3:])) - 1) > 0.01:
        return None
    return Place(position, axes, reference)


def _turned(place: Place | None) -> tuple[str, ...]:
    """A note where rows do not run to the patient's left or back, or columns not to the back or the feet."""
    if place is None:
        return ()
    along, down = (int(np.argmax(np.abs(axis))) for axis in (place.axes[:3], place.axes[3:]))
    usual_row = along < 2 and place.axes[along] > 0
    usual_column = (down == 1 and place.axes[4] > 0) or (down == 2 and place.axes[5] < 0)
    return () if usual_row and usual_column else ("stored turned or mirrored, and left as stored",)


def _numbers(value: Any, count: int) -> Array | None:
    """The `count` finite numbers of a DICOM value, None where there are others."""
    if value is None or isinstance(value, str) or not hasattr(value, "__len__") or len(value) != count:
        return None
    numbers = np.asarray([_number(v) for v in value])
    return numbers if np.isfinite(numbers).all() else None


def _number(value: Any) -> float:
    """A DICOM number; infinity, which sorts last, where there is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return math.inf
    return number if math.isfinite(number) else math.inf
