"""Risk and coverage against hand counts and brute force; precision-recall and its unlabelled entries against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from consilium.metrics.ranking import auprc, mean_auprc
from consilium.metrics.selective import aurc, coverage_at_risk, coverage_risk, reliability, risk_at_coverage

INF = float("inf")
CONFIDENCE = np.array([0.9, 0.8, 0.7, 0.6, -INF])
RIGHT = np.array([True, True, False, True, False])


def test_the_curve_counts_the_surest_first_and_ends_where_nothing_was_answered() -> None:
    coverage, risk = coverage_risk(CONFIDENCE, RIGHT)
    assert coverage == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert risk == pytest.approx([0, 0, 1 / 3, 1 / 4])


def test_points_of_the_curve() -> None:
    assert risk_at_coverage(CONFIDENCE, RIGHT, 0.6) == pytest.approx(1 / 3)
    assert risk_at_coverage(CONFIDENCE, RIGHT, 0.7) == pytest.approx(1 / 4)
    assert np.isnan(risk_at_coverage(CONFIDENCE, RIGHT, 0.9))
    assert coverage_at_risk(CONFIDENCE, RIGHT, 0.05) == pytest.approx(0.4)
    assert coverage_at_risk(CONFIDENCE, RIGHT, 0.25) == pytest.approx(0.8)
    assert coverage_at_risk(CONFIDENCE, ~RIGHT, 0.05) == 0


def test_an_abstention_comes_last_and_is_wrong_in_the_area() -> None:
    assert aurc(CONFIDENCE, RIGHT) == pytest.approx(np.mean([0, 0, 1 / 3, 1 / 4, 2 / 5]))
    assert aurc(CONFIDENCE, np.ones(5, bool)) == pytest.approx(np.mean([0, 0, 0, 0, 1 / 5]))
    assert np.isnan(aurc(np.empty(0), np.empty(0, bool)))


def test_equal_confidences_count_as_the_mean_over_their_orders() -> None:
    draw = np.random.default_rng(1)
    confidence, right = draw.integers(3, size=40) / 3, draw.uniform(size=40) < 0.6
    orders = []
    for _ in range(4000):
        order = draw.permutation(40)
        order = order[np.argsort(-confidence[order], kind="stable")]
        orders.append((~right[order]).cumsum() / np.arange(1, 41))
    assert coverage_risk(confidence, right)[1] == pytest.approx(np.mean(orders, axis=0), abs=0.02)
    shuffled = draw.permutation(40)
    assert aurc(confidence[shuffled], right[shuffled]) == pytest.approx(aurc(confidence, right))


def test_reliability_is_the_share_right_in_each_bin() -> None:
    mean, share, count = reliability(np.array([0.05, 0.51, 0.59, 1.0]), np.array([False, True, False, True]))
    assert count.tolist() == [1, 0, 0, 0, 0, 2, 0, 0, 0, 1]
    assert mean[[0, 5, 9]] == pytest.approx([0.05, 0.55, 1.0]) and share[[0, 5, 9]] == pytest.approx([0, 0.5, 1])
    assert np.isnan(share[1])


def test_auprc_leaves_out_what_is_not_labelled() -> None:
    draw = np.random.default_rng(2)
    target, score = (draw.uniform(size=60) < 0.3).astype(float), draw.integers(8, size=60) / 8
    expected = average_precision_score(target, score)
    assert auprc(target, score) == pytest.approx(expected)
    with_unknown = np.append(target, [np.nan, np.nan])
    assert auprc(with_unknown, np.append(score, [1.0, 0.0])) == pytest.approx(expected)
    assert np.isnan(auprc(np.ones(4), np.ones(4))) and np.isnan(auprc(np.zeros(4), np.ones(4)))
    both = np.stack([target, np.ones(60)], axis=1)
    assert mean_auprc(both, np.stack([score, score], axis=1)) == pytest.approx(expected)
