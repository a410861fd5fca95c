"""Fits a light head on frozen features: weights by penalised likelihood, calibration, distance of foreign pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from consilium.nn.light_head import distance, raw_logits, standardise
from consilium.types import Array


@dataclass(frozen=True)
class Shape:
    """What is fitted: `hidden` units (0: linear) and the weight of the squared-norm penalty."""

    hidden: int
    decay: float


OWN = 0.975
# Times foreign.own, and times the same quantile of all that is known (docs/decisions/0013-own-kind-or-another.md).
FARTHEST, NEWEST = 2.4, 1.8
# Of the total variance of the standardised features.
_KIND_DECAY = 0.02
LADDER = tuple(Shape(0, decay) for decay in (1e-2, 3e-2, 1e-1, 3e-1, 1.0)) + tuple(
    Shape(64, decay) for decay in (1e-2, 1e-1)
)
SEED = 20240


def fit(features: Array, targets: Array, exclusive: bool, shape: Shape, seed: int = SEED) -> dict[str, Array]:
    """(n, d) features and (n, c) targets (NaN: not labelled) -> tensors of an uncalibrated head. `seed` decides where an MLP
    starts; the same seed gives the same head."""
    import torch

    torch.manual_seed(seed)
    tensors = spread(features)
    x = torch.from_numpy(standardise(tensors, features).astype(np.float32))
    y = torch.from_numpy(targets.astype(np.float32))
    head = _head(x.shape[1], y.shape[1], shape.hidden)
    _minimise(head, lambda: loss(head(x), y, exclusive) + _penalty(head, shape.decay), shape.hidden > 0)
    names = ("hidden.weight", "hidden.bias", "weight", "bias")[-len(list(head.parameters())) :]
    return tensors | {name: p.detach().numpy() for name, p in zip(names, head.parameters(), strict=True)}


def spread(features: Array) -> dict[str, Array]:
    """What standardises features (n, d): centre and scale (d,)."""
    scale = features.std(axis=0)
    return {"centre": features.mean(axis=0), "scale": np.where(scale > 1e-6, scale, 1).astype(np.float32)}


def _head(d: int, c: int, hidden: int):  # type: ignore[no-untyped-def]
    from torch import nn

    if hidden:
        return nn.Sequential(nn.Linear(d, hidden), nn.ReLU(), nn.Linear(hidden, c))
    head = nn.Linear(d, c)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def loss(logits, targets, exclusive: bool):  # type: ignore[no-untyped-def]
    """Mean cross-entropy of torch logits (n, c), over labelled entries where classes do not exclude each other."""
    from torch.nn import functional

    if exclusive:
        return functional.cross_entropy(logits, targets.argmax(1))
    known = ~targets.isnan()
    return functional.binary_cross_entropy_with_logits(logits[known], targets[known])


def _penalty(head, decay: float):  # type: ignore[no-untyped-def]
    return decay * sum((p**2).sum() for p in head.parameters() if p.ndim == 2) / 2


def _minimise(head, objective: Callable, gradual: bool) -> None:  # type: ignore[no-untyped-def]
    """L-BFGS for the convex linear head, 200 whole-batch steps of Adam for an MLP."""
    import torch

    def closure():  # type: ignore[no-untyped-def]
        optimiser.zero_grad()
        value = objective()
        value.backward()
        return value

    optimiser: torch.optim.Optimizer
    if gradual:
        optimiser = torch.optim.Adam(head.parameters(), lr=1e-3)
    else:
        optimiser = torch.optim.LBFGS(
            head.parameters(), max_iter=300, tolerance_change=1e-7, line_search_fn="strong_wolfe"
        )
    for _ in range(200 if gradual else 1):
        optimiser.step(closure)


def negative_log_likelihood(logits: Array, targets: Array, exclusive: bool) -> float:
    """Mean over rows (exclusive) or over labelled entries, in nats."""
    if exclusive:
        peak = logits.max(axis=1)
        total = np.log(np.exp(logits - peak[:, None]).sum(axis=1)) + peak
        return float((total - logits[np.arange(len(logits)), targets.argmax(1)]).mean())
    known = ~np.isnan(targets)
    return float((np.logaddexp(0, logits[known]) - targets[known] * logits[known]).mean())


def calibrate(logits: Array, targets: Array, exclusive: bool) -> dict[str, Array]:
    """Held-out (n, c) logits -> slope and offset. Exclusive classes: one temperature (Guo et al. 2017). Else slope and
    offset a concept (Platt 1999), with a weak pull towards slope 1 that decides where positives are few."""
    from scipy.optimize import minimize, minimize_scalar

    concepts = logits.shape[1]
    if exclusive:
        found = minimize_scalar(
            lambda log_slope: negative_log_likelihood(logits * np.exp(log_slope), targets, True),
            bounds=(-4, 4),
            method="bounded",
        )
        slope, offset = np.full(concepts, np.exp(found.x)), np.zeros(concepts)
    else:
        slope, offset = np.ones(concepts), np.zeros(concepts)
        for c in range(concepts):
            known = ~np.isnan(targets[:, c])
            if len(np.unique(targets[known, c])) < 2:
                continue
            z, y = logits[known, c], targets[known, c]
            result = minimize(_platt, np.array([0.0, 0.0]), args=(z, y), method="BFGS")
            slope[c], offset[c] = np.exp(result.x[0]), result.x[1]
    return {"calibration.slope": slope.astype(np.float32), "calibration.offset": offset.astype(np.float32)}


def _platt(parameters: Array, logits: Array, targets: Array) -> float:
    z = np.exp(parameters[0]) * logits + parameters[1]
    return float((np.logaddexp(0, z) - targets * z).sum() + parameters[0] ** 2)


def foreign(tensors: Mapping[str, Array], features: Array, directions: int = 64) -> dict[str, Array]:
    """The Gaussian of the training pictures in standardised features, without its limits."""
    x = standardise(tensors, features)
    k = min(directions, len(x) // 4, x.shape[1] - 1)
    _, singular, basis = np.linalg.svd(x, full_matrices=False)
    variance = singular**2 / len(x)
    residual = variance[k:].sum() / (x.shape[1] - k)
    return {
        "foreign.basis": basis[:k],
        "foreign.precision": 1 / np.maximum(variance[:k], 1e-6),
        "foreign.residual": np.array([1 / max(residual, 1e-6)]),
    }


def limits(own: Array, widest: float = 1.0) -> dict[str, Array]:
    """Distances (n,) of held-out own pictures -> both limits: foreign.own holds OWN of them, foreign.limit is `widest` (at
    least 1) times that."""
    inner = float(np.quantile(own, OWN))
    return {"foreign.own": np.array([inner]), "foreign.limit": np.array([max(widest, 1.0) * inner])}


def kinds(own: Array, background: Array, names: Array) -> dict[str, Array]:
    """What tells one's own kind of picture, from any scanner, from others: own features (n, d), those of a background (m, d)
    and the number of each one's kind (m,) -> kind.weight (k + 1, d) and kind.bias (k + 1,), row 0 the own kind's score.

    Ridge regression of the kind, each kind weighing the same however many pictures show it: so a picture that no kind was
    fitted on is scored by what it shares with each.
    """
    x = np.concatenate([own, background]).astype(np.float64)
    found, which = np.unique(names, return_inverse=True)
    member = np.eye(len(found) + 1)[np.concatenate([np.zeros(len(own), int), 1 + which])]
    weight = (member / member.sum(axis=0)).sum(axis=1, keepdims=True) / member.shape[1]
    centre = (weight * x).sum(axis=0)
    scale = np.sqrt((weight * (x - centre) ** 2).sum(axis=0))
    scale = np.where(scale > 1e-6, scale, 1)
    x = (x - centre) / scale
    gram = (weight * x).T @ x + _KIND_DECAY * x.shape[1] * np.eye(x.shape[1])
    slopes = np.linalg.solve(gram, (weight * x).T @ member).T / scale
    return {"kind.weight": slopes, "kind.bias": -slopes @ centre}


def known(own: Array, background: Array) -> dict[str, Array]:
    """The Gaussian of own (n, d) and background (m, d) features together, and known.limit (1,), NEWEST times the distance
    within which OWN of them lie when each half is measured from the other: beyond it a picture is like nothing known, and
    of which kind it is the most says nothing."""
    together = np.concatenate([own, background])

    def gaussian(x: Array) -> dict[str, Array]:
        at = spread(x)
        return {f"foreign.{name}": value for name, value in at.items()} | foreign(at, x)

    even, odd = together[::2], together[1::2]
    apart = np.concatenate([distance(gaussian(even), odd), distance(gaussian(odd), even)])
    found = {name.replace("foreign.", "known."): value for name, value in gaussian(together).items()}
    return found | {"known.limit": np.array([NEWEST * float(np.quantile(apart, OWN))])}


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What heads said of pictures that they were not fitted on: logits (n, c) and distances (n,)."""

    logits: Array
    distances: Array


def out_of_fold(features: Array, targets: Array, exclusive: bool, shape: Shape, folds: Array) -> HeldOut:
    """Fits once per fold on the others; `folds` (n,) integers, all pictures of a patient in one."""
    logits = np.zeros((len(features), targets.shape[1]), np.float32)
    distances = np.zeros(len(features), np.float32)
    for fold in np.unique(folds):
        out = folds == fold
        tensors = fit(features[~out], targets[~out], exclusive, shape)
        logits[out] = raw_logits(tensors, features[out])
        distances[out] = distance(tensors | foreign(tensors, features[~out]), features[out])
    return HeldOut(logits, distances)
