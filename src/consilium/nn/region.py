"""How often a specialist was right on the known pictures most like this one: reliability by region of feature space.

Tensors beside the head's own, for m known pictures (of train and val, where there is a held-out judgement):
    region.places (m, k) float16   where each lies along the directions of the foreign tensors
    region.right (m,) float32      whether the held-out judgement of it was right; several labels: the share that was

The accuracy of the nearest is drawn towards that of all known pictures, which count as PRIOR further ones: 25 pictures
alone would let chance speak.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from consilium.nn.light_head import project
from consilium.types import Array, Score

METRIC = "local accuracy"
NEAREST, PRIOR = 25, 10.0
_CHUNK = 512


def correct(probabilities: Array, targets: Array, exclusive: bool) -> Array:
    """(n, c) held-out probabilities and targets -> (n,) float32: 1 right, 0 wrong, the share that is right among several
    labels; NaN where there is no judgement or nothing is labelled."""
    if exclusive:
        right = (np.nan_to_num(probabilities).argmax(1) == targets.argmax(1)).astype(np.float32)
        return np.where(np.isnan(probabilities).any(axis=1), np.nan, right).astype(np.float32)
    known = ~(np.isnan(targets) | np.isnan(probabilities))
    hits = (((probabilities >= 0.5) == (targets == 1)) & known).sum(axis=1)
    return np.where(known.any(axis=1), hits / np.maximum(known.sum(axis=1), 1), np.nan).astype(np.float32)


def tensors(gate: Mapping[str, Array], features: Array, right: Array) -> dict[str, Array]:
    """What to keep of known pictures: `gate` holds the foreign tensors, `features` (n, d) theirs, `right` as of `correct`.
    {} where no picture has a held-out judgement."""
    known = ~np.isnan(right)
    if not known.any():
        return {}
    places = project(gate, features[known])[1].astype(np.float16)
    return {"region.places": places, "region.right": right[known].astype(np.float32)}


def scores(kept: Mapping[str, Array], features: Array) -> tuple[Score, ...]:
    """One Score for each row of `features` (n, d): value, 95 % interval, n of the nearest. () where the specialist kept no
    known pictures (it was trained before there were regions)."""
    if "region.places" not in kept:
        return ()
    right = kept["region.right"].astype(float)
    near = _nearest(kept["region.places"].astype(np.float32), project(kept, features)[1])
    return tuple(_score(right[row], float(right.mean())) for row in near)


def held_out_scores(gate: Mapping[str, Array], features: Array, right: Array, folds: Array) -> tuple[Score, ...]:
    """One Score for each known picture, from pictures of other folds alone; value NaN and n 0 where those have no held-out
    judgement."""
    places = project(gate, features)[1].astype(np.float16).astype(np.float32)
    found = [Score(METRIC, float("nan"), float("nan"), float("nan"), 0)] * len(features)
    for fold in np.unique(folds):
        inside, others = folds == fold, (folds != fold) & ~np.isnan(right)
        if others.any():
            known = right[others].astype(float)
            for row, near in zip(np.flatnonzero(inside), _nearest(places[others], places[inside]), strict=True):
                found[row] = _score(known[near], float(known.mean()))
    return tuple(found)


def _nearest(places: Array, queries: Array) -> Array:
    """(m, k) and (n, k) -> (n, NEAREST or m) rows of `places` by Euclidean distance, equally near ones in their order."""
    norms = (places**2).sum(axis=1)
    parts = [queries[i : i + _CHUNK] for i in range(0, len(queries), _CHUNK)]
    rows = [np.argsort(norms - 2 * part @ places.T, axis=1, kind="stable")[:, :NEAREST] for part in parts]
    return np.concatenate(rows) if rows else np.empty((0, 0), int)


def _score(right: Array, overall: float) -> Score:
    """The mean of the Beta posterior whose prior is the accuracy on all known pictures, with its central 95 %."""
    from scipy.stats import beta

    hits, n = float(right.sum()), len(right)
    a, b = hits + PRIOR * overall, n - hits + PRIOR * (1 - overall)
    value = (hits + PRIOR * overall) / (n + PRIOR)
    low, high = beta.ppf([0.025, 0.975], max(a, 1e-3), max(b, 1e-3))
    return Score(METRIC, value, min(float(low), value), max(float(high), value), n)
