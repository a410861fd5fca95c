"""The longest diameter of a flat mask and the short axis across it, as RECIST measures lesions."""

from __future__ import annotations

import numpy as np

from consilium.types import Array

_TIE = 1e-9


def diameters(mask: Array, steps_mm: Array) -> tuple[float, float]:
    """(longest diameter, short axis) in mm of a mask (rows, columns) that is not empty.

    The outline runs through the middles of the pixels' edges, so that a row of n pixels measures n pixels. The longest diameter
    (Feret's greatest) joins the two points of it that lie furthest apart; the short axis is the longest line at right angles to
    that which fits into the convex hull of the outline. Of diameters of one length the one with the longer short axis counts, so
    that nothing hangs on how the picture is turned.

    steps_mm  (2, 2 or 3): the way from one row to the next and from one column to the next.
    """
    corners = _hull(mask) @ np.linalg.cholesky(steps_mm @ steps_mm.T)
    lengths = np.linalg.norm(corners[:, None] - corners[None], axis=-1)
    longest = float(lengths.max())
    pairs = np.argwhere(np.triu(lengths >= longest * (1 - _TIE)))
    return longest, max(_widest_across(corners, (corners[j] - corners[i]) / longest) for i, j in pairs)


def _hull(mask: Array) -> Array:
    """(n, 2) the corners (row, column) of the convex hull of the outline, in their order around it."""
    from scipy.spatial import ConvexHull

    rows = np.flatnonzero(mask.any(axis=1))
    first = mask[rows].argmax(axis=1)
    last = mask.shape[1] - 1 - mask[rows, ::-1].argmax(axis=1)
    ways = ((first, 0.0, -0.5), (last, 0.0, 0.5), *((end, way, 0.0) for end in (first, last) for way in (-0.5, 0.5)))
    points = np.concatenate([np.stack([rows + down, end + across], axis=1) for end, down, across in ways])
    return points[ConvexHull(points).vertices]


def _widest_across(corners: Array, along: Array) -> float:
    """The longest chord at right angles to `along` of a convex polygon: it starts in one of the corners."""
    t, s = corners @ along, corners @ np.array([-along[1], along[0]])
    rise, step = np.roll(s, -1) - s, np.roll(t, -1) - t
    leaning = np.abs(step) > _TIE
    share = (t[:, None] - t[leaning]) / step[leaning]
    met = np.where((share >= -_TIE) & (share <= 1 + _TIE), s[leaning] + share * rise[leaning], np.nan)
    return float((np.nanmax(met, axis=1) - np.nanmin(met, axis=1)).max())
