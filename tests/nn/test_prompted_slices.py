"""An outline is carried from slice to slice by its neighbour's box, and ends where it is told or where nothing is found."""

from __future__ import annotations

import numpy as np
import pytest

from consilium.nn.lite_medsam import LiteMedSam, Outline, Prompted
from consilium.nn.prompted_slices import box_of, carried
from consilium.types import Array, Image, Volume


class Shades(Prompted):
    """Outlines the places of a box that are brighter than 100, and foresees the brightest shade over 200 as their quality."""

    def boxed(self, image: Image, boxes: Array) -> Outline:
        rows, columns = image.pixels.shape
        y, x = np.mgrid[:rows, :columns]
        masks = [(image.pixels > 100) & (x >= b[0]) & (x <= b[2]) & (y >= b[1]) & (y <= b[3]) for b in boxes]
        return Outline(np.stack(masks), np.full(len(boxes), image.pixels.max() / 200, np.float32))


def volume(*columns: int | None, shade: int = 200) -> Volume:
    """A square of 20 places that starts at the column given for each slice; None: nothing is there."""
    voxels = np.zeros((len(columns), 64, 256), np.uint8)
    for layer, column in zip(voxels, columns, strict=True):
        if column is not None:
            layer[20:40, column : column + 20] = shade
    return Volume(voxels, "sha256:stack", (1.0, 1.0, 1.0), np.eye(4))


def through(stack: Volume, start: int, span: tuple[int, int], least: float = 0.5) -> Array:
    seed = stack.voxels[start] > 100
    found = carried(Shades(LiteMedSam.__new__(LiteMedSam)), stack, (start, seed), span, np.asarray, least)
    assert set(found.worth) == set(np.flatnonzero(found.mask.any(axis=(1, 2)))) - {start}
    return found.mask


def test_a_target_that_shifts_a_little_is_followed_both_ways() -> None:
    stack = volume(94, 97, 100, 103, 106)
    assert np.array_equal(through(stack, 2, (0, 4)), stack.voxels > 100)


def test_one_that_jumps_is_lost_where_it_jumps() -> None:
    stack = volume(100, 100, 150, 150)
    assert through(stack, 0, (0, 3)).any(axis=(1, 2)).tolist() == [True, True, False, False]


def test_it_stays_within_the_span_and_ends_at_an_empty_slice() -> None:
    stack = volume(100, None, 100, 100, 100, 100)
    assert through(stack, 3, (0, 4)).any(axis=(1, 2)).tolist() == [False, False, True, True, True, False]
    assert through(stack, 3, (3, 3)).any(axis=(1, 2)).tolist() == [False, False, False, True, False, False]


def test_it_ends_where_little_is_expected() -> None:
    assert through(volume(100, 100, 100), 1, (0, 2), least=1.01).any(axis=(1, 2)).tolist() == [False, True, False]


@pytest.mark.parametrize(("grown", "expected"), [(False, [100, 20, 119, 39]), (True, [97, 17, 122, 42])])
def test_the_box_of_a_mask(grown: bool, expected: list[int]) -> None:
    assert box_of(volume(100).voxels[0] > 100, grown).tolist() == expected


def test_a_grown_box_stays_in_the_picture() -> None:
    assert box_of(np.ones((8, 256), bool), grown=True).tolist() == [0, 0, 255, 7]
