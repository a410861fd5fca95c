"""Sizes, bytes, heat maps and the slices through which a volume is seen."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image as Pillow

from consilium.imaging.picture import overlay, png_bytes, resize, thumbnail_jpeg, views
from consilium.types import Image, Region, Study, Volume

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def volume(slices: int) -> Volume:
    voxels = np.arange(slices, dtype=np.int16)[:, None, None] * np.ones((1, 4, 5), np.int16)
    return Volume(voxels, "1.2", (3, 1, 1), np.eye(4), window=(0.0, 9.0))


def test_resize():
    assert resize(RGB, 10, 40).shape == (10, 40, 3)
    np.testing.assert_array_equal(resize(RGB, 20, 30), RGB)


def test_png_keeps_every_pixel():
    np.testing.assert_array_equal(np.asarray(Pillow.open(io.BytesIO(png_bytes(RGB)))), RGB)


def test_thumbnail_keeps_the_shape():
    picture = Pillow.open(io.BytesIO(thumbnail_jpeg(Image(np.zeros((400, 200), np.uint8), ""))))
    assert (picture.format, picture.size) == ("JPEG", (48, 96))


@pytest.mark.parametrize("kind", ["mask", "relevance"])
def test_zero_relevance_leaves_the_picture(kind):
    np.testing.assert_array_equal(overlay(RGB, Region(np.zeros((2, 3), np.float32), "", kind)), RGB)


def test_a_mask_has_hard_edges_in_its_place():
    grid = np.zeros((2, 3), np.float32)
    grid[0, 2] = 1
    changed = (overlay(RGB, Region(grid, "", "mask")) != RGB).any(axis=-1)
    assert changed[:10, 20:].mean() > 0.99
    assert not changed[10:].any() and not changed[:, :20].any()


def test_heat_grows_brighter():
    grid = np.linspace(0, 1, 64, dtype=np.float32)[None].repeat(4, axis=0)
    shown = overlay(np.zeros((4, 64, 3), np.uint8), Region(grid, "", "mask"))
    lightness = shown[0] @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness) > -1).all() and lightness[-1] > 120


def test_views_of_a_volume_are_spread_around_its_middle():
    seen = views(volume(101))
    assert [int(view.pixels[0, 0]) for view in seen] == [35, 50, 65]
    assert [view.uid for view in seen] == ["1.2#35", "1.2#50", "1.2#65"]
    assert seen[0].window == (0, 9)
    assert [int(view.pixels[0, 0]) for view in views(volume(101), 1)] == [50]
    assert len(views(volume(2))) == 2


def test_views_of_a_study_are_those_of_its_items():
    image = Image(np.zeros((4, 5), np.uint8), "1.3")
    assert [view.uid for view in views(Study("MR", None, (image, volume(1))))] == ["1.3", "1.2#0"]
