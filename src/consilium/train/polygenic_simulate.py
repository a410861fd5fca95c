"""Simulated traits and diseases over given genotypes, and the association studies that make scores of them: for studies of
methods where no biobank may be used. Every assumption is a field of `Assumptions` or a line here.

Standardised genotypes z of V variants. Each of a few shared factors is a sum of effects at a share of the variants; a trait's
genetic value is a mix of factors and of effects of its own. A quantitative trait adds noise. A disease is a liability beyond a
threshold: liability = sqrt(h2) * genetic * modifier + age + sex + noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from consilium.genomics import ld
from consilium.genomics.alleles import Alleles
from consilium.genomics.genome import InMemory
from consilium.types import Array, Genome

Regime = Literal["additive", "modified", "modified_random_sign", "epistasis", "all"]
_BLOCK = 512


@dataclass(frozen=True)
class Assumptions:
    """shared: share of genetic variance from the factors. causal: share of the variants with an effect on a factor (own_causal:
    on one trait alone). trait_h2, disease_h2: share of variance, of the liability before age and sex, that is genetic. kin: how
    alike the loadings on factors of each never-trained outcome and of one trained are. modifier: coefficients (age, sex) of the
    logarithm of the modifier, `spread` how much they differ between diseases. epistasis: share of genetic variance from products
    of pairs of factors."""

    traits: int = 100
    trained: int = 8
    never: int = 6
    factors: int = 12
    shared: float = 0.85
    causal: float = 0.05
    own_causal: float = 0.03
    trait_h2: float = 0.4
    disease_h2: float = 0.5
    prevalence: tuple[float, float] = (0.08, 0.2)
    age_effect: tuple[float, float] = (0.3, 0.6)
    sex_effect: tuple[float, float] = (0.0, 0.3)
    kin: float = 0.6
    modifier: tuple[float, float] = (-0.35, 0.25)
    spread: float = 0.1
    epistasis: float = 0.3

    @property
    def outcomes(self) -> int:
        return self.trained + self.never


@dataclass(frozen=True, eq=False)
class People:
    """Age in units of its spread (n,), sex -1 or 1 (n,), factors (factors, n) and genetic values (traits + outcomes, n), each of
    mean 0 and spread 1."""

    age: Array
    sex: Array
    factors: Array
    genetic: Array


def simulate_people(counts: Array, frequency: Array, told: Assumptions, seed: int) -> People:
    """(V, n) int8 counts and (V,) frequencies of the allele counted -> genetic values of n people."""
    random = np.random.default_rng(seed)
    total = told.traits + told.outcomes
    of_factors = _effects(random, told.factors, len(counts), told.causal)
    own = _effects(random, total, len(counts), told.own_causal)
    loading = random.normal(size=(total, told.factors)) * (random.random((total, told.factors)) < 0.35)
    loading[np.all(loading == 0, axis=1), 0] = 1
    loading /= np.linalg.norm(loading, axis=1, keepdims=True)
    trained, never = loading[told.traits : told.traits + told.trained], loading[told.traits + told.trained :]
    never[:] = told.kin * trained[np.arange(told.never) % told.trained] + np.sqrt(1 - told.kin**2) * never
    sums = products(np.concatenate([of_factors, own]), counts, frequency)
    factors = _unit(sums[: told.factors])
    genetic = np.sqrt(told.shared) * _unit(loading @ factors) + np.sqrt(1 - told.shared) * _unit(sums[told.factors :])
    n = counts.shape[1]
    sex: Array = np.where(random.random(n) < 0.5, 1.0, -1.0)
    return People(np.asarray(random.uniform(-1.7, 1.7, n)), sex, factors, _unit(genetic))


def simulate_traits(people: People, told: Assumptions, seed: int) -> Array:
    """(traits, n) quantitative traits."""
    random = np.random.default_rng([seed, 1])
    genetic = people.genetic[: told.traits]
    return np.sqrt(told.trait_h2) * genetic + np.sqrt(1 - told.trait_h2) * random.normal(size=genetic.shape)


def simulate_diseases(people: People, told: Assumptions, regime: Regime, seed: int) -> Array:
    """(outcomes, n) of 0 and 1; the same seed draws the same coefficients and noise whatever the regime."""
    random = np.random.default_rng([seed, 2])
    genetic = people.genetic[told.traits :]
    shape = (told.outcomes, 1)
    age = random.uniform(*told.age_effect, shape)
    sex = random.uniform(*told.sex_effect, shape) * random.choice([-1, 1], shape)
    modifier = np.array(told.modifier) + told.spread * random.normal(size=(told.outcomes, 2))
    sign = random.choice([-1.0, 1.0], shape)
    pairs = np.stack([random.choice(told.factors, 2, replace=False) for _ in range(3 * told.outcomes)])
    noise = random.normal(size=genetic.shape)
    prevalence = random.uniform(*told.prevalence, told.outcomes)
    if regime in ("epistasis", "all"):
        product = (people.factors[pairs[:, 0]] * people.factors[pairs[:, 1]]).reshape(told.outcomes, 3, -1).sum(axis=1)
        genetic = np.sqrt(1 - told.epistasis) * genetic + np.sqrt(told.epistasis) * _unit(product)
    if regime in ("modified", "modified_random_sign", "all"):
        modifier = modifier * (sign if regime == "modified_random_sign" else 1.0)
        genetic = _unit(genetic * np.exp(modifier @ np.stack([people.age, people.sex])))
    liability = np.sqrt(told.disease_h2) * genetic + np.sqrt(1 - told.disease_h2) * noise
    liability += age * people.age + sex * people.sex
    bars = [np.quantile(row, 1 - share) for row, share in zip(liability, prevalence, strict=True)]
    return (liability > np.array(bars)[:, None]).astype(np.float64)


def associate(counts: Array, phenotypes: Array, covariates: Array) -> Array:
    """(V, p) z of a linear regression of each phenotype (p, n) on each variant's counts (V, n), the covariates (q, n) taken out
    of the phenotypes first."""
    n = counts.shape[1]
    line = np.concatenate([np.ones((1, n)), covariates])
    rest = phenotypes - (phenotypes @ np.linalg.pinv(line)) @ line
    r = _correlations(counts, _unit(rest))
    return r * np.sqrt(n / np.maximum(1 - r**2, 1e-9))


def _correlations(counts: Array, unit: Array) -> Array:
    found = np.empty((len(counts), len(unit)), np.float32)
    right = np.ascontiguousarray(unit.T, np.float32)
    for low in range(0, len(counts), _BLOCK):
        block = counts[low : low + _BLOCK].astype(np.float32)
        found[low : low + _BLOCK] = _unit(block) @ right / counts.shape[1]
    return found


def linkage(counts: Array, names: tuple[str, ...], r2: float, kb: float) -> tuple[Array, Array]:
    """Who is linked with whom (genomics.ld.neighbours) among variants named chromosome:position:reference:alternate."""
    genotypes = InMemory(Genome(tuple(map(str, range(counts.shape[1]))), names, counts.T, "GRCh38"))
    return ld.neighbours(genotypes, genotypes.variants(Alleles()), None, r2, kb)


def thresholded(z: Array, linked: tuple[Array, Array], bars: tuple[float, ...]) -> Array:
    """(V, p) z -> (p, bars, V) weights for each standardised copy: of linked variants the strongest, at each bar of p."""
    from scipy.special import ndtr

    weights = np.zeros((z.shape[1], len(bars), len(z)), np.float32)
    for k, column in enumerate(z.T.astype(np.float64)):
        kept = ld.clump(np.argsort(-np.abs(column), kind="stable"), *linked)
        p = 2 * ndtr(-np.abs(column))
        for b, bar in enumerate(bars):
            weights[k, b] = np.where(kept & (p <= bar), column, 0)
    return weights


def products(weights: Array, counts: Array, frequency: Array) -> Array:
    """(s, V) weights of standardised genotypes, (V, n) counts -> (s, n) float64, by blocks of variants."""
    scale = 1 / np.sqrt(np.maximum(2 * frequency * (1 - frequency), 1e-9))
    used = np.flatnonzero(np.any(weights != 0, axis=0))
    total = np.zeros((len(weights), counts.shape[1]))
    for low in range(0, len(used), _BLOCK):
        rows = used[low : low + _BLOCK]
        total += (weights[:, rows] * scale[rows]).astype(np.float32) @ counts[rows].astype(np.float32)
    return total - (weights * scale) @ (2 * frequency)[:, None]


def _effects(random: np.random.Generator, n: int, variants: int, causal: float) -> Array:
    """(n, variants) float32, 0 but for a share of them."""
    return (random.normal(size=(n, variants)) * (random.random((n, variants)) < causal)).astype(np.float32)


def _unit(values: Array) -> Array:
    """Rows of mean 0 and spread 1; 0 where nothing varies."""
    spread = values.std(axis=1, keepdims=True)
    return (values - values.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1)
