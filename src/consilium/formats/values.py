"""DICOM values: from stored grey values to values that are brighter where they are larger, with their window."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from consilium.errors import DamagedFileError
from consilium.types import Array

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


@dataclass(frozen=True, eq=False)
class Shown:
    """Values of one frame: `bounds` are the least and the greatest value that the stored bits can stand for."""

    pixels: Array
    bounds: tuple[float, float]
    window: tuple[float, float] | None = None
    units: str = ""
    notes: tuple[str, ...] = ()


def shown(values: Array, header: Dataset) -> Shown:
    """One decoded frame through modality LUT or rescale, VOI LUT, padding and MONOCHROME1, as DICOM orders them."""
    if values.ndim == 3:
        return Shown(values, (0, 255), units="RGB")
    padding = _padding(values, header)
    picture = _modality(values, header)
    picture = _voi(picture, header)
    if header.get("PhotometricInterpretation") == "MONOCHROME1":
        picture = _inverted(picture)
    if padding is not None and picture.units != "HU" and 0 < padding.sum() < padding.size:
        pixels = picture.pixels.copy()
        pixels[padding] = pixels[~padding].min()
        picture = replace(picture, pixels=pixels, notes=(*picture.notes, "padding shown as the darkest value"))
    return picture


def _modality(values: Array, header: Dataset) -> Shown:
    from pydicom.pixels.processing import apply_modality_lut

    low, high = _stored_bounds(values, header)
    if header.get("ModalityLUTSequence"):
        depth = int(header.ModalityLUTSequence[0].LUTDescriptor[2])
        return Shown(apply_modality_lut(values, header), (0, 2**depth - 1), notes=("modality LUT applied",))
    slope, intercept = header.get("RescaleSlope"), header.get("RescaleIntercept")
    is_ct = header.get("Modality") == "CT"
    if slope is None or intercept is None:
        notes = ("no rescale: the CT values are not HU",) if is_ct else ()
        window = (low, high) if values.dtype == np.uint8 and high < 255 else None
        return Shown(values, (low, high), window, notes=notes)
    slope, intercept = float(slope), float(intercept)
    if not (np.isfinite((slope, intercept)).all() and slope):
        raise DamagedFileError(f"rescale slope {slope} and intercept {intercept}; export the file again.")
    bounds = sorted((low * slope + intercept, high * slope + intercept))
    units = "HU" if is_ct and str(header.get("RescaleType") or "HU").upper() == "HU" else ""
    return Shown(_rescaled(values, slope, intercept, bounds), (bounds[0], bounds[1]), units=units)


def _stored_bounds(values: Array, header: Dataset) -> tuple[float, float]:
    if values.dtype.kind == "f":
        return float(np.nanmin(values)), float(np.nanmax(values))
    bits = min(int(header.BitsStored), values.dtype.itemsize * 8)
    return (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if values.dtype.kind == "i" else (0.0, 2.0**bits - 1)


def _rescaled(values: Array, slope: float, intercept: float, bounds: list[float]) -> Array:
    """Whole numbers stay whole numbers in the smallest type that the values need; others become float32."""
    if slope == 1 and intercept == 0:
        return values
    if values.dtype.kind in "iu" and slope.is_integer() and intercept.is_integer() and max(map(abs, bounds)) < 2**31:
        return _narrow(values.astype(np.int64) * int(slope) + int(intercept))
    return values.astype(np.float32) * np.float32(slope) + np.float32(intercept)


def _narrow(whole: Array) -> Array:
    fits = np.iinfo(np.int16).min <= whole.min() and whole.max() <= np.iinfo(np.int16).max
    return whole.astype(np.int16 if fits else np.int32)


def _voi(picture: Shown, header: Dataset) -> Shown:
    """The VOI LUT applied, else the first window kept. HU stay HU: a LUT would take their meaning."""
    from pydicom.pixels.processing import apply_voi

    if header.get("VOILUTSequence") and picture.units != "HU" and picture.pixels.dtype.kind in "iu":
        depth = int(header.VOILUTSequence[0].LUTDescriptor[2])
        bounds = (0.0, 2.0**depth - 1)
        return Shown(apply_voi(picture.pixels, header), bounds, bounds, "", (*picture.notes, "VOI LUT applied"))
    window, notes = _window(header)
    return replace(picture, window=window or picture.window, notes=(*picture.notes, *notes))


def _window(header: Dataset) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """(low, high) of the first window by DICOM's LINEAR function (PS3.3 C.11.2.1.2), and what was left out."""
    centres, widths = (np.atleast_1d(header.get(k)) for k in ("WindowCenter", "WindowWidth"))
    if centres[0] is None or widths[0] is None:
        return None, ()
    try:
        centre, width = float(centres[0]), float(widths[0])
    except ValueError:
        return None, ("a window that is no number left out",)
    function = str(header.get("VOILUTFunction") or "LINEAR")
    if not np.isfinite((centre, width)).all() or (width < 1 and function == "LINEAR") or width <= 0:
        return None, (f"window of width {width:g} left out",)
    notes = [f"first of {len(centres)} windows"] if len(centres) > 1 else []
    if function == "SIGMOID":
        notes.append("sigmoid window shown as a linear one")
    if function == "LINEAR":
        centre, width = centre - 0.5, max(width - 1, 1)
    return (centre - width / 2, centre + width / 2), tuple(notes)


def _inverted(picture: Shown) -> Shown:
    if picture.units == "HU":
        return replace(picture, notes=(*picture.notes, "MONOCHROME1 not inverted: HU are larger where denser"))
    low, high = picture.bounds
    window = picture.window and (low + high - picture.window[1], low + high - picture.window[0])
    return replace(
        picture,
        pixels=_turned_over(picture.pixels, low + high),
        window=window,
        notes=(*picture.notes, "MONOCHROME1 inverted"),
    )


def _turned_over(pixels: Array, total: float) -> Array:
    """`total` less each value, in the same type if it holds them all."""
    if pixels.dtype.kind == "f":
        return pixels.dtype.type(total) - pixels
    whole = int(total) - pixels.astype(np.int64)
    kept = np.iinfo(pixels.dtype)
    return whole.astype(pixels.dtype) if kept.min <= whole.min() and whole.max() <= kept.max else _narrow(whole)


def _padding(values: Array, header: Dataset) -> Array | None:
    """Where the stored values are Pixel Padding Value, or between it and its range limit."""
    first = header.get("PixelPaddingValue")
    if first is None or isinstance(first, bytes):
        return None
    last = header.get("PixelPaddingRangeLimit", first)
    return (values >= min(first, last)) & (values <= max(first, last))
