"""Figures of the polygenic study, resampled over people: the same resamples for every model, so that differences are paired."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from consilium.metrics.classification import classwise_error
from consilium.metrics.paired import holm
from consilium.types import Array

RESAMPLES = 300


def weights(people: int, seed: int = 20240) -> Array:
    """(RESAMPLES + 1, people): how often each person is drawn; row 0 is everybody once."""
    drawn = np.random.default_rng(seed).multinomial(people, np.full(people, 1 / people), RESAMPLES)
    return np.concatenate([np.ones((1, people), np.int64), drawn]).astype(np.float32)


def aucs(y: Array, score: Array, weight: Array) -> Array:
    """(rows of weight,) area under the ROC curve. Scores are continuous: ties are left as they come."""
    order = np.argsort(score, kind="stable")
    w, positive = weight[:, order], y[order] == 1
    below = np.cumsum(w * ~positive, axis=1, dtype=np.float64)
    return (below[:, positive] * w[:, positive]).sum(axis=1) / (w[:, positive].sum(axis=1) * below[:, -1])


def precisions(y: Array, score: Array, weight: Array) -> Array:
    """(rows of weight,) average precision."""
    order = np.argsort(-score, kind="stable")
    w, positive = weight[:, order], y[order] == 1
    hits, all_ = np.cumsum(w * positive, axis=1, dtype=np.float64), np.cumsum(w, axis=1, dtype=np.float64)
    precision = hits[:, positive] / np.maximum(all_[:, positive], 1)
    return (precision * w[:, positive]).sum(axis=1) / hits[:, -1]


def reclassified(y: Array, new: Array, old: Array, weight: Array) -> Array:
    """(rows of weight,) net reclassification over three classes of risk: below the prevalence, below twice it, above."""
    bars = np.array([1, 2]) * y.mean()
    move = np.sign(np.digitize(new, bars) - np.digitize(old, bars))
    ill = y == 1
    up = (weight[:, ill] * move[ill]).sum(axis=1) / weight[:, ill].sum(axis=1)
    return up - (weight[:, ~ill] * move[~ill]).sum(axis=1) / weight[:, ~ill].sum(axis=1)


def told(values: Array, people: int) -> dict[str, float]:
    """Row 0 with the 95 % interval of the others."""
    low, high = np.percentile(values[1:], [2.5, 97.5])
    return {
        "value": round(float(values[0]), 5),
        "low": round(float(low), 5),
        "high": round(float(high), 5),
        "n": people,
    }


def difference(first: Array, second: Array, people: int) -> dict[str, float]:
    """First less second, with its interval and a two-sided p from the spread of the paired resamples."""
    gap = first - second
    found = told(gap, people)
    return found | {"p": float(2 * norm.sf(abs(gap[0]) / max(float(gap[1:].std()), 1e-12)))}


def table(y: Array, said: dict[str, Array], base: str, against: tuple[str, ...]) -> dict[str, object]:
    """Of (n, k) targets and model -> (n, k) probabilities: every model's mean figures, and `base` against others, over the k
    outcomes, Holm's correction over them."""
    n, k = y.shape
    weight = weights(n)
    auc = {name: np.stack([aucs(y[:, j], p[:, j], weight) for j in range(k)]) for name, p in said.items()}
    models: dict[str, object] = {}
    for name, p in said.items():
        ap = np.stack([precisions(y[:, j], p[:, j], weight) for j in range(k)])
        models[name] = {
            "mean AUC": told(auc[name].mean(axis=0), n),
            "mean average precision": told(ap.mean(axis=0), n),
            "AUC by outcome": [round(float(v), 4) for v in auc[name][:, 0]],
            "ECE": round(classwise_error(y, np.clip(p, 0, 1)), 4) if p.min() >= 0 and p.max() <= 1 else None,
        }
    compared = {}
    for other in against:
        each = [difference(auc[base][j], auc[other][j], n) for j in range(k)]
        net = np.stack([reclassified(y[:, j], said[base][:, j], said[other][:, j], weight) for j in range(k)])
        compared[f"{base} - {other}"] = {
            "mean AUC": difference(auc[base].mean(axis=0), auc[other].mean(axis=0), n),
            "net reclassification": told(net.mean(axis=0), n),
            "wins": int(sum(one["value"] > 0 for one in each)),
            "outcomes": k,
            "by outcome": each,
            "p by outcome, Holm": [round(p, 5) for p in holm([one["p"] for one in each])],
        }
    return {"models": models, "compared": compared}
