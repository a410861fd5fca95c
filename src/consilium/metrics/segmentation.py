"""How well an outline meets the reference: Dice, the 95th percentile of surface distances, error of volume.

Masks are boolean arrays of one shape, flat or in space. Empty masks: both empty agree (Dice 1, distance 0, error 0); of one
empty alone Dice is 0, the distance infinite, and so is the relative error where it is the reference.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from consilium.errors import UsageError
from consilium.types import Array


def dice(reference: Array, predicted: Array) -> float:
    """Twice the shared places over the sum of both (Dice 1945), in [0, 1]."""
    reference, predicted = _masks(reference, predicted)
    both = int(np.count_nonzero(reference)) + int(np.count_nonzero(predicted))
    return 2 * int(np.count_nonzero(reference & predicted)) / both if both else 1.0


def hd95_mm(reference: Array, predicted: Array, spacing_mm: Sequence[float]) -> float:
    """The 95th percentile of the distances from one surface to the other, of the two ways the larger (Huttenlocher 1993).

    A surface is the places of a mask that do not have all their 4 (6 in space) neighbours in it; beyond the picture is outside.
    spacing_mm  one for each axis of the masks.
    """
    reference, predicted = _masks(reference, predicted)
    if len(spacing_mm) != reference.ndim:
        raise UsageError(
            f"masks with {reference.ndim} axes came with {len(spacing_mm)} spacings; give one for each axis"
        )
    if not reference.any() or not predicted.any():
        return 0.0 if reference.any() == predicted.any() else float("inf")
    scale = np.asarray(spacing_mm, float)
    a, b = _surface(reference) * scale, _surface(predicted) * scale
    return max(_percentile_of_nearest(a, b), _percentile_of_nearest(b, a))


def volume_error_ml(reference: Array, predicted: Array, spacing_mm: Sequence[float]) -> float:
    """Predicted minus reference volume in mL, of masks (slices, rows, columns): positive where too much was outlined."""
    reference, predicted = _masks(reference, predicted)
    if not reference.ndim == len(spacing_mm) == 3:
        raise UsageError(
            f"a volume has three axes and spacings, not {reference.ndim} and {len(spacing_mm)}; give all slices"
        )
    return _excess(reference, predicted) * float(np.prod(spacing_mm)) / 1000


def relative_volume_error(reference: Array, predicted: Array) -> float:
    """Predicted minus reference size as a share of the reference: 0.1 is a tenth too much, -1 nothing found."""
    reference, predicted = _masks(reference, predicted)
    size, excess = int(np.count_nonzero(reference)), _excess(reference, predicted)
    return excess / size if size else (float("inf") if excess else 0.0)


def _masks(reference: Array, predicted: Array) -> tuple[Array, Array]:
    if reference.shape != predicted.shape:
        raise UsageError(f"masks of {reference.shape} and {predicted.shape} cannot be compared; bring them to one grid")
    return np.asarray(reference, bool), np.asarray(predicted, bool)


def _excess(reference: Array, predicted: Array) -> int:
    return int(np.count_nonzero(predicted)) - int(np.count_nonzero(reference))


def _surface(mask: Array) -> Array:
    """(n, axes) indices of the surface, found within the mask's box alone."""
    from scipy.ndimage import binary_erosion, find_objects

    (box,) = find_objects(mask.view(np.uint8), max_label=1)
    cut = mask[box]
    return np.argwhere(cut & ~binary_erosion(cut)) + [side.start for side in box]


def _percentile_of_nearest(points: Array, others: Array) -> float:
    from scipy.spatial import KDTree

    return float(np.percentile(KDTree(others).query(points)[0], 95))
