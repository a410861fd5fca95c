"""Ridge over all scores and the gate over it: what they find again of numbers that were drawn with it."""

from __future__ import annotations

import numpy as np
import pytest

from consilium.errors import DataError
from consilium.metrics.classification import auroc, classwise_error
from consilium.nn import risk_set
from consilium.nn.light_head import to_probabilities
from consilium.nn.risk_head import RiskHead, demographic_terms
from consilium.train.polygenic_fit import GateShape, gate, ridge
from consilium.types import Array

N, SCORES, OUTCOMES = 6000, 40, 2
TRAIN, TEST = slice(0, 4000), slice(4000, N)
AGE = (57.0, 9.0)


def drawn(modifier: float) -> tuple[Array, Array, Array]:
    """(x, terms, targets): outcomes of a mix of the scores, which age multiplies by exp(modifier * age)."""
    random = np.random.default_rng(3)
    x = random.normal(size=(N, SCORES)).astype(np.float32)
    age, male = random.uniform(40, 74, N), random.random(N) < 0.5
    d = demographic_terms(age, np.where(male, "male", "female"), *AGE)
    genetic = x @ random.normal(0, 1 / np.sqrt(SCORES), (SCORES, OUTCOMES))
    logits = -1.5 + 0.6 * d[:, [0]] + 0.3 * d[:, [1]] + genetic * np.exp(modifier * d[:, [0]])
    return x, d, (random.random((N, OUTCOMES)) < 1 / (1 + np.exp(-logits))).astype(float)


def head_of(modifier: float, gated: bool, targets: Array | None = None) -> tuple[RiskHead, Array, Array, Array]:
    x, d, y = drawn(modifier)
    y = y if targets is None else targets
    found = ridge(x[TRAIN], y[TRAIN], d[TRAIN])
    return gate(found, y[TRAIN], d[TRAIN], AGE, GateShape(gated)), x, d, y


def mean_auc(head: RiskHead, x: Array, d: Array, y: Array) -> float:
    p = head.probabilities(x[TEST], d[TEST])
    return float(np.mean([auroc(y[TEST][:, k], p[:, k]) for k in range(OUTCOMES)]))


def test_where_age_modifies_the_gate_finds_it_and_tells_more_than_the_linear_model() -> None:
    gated, x, d, y = head_of(0.6, True)
    linear, *_ = head_of(0.6, False)
    slope = gated.tensors["gate.own"][:, 0] + gated.tensors["gate.shared"][0]
    assert slope == pytest.approx([0.6, 0.6], abs=0.15)
    assert mean_auc(gated, x, d, y) > mean_auc(linear, x, d, y) + 0.005
    assert not np.any(linear.tensors["gate.own"]) and not np.any(linear.tensors["gate.shared"])


def test_where_nothing_modifies_the_gate_stays_shut_and_costs_nothing() -> None:
    gated, x, d, y = head_of(0.0, True)
    linear, *_ = head_of(0.0, False)
    assert np.abs(gated.tensors["gate.own"] + gated.tensors["gate.shared"]).max() < 0.15
    assert abs(mean_auc(gated, x, d, y) - mean_auc(linear, x, d, y)) < 0.003


def test_its_probabilities_are_calibrated_on_people_it_never_saw() -> None:
    head, x, d, y = head_of(0.4, True)
    assert classwise_error(y[TEST], head.probabilities(x[TEST], d[TEST])) < 0.03


def test_what_is_not_labelled_is_no_control() -> None:
    x, d, y = drawn(0.3)
    hidden = y.copy()
    hidden[(np.random.default_rng(0).random(y.shape) < 0.4) & (y == 1)] = np.nan
    hidden[np.random.default_rng(1).random(N) < 0.1, 0] = np.nan
    head, *_ = head_of(0.3, True, hidden)
    assert mean_auc(head, x, d, y) > mean_auc(head_of(0.3, True)[0], x, d, y) - 0.02
    assert np.isfinite(head.probabilities(x, d)).all()


def test_out_of_fold_a_noise_outcome_is_not_told() -> None:
    x, d, y = drawn(0.0)
    noise = np.random.default_rng(5).permutation(y[TRAIN])
    found = ridge(x[TRAIN], noise, d[TRAIN])
    assert abs(auroc(noise[:, 0], found.out_of_fold[:, 0]) - 0.5) < 0.04
    assert found.penalty.min() > ridge(x[TRAIN], y[TRAIN], d[TRAIN]).penalty.max()


def test_too_few_of_a_kind_is_an_error() -> None:
    x, d, y = drawn(0.0)
    rare = y.copy()
    rare[:, 1] = 0
    rare[:7, 1] = 1
    with pytest.raises(DataError, match="outcome 2 has 7 people with"):
        ridge(x, rare, d)


def test_the_set_encoder_does_not_see_the_order_of_the_patches() -> None:
    random = np.random.default_rng(0)
    x, d, y = drawn(0.4)
    x3 = random.normal(0, 0.3, (N, SCORES, 3)).astype(np.float32) + x[:, :, None]
    places = (random.normal(size=(SCORES, 8)), random.normal(size=(OUTCOMES, 8)))
    model = risk_set.fit(x3[TRAIN], y[TRAIN], d[TRAIN], places, epochs=3)
    again = risk_set.fit(x3[TRAIN], y[TRAIN], d[TRAIN], places, epochs=3)
    said = risk_set.logits(model, x3[TEST], d[TEST])
    assert np.array_equal(said, risk_set.logits(again, x3[TEST], d[TEST]))
    order = random.permutation(SCORES)
    turned = risk_set.fit(x3[TRAIN][:, order], y[TRAIN], d[TRAIN], (places[0][order], places[1]), epochs=3)
    assert risk_set.logits(turned, x3[TEST][:, order], d[TEST]) == pytest.approx(said, abs=0.02)
    p = to_probabilities(said, False)
    assert min(auroc(y[TEST][:, k], p[:, k]) for k in range(OUTCOMES)) > 0.6
