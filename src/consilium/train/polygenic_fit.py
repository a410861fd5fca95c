"""Fits the heads of a risk image: ridge over all scores, out of fold; then the gate of age and sex over it; calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from consilium.errors import DataError
from consilium.nn.fit_head import calibrate
from consilium.nn.risk_head import RiskHead, raw_logits
from consilium.types import Array

FOLDS = 5
LEAST_OF_A_KIND = 30
_PENALTIES = tuple(10.0**power for power in np.arange(0, 6.01, 0.5))


@dataclass(frozen=True)
class GateShape:
    """How the second stage is fitted: whether there is a gate at all, and its penalties, per person."""

    gated: bool = True
    own: float = 2e-3
    shared: float = 2e-4
    weak: float = 1e-6


@dataclass(frozen=True, eq=False)
class Ridge:
    """Linear weights `weight` (k, m) fitted on all; `out_of_fold` (n, k) what weights of the other folds say of each person;
    `penalty` (k,) chosen on these."""

    weight: Array
    out_of_fold: Array
    penalty: Array


def ridge(x: Array, targets: Array, demographics: Array, seed: int = 20240) -> Ridge:
    """(n, m) values, (n, k) targets (NaN: not labelled), (n, q) terms. The demographics are taken from the targets first, so that
    the weights need only explain what they leave. DataError where an outcome has too few of a kind."""
    fold = np.random.default_rng(seed).permutation(len(x)) % FOLDS
    known = ~np.isnan(targets)
    m, k = x.shape[1], targets.shape[1]
    weight, said, penalty = np.empty((k, m)), np.empty(targets.shape), np.empty(k)
    for own in _alike(known):
        rows, y = known[:, own[0]], targets[:, own]
        for number, column in zip(own, y.T, strict=True):
            demand_both(column[rows], number)
        tried = np.empty((len(_PENALTIES), len(x), len(own)))
        for f in range(FOLDS):
            learnt = rows & (fold != f)
            solved = _solved(x[learnt], _residual(y, demographics, learnt)[learnt], _PENALTIES)
            tried[:, fold == f] = x[fold == f] @ solved
        left = _residual(y, demographics, rows)[rows]
        best = ((tried[:, rows] - left) ** 2).mean(axis=1).argmin(axis=0)
        every = _solved(x[rows], left, _PENALTIES)
        for i, number in enumerate(own):
            weight[number], said[:, number] = every[best[i], :, i], tried[best[i], :, i]
            penalty[number] = _PENALTIES[best[i]]
    return Ridge(weight, said, penalty)


def _alike(known: Array) -> list[Array]:
    """Outcomes that are labelled in the same people."""
    _, of = np.unique(known, axis=1, return_inverse=True)
    return [np.flatnonzero(of.ravel() == group) for group in range(of.max() + 1)]


def demand_both(y: Array, number: int) -> None:
    """DataError unless there are enough of both kinds."""
    positives = int((y == 1).sum())
    if min(positives, len(y) - positives) < LEAST_OF_A_KIND:
        raise DataError(
            f"outcome {number + 1} has {positives} people with and {len(y) - positives} without it; {LEAST_OF_A_KIND} of each "
            "are needed at least. Leave it out, or give more people."
        )


def _residual(y: Array, demographics: Array, rows: Array) -> Array:
    """(n, k) less what a line in the demographics, fitted on `rows`, says of it."""
    line = np.column_stack([np.ones(len(y)), demographics])
    return y - line @ np.linalg.lstsq(line[rows], y[rows], rcond=None)[0]


def _solved(x: Array, y: Array, penalties: tuple[float, ...]) -> Array:
    """(penalties, m, k) ridge weights."""
    values = np.asarray(x, np.float64)
    size, vectors = np.linalg.eigh(values.T @ values)
    turned = vectors.T @ (values.T @ y)
    return np.stack([vectors @ (turned / (np.maximum(size, 0) + penalty)[:, None]) for penalty in penalties])


def gate(found: Ridge, targets: Array, demographics: Array, age: tuple[float, float], shape: GateShape) -> RiskHead:
    """The head whose genetic part is the ridge regression. Bias, demographics, scale and gate are fitted to what the ridge said
    out of fold, jointly over outcomes, by penalised likelihood; then calibrated."""
    from scipy.optimize import minimize

    k, q = targets.shape[1], demographics.shape[1]
    spread = np.maximum(found.out_of_fold.std(axis=0), 1e-12)
    genetic = found.out_of_fold / spread
    known = ~np.isnan(targets)
    y = np.where(known, targets, 0.0)
    n = np.maximum(known.sum(axis=0), 1)
    base = np.clip(y.sum(axis=0) / n, 1e-4, 1 - 1e-4)
    start = np.zeros(k * (2 + 2 * q) + q)
    start[:k] = np.log(base / (1 - base))
    start[k : 2 * k] = -1.0
    penalty = np.concatenate(
        [np.full(2 * k, shape.weak), np.full(k * q, shape.weak), np.full(k * q, shape.own), np.full(q, shape.shared)]
    )

    def objective(values: Array) -> tuple[float, Array]:
        return _loss(values, (genetic, demographics, y, known / n), penalty, shape.gated)

    best = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    bias, scale, demographic, own, shared = _split(best, k, q)
    tensors = {
        "weight": found.weight / spread[:, None],
        "scale": scale,
        "bias": bias,
        "demographic": demographic,
        "gate.own": own * shape.gated,
        "gate.shared": shared * shape.gated,
        "age": np.array(age),
    }
    logits = raw_logits(tensors, genetic, demographics)
    tensors |= calibrate(logits, targets, False)
    return RiskHead({name: np.asarray(value, np.float32) for name, value in tensors.items()})


def _split(values: Array, k: int, q: int) -> tuple[Array, Array, Array, Array, Array]:
    ends = np.cumsum([k, k, k * q, k * q])
    bias, scale, demographic, own, shared = np.split(values, ends)
    return bias, scale, demographic.reshape(k, q), own.reshape(k, q), shared


def _loss(values: Array, data: tuple[Array, Array, Array, Array], penalty: Array, gated: bool) -> tuple[float, Array]:
    """Sum over outcomes of the mean cross-entropy, with its gradient."""
    genetic, d, y, weight = data
    k, q = genetic.shape[1], d.shape[1]
    bias, scale, demographic, own, shared = _split(values, k, q)
    factor = np.exp(np.clip(scale + d @ (own + shared).T * gated, -20, 5))
    logits = bias + d @ demographic.T + factor * genetic
    loss = float((weight * (np.logaddexp(0, logits) - y * logits)).sum() + (penalty * values**2).sum())
    slope = weight * (1 / (1 + np.exp(-np.clip(logits, -60, 60))) - y)
    by_factor = slope * factor * genetic
    by_gate = (by_factor.T @ d) * gated
    gradient = np.concatenate(
        [slope.sum(axis=0), by_factor.sum(axis=0), (slope.T @ d).ravel(), by_gate.ravel(), by_gate.sum(axis=0)]
    )
    return loss, gradient + 2 * penalty * values
