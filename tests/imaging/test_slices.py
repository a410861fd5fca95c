"""Which slices are shown, and three windows in one picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from consilium.errors import UsageError
from consilium.formats import read
from consilium.imaging.slices import chosen, evenly, largest, saliency, three_windows
from consilium.types import Code, Image, Segmentation, Volume

TUMOUR, CYST = Code.local("tumour"), Code.local("cyst")


def volume(count: int = 60, window=None) -> Volume:
    """Noisy air, and between slices 10 and 49 a bright disc with texture, richest in slice 30."""
    random = np.random.default_rng(0)
    voxels = random.normal(0, 3, (count, 64, 64))
    disc = np.hypot(*np.ogrid[-32:32, -32:32]) < 25
    for i in range(10, 50):
        voxels[i][disc] += 300 + (200 - 8 * abs(i - 30)) * random.uniform(-1, 1, disc.sum())
    return Volume(voxels.astype(np.int16), "1", (2.0, 1.0, 1.0), np.diag([1.0, 1, 2, 1]), window)


def outline(**slices: tuple[int, int]) -> Segmentation:
    """s20=(1, 5): label 1 with a square of 5 x 5 in slice 20."""
    labels = np.zeros((60, 64, 64), np.uint8)
    for name, (label, side) in slices.items():
        labels[int(name[1:]), :side, :side] = label
    return Segmentation(labels, "1", (TUMOUR, CYST))


def test_the_slice_where_the_finding_is_largest():
    found = outline(s20=(1, 5), s21=(1, 7), s22=(1, 6), s40=(2, 9))
    assert (largest(found), largest(found, 1), largest(found, 2)) == (40, 21, 40)
    assert largest(outline(s20=(1, 5), s21=(1, 5), s22=(1, 5))) == 21
    with pytest.raises(UsageError, match="'cyst'"):
        largest(outline(s20=(1, 5)), 2)
    with pytest.raises(UsageError, match="anything"):
        largest(outline())
    with pytest.raises(UsageError, match="flat"):
        largest(Segmentation(np.ones((4, 4), np.uint8), "1", (TUMOUR,)))


def test_even_steps():
    assert evenly(60, 1) == (29,)
    assert evenly(61, 3) == (0, 30, 60)
    assert evenly(3, 85) == (0, 1, 2)
    for k in (0, 86):
        with pytest.raises(UsageError, match="1 to 85"):
            evenly(60, k)


def test_empty_slices_are_not_salient_and_rich_ones_most():
    for window in (None, (0.0, 500.0)):
        found = saliency(volume(window=window))
        assert np.flatnonzero(found).tolist() == list(range(10, 50))
        assert abs(int(found.argmax()) - 30) <= 3 and found.max() <= 2


def test_without_outlines_the_chosen_are_salient_and_spread():
    picked = chosen(volume(), k=8)
    assert len(picked) == 8 and picked == tuple(sorted(picked)) and picked[0] >= 10 and picked[-1] < 50
    assert [int((i - 10) // 5) for i in picked] == list(range(8))
    (best,) = chosen(volume(), k=1)
    assert best == int(saliency(volume()).argmax())


def test_outlined_slices_come_first():
    found = outline(s12=(1, 5), s13=(1, 9), s14=(1, 5), s45=(2, 3), s46=(2, 4))
    assert chosen(volume(), [found], 1) == (13,)
    assert chosen(volume(), [found], 2) == (13, 46)
    assert set(chosen(volume(), [found, outline(s3=(1, 2))], 3)) == {3, 13, 46}
    six = chosen(volume(), [found], 6)
    assert {13, 46} < set(six) and len(six) == 6
    assert len({12, 14, 45} & set(six)) == 2
    assert chosen(volume(), [found], 85) == tuple(range(60))


def test_never_more_than_asked_for_and_empty_slices_only_where_nothing_else_is_left():
    assert len(chosen(volume(120), k=85)) == 85
    assert set(range(10, 50)) < set(chosen(volume(120), k=60))
    air = Volume(np.zeros((100, 8, 8), np.int16), "1", (1.0, 1.0, 1.0), np.eye(4))
    assert chosen(air, k=3) == evenly(100, 3)
    with pytest.raises(UsageError, match="another picture"):
        chosen(air, [outline()], 3)


def test_three_windows_of_ct():
    pixels = np.array([[-1024, -135, 0, 40], [80, 215, 1024, 3000]], np.int16)
    seen = three_windows(Image(pixels, "1", (1.0, 1.0), window=(0.0, 1.0), units="HU"))
    assert seen.units == "RGB" and seen.pixels.dtype == np.uint8 and seen.spacing_mm == (1, 1)
    red, green, blue = np.moveaxis(seen.pixels, -1, 0)
    assert blue.tolist() == [[0, 0, 0, 128], [255, 255, 255, 255]]
    assert green.ravel()[[0, 1, 5, 6]].tolist() == [0, 0, 255, 255]
    assert red.ravel()[[0, 2, 6, 7]].tolist() == [0, 128, 255, 255]


def test_three_windows_of_mr_are_percentiles_of_the_volume():
    voxels = np.zeros((2, 101, 101), np.uint16)
    voxels[0] = 1 + np.arange(101 * 101).reshape(101, 101)
    voxels[1, 0, 0] = 5101
    shown = Volume(voxels, "1", (1.0, 1.0, 1.0), np.eye(4))
    counted = voxels[voxels > 0]
    for channel, (low, high) in enumerate(((0.5, 99.5), (5, 95), (50, 99.5))):
        a, b = np.percentile(counted, (low, high))
        expected = np.rint(255 * np.clip((voxels[0] - a) / (b - a), 0, 1))
        assert np.abs(three_windows(shown.slice(0), shown).pixels[..., channel] - expected).max() <= 1
    bright = three_windows(shown.slice(1), shown).pixels[0, 0]
    assert bright[0] > bright[2] and not three_windows(shown.slice(1), shown).pixels[1:].any()
    blank = Image(np.full((3, 3), np.nan, np.float32), "1")
    assert not three_windows(blank).pixels.any()
    with pytest.raises(UsageError, match="colours"):
        three_windows(Image(np.zeros((3, 3, 3), np.uint8), "1", units="RGB"))


def test_a_real_ct_is_shown_by_slices_with_anatomy(shared_data: Path):
    path = shared_data / "nifti_samples/invesalius_cranium_ct.nii.gz"
    if not path.is_file():
        pytest.skip("needs nifti_samples/invesalius_cranium_ct.nii.gz")
    (shown,) = read(path)[0].images
    picked = chosen(shown, k=6)
    assert len(picked) == 6 and min(np.diff(picked)) >= 3
    assert all((shown.voxels[i] > 100).mean() > 0.01 for i in picked)
