"""AUROC, F1, calibration error and their like, from probabilities (n, classes) and targets (n, classes).

A target is 1, 0 or NaN; NaN is "not labelled" and leaves that entry out of every figure. For exclusive classes each row of
targets holds one 1.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from consilium.types import Array


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


def calibration_error(targets: Array, probabilities: Array, exclusive: bool, bins: int = 10) -> float:
    """Expected calibration error with bins of equal mass (Nguyen and O'Connor 2015).

    Exclusive classes: of the top class's probability against how often it is right. Else: mean over the concepts of the
    binary error.
    """
    if exclusive:
        top = probabilities.argmax(1)
        rows = np.arange(len(top))
        return _binned_gap(probabilities[rows, top], targets[rows, top] == 1, bins)
    gaps = []
    for c in range(targets.shape[1]):
        known = ~np.isnan(targets[:, c])
        if known.any():
            gaps.append(_binned_gap(probabilities[known, c], targets[known, c] == 1, bins))
    return float(np.mean(gaps)) if gaps else float("nan")


def brier(targets: Array, probabilities: Array) -> float:
    """Mean squared difference over the labelled entries, summed over exclusive classes (Brier 1950)."""
    return float(np.nanmean(np.nansum((targets - probabilities) ** 2, axis=1)))


def _said(probabilities: Array, exclusive: bool, threshold: float) -> Array:
    if not exclusive:
        return probabilities >= threshold
    return np.arange(probabilities.shape[1]) == probabilities.argmax(1)[:, None]


def _binned_gap(confidence: Array, right: Array, bins: int) -> float:
    order = np.argsort(confidence, kind="stable")
    gap = 0.0
    for part in np.array_split(order, min(bins, len(order))):
        gap += len(part) * abs(float(confidence[part].mean()) - float(right[part].mean()))
    return gap / len(order)
