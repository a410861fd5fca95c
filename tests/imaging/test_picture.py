"""Sizes, bytes, heat maps and the slices through which a volume is seen."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image as Pillow

from consilium.errors import UsageError
from consilium.imaging.picture import VIEWS, overlay, png_bytes, pointed_to, resize, thumbnail_jpeg, views
from consilium.types import Code, Image, Region, Segmentation, Study, Volume

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


def hounsfield(slices: int = 101) -> Volume:
    random = np.random.default_rng(0)
    voxels = random.integers(-1000, 1000, (slices, 16, 16)).astype(np.int16)
    return Volume(voxels, "1.2", (3, 1, 1), np.eye(4), window=(0.0, 9.0), units="HU")


def outlined(volume: Volume, **slices: int) -> Segmentation:
    labels = np.zeros(volume.voxels.shape, np.uint8)
    for name, side in slices.items():
        labels[int(name[1:]), :side, :side] = 1
    return Segmentation(labels, volume.uid, (Code.local("cyst"),))


def places(images) -> list[int]:
    return [int(image.uid.rpartition("#")[2]) for image in images]


def test_without_outlines_a_generalist_sees_what_encoders_see():
    shown = hounsfield()
    assert pointed_to(shown) == views(shown)
    assert pointed_to(shown, [outlined(shown)]) == views(shown)
    other = Segmentation(np.ones((4, 4), np.uint8), "1.9", (Code.local("cyst"),))
    assert pointed_to(shown, [other]) == views(shown)
    image = Image(np.zeros((4, 5), np.uint8), "1.3")
    assert pointed_to(image, [other]) == (image,)


def test_a_generalist_sees_the_slices_that_masks_point_to():
    shown = hounsfield()
    found = outlined(shown, s3=5, s4=9, s5=2)
    assert len(pointed_to(shown, [found])) == VIEWS
    assert {4} < set(places(pointed_to(shown, [found]))) and {3, 5} & set(places(pointed_to(shown, [found])))
    assert places(pointed_to(shown, [found], 1)) == [4]
    many = places(pointed_to(shown, [found], 85))
    assert len(many) == 85 and many == sorted(set(many)) and {3, 4, 5} < set(many)
    assert len(pointed_to(shown, (), 20)) == 20
    with pytest.raises(UsageError, match="1 to 85"):
        pointed_to(shown, [found], 86)


def test_three_windows_are_for_hounsfield_units_alone():
    shown = hounsfield()
    seen = pointed_to(shown, windows=True)
    assert [image.units for image in seen] == ["RGB"] * 3 and places(seen) == places(views(shown))
    assert seen[0].pixels.shape == (16, 16, 3) and seen[0].pixels.dtype == np.uint8
    plain = Volume(shown.voxels, "1.2", (3, 1, 1), np.eye(4))
    assert pointed_to(plain, windows=True) == views(plain)
