"""Texture features: finite of anything, and each family sees what it is for."""

from __future__ import annotations

import numpy as np
import pytest

from consilium.imaging import texture
from consilium.types import Image


def seen(pixels: np.ndarray) -> dict[str, float]:
    return texture.describe(Image(pixels, "x"))


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((64, 64), np.uint8), np.full((5, 300), 1000, np.int16), np.full((8, 8, 3), 255, np.uint8)],
    ids=["black", "flat", "white"],
)
def test_a_blank_picture_has_finite_features(pixels: np.ndarray) -> None:
    found = seen(pixels)
    assert np.isfinite(list(found.values())).all() and list(found) == list(seen(np.eye(64, dtype=np.uint8) * 255))
    assert len(found) == len(texture.vector(Image(pixels, "x"))) > 100


def test_brightness_texture_and_direction_are_told_apart() -> None:
    draw = np.random.default_rng(0)
    rough = draw.integers(0, 256, (128, 128)).astype(np.uint8)
    smooth = np.broadcast_to(np.linspace(0, 255, 128).astype(np.uint8), (128, 128))
    a, b, turned = seen(rough), seen(smooth), seen(np.ascontiguousarray(smooth.T))
    assert a["glcm1.contrast"] > 10 * b["glcm1.contrast"] and a["haar1.both"] > b["haar1.both"]
    assert b["glcm1.correlation"] > 0.9 > abs(a["glcm1.correlation"])
    assert b["edge1.to0"] > 0.9 and turned["edge1.to4"] > 0.9
    assert b["cell0.mean"] < b["cell3.mean"] and turned["cell0.mean"] < turned["cell12.mean"]
    assert seen(rough // 2)["shade.mean"] == pytest.approx(a["shade.mean"] / 2, rel=0.05)


def test_a_grey_picture_has_no_tint() -> None:
    grey = np.random.default_rng(1).integers(0, 256, (40, 40)).astype(np.uint8)
    assert all(abs(v) < 1e-5 for k, v in seen(grey).items() if k.startswith(("tint", "saturation")))
    red = np.zeros((40, 40, 3), np.uint8)
    red[..., 0] = 200
    assert seen(red)["tint.red"] > 0.3 and seen(red)["saturation.mean"] > 0.5


def test_patterns_do_not_depend_on_brightness() -> None:
    rough = np.random.default_rng(2).integers(0, 128, (128, 128)).astype(np.uint8)
    a, b = seen(rough), seen(rough + 100)
    assert all(a[name] == pytest.approx(b[name], abs=1e-6) for name in a if name.startswith(("lbp", "glcm")))
