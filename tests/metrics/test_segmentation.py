"""Dice and surface distances against MONAI; empty masks; errors of volume by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from consilium.errors import UsageError
from consilium.metrics.segmentation import dice, hd95_mm, relative_volume_error, volume_error_ml

SPACING = {2: (0.7, 1.3), 3: (2.5, 0.7, 1.3)}


def pair(seed: int, axes: int) -> tuple[np.ndarray, np.ndarray]:
    """Two ragged blobs that overlap and, with odd seeds, touch the border."""
    random = np.random.default_rng(seed)
    grid = np.indices((24,) * axes)
    masks = []
    for _ in range(2):
        middle = random.uniform(2 if seed % 2 else 9, 14, axes).reshape(-1, *[1] * axes)
        masks.append((((grid - middle) ** 2).sum(0) < 60) & (random.uniform(size=grid.shape[1:]) < 0.95))
    return masks[0], masks[1]


@pytest.mark.timeout(900)  # on a busy machine MONAI alone takes minutes to import
@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("seed", range(6))
def test_monai_finds_the_same(seed, axes):
    import torch
    from monai.metrics import compute_dice, compute_hausdorff_distance

    reference, predicted = pair(seed, axes)
    a, b = torch.from_numpy(predicted)[None, None], torch.from_numpy(reference)[None, None]
    assert dice(reference, predicted) == pytest.approx(float(compute_dice(a, b)), rel=1e-6)
    far = compute_hausdorff_distance(a, b, include_background=True, percentile=95, spacing=SPACING[axes])
    assert hd95_mm(reference, predicted, SPACING[axes]) == pytest.approx(float(far), rel=1e-6)


def test_empty_masks():
    none, some = np.zeros((4, 5, 6), bool), np.zeros((4, 5, 6), bool)
    some[1, 2, 3] = True
    assert (dice(none, none), hd95_mm(none, none, (1, 1, 1)), relative_volume_error(none, none)) == (1, 0, 0)
    for a, b in ((none, some), (some, none)):
        assert dice(a, b) == 0 and hd95_mm(a, b, (1, 1, 1)) == math.inf
    assert relative_volume_error(none, some) == math.inf and relative_volume_error(some, none) == -1


def test_volumes_and_distances_by_hand():
    reference, predicted = np.zeros((10, 10, 10), bool), np.zeros((10, 10, 10), bool)
    reference[2, 2:6, 2:7], predicted[5, 2:6, 2:7] = True, True
    predicted[5, 6, 2:7] = True
    assert volume_error_ml(reference, predicted, (2, 3, 5)) == pytest.approx(5 * 30 / 1000)
    assert relative_volume_error(reference, predicted) == pytest.approx(0.25)
    assert hd95_mm(reference, reference, (2, 3, 5)) == 0
    assert hd95_mm(reference, predicted, (2, 3, 5)) == pytest.approx(math.hypot(6, 3))
    assert dice(reference, reference) == 1 and dice(reference, predicted) == 0


def test_masks_of_two_grids_are_refused():
    flat = np.ones((4, 5), bool)
    with pytest.raises(UsageError, match="one grid"):
        dice(flat, flat[:1])
    with pytest.raises(UsageError, match="each axis"):
        hd95_mm(flat, flat, (1, 1, 1))
    with pytest.raises(UsageError, match="three axes"):
        volume_error_ml(flat, flat, (1, 1))
