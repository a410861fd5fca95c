"""Fits the weights of `consult.arbiter` on held-out cases of several sets: each set counts alike, and how well the weights serve
a set that they were not fitted on is measured by leaving each out in turn.

The weights are few and pulled towards the plain mean of the specialists, which is what remains where nothing was learnt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from consilium.consult.arbiter import FEATURES, GENERALIST, NEW, Arbiter, Piece, doubtful, softmax, sum_of
from consilium.errors import DataError
from consilium.types import Array

# Where nothing was learnt: the mean of the specialists' log-probabilities.
PRIOR = {FEATURES[0]: 1.0}
DECAYS = (0.003, 0.01, 0.03, 0.1, 0.3)
# How sure the others must be for the generalist not to be asked; 0: it is never asked.
SURES = (0.0, 0.9, 0.95, 0.98, 1.0)
# Places in FEATURES of a piece's log-probabilities, and of the same times how far afield the case lies.
NEAR_AND_FAR = tuple(
    (FEATURES.index(name), FEATURES.index(f"{name}, from afar")) for name in ("specialists", "precedents", "generalist")
)
NEVER_BELOW_0 = {i for pair in NEAR_AND_FAR for i in pair} | {FEATURES.index(NEW)}
OF_GENERALIST = tuple(name for name in FEATURES if name.startswith("generalist"))


@dataclass(frozen=True, eq=False)
class Weighed:
    """One held-out case: its set, the pieces of evidence with the generalist's last if it was asked, the place of the right
    option, how far afield it lies. `picture`: what it shows, where the same picture may stand in several cases."""

    name: str
    pieces: tuple[Piece, ...]
    truth: int
    afar: float
    picture: str = ""

    def features(self, asked: bool) -> Array:
        """(options, features)"""
        return sum_of([piece for piece in self.pieces if asked or piece.name != GENERALIST])


def fit(cases: Sequence[Weighed], floor: float = 0.0) -> Arbiter:
    """The arbiter whose penalty and threshold did best on sets left out of the fit; of few sets, on fifths of each.

    Raises DataError where fewer than 20 cases are given.
    """
    if len(cases) < 20:
        raise DataError(f"{len(cases)} held-out cases are too few to fit an arbiter on; give 20 at least.")
    parts = _parts(cases)
    tried = {decay: _left_out(cases, parts, decay) for decay in DECAYS}
    decay = min(tried, key=lambda key: _loss(cases, tried[key][1]))
    alone, asked = tried[decay]
    sure = min(SURES, key=lambda limit: (round(_loss(cases, _switched(cases, alone, asked, limit)), 4), limit))
    weights = {False: _weights(cases, False, decay), True: _weights(cases, True, decay)}
    counts = {name: sum(case.name == name for case in cases) for name in dict.fromkeys(case.name for case in cases)}
    made: dict[str, Any] = {
        "cases": counts,
        "decay": decay,
        "left_out_loss": {
            "mean of specialists": _loss(cases, [case.features(False) @ _vector(PRIOR) for case in cases]),
            "alone": _loss(cases, alone),
            "asked": _loss(cases, asked),
            "as served": _loss(cases, _switched(cases, alone, asked, sure)),
        },
        "asked_share": float(np.mean([_is_asked(c, a, sure) for c, a in zip(cases, alone, strict=True)])),
    }
    return Arbiter(weights[False], weights[True], sure, floor, made=made)


def _parts(cases: Sequence[Weighed]) -> list[Array]:
    """(n,) bool a part: whole sets where there are three or more, else fifths of all, a picture's cases in one."""
    names = np.array([case.name for case in cases])
    if len(set(names)) >= 3:
        return [names == name for name in dict.fromkeys(names)]
    pictures = [case.picture or f"case {i}" for i, case in enumerate(cases)]
    turn = {picture: place % 5 for place, picture in enumerate(dict.fromkeys(pictures))}
    return [np.array([turn[picture] == part for picture in pictures]) for part in range(5)]


