"""Area under the precision-recall curve, from probabilities and targets (1, 0, NaN: not labelled)."""

from __future__ import annotations

import numpy as np

from consilium.types import Array


def auprc(target: Array, score: Array) -> float:
    """Average precision of one concept (n,), as scikit-learn defines it (no interpolation); NaN with one class only: the
    share of positives is its floor, so it is compared within a set alone."""
    from sklearn import config_context
    from sklearn.metrics import average_precision_score

    known = ~np.isnan(target)
    positive = target[known] == 1
    if positive.all() or not positive.any():
        return float("nan")
    with config_context(assume_finite=True, skip_parameter_validation=True):  # it is called for every resample
        return float(average_precision_score(positive, score[known]))


def mean_auprc(targets: Array, probabilities: Array) -> float:
    """Mean over the concepts (one against the rest) of those that have both classes."""
    values = [auprc(targets[:, c], probabilities[:, c]) for c in range(targets.shape[1])]
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
