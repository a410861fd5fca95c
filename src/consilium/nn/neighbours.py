"""The k nearest known pictures by cosine, in numpy: their smoothed class shares as logits.

Tensors, with m known pictures, d features, c concepts:
    centre, scale (d,)            standardisation before the cosine (0 and 1: none)
    neighbours.features (m, d)    float16, standardised and of length 1
    neighbours.targets (m, c)     float16: 1, 0 or NaN (not labelled)
    neighbours.k (1,)
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from consilium.nn.fit_head import spread
from consilium.nn.light_head import standardise
from consilium.types import Array

REQUIRED = ("centre", "scale", "neighbours.features", "neighbours.targets", "neighbours.k")
K = 11
# The shares of all known pictures count as this many further neighbours, so that no share is 0 or 1.
SMOOTH = 2.0
_CHUNK = 256


def fit(features: Array, targets: Array, standardised: bool, k: int = K) -> dict[str, Array]:
    """Keeps (n, d) features and (n, c) targets as what is searched."""
    d = features.shape[1]
    plain = {"centre": np.zeros(d, np.float32), "scale": np.ones(d, np.float32)}
    tensors = spread(features) if standardised else plain
    return tensors | {
        "neighbours.features": _unit(tensors, features).astype(np.float16),
        "neighbours.targets": targets.astype(np.float16),
        "neighbours.k": np.array([k], np.int32),
    }


def raw_logits(tensors: Mapping[str, Array], features: Array, exclusive: bool) -> Array:
    """(n, d) -> (n, c) float32: log of the shares where classes exclude each other, else their logit, each concept's share
    among the nearest pictures that are labelled with it."""
    known = tensors["neighbours.features"].astype(np.float32)
    targets, k = tensors["neighbours.targets"].astype(np.float32), int(tensors["neighbours.k"][0])
    queries = _unit(tensors, features)
    parts = [queries[i : i + _CHUNK] @ known.T for i in range(0, len(queries), _CHUNK)]
    if exclusive:
        share = np.concatenate([_share(part, targets, k) for part in parts])
        return np.log(share).astype(np.float32)
    columns = []
    for c in range(targets.shape[1]):
        labelled = ~np.isnan(targets[:, c])
        columns.append(np.concatenate([_share(p[:, labelled], targets[labelled, c : c + 1], k) for p in parts]))
    share = np.concatenate(columns, axis=1)
    return np.log(share / (1 - share)).astype(np.float32)


def _share(similarity: Array, targets: Array, k: int) -> Array:
    """(n, m) and (m, c) -> (n, c) in (0, 1)."""
    m = len(targets)
    prior = (targets.sum(axis=0) + 0.5) / (m + 0.5 * max(2, targets.shape[1]))
    if not m:
        return np.broadcast_to(prior, (len(similarity), len(prior)))
    near = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    return (targets[near].sum(axis=1) + SMOOTH * prior) / (near.shape[1] + SMOOTH)


def _unit(tensors: Mapping[str, Array], features: Array) -> Array:
    x = standardise(tensors, features)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
