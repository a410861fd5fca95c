"""What is shown: the file's window, all of eight bits, or robust percentiles."""

from __future__ import annotations

import numpy as np

from consilium.imaging.window import to_display, window_of
from consilium.types import Image


def test_the_window_of_the_file():
    image = Image(np.array([[-500, -160], [40, 240]], np.int16), "", window=(-160.0, 240.0), units="HU")
    assert window_of(image) == (-160, 240)
    shown = to_display(image)
    assert shown.dtype == np.uint8
    assert shown[..., 0].tolist() == [[0, 0], [128, 255]]
    assert (shown == shown[..., :1]).all()


def test_eight_bits_and_colours_are_shown_as_they_are():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(to_display(Image(grey, ""))[..., 1], grey)
    rgb = np.dstack([grey, grey[::-1], grey.T])
    np.testing.assert_array_equal(to_display(Image(rgb, "", units="RGB")), rgb)


def test_hot_pixels_do_not_darken_the_picture():
    pixels = np.random.default_rng(0).normal(1000, 100, (200, 200)).astype(np.float32)
    pixels[0, :3] = 60000
    low, high = window_of(Image(pixels, ""))
    assert 600 < low < 800 and 1200 < high < 1400


def test_padding_below_air_does_not_count():
    pixels = np.full((100, 100), -3024, np.int16)
    pixels[40:60, 40:60] = np.arange(400).reshape(20, 20) - 100
    low, high = window_of(Image(pixels, "", units="HU"))
    assert low > -110 and high < 310


def test_constant_empty_and_unreal_values():
    assert to_display(Image(np.full((3, 3), 7, np.int16), "")).max() == 0
    broken = np.array([[np.nan, np.inf], [0.0, 1.0]], np.float32)
    assert to_display(Image(broken, ""))[..., 0].tolist() == [[0, 255], [0, 255]]
    assert window_of(Image(np.full((2, 2), np.nan, np.float32), "")) == (0, 1)
    assert to_display(Image(np.eye(2, dtype=bool), ""))[..., 0].tolist() == [[255, 0], [0, 255]]
