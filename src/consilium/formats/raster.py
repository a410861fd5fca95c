"""PNG, JPEG, TIFF, GIF, BMP and WebP: pictures that say nothing about the examination."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from consilium.errors import DamagedFileError, UnsafeFileError
from consilium.formats.limits import MAX_FILES, check_claim, check_total, guarded
from consilium.formats.volume import identified, plain
from consilium.types import Array, Image, Study

_DEEP_MODES = {"I;16", "I;16B", "I;16L", "I", "F"}
_WIDEST_BYTES = 8
_PHOTOMETRIC = 262
_TIFF_COMPRESSIONS = {1, 8, 32773, 32946}  # none, deflate, PackBits: what tifffile undoes by itself


def read_raster(data: bytes, file_format: str) -> Study:
    """One Study with one Image per frame or page: (rows, columns) numbers, or (rows, columns, 3) uint8.

    Raises DamagedFileError where it cannot be decoded, UnsafeFileError where it claims too many pixels.
    """
    notes: list[str] = []
    with guarded(f"decode the {file_format} file"):
        frames = _tiff(data, notes) if file_format == "TIFF" else None
        if frames is None:
            frames = _pillow(data, file_format, notes)
        images = tuple(identified(_image(pixels)) for pixels in frames)
    if len(images) > 1:
        notes.append(f"{len(images)} frames or pages, one picture each")
    return Study(None, None, images, file_format=file_format, notes=tuple(dict.fromkeys(notes)))


def _image(pixels: Array) -> Image:
    pixels = plain(pixels)
    return Image(pixels, "", units="RGB" if pixels.ndim == 3 else "")


def _pillow(data: bytes, file_format: str, notes: list[str]) -> list[Array]:
    from PIL import ImageOps

    frames: list[Array] = []
    with _opened(data, file_format) as picture:
        count = getattr(picture, "n_frames", 1)
        columns, rows = picture.size
        check_claim((rows, columns, len(picture.getbands())), count, 1)
        if file_format == "PNG" and data[24] == 16 and data[25]:
            notes.append(f"16-bit {'colour' if data[25] & 2 else 'grey with transparency'} reduced to 8 bits")
        for index in range(min(count, MAX_FILES)):
            picture.seek(index)
            check_claim((picture.size[1], picture.size[0], len(picture.getbands())), 1, 1)
            zero_is_white = file_format == "TIFF" and picture.tag_v2.get(_PHOTOMETRIC) == 0
            pixels = _array(ImageOps.exif_transpose(picture), notes)
            if zero_is_white and picture.mode in _DEEP_MODES:  # of 8 bits and fewer pillow inverts
                pixels = _white_as_high(pixels, notes)
            frames.append(pixels)
    return frames


def _opened(data: bytes, file_format: str) -> Any:
    from PIL import Image as Pillow

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)
        try:
            return Pillow.open(io.BytesIO(data), formats=[file_format.upper()])
        except Pillow.DecompressionBombError as error:
            raise UnsafeFileError("the header claims more pixels than a picture has; crop it first.") from error


def _array(picture: Any, notes: list[str]) -> Array:
    """Pixels of one pillow image: 16 bits stay, everything coloured becomes RGB, transparency is dropped."""
    if picture.mode in _DEEP_MODES:
        pixels = np.asarray(picture)
        return pixels.astype(np.float32) if picture.mode in {"F", "I"} else pixels.astype(np.uint16)
    if picture.has_transparency_data:
        notes.append("transparency dropped")
    if picture.mode == "CMYK":
        notes.append("CMYK converted to RGB without a colour profile")
    if picture.mode in {"L", "1"}:
        return np.asarray(picture.convert("L"))
    return np.asarray(picture.convert("RGB"))


def _tiff(data: bytes, notes: list[str]) -> list[Array] | None:
    """Pages of a TIFF at full depth, None where pillow must undo the compression or the colours."""
    import tifffile

    with _heard() as complaints, tifffile.TiffFile(io.BytesIO(data)) as file:
        pages = [page for page in file.pages if isinstance(page, tifffile.TiffPage) and not page.is_reduced]
        if any("invalid page offset" in said for said in complaints):
            raise DamagedFileError("the TIFF ends before its last page; copy it again.")
        if len(pages) < len(file.pages):
            notes.append(f"reduced copies left out: {len(file.pages) - len(pages)}")
        if not pages or not all(_is_simple(page) for page in pages):
            return None
        for page in pages:
            check_claim((page.imagelength, page.imagewidth, page.samplesperpixel), 1, _WIDEST_BYTES)
        check_total(sum(page.nbytes for page in pages))
        return [_deep(page, notes) for page in pages]


@contextmanager
def _heard() -> Iterator[list[str]]:
    """What tifffile tells its log instead of raising it: it reads on without the pages that are missing."""
    said: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        said.append(record.getMessage())
        return False

    log = logging.getLogger("tifffile")
    log.addFilter(keep)
    try:
        yield said
    finally:
        log.removeFilter(keep)


def _is_simple(page: Any) -> bool:
    """Deeper than 8 bits, uncompressed or deflated, grey or RGB, upright, without extra samples."""
    if page.dtype is None or (page.dtype.itemsize == 1 and page.dtype.kind != "i"):
        return False
    orientation = page.tags.valueof("Orientation", 1)
    grey_or_rgb = page.photometric in {0, 1, 2} and page.samplesperpixel in {1, 3}
    return page.compression in _TIFF_COMPRESSIONS and grey_or_rgb and orientation == 1 and page.imagedepth == 1


def _deep(page: Any, notes: list[str]) -> Array:
    pixels = np.asarray(page.asarray())
    if pixels.ndim == 3 and pixels.shape[0] == 3 and page.planarconfig == 2:
        pixels = np.moveaxis(pixels, 0, -1)
    if page.photometric == 0:
        pixels = _white_as_high(pixels, notes)
    if pixels.ndim == 3:
        notes.append(f"{pixels.dtype} colour reduced to 8 bits")
        bits = page.bitspersample if isinstance(page.bitspersample, int) else max(page.bitspersample)
        high = float(2 ** min(bits, 8 * pixels.dtype.itemsize) - 1 if pixels.dtype.kind == "u" else pixels.max())
        return np.clip(np.rint(pixels * (255.0 / max(high, 1e-12))), 0, 255).astype(np.uint8)
    return pixels.astype(np.float32) if pixels.dtype.kind == "f" else pixels.astype(pixels.dtype.newbyteorder("="))


def _white_as_high(pixels: Array, notes: list[str]) -> Array:
    """Whole numbers turned over within their type, so that none overflows; others by their sign."""
    notes.append("inverted: the file says that zero is white")
    return -pixels if pixels.dtype.kind == "f" else ~pixels
