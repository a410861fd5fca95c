"""Class shares of the nearest known pictures."""

from __future__ import annotations

import numpy as np
import pytest

from consilium.nn import neighbours
from consilium.nn.light_head import to_probabilities


def test_the_shares_are_those_of_the_nearest() -> None:
    turn = np.linspace(0, np.pi, 40)
    x = np.stack([np.cos(turn), np.sin(turn)], axis=1).astype(np.float32) * np.linspace(1, 9, 40)[:, None]
    y = np.eye(2)[(turn > np.pi / 2).astype(int)]
    p = to_probabilities(neighbours.raw_logits(neighbours.fit(x, y, False), x, True), True)
    assert p[:12, 0] == pytest.approx((11 + 1) / 13) and p[-12:, 1] == pytest.approx((11 + 1) / 13)
    middle = neighbours.fit(x, y, False, k=4)
    assert to_probabilities(neighbours.raw_logits(middle, np.array([[0.0, 1.0]]), True), True)[0] == pytest.approx(
        [0.5, 0.5]
    )


def test_of_several_labels_only_labelled_pictures_are_asked() -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(60, 5)).astype(np.float32)
    y = np.full((60, 2), np.nan)
    y[:30, 0] = 1
    y[30:, 1] = x[30:, 0] > 0
    logits = neighbours.raw_logits(neighbours.fit(x, y, True), x, False)
    assert np.isfinite(logits).all() and (logits[:, 0] > 2).all()
    assert logits[x[:, 0] > 1, 1].mean() > logits[x[:, 0] < -1, 1].mean()


def test_a_label_that_nobody_has_and_few_pictures() -> None:
    x = np.eye(3, dtype=np.float32)
    y = np.array([[1, np.nan], [0, np.nan], [1, np.nan]])
    logits = neighbours.raw_logits(neighbours.fit(x, y, False), x, False)
    assert np.isfinite(logits).all() and (logits[:, 1] == 0).all()
