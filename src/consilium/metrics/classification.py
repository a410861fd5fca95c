"""AUROC, F1, calibration error and their like, from probabilities (n, classes) and targets (n, classes).

A target is 1, 0 or NaN; NaN is "not labelled" and leaves that entry out of every figure. For exclusive classes each row of
targets holds one 1.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from consilium.types import Array

_BINS = 15


def auroc(target: Array, score: Array) -> float:
    """Area under the ROC curve of one concept (n,), ties counted half (Mann and Whitney 1947); NaN with one class only."""
    known = ~np.isnan(target)
    positive = target[known] == 1
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        return float("nan")
    ranks = rankdata(score[known])
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def mean_auroc(targets: Array, probabilities: Array) -> float:
    """Mean over the concepts (one against the rest) of those that have both classes."""
    values = [auroc(targets[:, c], probabilities[:, c]) for c in range(targets.shape[1])]
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def macro_f1(targets: Array, probabilities: Array, exclusive: bool, threshold: float = 0.5) -> float:
    """Mean over concepts of F1: of the most probable class where classes exclude each other, else above `threshold`.

    A concept that neither occurs nor is predicted is left out.
    """
    said = _said(probabilities, exclusive, threshold)
    values = []
    for c in range(targets.shape[1]):
        known = ~np.isnan(targets[:, c])
        truth, claim = targets[known, c] == 1, said[known, c]
        found = 2 * (truth & claim).sum() + (truth ^ claim).sum()
        if found:
            values.append(2 * (truth & claim).sum() / found)
    return float(np.mean(values)) if values else float("nan")


def accuracy(targets: Array, probabilities: Array) -> float:
    """Share of rows whose most probable class is the labelled one (exclusive classes)."""
    return float((targets.argmax(1) == probabilities.argmax(1)).mean())


def calibration_error(targets: Array, probabilities: Array, exclusive: bool) -> float:
    """Expected calibration error. Exclusive classes: of the top class's probability against how often it is right (Guo et
    al. 2017). Else: `classwise_error`."""
    if not exclusive:
        return classwise_error(targets, probabilities)
    top = probabilities.argmax(1)
    rows = np.arange(len(top))
    return _binned_gap(probabilities[rows, top], targets[rows, top] == 1)


def classwise_error(targets: Array, probabilities: Array) -> float:
    """Mean over the concepts of the calibration error of that concept's probability (Kull et al. 2019)."""
    gaps = []
    for c in range(targets.shape[1]):
        known = ~np.isnan(targets[:, c])
        if known.any():
            gaps.append(_binned_gap(probabilities[known, c], targets[known, c] == 1))
    return float(np.mean(gaps)) if gaps else float("nan")


def perfect_calibration_error(
    probabilities: Array, exclusive: bool, draws: int = 300, known: Array | None = None
) -> tuple[float, float, float]:
    """The calibration error that these probabilities would show if they were exactly right: mean, 2.5th and 97.5th
    percentile over outcomes drawn from them. With few cases it is far from 0, and no error below it can be told from 0.

    known  (n, c) bool: which entries are labelled, as in the error that it stands beside; None for all.
    """
    draw = np.random.default_rng(20240)
    found = []
    for _ in range(draws):
        if exclusive:
            place = (draw.uniform(size=(len(probabilities), 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
            outcome = np.eye(probabilities.shape[1])[np.minimum(place, probabilities.shape[1] - 1)]
        else:
            outcome = (draw.uniform(size=probabilities.shape) < probabilities).astype(float)
            outcome = outcome if known is None else np.where(known, outcome, np.nan)
        found.append(calibration_error(outcome, probabilities, exclusive))
    low, high = np.percentile(found, [2.5, 97.5])
    return float(np.mean(found)), float(low), float(high)


def brier(targets: Array, probabilities: Array) -> float:
    """Mean squared difference over the labelled entries, summed over exclusive classes (Brier 1950)."""
    known = ~np.isnan(targets).all(axis=1)
    return (
        float(np.nansum((targets[known] - probabilities[known]) ** 2, axis=1).mean()) if known.any() else float("nan")
    )


def _said(probabilities: Array, exclusive: bool, threshold: float) -> Array:
    if not exclusive:
        return probabilities >= threshold
    return np.arange(probabilities.shape[1]) == probabilities.argmax(1)[:, None]


def _binned_gap(confidence: Array, right: Array) -> float:
    """Mean over cases of |confidence - share right| in 15 bins of equal width (Naeini et al. 2015)."""
    place = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    count = np.bincount(place, minlength=_BINS)
    excess = np.bincount(place, weights=confidence - right, minlength=_BINS)
    return float(np.abs(excess).sum() / count.sum())
