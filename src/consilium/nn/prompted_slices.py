"""A prompt of one slice carried through a volume: each slice is outlined by the box of its neighbour's mask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from consilium.nn.lite_medsam import SIDE, Prompted
from consilium.types import Array, Volume

# By so much the neighbour's box grows on each side, in pixels of the 256 that the network sees: what LiteMedSAM's authors add.
_MARGIN = 3


@dataclass(frozen=True, eq=False)
class Carried:
    """mask (slices, rows, columns) bool; `worth` the expected Dice of each slice that was outlined, by its index."""

    mask: Array
    worth: dict[int, float]


def carried(
    prompted: Prompted,
    volume: Volume,
    seed: tuple[int, Array],
    span: tuple[int, int],
    expected: Callable[[Array], Array],
    least: float,
) -> Carried:
    """From the seed (index of its slice, mask (rows, columns)) to the slices `span`, both ends included, by index.

    A direction ends early where a mask is empty or its expected Dice below `least`.
    """
    start, first_mask = seed
    mask = np.zeros(volume.voxels.shape, bool)
    mask[start] = first_mask
    worth: dict[int, float] = {}
    for indices in (range(start + 1, span[1] + 1), range(start - 1, span[0] - 1, -1)):
        for index, outline, good in _along(prompted, volume, first_mask, indices, expected):
            if good < least or not outline.any():
                break
            mask[index], worth[index] = outline, good
    return Carried(mask, worth)


def _along(
    prompted: Prompted, volume: Volume, neighbour: Array, indices: range, expected: Callable[[Array], Array]
) -> Iterator[tuple[int, Array, float]]:
    for index in indices:
        found = prompted.boxed(volume.slice(index), box_of(neighbour, grown=True)[None])
        neighbour = found.masks[0]
        yield index, neighbour, float(expected(found.quality)[0])


def box_of(mask: Array, grown: bool = False) -> Array:
    """(4,) float: first column, first row, last column, last row of a mask that is not empty; `grown` by the margin."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    margin = _MARGIN * max(mask.shape) / SIDE if grown else 0.0
    box = np.array([columns[0] - margin, rows[0] - margin, columns[-1] + margin, rows[-1] + margin], float)
    last = np.array([mask.shape[1] - 1, mask.shape[0] - 1] * 2)
    return np.clip(box, 0, last)
