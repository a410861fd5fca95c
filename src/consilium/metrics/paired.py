"""Two systems on the same cases: the difference, its interval and whether it can be chance; groups (images, patients) count
as one piece of evidence each.

- The interval: the bootstrap of `metrics.bootstrap`, both systems scored on the same draw of groups.
- p: the paired permutation test (Fisher 1935; for figures of systems, Noreen 1989). If the systems do not differ, their
  answers on a group may be exchanged; p is the share of such exchanges with a difference at least as large, two-sided.
  For a mean over cases that flips the sign of a group's summed difference; it serves figures that are no means (F1) too.
- Several tests: Holm's correction (1979).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from consilium.metrics.bootstrap import interval
from consilium.types import Array, Score

Metric = Callable[[Array, Array], float]
"""(rows (n,), what one system said of every case (N, ...)) -> the figure on those rows."""

# Up to this many groups every exchange is tried, so that p is exact.
_EXACT_GROUPS = 12
# Below so many exchanges as large, so many times as many are tried.
RARE, MORE = 10, 10
# Differences of sums in another order are equal but for rounding.
_TIE = 1e-12


@dataclass(frozen=True)
class Comparison:
    """`score`: the first system's figure minus the second's, with its interval; `p`: two-sided, in (0, 1]."""

    score: Score
    p: float


def compare(name: str, metric: Metric, first: Array, second: Array, groups: Sequence[str]) -> Comparison:
    """`metric` of `first` minus `metric` of `second`, both (n, ...) over the same n cases of `groups` (n,)."""
    rows = np.arange(len(groups))

    def exchanged(swap: Array) -> float:
        wide = swap.reshape(-1, *(1,) * (first.ndim - 1))
        return metric(rows, np.where(wide, second, first)) - metric(rows, np.where(wide, first, second))

    score = interval(name, lambda drawn: metric(drawn, first) - metric(drawn, second), groups)
    return Comparison(score, permutation_test(exchanged, groups))


def permutation_test(
    difference: Callable[[Array], float], groups: Sequence[str], *, permutations: int = 2000, seed: int = 20240
) -> float:
    """Two-sided p of `difference`, which takes what is exchanged, (n,) bool, and returns first minus second.

    Exact with few groups; else Monte Carlo, the observed difference counted as one of the draws, so that p is never 0; where
    fewer than RARE of the exchanges are as large, MORE times as many are tried, so that p can survive a correction for many
    tests. NaN where the observed difference is NaN; an exchange for which it is undefined counts as one at least as large.
    """
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    n_groups = int(member.max(initial=-1)) + 1
    observed = abs(difference(np.zeros(len(member), bool)))
    if np.isnan(observed):
        return float("nan")

    def as_large(swaps: Array) -> int:
        return sum(not abs(difference(swap[member])) < observed - _TIE for swap in swaps)

    if n_groups <= _EXACT_GROUPS:
        return as_large(_every(n_groups)) / 2**n_groups
    draw = np.random.default_rng(seed)
    found = as_large(draw.integers(2, size=(permutations, n_groups)).astype(bool))
    if found < RARE:
        for _ in range(MORE - 1):
            found += as_large(draw.integers(2, size=(permutations, n_groups)).astype(bool))
        permutations *= MORE
    return (found + 1) / (permutations + 1)


def holm(p: Sequence[float]) -> tuple[float, ...]:
    """The p-values adjusted for being that many, in their order: each is significant at a level it does not exceed."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted = [0.0] * len(p)
    highest = 0.0
    for place, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - place) * p[i]))
        adjusted[i] = highest
    return tuple(adjusted)


def _every(n: int) -> Array:
    """(2**n, n) bool: every way to exchange n groups."""
    return (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(bool)
