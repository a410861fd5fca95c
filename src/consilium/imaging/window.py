"""From values to what a screen shows: the file's window, else a robust one of the values."""

from __future__ import annotations

import numpy as np

from consilium.types import Array, Image

_AIR_HU = -1024
_PERCENTILES = (0.5, 99.5)
_SAMPLE = 2**20


def window_of(image: Image) -> tuple[float, float]:
    """The (low, high) values that are shown black and white, low < high.

    The image's own window; else all of uint8 and bool; else the 0.5 and 99.5 percentiles of the finite values, which a
    few hot pixels do not move. HU below air are padding and do not count.
    """
    if image.window is not None:
        low, high = image.window
    elif image.pixels.dtype == np.uint8:
        return 0.0, 255.0
    elif image.pixels.dtype == np.bool_:
        return 0.0, 1.0
    else:
        low, high = _robust(image)
    return (low, high) if high > low else (low, low + 1.0)


def _robust(image: Image) -> tuple[float, float]:
    values = image.pixels.reshape(-1)
    values = values[:: max(1, values.size // _SAMPLE)]
    counted = values[np.isfinite(values)]
    if image.units == "HU" and (counted > _AIR_HU).any():
        counted = counted[counted >= _AIR_HU]
    if not counted.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(counted, _PERCENTILES))
    return (low, high) if high > low else (float(counted.min()), float(counted.max()))


def to_display(image: Image) -> Array:
    """What is seen of an image: uint8 (rows, columns, 3). RGB stays as it is; values that are not finite are black."""
    if image.pixels.ndim == 3:
        return image.pixels
    low, high = window_of(image)
    values = image.pixels.astype(np.float32)
    shades = np.clip((values - low) * np.float32(255.0 / (high - low)), 0.0, 255.0)
    grey = np.rint(np.nan_to_num(shades, nan=0.0)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)
