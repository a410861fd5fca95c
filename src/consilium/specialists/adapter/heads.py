"""scikit-learn's judgement in numpy, in float64 as scikit-learn computes it, from tensors alone. No pickle.

Tensors, with d features, c concepts, by kind:
    step.I.centre, step.I.scale (d,)          (x - centre) / scale
    step.I.matrix (k, d)                      x @ matrix.T, after the others of its step
    linear     weight (c or 1, d), bias (c or 1,)
    mlp        layer.I.weight (in, out), layer.I.bias (out,)
    bayes      mean, variance (c, d), prior (c,)
    neighbours known (m, d), label (m,) int64: place of the class, classes (1,)
    trees      feature, left, right (N,) int32, threshold (N,), value (N, c or 1), root (t,) int32, start (c or 1,), depth (1,)
`link` says how scores become probabilities: "none", "normalise", "sigmoid" (each for itself), "binary" (one score: the second of
two classes), "softmax", "normalised sigmoid" (one against the rest).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from consilium.nn.light_head import to_probabilities
from consilium.types import Array

KINDS = ("linear", "mlp", "bayes", "neighbours", "trees")
LINKS = ("none", "normalise", "sigmoid", "binary", "softmax", "normalised sigmoid")
_CHUNK = 512


def probabilities(tensors: Mapping[str, Array], model: Mapping[str, Any], features: Array) -> Array:
    """(n, d) features -> (n, c) float64. `model` names kind and link, and what the kind needs besides (activation, metric,
    weights, k)."""
    x = prepared(tensors, features.astype(np.float64))
    return linked(_SCORES[model["kind"]](tensors, model, x), model["link"])


def prepared(tensors: Mapping[str, Array], x: Array) -> Array:
    """What comes before the model: scaling and projection, step by step."""
    steps = sorted({int(name.split(".")[1]) for name in tensors if name.startswith("step.")})
    for i in steps:
        x = (x - tensors[f"step.{i}.centre"]) / tensors[f"step.{i}.scale"]
        if f"step.{i}.matrix" in tensors:
            x = x @ tensors[f"step.{i}.matrix"].T
    return x


def linked(scores: Array, link: str) -> Array:
    if link == "none":
        return scores
    if link == "normalise":
        return scores / scores.sum(axis=1, keepdims=True)
    if link == "softmax":
        return to_probabilities(scores, exclusive=True)
    each = to_probabilities(scores, exclusive=False)
    if link == "binary":
        return np.concatenate([1 - each, each], axis=1)
    return each if link == "sigmoid" else each / each.sum(axis=1, keepdims=True)


def _linear(tensors: Mapping[str, Array], model: Mapping[str, Any], x: Array) -> Array:
    return x @ tensors["weight"].T + tensors["bias"]


def _mlp(tensors: Mapping[str, Array], model: Mapping[str, Any], x: Array) -> Array:
    layers = sum(name.endswith(".weight") for name in tensors if name.startswith("layer."))
    for i in range(layers):
        x = x @ tensors[f"layer.{i}.weight"] + tensors[f"layer.{i}.bias"]
        if i < layers - 1:
            x = _ACTIVATIONS[model["activation"]](x)
    return x


_ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "identity": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "logistic": lambda x: to_probabilities(x, exclusive=False),
}


def _bayes(tensors: Mapping[str, Array], model: Mapping[str, Any], x: Array) -> Array:
    mean, variance = tensors["mean"], tensors["variance"]
    spread = np.log(2 * np.pi * variance).sum(axis=1)
    apart = ((x[:, None, :] - mean) ** 2 / variance).sum(axis=2)
    return np.log(tensors["prior"]) - 0.5 * (spread + apart)


def _neighbours(tensors: Mapping[str, Array], model: Mapping[str, Any], x: Array) -> Array:
    from scipy.spatial.distance import cdist

    k, votes = int(model["k"]), np.eye(int(tensors["classes"][0]))[tensors["label"]]
    parts = []
    for i in range(0, len(x), _CHUNK):
        far = cdist(x[i : i + _CHUNK], tensors["known"], model["metric"])
        near = np.argsort(far, axis=1, kind="stable")[:, :k]
        weight = _weights(np.take_along_axis(far, near, axis=1), model["weights"])
        parts.append((votes[near] * weight[..., None]).sum(axis=1))
    return np.concatenate(parts)


def _weights(far: Array, how: str) -> Array:
    """Every neighbour counts the same, or by the inverse of its distance; one that is the picture itself then counts alone."""
    if how == "uniform":
        return np.ones_like(far)
    same = far == 0
    return np.where(same.any(axis=1, keepdims=True), same, 1 / np.where(same, 1, far))


def _trees(tensors: Mapping[str, Array], model: Mapping[str, Any], x: Array) -> Array:
    if model["single"]:  # scikit-learn's forests compare features as float32, its histogram trees as they are
        x = x.astype(np.float32).astype(np.float64)
    return np.concatenate([_walked(tensors, x[i : i + _CHUNK]) for i in range(0, len(x), _CHUNK)])


def _walked(tensors: Mapping[str, Array], x: Array) -> Array:
    at = np.broadcast_to(tensors["root"], (len(x), len(tensors["root"])))
    rows = np.arange(len(x))[:, None]
    for _ in range(int(tensors["depth"][0])):
        left = x[rows, tensors["feature"][at]] <= tensors["threshold"][at]
        at = np.where(left, tensors["left"][at], tensors["right"][at])
    return tensors["start"] + tensors["value"][at].sum(axis=1)


_SCORES = {"linear": _linear, "mlp": _mlp, "bayes": _bayes, "neighbours": _neighbours, "trees": _trees}
