"""The weights within a suite: who knows more counts more, who is never heard counts least, and one alone is itself."""

from __future__ import annotations

import numpy as np
import pytest

from consilium.nn.judging import AFAR, NEAR, weight_of
from consilium.train.suite_pool import FEW, pooled, weights
from consilium.train.suite_vote import log_loss
from consilium.types import Array


def said(rng: np.random.Generator, truth: Array, sharp: float) -> Array:
    """(n, c) probabilities that lean towards the truth by so many nats, with noise of one nat."""
    logits = sharp * truth + rng.normal(0, 1, truth.shape)
    raised = np.exp(logits)
    return raised / raised.sum(axis=1, keepdims=True)


@pytest.fixture
def truth() -> Array:
    return np.eye(3)[np.random.default_rng(0).integers(0, 3, 400)]


def test_a_better_member_counts_more_and_the_pool_is_better_than_an_equal_one(truth: Array) -> None:
    rng = np.random.default_rng(1)
    members = {"good": said(rng, truth, 2.5), "fair": said(rng, truth, 1.0), "noise": said(rng, truth, 0.0)}
    found = weights(members, truth, exclusive=True)
    assert found["good"] > found["fair"] > found["noise"] and found["noise"] < 0.3
    assert np.mean(list(found.values())) == pytest.approx(1, abs=1e-3)
    logs = np.log(np.stack(list(members.values())))
    known = np.ones(logs.shape[:2], bool)

    def loss(w: list[float]) -> float:
        raised = np.exp(pooled(logs, known, np.array(w)))
        return log_loss(raised / raised.sum(axis=1, keepdims=True), truth, exclusive=True)

    assert loss(list(found.values())) < loss([1, 1, 1]) - 0.05


def test_two_who_say_the_same_share_what_one_would_have(truth: Array) -> None:
    rng = np.random.default_rng(2)
    one, other = said(rng, truth, 1.5), said(rng, truth, 1.5)
    found = weights({"a": one, "twin": one, "b": other}, truth, exclusive=True)
    assert found["a"] == pytest.approx(found["twin"], rel=0.05) and found["b"] > 1.4 * found["a"]


def test_whoever_is_not_heard_counts_as_the_least(truth: Array) -> None:
    rng = np.random.default_rng(3)
    half = said(rng, truth, 2.0)
    half[:200] = np.nan
    members = {"half": half, "all": said(rng, truth, 1.0), "never": np.full_like(half, np.nan)}
    found = weights(members, truth, exclusive=True)
    assert found["half"] > found["all"] == pytest.approx(found["never"], abs=1e-3)


def test_of_several_labels_each_is_weighed_and_the_unlabelled_is_left_out() -> None:
    rng = np.random.default_rng(4)
    labels = (rng.random((300, 4)) < 0.3).astype(float)
    good, noise = (1 / (1 + np.exp(-(s * (labels - 0.5) + rng.normal(0, 1, labels.shape)))) for s in (4.0, 0.0))
    labels[::3, 1] = np.nan
    found = weights({"good": good, "noise": noise}, labels, exclusive=False)
    assert found["good"] > 1.6 and found["noise"] < 0.4


@pytest.mark.parametrize("rows", [FEW - 1, 0])
def test_on_few_pictures_or_one_member_all_count_alike(rows: int, truth: Array) -> None:
    rng = np.random.default_rng(5)
    a, b = said(rng, truth, 3.0)[:rows], said(rng, truth, 0.0)[:rows]
    assert weights({"a": a, "b": b}, truth[:rows], exclusive=True) == {"a": 1.0, "b": 1.0}
    assert weights({"a": said(rng, truth, 3.0)}, truth, exclusive=True) == {"a": 1.0}


def test_a_weight_goes_over_from_near_to_afar() -> None:
    tensors = {NEAR: np.array([1.5], np.float32), AFAR: np.array([0.5], np.float32)}
    found = [weight_of(tensors, far) for far in (0.3, 1.0, 1.5, 2.0, 9.0)]
    assert found == pytest.approx([1.5, 1.5, 1.0, 0.5, 0.5]) and weight_of({}, 1.7) == 1.0
