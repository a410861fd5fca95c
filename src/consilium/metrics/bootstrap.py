"""A 95 % interval for any metric by the percentile bootstrap over patients (Efron and Tibshirani 1993, chapter 13)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from consilium.types import Array, Score


def interval(
    name: str,
    metric: Callable[[Array], float],
    groups: Sequence[str],
    *,
    resamples: int = 1000,
    seed: int = 20240,
) -> Score:
    """`metric(rows)` over all rows, with the interval over `resamples` draws of whole groups (patients).

    metric  takes row indices (n,) and returns a number, NaN where it is undefined (a draw with one class only).
    groups  (n,) whom each row belongs to; rows of one group are drawn together, since they are no independent evidence.
    """
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    order = np.argsort(member, kind="stable")
    rows_of = np.split(order, np.cumsum(np.bincount(member))[:-1])
    draw = np.random.default_rng(seed)
    values = np.array(
        [
            metric(np.concatenate([rows_of[g] for g in draw.integers(len(rows_of), size=len(rows_of))]))
            for _ in range(resamples)
        ]
    )
    values = values[~np.isnan(values)]
    low, high = np.percentile(values, [2.5, 97.5]) if len(values) else (np.nan, np.nan)
    return Score(name, float(metric(np.arange(len(member)))), float(low), float(high), len(member))
