"""Answering only what one is sure of: risk against coverage (El-Yaniv and Wiener 2010), its area (Geifman and El-Yaniv 2017),
and how often an answer of a given confidence is right.

confidence (n,) is -inf where nothing was answered: such a case is never covered. Cases of equal confidence cannot be told
apart, so each counts as the mean of them: the figures do not hang on the order of the cases.
"""

from __future__ import annotations

import numpy as np

from consilium.types import Array

# Shares of errors are sums in another order than the bound they are held against.
_ROUNDING = 1e-12


def coverage_risk(confidence: Array, right: Array) -> tuple[Array, Array]:
    """(coverage (m,), risk (m,)) of answering the 1, 2, ... m surest of n cases: coverage k / n, risk the share of wrong ones
    among those k. m is how many were answered at all."""
    errors = _expected_errors(confidence, right)[: int((confidence > -np.inf).sum())]
    covered = np.arange(1, len(errors) + 1)
    return covered / max(1, len(confidence)), errors.cumsum() / covered


def aurc(confidence: Array, right: Array) -> float:
    """Mean of the risk over coverages 1/n ... 1; cases without an answer come last and count as wrong. NaN without a case."""
    if not len(confidence):
        return float("nan")
    errors = _expected_errors(confidence, right & (confidence > -np.inf))
    return float((errors.cumsum() / np.arange(1, len(errors) + 1)).mean())


def risk_at_coverage(confidence: Array, right: Array, coverage: float) -> float:
    """The share of wrong answers among the surest ones that make up at least `coverage` of all cases; NaN where fewer were
    answered."""
    reached, risk = coverage_risk(confidence, right)
    place = int(np.searchsorted(reached, coverage - _ROUNDING))
    return float(risk[place]) if place < len(risk) else float("nan")


def coverage_at_risk(confidence: Array, right: Array, risk: float) -> float:
    """The largest share of cases that can be answered, surest first, with at most `risk` wrong among them; 0 if none."""
    reached, found = coverage_risk(confidence, right)
    (good,) = np.nonzero(found <= risk + _ROUNDING)
    return float(reached[good[-1]]) if len(good) else 0.0


def reliability(confidence: Array, right: Array, bins: int = 10) -> tuple[Array, Array, Array]:
    """(mean confidence, share right, count), (bins,) each, over bins of equal width on [0, 1]; NaN in an empty bin."""
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, weights=confidence, minlength=bins) / count
        share = np.bincount(place, weights=right.astype(float), minlength=bins) / count
    return mean, share, count


def _expected_errors(confidence: Array, right: Array) -> Array:
    """(n,) 1 where wrong, surest first, averaged over cases of equal confidence."""
    order = np.argsort(-confidence, kind="stable")
    _, block = np.unique(-confidence[order], return_inverse=True)
    wrong = ~right[order].astype(bool)
    return (np.bincount(block, weights=wrong) / np.maximum(1, np.bincount(block)))[block]
