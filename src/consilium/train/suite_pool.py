"""How much each member of a suite counts beside the others where they are pooled: fitted on what they said of pictures that they
had not learnt, so that one who adds little to the rest, or is lost on pictures from elsewhere, counts less.

The pool is logarithmic (Genest and Zidek 1986): the weighted mean of the members' log-probabilities, centred over the classes, or
of their log-odds where labels do not exclude each other. Two sets of weights: on ordinary folds (near), and on folds that are
clusters of feature space (afar, see suite_ground), which stand for pictures of another source.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, softmax

from consilium.train.suite_vote import log_loss
from consilium.types import Array

# How strongly weights are drawn to 1; of .003, .01, .03 and .1 the least loss on folds left out was at .003 or .01.
PENALTY = 0.01
# Judged pictures below which all count alike.
FEW = 40
_LEAST, _MOST_LOG, _SHARPEST = 1e-3, 3.0, 2.0


def weights(said: Mapping[str, Array], targets: Array, exclusive: bool) -> dict[str, float]:
    """Member -> how much it counts, 1 being the mean. `said`: member -> held-out probabilities (n, c), NaN where it judged
    nothing; `targets` (n, c). Whoever judged nothing at all counts as little as the least of those who did; all count 1
    where fewer than two members or FEW pictures were judged."""
    stack = np.stack([np.asarray(p, float) for p in said.values()])
    known = ~np.isnan(stack).any(axis=2)
    heard, rows = known.any(axis=1), known.any(axis=0)
    if heard.sum() < 2 or rows.sum() < FEW:
        return dict.fromkeys(said, 1.0)
    values, known, truth = _values(stack[heard][:, rows], exclusive), known[heard][:, rows], targets[rows]

    def objective(chosen: Array) -> float:
        logits = np.exp(chosen[-1]) * pooled(values, known, np.exp(chosen[:-1]))
        p = softmax(logits, axis=1) if exclusive else expit(logits)
        return log_loss(p, truth, exclusive) + PENALTY * float(np.square(_shares(chosen[:-1]) - 1).mean())

    bounds = [(-_MOST_LOG, _MOST_LOG)] * len(values) + [(-_SHARPEST, _SHARPEST)]
    shares = _shares(minimize(objective, np.zeros(len(bounds)), method="L-BFGS-B", bounds=bounds).x[:-1])
    found = np.full(len(stack), shares.min())
    found[heard] = shares
    return {name: round(float(w), 4) for name, w in zip(said, found / found.mean(), strict=True)}


def pooled(values: Array, known: Array, weight: Array) -> Array:
    """(n, c) weighted mean of values (m, n, c) over the members that are known (m, n)."""
    each = weight[:, None] * known
    return np.einsum("mn,mnc->nc", each, values) / each.sum(axis=0)[:, None]


def _values(p: Array, exclusive: bool) -> Array:
    """(m, n, c): centred log-probabilities or log-odds, 0 where a member judged nothing."""
    p = np.nan_to_num(p, nan=0.5).clip(_LEAST, 1 - _LEAST)
    logs = np.log(p)
    return logs - logs.mean(axis=2, keepdims=True) if exclusive else logs - np.log(1 - p)


def _shares(logs: Array) -> Array:
    weight = np.exp(logs)
    return weight / weight.mean()
