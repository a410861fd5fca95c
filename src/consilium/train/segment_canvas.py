"""From files to what a segmenter is trained on: the canvas of a picture or volume, and the mask in the same place.

Everything is read by `formats.read` and laid out by `imaging.canvas`, as when the segmenter examines a case. The `canvas` of a
config: dims; side and channels, or size and spacing_mm (up, front, right); `band`: the colour that holds the sequence.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from consilium import formats
from consilium.errors import DataError
from consilium.imaging.canvas import picture, placed, resampled, stretched, turn_of
from consilium.train.segment_data import Row
from consilium.types import Array, Image, Volume


def shown(path: Path, canvas: Mapping[str, Any]) -> Image | Volume:
    """The one picture or volume of a file; DataError where it holds another number, or the other kind."""
    items = [item for study in formats.read(path) for item in study.images]
    wanted = Volume if canvas["dims"] == 3 else Image
    if len(items) != 1 or not isinstance(items[0], wanted):
        raise DataError(f"{path} holds no single {wanted.__name__.lower()}; segmenters learn from one a file.")
    item = items[0]
    band = canvas.get("band")
    if isinstance(item, Image) and band is not None and item.pixels.ndim == 3:
        return Image(np.ascontiguousarray(item.pixels[..., band]), item.uid, item.spacing_mm)
    return item


def canvas_of(path: Path, canvas: Mapping[str, Any]) -> Array:
    """(channels, ...) uint8."""
    item = shown(path, canvas)
    if isinstance(item, Volume):
        return _padded(_resampled(stretched(turn_of(item).there(item.voxels)), item, canvas), canvas)[None]
    pixels = picture(item, canvas["side"], canvas["channels"]).pixels
    return np.ascontiguousarray(np.moveaxis(pixels, -1, 0)) if pixels.ndim == 3 else pixels[None]


def mask_of(row: Row, canvas: Mapping[str, Any]) -> Array:
    """(...) uint8 labels in the canvas of the row's picture."""
    labels = labels_of(row, canvas)
    item = shown(row.image, canvas)
    if isinstance(item, Volume):
        turned = turn_of(item).there(labels)
        values = np.unique(labels)
        parts = [_resampled(np.where(turned == v, 255, 0).astype(np.uint8), item, canvas) for v in values]
        return _padded(values[np.argmax(parts, axis=0)].astype(np.uint8), canvas)
    return placed(labels, picture(item, canvas["side"], canvas["channels"]))


def turned_shape(volume: Volume) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Its numbers of voxels and spacings (up, front, right)."""
    axes = turn_of(volume).axes
    return tuple(volume.voxels.shape[axis] for axis in axes), tuple(volume.spacing_mm[axis] for axis in axes)


def labels_of(row: Row, canvas: Mapping[str, Any]) -> Array:
    """uint8 labels at the size of the row's picture or volume, 0 where no mask says otherwise."""
    item = shown(row.image, canvas)
    shape = item.voxels.shape if isinstance(item, Volume) else item.pixels.shape[:2]
    labels = np.zeros(shape, np.uint8)
    for label, paths in row.parts.items():
        for path in paths:
            values = _mask_values(path, item, canvas)
            if values.shape != shape:
                raise DataError(f"{path} is {values.shape}, its picture {shape}: a mask must have the picture's size.")
            if row.kind == "values":
                return values.astype(np.uint8)
            if row.kind == "sides":
                return sides(values > 0)
            labels[values > 0] = label
    return labels


def _mask_values(path: Path, item: Image | Volume, canvas: Mapping[str, Any]) -> Array:
    """What stands in a mask file of a picture or volume: of several colours the first."""
    if isinstance(item, Image) and (indices := _palette_indices(path)) is not None:
        return indices
    found = shown(path, {"dims": canvas["dims"]})
    if not isinstance(found, Volume):
        return found.pixels[..., 0] if found.pixels.ndim == 3 else found.pixels
    if isinstance(item, Volume) and not np.allclose(found.spacing_mm, item.spacing_mm, rtol=0.01):
        raise DataError(
            f"{path} has voxels of {found.spacing_mm} mm, its volume of {item.spacing_mm}: they must be the same."
        )
    return found.voxels


def _palette_indices(path: Path) -> Array | None:
    """The values of a PNG or GIF with a palette, which are the labels: its colours are for the eye; None for any other file."""
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    try:
        with Pillow.open(path) as picture:
            return np.asarray(picture) if picture.mode == "P" else None
    except (OSError, UnidentifiedImageError):
        return None


def sides(mask: Array) -> Array:
    """A mask (rows, columns) of both lungs -> 1 for the part on the left of the picture, 2 for that on its right: apart where
    the fewest rows are covered, in the middle third of what is covered."""
    columns = np.flatnonzero(mask.any(axis=0))
    if not len(columns):
        return np.zeros(mask.shape, np.uint8)
    first, last = columns[0], columns[-1] + 1
    third = (last - first) // 3
    covered = mask[:, first + third : last - third].sum(axis=0)
    least = np.flatnonzero(covered == covered.min())
    middle = first + third + int(least[len(least) // 2])
    side = np.where(np.arange(mask.shape[1]) < middle, 1, 2).astype(np.uint8)
    return np.where(mask, side[None], 0).astype(np.uint8)


def _resampled(turned: Array, volume: Volume, canvas: Mapping[str, Any]) -> Array:
    spacing = [volume.spacing_mm[axis] for axis in turn_of(volume).axes]
    up, front, right = (own / wanted for own, wanted in zip(spacing, canvas["spacing_mm"], strict=True))
    return resampled(turned, (up, front, right))


def _padded(values: Array, canvas: Mapping[str, Any]) -> Array:
    size = canvas["size"]
    if any(own > most for own, most in zip(values.shape, size, strict=True)):
        raise DataError(f"a volume of {values.shape} does not fit the canvas {tuple(size)}; make the canvas larger.")
    before = [(most - own) // 2 for own, most in zip(values.shape, size, strict=True)]
    laid = np.zeros(tuple(size), np.uint8)
    laid[tuple(slice(b, b + own) for b, own in zip(before, values.shape, strict=True))] = values
    return laid
