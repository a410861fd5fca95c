"""Slices at uneven distances: what is measured of them against the whole stack, and the grid that they fit into."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from consilium.errors import UsageError
from consilium.imaging.measure import measure
from consilium.imaging.stack import amounts, grid, shares
from consilium.types import Code, Segmentation, Volume

SPACING = (2.0, 1.0, 1.5)
BALL = Code.local("ball")


def whole(count: int = 40) -> tuple[Volume, np.ndarray]:
    """A sagittal stack, its slices running to the patient's right, with a ball right of the middle."""
    along, down, across = SPACING
    orientation = np.eye(4)
    orientation[:3, :3] = np.array([[0, 0, along], [across, 0, 0], [0, -down, 0]])
    axes = [s * (np.arange(n) - m) for s, n, m in zip(SPACING, (count, 40, 40), (0.7 * count, 19.5, 19.5), strict=True)]
    ball = sum(np.square(a) for a in np.ix_(*axes)) <= 15**2
    heights = tuple(2.0 * n for n in range(count))
    return Volume(np.zeros((count, 40, 40), np.int16), "v", SPACING, orientation, heights_mm=heights), ball


def without(volume: Volume, ball: np.ndarray, *lost: int) -> tuple[Volume, np.ndarray]:
    kept = np.setdiff1d(np.arange(len(ball)), lost)
    heights = tuple(np.asarray(volume.heights_mm)[kept].tolist())
    return replace(volume, voxels=volume.voxels[kept], heights_mm=heights), ball[kept]


def told(volume: Volume, ball: np.ndarray) -> dict[str, float]:
    drawn = Segmentation(ball.astype(np.uint8), "v", (BALL,))
    return {finding.site: finding.quantity for finding in measure(drawn, volume)}


def test_a_volume_with_missing_slices_comes_out_as_the_whole_one():
    entire = told(*whole())
    for lost in ([26, 27], [24], [22, 23, 30]):
        volume, ball = without(*whole(), *lost)
        found = told(volume, ball)
        assert found["volume"] == pytest.approx(entire["volume"], rel=0.02)
        assert ball.sum() * np.prod(SPACING) / 1000 < 0.95 * entire["volume"]
        np.testing.assert_allclose(amounts(ball.astype(np.uint8), volume, 1), found["volume"])


def test_a_side_is_told_by_where_the_slices_lie():
    assert told(*whole(80))["right"] == told(*without(*whole(80), *range(2, 32)))["right"] == 100


def test_even_slices_are_measured_as_before():
    volume, ball = whole()
    even = replace(volume, heights_mm=())
    assert told(volume, ball) == told(even, ball)
    assert told(even, ball)["volume"] == pytest.approx(ball.sum() * 2 * 1.5 / 1000)
    np.testing.assert_array_equal(shares(even), 1)


def test_a_wide_gap_is_not_filled_with_what_nobody_saw():
    volume, _ = without(*whole(), *range(10, 30))
    assert shares(volume)[9:11].tolist() == [2, 2]
    assert shares(volume).sum() == 22


@pytest.mark.parametrize(
    ("heights", "places"),
    [
        ((), None),
        ((0, 2, 4, 8, 10), [0, 1, 2, 4, 5]),
        ((0, 2.01, 4.02, 8.04, 10.05), [0, 1, 2, 4, 5]),
        ((0, 2, 4, 9, 11), None),
        ((0, 2, 4.4, 6, 8), None),
        ((0, 2, 4, 100, 102), None),
    ],
)
def test_slices_fit_a_grid_where_gaps_are_whole_distances(heights, places):
    volume = Volume(np.zeros((5, 4, 4)), "v", (2.0, 1.0, 1.0), np.eye(4), heights_mm=heights)
    found = grid(volume)
    assert (None if found is None else found[0].tolist()) == places
    if found is not None:
        assert found[1] == pytest.approx(heights[-1] / places[-1])


def test_heights_of_other_slices_are_refused():
    volume, ball = whole()
    with pytest.raises(UsageError, match="40 slices and 39 heights"):
        told(replace(volume, heights_mm=volume.heights_mm[1:]), ball)
