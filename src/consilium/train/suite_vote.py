"""How different the members of a suite are, and who of them is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from consilium.types import Array

# A member that costs this many times the median has to add something.
DEAR = 2.0
_LEAST = 1e-6


@dataclass(frozen=True, eq=False)
class Diversity:
    """Of held-out errors, pairs in the order of `names`: `phi` (m, m) correlation, NaN where one of a pair never or always
    errs or the two share no picture; `both_wrong` (m, m) share of judgements that both get wrong."""

    names: tuple[str, ...]
    phi: Array
    both_wrong: Array

    @property
    def mean_phi(self) -> float:
        return _mean_of_pairs(self.phi)

    @property
    def double_fault(self) -> float:
        return _mean_of_pairs(self.both_wrong)


def diversity(said: Mapping[str, Array], targets: Array, exclusive: bool) -> Diversity:
    """`said`: member -> held-out probabilities (n, c), NaN where it has none. An error is a wrong class, or, of several
    labels, each labelled concept that is judged wrongly at one half."""
    wrong = {name: errors(p, targets, exclusive) for name, p in said.items()}
    m = len(wrong)
    phi, both = np.full((m, m), np.nan), np.full((m, m), np.nan)
    for i, a in enumerate(wrong.values()):
        for j, b in enumerate(wrong.values()):
            known = ~(np.isnan(a) | np.isnan(b))
            if not known.any():
                continue
            both[i, j] = (a[known] * b[known]).mean()
            if a[known].std() > 0 and b[known].std() > 0:
                phi[i, j] = np.corrcoef(a[known], b[known])[0, 1]
    return Diversity(tuple(wrong), phi, both)


def errors(p: Array, targets: Array, exclusive: bool) -> Array:
    """(n,) of classes or (n * c,) of labels: 1 wrong, 0 right, NaN not judged or not labelled."""
    unknown = np.isnan(p)
    if exclusive:
        wrong = (np.nan_to_num(p).argmax(1) != targets.argmax(1)).astype(float)
        return np.where(unknown.any(axis=1), np.nan, wrong)
    wrong = ((p >= 0.5) != (targets == 1)).astype(float)
    return np.where(unknown | np.isnan(targets), np.nan, wrong).ravel()


def vote(said: Mapping[str, Array]) -> Array:
    """(n, c) mean of the members' probabilities, each picture by those who judged it; NaN where nobody did."""
    stack = np.stack(list(said.values()))
    known = ~np.isnan(stack)
    count = known.sum(axis=0)
    return np.where(count > 0, np.where(known, stack, 0).sum(axis=0) / np.maximum(count, 1), np.nan)


def log_loss(p: Array, targets: Array, exclusive: bool) -> float:
    """Mean over judged rows (exclusive) or judged and labelled entries, in nats."""
    if exclusive:
        rows = ~np.isnan(p).any(axis=1)
        true = p[rows, targets[rows].argmax(1)]
        return float(-np.log(np.maximum(true, _LEAST)).mean())
    known = ~(np.isnan(p) | np.isnan(targets))
    q, y = p[known].clip(_LEAST, 1 - _LEAST), targets[known]
    return float(-(y * np.log(q) + (1 - y) * np.log(1 - q)).mean())


def left_out(said: Mapping[str, Array], targets: Array, exclusive: bool, costs: Mapping[str, float]) -> dict[str, str]:
    """Member -> why it is not kept: the vote's held-out loss is no worse without it, and it costs at least DEAR times the
    median. The dearest is asked first, and each with those left out before it already gone; the loss is that on the
    pictures which the member judged."""
    median = float(np.median(list(costs.values())))
    gone: dict[str, str] = {}
    for name in sorted(said, key=lambda n: -costs[n]):
        others = {n: p for n, p in said.items() if n != name and n not in gone}
        if not others or costs[name] <= 0 or costs[name] < DEAR * median:
            continue
        rows = ~np.isnan(said[name]).any(axis=1)
        if not rows.any():
            continue
        kept = {n: p[rows] for n, p in others.items()}
        without = log_loss(vote(kept), targets[rows], exclusive)
        with_it = log_loss(vote({**kept, name: said[name][rows]}), targets[rows], exclusive)
        if without <= with_it:
            times = f"{costs[name] / median:.1f} times" if median else "above"
            gone[name] = (
                f"adds nothing: held-out log-loss of the vote {without:.4f} without it, {with_it:.4f} with it, "
                f"on {int(rows.sum())} pictures, at {times} the median cost"
            )
    return gone


def _mean_of_pairs(table: Array) -> float:
    pairs = table[np.triu_indices(len(table), 1)]
    pairs = pairs[~np.isnan(pairs)]
    return float(pairs.mean()) if len(pairs) else float("nan")
