"""Slices that do not lie at even distances: how much each stands for, where it lies, and the even grid that they fit into."""

from __future__ import annotations

import numpy as np

from consilium.errors import UsageError
from consilium.types import Array, Image, Volume

# From one slice to the next: more than so many usual distances is a gap; a gap is bridged as far as so many.
GAP, BRIDGED = 1.5, 3.0
# Slices fit a grid where none lies further beside its place than this share of the step; it has at most so many places a slice.
_BESIDE, _PLACES = 0.05, 4


def gaps(steps: Array, step: float) -> tuple[Array, int]:
    """Of the distances (slices - 1,) between neighbours and the usual one: the indices of the slices that a gap follows, and
    about how many slices are missing in all."""
    after = np.flatnonzero(steps > GAP * step)
    return after, int(np.rint(steps[after] / step - 1).sum())


def places(volume: Volume) -> Array:
    """(slices,) how far each slice lies from the first, in usual distances. UsageError where heights and slices differ."""
    count = len(volume.voxels)
    if not volume.heights_mm:
        return np.arange(count, dtype=float)
    if len(volume.heights_mm) != count:
        raise UsageError(f"the volume has {count} slices and {len(volume.heights_mm)} heights; read the files again")
    return np.asarray(volume.heights_mm, float) / volume.spacing_mm[0]


def shares(volume: Volume) -> Array:
    """(slices,) the thickness that each slice stands for, in usual distances: half the way to either neighbour, of a gap no
    more than half of BRIDGED; outwards half a distance. All 1 where the distances are even. UsageError as `places`."""
    halves = np.minimum(np.diff(places(volume)), BRIDGED) / 2
    return np.append(0.5, halves) + np.append(halves, 0.5)


def amounts(labels: Array, shown: Image | Volume, count: int) -> Array:
    """(count,) of the labels 1 to `count`: mL of a volume, each slice with the thickness that it stands for, else the share of
    the picture's area. UsageError as `places`."""
    if not isinstance(shown, Volume):
        return np.bincount(labels.reshape(-1), minlength=count + 1)[1:] / labels.size
    sizes = np.zeros(count + 1)
    for layer, share in zip(labels, shares(shown), strict=True):
        sizes += share * np.bincount(layer.reshape(-1), minlength=count + 1)
    return np.asarray(sizes[1:] * (np.prod(shown.spacing_mm) / 1000))


def grid(volume: Volume) -> tuple[Array, float] | None:
    """Which slices of an even grid those of the volume are (slices,), from 0, and its step in mm; None where they fit none that
    is not mostly empty, or where the distances are even and it needs none. UsageError as `places`."""
    if not volume.heights_mm:
        return None
    exact = places(volume)
    fitted = np.append(0, np.cumsum(np.rint(np.diff(exact)))).astype(int)
    if (np.diff(fitted) < 1).any() or fitted[-1] >= _PLACES * len(fitted):
        return None
    step = exact[-1] / fitted[-1]
    if np.abs(exact - fitted * step).max() > _BESIDE * step:
        return None
    return fitted, float(step * volume.spacing_mm[0])
