"""What is simulated is what the assumptions say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from consilium.train import polygenic_simulate as sim
from consilium.types import Array

TOLD = sim.Assumptions(traits=6, trained=2, never=1, factors=3, causal=0.3, own_causal=0.3)
V, N = 120, 3000


@pytest.fixture(scope="module")
def counts() -> Array:
    """Every second variant all but equals the one before it."""
    random = np.random.default_rng(0)
    frequency = random.uniform(0.1, 0.5, V // 2)
    single = random.binomial(2, frequency[:, None], (V // 2, N)).astype(np.int8)
    twin = np.where(random.random(single.shape) < 0.03, random.binomial(2, 0.3, single.shape), single).astype(np.int8)
    return np.stack([single, twin], axis=1).reshape(V, N)


@pytest.fixture(scope="module")
def people(counts: Array) -> sim.People:
    return sim.simulate_people(counts, counts.mean(axis=1) / 2, TOLD, 1)


def test_products_are_those_of_standardised_genotypes(counts: Array) -> None:
    p = counts.mean(axis=1) / 2
    weights = np.random.default_rng(1).normal(size=(2, V))
    standard = (counts - 2 * p[:, None]) / np.sqrt(2 * p * (1 - p))[:, None]
    assert sim.products(weights, counts, p) == pytest.approx(weights @ standard, abs=1e-3)


def test_a_traits_share_of_variance_is_genetic(people: sim.People) -> None:
    traits = sim.simulate_traits(people, TOLD, 1)
    r = [np.corrcoef(t, g)[0, 1] for t, g in zip(traits, people.genetic, strict=False)]
    assert np.square(r) == pytest.approx([TOLD.trait_h2] * 6, abs=0.06)
    assert people.genetic.std(axis=1) == pytest.approx(1, abs=1e-6)


def test_diseases_have_their_prevalence_whatever_the_regime(people: sim.People) -> None:
    found = {regime: sim.simulate_diseases(people, TOLD, regime, 1) for regime in ("additive", "modified", "all")}
    assert found["additive"].mean(axis=1) == pytest.approx(found["all"].mean(axis=1), abs=2e-3)
    low, high = TOLD.prevalence
    assert all(low - 0.01 <= share <= high + 0.01 for share in found["modified"].mean(axis=1))
    assert np.array_equal(found["additive"], sim.simulate_diseases(people, TOLD, "additive", 1))


def test_under_modification_the_effect_is_larger_in_the_young(people: sim.People) -> None:
    def gap(regime: sim.Regime) -> float:
        told = replace(TOLD, age_effect=(0.0, 0.0), sex_effect=(0.0, 0.0), modifier=(-0.6, 0.0), spread=0.0)
        ill = sim.simulate_diseases(people, told, regime, 1)
        young = people.age < 0
        r = [
            [np.corrcoef(g[own], y[own])[0, 1] for own in (young, ~young)]
            for g, y in zip(people.genetic[6:], ill, strict=True)
        ]
        return float(np.mean([a - b for a, b in r]))

    assert gap("modified") > 0.1 > 0.05 > abs(gap("additive"))


def test_association_is_linear_regression(counts: Array, people: sim.People) -> None:
    y = sim.simulate_traits(people, TOLD, 1)[:1]
    z = sim.associate(counts, y, np.stack([people.age]))
    line = np.column_stack([np.ones(N), people.age])
    rest = y[0] - line @ np.linalg.lstsq(line, y[0], rcond=None)[0]
    for v in (0, 17, 90):
        r = np.corrcoef(counts[v], rest)[0, 1]
        assert z[v, 0] == pytest.approx(r * np.sqrt(N / (1 - r**2)), rel=1e-3, abs=1e-3)


def test_of_twins_the_stronger_stays_and_bars_are_nested(counts: Array) -> None:
    names = tuple(f"1:{1000 + v}:A:G" for v in range(V))
    linked = sim.linkage(counts[:, :500], names, 0.1, 250)
    z = np.random.default_rng(4).normal(0, 3, (V, 2))
    weights = sim.thresholded(z, linked, (1e-3, 0.05, 1.0))
    assert weights.shape == (2, 3, V)
    used = weights != 0
    assert (used[:, 0] <= used[:, 1]).all() and (used[:, 1] <= used[:, 2]).all()
    for k in range(2):
        assert not (used[k, 2, 0::2] & used[k, 2, 1::2]).any()
        stronger = np.abs(z[:, k]).reshape(-1, 2).argmax(axis=1)
        kept = used[k, 2].reshape(-1, 2)
        assert np.mean(kept[np.arange(len(kept)), stronger]) > 0.9
        assert np.array_equal(weights[k, 2][used[k, 2]], z[:, k][used[k, 2]].astype(np.float32))
