"""The canvas that a segmentation network sees: fixed axes, size and spacing, uint8; and the way back to the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from consilium.imaging.window import to_display
from consilium.types import Array, Image, Volume

_PERCENTILES = (0.5, 99.5)
_SAMPLE = 2**20
# Spacings this near to the wanted one are not resampled: nothing would be gained.
_SAME = 0.03


@dataclass(frozen=True, eq=False)
class Canvas:
    """`pixels` (side, side[, 3]) uint8 that hold a picture at `top`, `left`, `rows` x `columns`, black around it."""

    pixels: Array
    top: int
    left: int
    rows: int
    columns: int


def picture(image: Image, side: int, channels: int) -> Canvas:
    """The image at the largest size that fits, in the middle. Grey is stretched from its 0.5 to its 99.5 percentile, so that
    16 bits, windows and exposures look alike; colour stays."""
    from PIL import Image as Pillow

    seen = Pillow.fromarray(to_display(image))
    scale = side / max(seen.size)
    columns, rows = (max(1, round(length * scale)) for length in seen.size)
    small = seen.convert("RGB" if channels == 3 else "L").resize((columns, rows), Pillow.Resampling.BILINEAR)
    values = np.asarray(small)
    values = values if channels == 3 else stretched(values)
    top, left = (side - rows) // 2, (side - columns) // 2
    pixels = np.zeros((side, side, *values.shape[2:]), np.uint8)
    pixels[top : top + rows, left : left + columns] = values
    return Canvas(pixels, top, left, rows, columns)


def placed(mask: Array, canvas: Canvas) -> Array:
    """A mask (rows, columns) of the same picture, uint8, in the canvas: nearest neighbour."""
    from PIL import Image as Pillow

    small = Pillow.fromarray(mask).resize((canvas.columns, canvas.rows), Pillow.Resampling.NEAREST)
    laid = np.zeros(canvas.pixels.shape[:2], np.uint8)
    laid[canvas.top : canvas.top + canvas.rows, canvas.left : canvas.left + canvas.columns] = np.asarray(small)
    return laid


def stretched(values: Array) -> Array:
    """Any numbers to uint8: their 0.5 percentile black, their 99.5 percentile white. Values that are not finite are black."""
    sample = values.reshape(-1)[:: max(1, values.size // _SAMPLE)]
    finite = sample[np.isfinite(sample)]
    if not finite.size:
        return np.zeros(values.shape, np.uint8)
    low, high = (float(v) for v in np.percentile(finite, _PERCENTILES))
    if high <= low:
        low, high = float(finite.min()), max(float(finite.max()), float(finite.min()) + 1)
    inside = np.nan_to_num(np.clip(values.astype(np.float32), low, high), nan=low)
    return np.rint((inside - low) * np.float32(255 / (high - low))).astype(np.uint8)


@dataclass(frozen=True)
class Turn:
    """How a volume was turned: `axes` of the stored (slice, row, column) that became (up, front, right), `flips` of those."""

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    def there(self, voxels: Array) -> Array:
        """(slices, rows, columns) -> axes (up, front, right), each growing with its index."""
        turned = voxels.transpose(self.axes)
        return turned[tuple(slice(None, None, -1 if flip else None) for flip in self.flips)]

    def back(self, turned: Array) -> Array:
        """What `there` gave -> (slices, rows, columns)."""
        unflipped = turned[tuple(slice(None, None, -1 if flip else None) for flip in self.flips)]
        return unflipped.transpose(tuple(int(i) for i in np.argsort(self.axes)))


def turn_of(volume: Volume) -> Turn:
    """The turn of a volume to axes (up, front, right), the nearest to them where it lies oblique. Each patient axis is given
    to the stored axis that runs most along it, the surest pair first."""
    # Columns of the matrix are column, row, slice; rows are right, front, up.
    along = np.asarray(volume.orientation)[:3, :3] / np.asarray(volume.spacing_mm[::-1])
    left = np.abs(along)
    axes, flips = [0, 0, 0], [False, False, False]
    for _ in range(3):
        patient, stored = (int(i) for i in np.unravel_index(int(left.argmax()), left.shape))
        axes[2 - patient], flips[2 - patient] = 2 - stored, bool(along[patient, stored] < 0)
        left[patient], left[:, stored] = -1, -1
    return Turn((axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2]))


def resampled(turned: Array, factors: tuple[float, float, float]) -> Array:
    """A volume stretched by a factor an axis, linearly, smoothed first where it shrinks. Same dtype; itself where every
    factor is about one."""
    from scipy import ndimage

    if all(abs(factor - 1) <= _SAME for factor in factors):
        return turned
    values = turned.astype(np.float32)
    blur = [max(0.0, (1 / factor - 1) / 2) for factor in factors]
    if any(blur):
        values = ndimage.gaussian_filter(values, blur, mode="nearest")
    return ndimage.zoom(values, factors, order=1, mode="nearest", grid_mode=True).astype(turned.dtype)
