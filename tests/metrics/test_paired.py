"""Paired tests against scipy's, their size under no difference, and the unit of evidence: the group."""

import numpy as np
import pytest
from scipy import stats

from consilium.metrics import classification as metric
from consilium.metrics.paired import compare, holm, permutation_test
from consilium.types import Array


def alone(n: int) -> list[str]:
    return [f"{i:04}" for i in range(n)]


def mean(rows: Array, said: Array) -> float:
    return float(said[rows].mean())


def flipped(gaps: Array) -> object:
    return lambda swap: float(np.where(swap, -gaps, gaps).mean())


def test_p_equals_scipys_exact_test() -> None:
    draw = np.random.default_rng(1)
    first, second = draw.normal(0.5, 1, 11), draw.normal(0, 1, 11)
    expected = stats.permutation_test(
        (first, second), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=np.inf
    )
    assert compare("mean", mean, first, second, alone(11)).p == pytest.approx(expected.pvalue)


def test_p_of_many_groups_comes_near_the_exact_one() -> None:
    gaps = np.random.default_rng(2).normal(0.35, 1, 40)
    p = permutation_test(flipped(gaps), alone(40), permutations=20_000)  # type: ignore[arg-type]
    assert p == pytest.approx(stats.ttest_1samp(gaps, 0).pvalue, abs=0.01)


def test_without_a_difference_p_is_uniform() -> None:
    draw = np.random.default_rng(3)
    p = [
        permutation_test(flipped(draw.normal(size=30)), alone(30), permutations=200)  # type: ignore[arg-type]
        for _ in range(300)
    ]
    assert np.mean(np.array(p) <= 0.1) == pytest.approx(0.1, abs=0.05)
    assert permutation_test(flipped(np.zeros(30)), alone(30)) == 1  # type: ignore[arg-type]


def test_a_clear_difference_is_not_held_up_by_the_number_of_exchanges() -> None:
    clear = permutation_test(flipped(np.ones(40)), alone(40))  # type: ignore[arg-type]
    assert clear == 1 / 20_001
    assert min(holm([clear, *[0.9] * 110])) < 0.01
    chance = permutation_test(flipped(np.random.default_rng(3).normal(size=40)), alone(40))  # type: ignore[arg-type]
    assert (chance * 2001) == pytest.approx(round(chance * 2001))  # of 2,000


def test_rows_of_a_group_are_one_piece_of_evidence() -> None:
    draw = np.random.default_rng(4)
    gaps = draw.normal(0.4, 1, 30)
    single = compare("mean", mean, gaps, np.zeros(30), alone(30))
    copied = compare("mean", mean, np.repeat(gaps, 6), np.zeros(180), np.repeat(alone(30), 6))
    careless = compare("mean", mean, np.repeat(gaps, 6), np.zeros(180), alone(180))
    assert copied.p == pytest.approx(single.p) and careless.p < single.p / 2
    assert copied.score.high - copied.score.low == pytest.approx(single.score.high - single.score.low, rel=0.1)


def test_a_figure_that_is_no_mean_is_compared_by_exchange() -> None:
    draw = np.random.default_rng(5)
    truth = np.eye(3)[draw.integers(3, size=120)]
    good = np.where(draw.uniform(size=(120, 1)) < 0.9, truth, np.roll(truth, 1, axis=1))
    poor = np.where(draw.uniform(size=(120, 1)) < 0.5, truth, np.roll(truth, 1, axis=1))

    def f1(rows: Array, said: Array) -> float:
        return metric.macro_f1(truth[rows], said[rows], exclusive=True)

    better = compare("macro-F1", f1, good, poor, alone(120))
    assert better.p < 0.01 and 0 < better.score.low < better.score.value < better.score.high
    turned = compare("macro-F1", f1, poor, good, alone(120))
    assert turned.score.value == -better.score.value and turned.p == better.p
    assert compare("macro-F1", f1, good, good, alone(120)).p == 1


def test_an_undefined_difference_has_no_p() -> None:
    assert np.isnan(permutation_test(lambda swap: float("nan"), alone(5)))


def test_holm_equals_the_step_down_rule() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))
    assert holm([0.9, 0.8]) == (1.0, 1.0)
    assert holm([0.02]) == (0.02,) and holm([]) == ()
