"""Figures against scikit-learn's, and the treatment of labels that are not known."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from consilium.metrics import classification as metric
from consilium.metrics.bootstrap import interval

NAN = float("nan")


@pytest.fixture
def said() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(1)
    truth = draw.integers(3, size=200)
    logits = draw.normal(size=(200, 3)) + 1.5 * np.eye(3)[truth]
    return np.eye(3)[truth], np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def test_auroc_equals_scikit_learn(said: tuple[np.ndarray, np.ndarray]) -> None:
    y, p = said
    assert metric.mean_auroc(y, p) == pytest.approx(roc_auc_score(y.argmax(1), p, multi_class="ovr"))
    coarse = np.round(p[:, 0], 1)
    assert metric.auroc(y[:, 0], coarse) == pytest.approx(roc_auc_score(y[:, 0], coarse))


def test_macro_f1_equals_scikit_learn(said: tuple[np.ndarray, np.ndarray]) -> None:
    y, p = said
    expected = f1_score(y.argmax(1), p.argmax(1), average="macro")
    assert metric.macro_f1(y, p, exclusive=True) == pytest.approx(expected)
    assert metric.macro_f1(y, p, exclusive=False) == pytest.approx(f1_score(y, p >= 0.5, average="macro"))


def test_what_is_not_labelled_changes_no_figure() -> None:
    y = np.array([[1.0, NAN], [0.0, 1.0], [NAN, 0.0], [1.0, 1.0]])
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.6, 0.9]])
    other = p.copy()
    other[np.isnan(y)] = 0.5
    for figure in (
        metric.mean_auroc,
        lambda y, p: metric.macro_f1(y, p, False),
        lambda y, p: metric.calibration_error(y, p, False),
    ):
        assert figure(y, p) == pytest.approx(figure(y, other))


def test_one_class_has_no_auroc() -> None:
    assert np.isnan(metric.auroc(np.ones(4), np.arange(4.0)))


def test_calibration_error_of_honest_and_of_boastful_probabilities() -> None:
    draw = np.random.default_rng(2)
    p = draw.uniform(0.5, 1, 20_000)
    right = draw.uniform(size=p.size) < p
    y = np.stack([right, ~right], axis=1).astype(float)
    assert metric.calibration_error(y, np.stack([p, 1 - p], 1), True) < 0.02
    boast = np.full_like(p, 0.99)
    assert metric.calibration_error(y, np.stack([boast, 1 - boast], 1), True) == pytest.approx(0.24, abs=0.02)


def test_interval_holds_the_value_and_widens_when_patients_repeat() -> None:
    draw = np.random.default_rng(3)
    right = draw.integers(2, size=100).astype(float)
    alone = interval("accuracy", lambda rows: right[rows].mean(), [str(i) for i in range(100)])
    repeated = np.repeat(right, 5)
    grouped = interval("accuracy", lambda rows: repeated[rows].mean(), [str(i) for i in range(100) for _ in range(5)])
    assert alone.low < alone.value < alone.high
    assert alone.n == 100 and grouped.n == 500
    assert grouped.high - grouped.low == pytest.approx(alone.high - alone.low, rel=0.15)


def test_the_error_of_perfect_calibration_is_not_zero_and_shrinks_with_cases() -> None:
    draw = np.random.default_rng(4)
    p = draw.dirichlet([1, 1, 1], size=4000)
    few, many = metric.perfect_calibration_error(p[:100], True), metric.perfect_calibration_error(p, True)
    assert few[1] < few[0] < few[2] and few[0] > 0.05 > 0.02 > many[0]
    truth = np.eye(3)[[draw.choice(3, p=row) for row in p]]
    assert many[1] * 0.8 <= metric.calibration_error(truth, p, True) <= many[2] * 1.2


def test_rows_without_a_label_count_for_nothing() -> None:
    nan = float("nan")
    y, p = np.array([[nan, nan], [1, 0]]), np.array([[0.9, 0.9], [0, 1]])
    assert metric.brier(y, p) == pytest.approx(2.0) and np.isnan(metric.brier(y[:1], p[:1]))
    draw = np.random.default_rng(0)
    said, known = draw.uniform(size=(1000, 1)), np.arange(1000)[:, None] < 10
    few = metric.perfect_calibration_error(said, False, known=known)[0]
    assert few == pytest.approx(metric.perfect_calibration_error(said[:10], False)[0], abs=0.02)
    assert few > 3 * metric.perfect_calibration_error(said, False)[0]
