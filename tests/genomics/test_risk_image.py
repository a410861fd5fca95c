"""The risk image: what is drawn is read back, relatives are neighbours, and a damaged picture is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from consilium import formats
from consilium.errors import DataError, UsageError
from consilium.genomics import risk_image as ri
from consilium.imaging.picture import png_bytes
from consilium.types import Array, Image

BARS = ("p5e-8", "p1e-3", "p0.05")


def relatives(groups: int = 9, size: int = 9) -> Array:
    """Correlations of .8 within groups, 0 between, in an order that tells nothing."""
    member = np.random.default_rng(0).permutation(np.repeat(np.arange(groups), size))
    same = member[:, None] == member[None, :]
    return np.where(np.eye(len(member), dtype=bool), 1.0, np.where(same, 0.8, 0.0))


def names(n: int) -> list[str]:
    return [f"trait {i}" for i in range(n)]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70), st.integers(1, 9), st.integers(0, 10))
def test_what_is_drawn_is_read_back_within_half_a_level(n: int, patch: int, seed: int) -> None:
    layout = ri.at_random(names(n), BARS, seed, patch)
    percentiles = np.random.default_rng(seed).uniform(0, 100, (n, 3))
    percentiles[0] = (0, 100, 50)
    image = ri.draw(percentiles, layout)
    assert image.pixels.shape == (layout.rows * patch, layout.columns * patch, 3) and image.units == "RGB"
    assert np.abs(ri.decode(image, layout) - percentiles).max() <= 50 / 256 + 1e-9


def test_a_patch_is_eight_pixels_of_one_colour_with_a_threshold_in_each_channel() -> None:
    layout = ri.at_random(names(5), BARS, 3)
    image = ri.draw(np.tile([[0.0, 50.0, 100.0]], (5, 1)), layout)
    row, column = divmod(layout.cells[2], layout.columns)
    patch = image.pixels[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
    assert (patch == (0, 128, 255)).all()
    empty = set(range(layout.rows * layout.columns)) - set(layout.cells)
    assert sum((image.pixels == 0).all(axis=2).reshape(-1)) == 64 * len(empty)


def test_relatives_are_neighbours() -> None:
    correlation = relatives()
    near = ri.neighbour_correlation(ri.by_correlation(names(81), BARS, correlation), correlation)
    far = ri.neighbour_correlation(ri.at_random(names(81), BARS, 1), correlation)
    assert near > 3 * far
    mirrored = correlation * np.where(np.arange(81) % 2, -1, 1)[:, None] * np.where(np.arange(81) % 2, -1, 1)[None]
    assert ri.neighbour_correlation(ri.by_correlation(names(81), BARS, mirrored), mirrored) == pytest.approx(near)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 50, 101, 400])
def test_every_trait_has_a_cell_of_its_own(n: int) -> None:
    noise = np.random.default_rng(n).uniform(-1, 1, (n, n))
    layout = ri.by_correlation(names(n), BARS, noise)
    assert len(set(layout.cells)) == n and layout.rows * layout.columns < n + 2 * np.sqrt(n) + 1


def test_a_picture_that_went_through_a_file_is_read_back(tmp_path: Path) -> None:
    layout = ri.at_random(names(30), BARS, 1)
    percentiles = np.random.default_rng(1).uniform(0, 100, (30, 3))
    image = ri.draw(percentiles, layout)
    (tmp_path / "risk.png").write_bytes(png_bytes(image.pixels))
    (read,) = formats.read(tmp_path / "risk.png")[0].images
    assert isinstance(read, Image) and np.array_equal(ri.decode(read, layout), ri.decode(image, layout))
    Pillow.fromarray(image.pixels).save(tmp_path / "risk.jpg", quality=60)
    (lossy,) = formats.read(tmp_path / "risk.jpg")[0].images
    with pytest.raises(DataError, match="compressed"):
        ri.decode(lossy, layout)  # type: ignore[arg-type]


def test_what_is_no_percentile_is_not_drawn() -> None:
    layout = ri.at_random(names(2), BARS)
    for wrong in (np.full((2, 3), np.nan), np.full((2, 3), 101.0), np.zeros((3, 3)), np.full((2, 3), -1.0)):
        with pytest.raises(DataError, match="percentiles"):
            ri.draw(wrong, layout)
    with pytest.raises(DataError, match="layout"):
        ri.decode(Image(np.zeros((8, 8, 3), np.uint8), ""), layout)
    with pytest.raises(DataError, match="three bars"):
        ri.at_random(names(2), BARS[:2])
    with pytest.raises(DataError, match="different cells"):
        ri.Layout(("a", "b"), BARS, (0, 0), 1, 2)
    with pytest.raises(DataError, match="correlations"):
        ri.by_correlation(names(3), BARS, np.full((3, 3), np.nan))


def test_normal_scores_are_symmetric_rise_and_end() -> None:
    found = ri.normal_scores(np.array([0.0, 2.5, 50.0, 97.5, 100.0]))
    assert found[2] == pytest.approx(0, abs=1e-6) and found[3] == pytest.approx(1.96, abs=0.01)
    assert np.allclose(found, -found[::-1], atol=1e-5) and np.isfinite(found).all()


@pytest.mark.parametrize(
    ("text", "age", "sex"),
    [
        (ri.demographic_text(58, "female"), 58, "female"),
        ("A 67-year-old man with chest pain.", 67, "male"),
        ("Woman, aged 41.", 41, "female"),
        ("A 58.5-year-old woman.", 58.5, "female"),
        ("Aged 18 months, boy.", None, "male"),
        ("Age: 60 months.", None, None),
        ("Gestational age: 38 weeks. Woman", None, "female"),
        ("Man with hypertension since age 45.", None, "male"),
        ("Woman of 60. Her father died of infarction at age 52.", None, "female"),
        ("Age 45-50", None, None),
        ("Age 45, well.", 45, None),
        ("Male, 70 y/o", 70, "male"),
        ("Her 60-year-old mother and 35 years old herself; female", None, "female"),
        ("man and woman, age 300", None, None),
        ("Surgery 2 years ago, pain for 3 years, stage 4.", None, None),
        ("", None, None),
    ],
)
def test_demographics_are_read_where_they_are_stated_once(text: str, age: float | None, sex: str | None) -> None:
    assert ri.read_demographics(text) == (age, sex)


def test_demographics_that_cannot_be_are_refused() -> None:
    for age, sex in ((-1, "male"), (50, "m")):
        with pytest.raises(UsageError, match="cannot be used"):
            ri.demographic_text(age, sex)


def test_as_a_study_it_is_other_and_not_a_radiograph() -> None:
    image = ri.draw(np.full((1, 3), 50.0), ri.at_random(["a"], BARS))
    assert (ri.study(image).modality, ri.study(image).images) == ("OT", (image,))