def _left_out(cases: Sequence[Weighed], parts: Sequence[Array], decay: float) -> tuple[list[Array], list[Array]]:
    """(logits without the generalist, logits with it) of every case by weights that were fitted without its part."""
    found: tuple[list[Array], list[Array]] = ([np.empty(0)] * len(cases), [np.empty(0)] * len(cases))
    for out in parts:
        kept = [case for case, left in zip(cases, out, strict=True) if not left]
        for asked in (False, True):
            weights = _vector(_weights(kept, asked, decay))
            for i in np.flatnonzero(out):
                found[asked][int(i)] = cases[int(i)].features(asked) @ weights
    return found


def _weights(cases: Sequence[Weighed], asked: bool, decay: float) -> dict[str, float]:
    """Penalised maximum likelihood; weights of the generalist stay 0 where it is not asked. What a specialist, known cases or the
    generalist say never counts against itself, near or afar: fitted are the weight near and that wholly afar, neither below 0."""
    free = [i for i, name in enumerate(FEATURES) if asked or name not in OF_GENERALIST]
    prior = _vector(PRIOR)
    alike = _alike(cases, asked)
    for near, far in NEAR_AND_FAR:
        prior[far] += prior[near]
        for seen, _, _ in alike:
            seen[:, :, near] -= seen[:, :, far]

    def objective(chosen: Array) -> tuple[float, Array]:
        weights = prior.copy()
        weights[free] = chosen
        value, slope = decay * float(((weights - prior) ** 2).sum()), 2 * decay * (weights - prior)
        for seen, truth, share in alike:
            logs = log_softmax(seen @ weights, axis=1)
            each = np.arange(len(truth))
            value -= float(share @ logs[each, truth])
            slope = slope + share @ (np.einsum("no,nof->nf", np.exp(logs), seen) - seen[each, truth])
        return value, slope[free]

    least = [(0, None) if i in NEVER_BELOW_0 else (None, None) for i in free]
    weights = prior.copy()
    weights[free] = minimize(objective, prior[free], jac=True, method="L-BFGS-B", bounds=least).x
    for near, far in NEAR_AND_FAR:
        weights[far] -= weights[near]
    return {FEATURES[i]: round(float(weights[i]), 4) for i in free}


def _alike(cases: Sequence[Weighed], asked: bool) -> list[tuple[Array, Array, Array]]:
    """(features (n, options, features), truths (n,), shares (n,)) of the cases with as many options."""
    features, share = [case.features(asked) for case in cases], _shares(cases)
    found = []
    for count in sorted({len(seen) for seen in features}):
        rows = [i for i, seen in enumerate(features) if len(seen) == count]
        found.append((np.stack([features[i] for i in rows]), np.array([cases[i].truth for i in rows]), share[rows]))
    return found


def _shares(cases: Sequence[Weighed]) -> Array:
    """(n,) weight of each case: every set the same in sum, all together 1."""
    names, place = np.unique([case.name for case in cases], return_inverse=True)
    return 1 / (len(names) * np.bincount(place)[place])


def _switched(cases: Sequence[Weighed], alone: Sequence[Array], asked: Sequence[Array], sure: float) -> list[Array]:
    return [b if _is_asked(case, a, sure) else a for case, a, b in zip(cases, alone, asked, strict=True)]


def _is_asked(case: Weighed, alone: Array, sure: float) -> bool:
    return doubtful(sure, float(softmax(alone).max()), case.afar)


def _loss(cases: Sequence[Weighed], logits: Sequence[Array]) -> float:
    """Mean over sets of the mean negative log-likelihood, in nats."""
    each = [-np.log(max(softmax(z)[case.truth], 1e-12)) for case, z in zip(cases, logits, strict=True)]
    return float(np.sum(_shares(cases) * np.array(each)))


def _vector(weights: Mapping[str, float]) -> Array:
    return np.array([weights.get(name, 0.0) for name in FEATURES])
