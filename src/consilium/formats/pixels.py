"""DICOM pixel data decoded: stored grey values or 8-bit RGB, whatever the compression."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from consilium.errors import DamagedFileError, UnknownFormatError
from consilium.formats.limits import check_claim
from consilium.types import Array

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
_JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
_RLE = "1.2.840.10008.1.2.5"
_END_OF_IMAGE = b"\xff\xd9"
_COLOUR = {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}
_GREY = {"MONOCHROME1", "MONOCHROME2"}


def decode(dataset: Dataset, notes: list[str]) -> Array:
    """Stored values (frames, rows, columns) or RGB (frames, rows, columns, 3) uint8; appends to `notes`.

    Raises UnsafeFileError or DamagedFileError for sizes that the header or a codestream should not claim, and
    UnknownFormatError for a transfer syntax or colour space without decoder.
    """
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    samples, frames = int(dataset.get("SamplesPerPixel", 1)), int(dataset.get("NumberOfFrames") or 1)
    check_claim((rows, columns, samples), frames, max(1, int(dataset.BitsAllocated) // 8))
    photometric = str(dataset.get("PhotometricInterpretation", ""))
    if photometric not in _COLOUR | _GREY | {"PALETTE COLOR"}:
        raise UnknownFormatError(f"no reader for the colour space {photometric!r}; export it as RGB or MONOCHROME2.")
    _check_codestreams(dataset, frames, (rows, columns))
    values = _decoder_options(dataset).pixel_array
    values = values.reshape(frames, rows, columns, *((samples,) if samples > 1 else ()))
    if values.dtype.byteorder == ">":
        values = values.astype(values.dtype.newbyteorder("="))
    if photometric == "PALETTE COLOR":
        return _eight_bits(_palette(values, dataset), notes)
    return _eight_bits(values, notes, int(dataset.get("BitsStored") or 16)) if samples > 1 else values


def _decoder_options(dataset: Dataset) -> Dataset:
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_private or "MPEG" in syntax.name or "HEVC" in syntax.name or "Frame Deflate" in syntax.name:
        raise UnknownFormatError(f"no decoder for the transfer syntax {syntax.name}; export it without compression.")
    if syntax == _RLE:
        # pylibjpeg-rle panics, beyond `except Exception`, on damaged data
        dataset.pixel_array_options(decoding_plugin="pydicom")
    elif syntax == _JPEG_EXTENDED and dataset.BitsStored > 8:
        # pydicom keeps 12 bits from GDCM under this name, though GDCM decodes by the codestream, whatever the name
        dataset.file_meta.TransferSyntaxUID = type(syntax)(_JPEG_LOSSLESS)
    return dataset


def _check_codestreams(dataset: Dataset, frames: int, shape: tuple[int, int]) -> None:
    """A codestream carries its own size; codecs believe it, so it must be the header's."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated or "PixelData" not in dataset:
        return
    from pydicom.encaps import generate_frames
    from pydicom.uid import JPEGLSTransferSyntaxes

    offsets = _offsets(dataset)
    for index, stream in enumerate(
        generate_frames(dataset.PixelData, number_of_frames=frames, extended_offsets=offsets)
    ):
        size = codestream_size(stream)
        if size is not None and size != shape:
            raise DamagedFileError(f"frame {index} is {size} pixels inside, the header says {shape}; export it again.")
        # CharLS spends seconds on a damaged stream without its end mark, however short it is
        if syntax in JPEGLSTransferSyntaxes and not stream.rstrip(b"\0").endswith(_END_OF_IMAGE):
            raise DamagedFileError(f"frame {index} ends before its end mark; copy or export the file again.")


def _offsets(dataset: Dataset) -> Any:
    if "ExtendedOffsetTable" in dataset and "ExtendedOffsetTableLengths" in dataset:
        return dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths
    return None


def codestream_size(stream: bytes) -> tuple[int, int] | None:
    """(rows, columns) that a JPEG, JPEG-LS or JPEG 2000 codestream claims; None for another kind."""
    if stream[:4] == b"\xff\x4f\xff\x51":
        right, bottom, left, top = (int.from_bytes(stream[at : at + 4], "big") for at in (8, 12, 16, 20))
        return bottom - top, right - left
    for marker, at in _jpeg_segments(stream):
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}):
            return int.from_bytes(stream[at + 3 : at + 5], "big"), int.from_bytes(stream[at + 5 : at + 7], "big")
    return None


def _jpeg_segments(stream: bytes) -> Iterator[tuple[int, int]]:
    """(marker, offset of its length) of the segments before the scan."""
    at = 2
    while stream[:2] == b"\xff\xd8" and at + 4 < len(stream) and stream[at] == 0xFF:
        if stream[at + 1] != 0xFF:
            yield stream[at + 1], at + 2
            at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
        else:
            at += 1


def _palette(values: Array, dataset: Dataset) -> Array:
    from pydicom.pixels.processing import apply_color_lut

    return np.stack([apply_color_lut(frame, dataset)[..., :3] for frame in values])


def _eight_bits(colours: Array, notes: list[str], bits: int = 16) -> Array:
    if colours.dtype == np.uint8:
        return colours
    if colours.dtype.kind != "u":
        raise UnknownFormatError(f"no reader for {colours.dtype} colours; export it as 8-bit RGB.")
    notes.append(f"{colours.dtype} colour reduced to 8 bits")
    if bits < 16 and colours.max(initial=0) < 2**bits:
        return (colours >> max(0, bits - 8)).astype(np.uint8)
    full = np.iinfo(colours.dtype).max if colours.max(initial=0) > 255 else 255
    return (colours // ((full + 1) // 256)).astype(np.uint8)


def joined_tiles(dataset: Dataset, pixels: Array, notes: list[str]) -> Array:
    """The one picture of a slide whose frames are its tiles in full raster order; other frames as they are."""
    if dataset.get("DimensionOrganizationType") != "TILED_FULL" or "TotalPixelMatrixRows" not in dataset:
        return pixels
    rows, columns = int(dataset.TotalPixelMatrixRows), int(dataset.TotalPixelMatrixColumns)
    check_claim((rows, columns, pixels[0, 0, 0].size), 1, pixels.itemsize)
    down, across = -(-rows // pixels.shape[1]), -(-columns // pixels.shape[2])
    if down * across != len(pixels):
        notes.append(f"{len(pixels)} tiles, not the {down * across} of one plane: one picture each")
        return pixels
    notes.append(f"joined from {len(pixels)} tiles")
    grid = pixels.reshape(down, across, *pixels.shape[1:]).swapaxes(1, 2)
    return grid.reshape(1, down * pixels.shape[1], across * pixels.shape[2], *pixels.shape[3:])[:, :rows, :columns]
