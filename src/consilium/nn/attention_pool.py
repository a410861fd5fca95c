"""A head over the slices of a volume: a 2-D encoder sees each, gated attention says how much each counts (Ilse, Tomczak and
Welling 2018), and a linear layer judges their weighted mean.

Tensors (float32), with d features of a slice, h hidden units, c concepts:
    centre, scale (d,)                     standardisation, of volumes' mean slices
    gate.content, gate.passing (h, d)      only where h > 0: tanh and sigmoid branches
    gate.weight (h,)                       a slice's score, softmax over the slices that are there
    weight (c, d), bias (c,)
    calibration.*, foreign.*               as in `light_head`; foreign.* of the mean slice
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from consilium.imaging.slices import chosen
from consilium.nn import fit_head
from consilium.nn.fit_head import SEED, Shape
from consilium.nn.light_head import standardise
from consilium.protocols import Encoder
from consilium.types import Array, Volume

STEPS, RATE = 200, 2e-3
_ABSENT = -1e9


def slice_features(volumes: Sequence[Volume], encoder: Encoder, k: int) -> tuple[Array, Array]:
    """The features (n, k, d) of the k most telling slices of each volume, in their order (`imaging.slices.chosen`), and which
    of them are there (n, k): a volume of fewer slices gives what it has, and zeros."""
    picked = [chosen(volume, k=k) for volume in volumes]
    seen = encoder.embed([volume.slice(i) for volume, rows in zip(volumes, picked, strict=True) for i in rows]).pooled
    present = np.array([[place < len(rows) for place in range(k)] for rows in picked])
    features = np.zeros((len(volumes), k, seen.shape[1]), np.float32)
    features[present] = seen
    return features, present


def mean_slice(features: Array, present: Array) -> Array:
    """(n, k, d), (n, k) -> (n, d): the mean of the slices that are there."""
    return np.asarray(np.einsum("nkd,nk->nd", features, present / present.sum(axis=1, keepdims=True)), np.float32)


def attention(tensors: Mapping[str, Array], features: Array, present: Array) -> Array:
    """(n, k, d), (n, k) -> (n, k) how much each slice counts: 0 where there is none, the sum 1. Without a gate all alike."""
    if "gate.weight" not in tensors:
        return present / present.sum(axis=1, keepdims=True)
    x = standardise(tensors, features)
    passing = 1 / (1 + np.exp(-np.clip(x @ tensors["gate.passing"].T, -60, 60)))
    scores = (np.tanh(x @ tensors["gate.content"].T) * passing) @ tensors["gate.weight"]
    scores = np.where(present, scores, _ABSENT)
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def raw_logits(tensors: Mapping[str, Array], features: Array, present: Array) -> Array:
    """(n, k, d), (n, k) -> (n, c) logits before calibration."""
    pooled = np.einsum("nkd,nk->nd", standardise(tensors, features), attention(tensors, features, present))
    return np.asarray(pooled @ tensors["weight"].T + tensors["bias"], np.float32)


def fit(features: Array, present: Array, targets: Array, exclusive: bool, shape: Shape) -> dict[str, Array]:
    """(n, k, d), (n, k), targets (n, c) with NaN for not labelled -> tensors of an uncalibrated head.

    `shape.hidden` 0 weighs all slices alike: the linear head on the mean slice. With a gate that head is the start, from which
    gate and head are trained together (Adam, whole batch); the same data give the same head.
    """
    start = fit_head.fit(mean_slice(features, present), targets, exclusive, Shape(0, shape.decay))
    return _gated(start, features, present, (targets, exclusive), shape) if shape.hidden else start


def _gated(
    start: dict[str, Array], features: Array, present: Array, wanted: tuple[Array, bool], shape: Shape
) -> dict[str, Array]:
    import torch

    x = torch.from_numpy(standardise(start, features).astype(np.float32))
    absent = torch.from_numpy(~present)
    y = torch.from_numpy(wanted[0].astype(np.float32))
    draw = torch.Generator().manual_seed(SEED)
    spread = x.shape[-1] ** -0.5
    parts = {name: torch.randn(shape.hidden, x.shape[-1], generator=draw) * spread for name in ("content", "passing")}
    # A score of zero for every slice is the plain mean: training leaves it only for what lessens the loss.
    parts["weight"] = torch.zeros(shape.hidden)
    learnt = {f"gate.{name}": value for name, value in parts.items()}
    learnt |= {name: torch.from_numpy(start[name].astype(np.float32)) for name in ("weight", "bias")}
    for value in learnt.values():
        value.requires_grad_(True)
    optimiser = torch.optim.Adam(list(learnt.values()), lr=RATE)
    for _ in range(STEPS):
        passing = torch.sigmoid(x @ learnt["gate.passing"].T)
        scores = (torch.tanh(x @ learnt["gate.content"].T) * passing) @ learnt["gate.weight"]
        shares = scores.masked_fill(absent, _ABSENT).softmax(dim=1)
        logits = (x * shares[..., None]).sum(dim=1) @ learnt["weight"].T + learnt["bias"]
        penalty = shape.decay / 2 * sum((value**2).sum() for name, value in learnt.items() if name != "bias")
        optimiser.zero_grad()
        (fit_head.loss(logits, y, wanted[1]) + penalty).backward()
        optimiser.step()
    return start | {name: value.detach().numpy() for name, value in learnt.items()}
