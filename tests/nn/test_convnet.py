"""The small network: it learns, stops, is restored as it was, and augments without leaving the picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests import phantoms

from consilium.nn import convnet
from consilium.nn.convnet import Pictures
from consilium.types import Image


def drawn(n: int, first: int, side: int = 64) -> Pictures:
    labels = np.arange(n) % 2
    squares = np.stack([phantoms.draw(phantoms.LABELS[c], first + i) for i, c in enumerate(labels)])
    return Pictures(np.repeat(squares[..., None], 3, axis=3), np.eye(2, dtype=np.float32)[labels])


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convnet, "EPOCHS", 10)
    monkeypatch.setattr(convnet, "BATCH", 12)


@pytest.mark.usefixtures("brisk")
def test_it_learns_and_is_restored_as_it_was() -> None:
    train, val, unseen = drawn(96, 0), drawn(32, 500), drawn(48, 900)
    fitted = convnet.fit(train, val, True, 1)
    said = convnet.raw_logits(convnet.restored(fitted.tensors), unseen.squares)
    assert (said.argmax(1) == unseen.targets.argmax(1)).mean() > 0.8
    assert 1 <= fitted.best_epoch <= fitted.epochs <= 10 and fitted.flops > 1e8
    one = convnet.raw_logits(convnet.restored(fitted.tensors), unseen.squares[5:6])
    np.testing.assert_allclose(one[0], said[5], atol=1e-4)


def test_the_same_seed_repeats_and_another_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convnet, "EPOCHS", 1)
    one, again, other = (convnet.fit(drawn(32, 0), drawn(8, 500), True, seed).tensors for seed in (1, 1, 2))
    assert all(np.array_equal(one[name], again[name]) for name in one)
    assert not np.array_equal(one["net.0.weight"], other["net.0.weight"])


def test_blanks_teach_nothing_and_break_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convnet, "EPOCHS", 3)
    train, val = drawn(33, 0), drawn(8, 500)
    blank = np.full_like(train.targets, np.nan)
    blank[:4] = train.targets[:4]
    fitted = convnet.fit(Pictures(train.squares, blank), val, False, 0)
    assert all(np.isfinite(value).all() for value in fitted.tensors.values())


def test_augmentation_keeps_the_shape_and_the_shades() -> None:
    x = torch.full((6, 3, 32, 32), 0.25)
    moved = convnet.augmented(x, torch.Generator().manual_seed(0))
    assert moved.shape == x.shape and ((moved - 0.25).abs() < 0.2).all()
    assert len({round(float(picture.mean()), 4) for picture in moved}) == 6


def test_any_picture_becomes_a_square() -> None:
    seen = convnet.squares([Image(np.zeros((30, 50), np.uint8), "a"), Image(np.zeros((9, 9, 3), np.uint8), "b")])
    assert seen.shape == (2, convnet.SIZE, convnet.SIZE, 3) and seen.dtype == np.uint8


def test_a_network_that_is_not_whole_is_told() -> None:
    tensors = {n: v for n, v in convnet._state(convnet.network(2)).items() if n != "net.4.body.0.weight"}
    with pytest.raises(KeyError, match="body"):
        convnet.restored(tensors)
