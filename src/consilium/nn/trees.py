"""Gradient-boosted trees: fitted by scikit-learn, kept as plain arrays, judged in numpy. No pickle.

Tensors, with t trees of N nodes in all, c concepts:
    trees.feature (N,) int32      the feature that a node asks; a leaf asks 0 and leads back to itself
    trees.threshold (N,) float32  at most this: go left
    trees.left, trees.right (N,) int32
    trees.value (N,) float32      what a leaf adds, shrinkage included
    trees.root, trees.column (t,) int32    where a tree begins, the concept it speaks of
    trees.start (c,) float32      logits before any tree
    trees.depth (1,) int32
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from consilium.types import Array

REQUIRED = tuple(
    f"trees.{name}" for name in ("feature", "threshold", "left", "right", "value", "root", "column", "start", "depth")
)
RATE, SUBSAMPLE, LEAF = 0.05, 0.8, 5
_CHUNK = 512


@dataclass(frozen=True)
class Boost:
    """`trees` rounds of boosting, each tree at most `depth` deep."""

    trees: int
    depth: int


def fit(features: Array, targets: Array, exclusive: bool, boost: Boost, seed: int) -> dict[str, Array]:
    """(n, d) features and (n, c) targets (NaN: not labelled) -> tensors. A concept with one value alone gets no tree."""
    columns = targets.shape[1]
    if exclusive:
        present = np.flatnonzero(targets.sum(axis=0))
        start = np.log((targets.sum(axis=0) + 0.5) / (len(targets) + 0.5 * columns))
        if len(present) < 2:
            return pack([], start)
        if len(present) == 2:  # the trees speak of the second against the first, which stays at 0
            start, speaks = start - start[present[0]], present[1:]
        else:
            speaks = present
        return pack([(_model(features, targets.argmax(1), boost, seed), speaks)], start)
    start, models = np.zeros(columns), []
    for c in range(columns):
        known = ~np.isnan(targets[:, c])
        positive = targets[known, c].sum()
        start[c] = np.log((positive + 0.5) / (known.sum() - positive + 0.5))
        if 0 < positive < known.sum():
            models.append((_model(features[known], targets[known, c], boost, seed), np.array([c])))
    return pack(models, start)


def _model(features: Array, classes: Array, boost: Boost, seed: int) -> Any:
    from sklearn.ensemble import GradientBoostingClassifier

    model = GradientBoostingClassifier(
        n_estimators=boost.trees,
        max_depth=boost.depth,
        learning_rate=RATE,
        subsample=SUBSAMPLE,
        min_samples_leaf=LEAF,
        max_features="sqrt",
        random_state=seed,
    )
    return model.fit(features.astype(np.float32), classes)


def pack(models: Sequence[tuple[Any, Array]], start: Array) -> dict[str, Array]:
    """Fitted GradientBoostingClassifiers, each with the columns that its trees speak of, and the logits (c,) of the columns
    that have no tree -> tensors."""
    parts: dict[str, list[Array]] = {name: [] for name in ("feature", "threshold", "left", "right", "value")}
    roots, column, size, deepest, start = [], [], 0, 0, start.astype(np.float32).copy()
    for model, columns in models:
        for trees in model.estimators_:
            for place, tree in zip(columns, trees, strict=True):
                for name, values in _nodes(tree.tree_, size, model.learning_rate).items():
                    parts[name].append(values)
                roots.append(size)
                column.append(place)
                size, deepest = size + tree.tree_.node_count, max(deepest, tree.tree_.max_depth)
        start[columns] = _start(model)
    empty = {"threshold": np.empty(0, np.float32), "value": np.empty(0, np.float32)}
    joined = {n: np.concatenate(v) if v else empty.get(n, np.empty(0, np.int32)) for n, v in parts.items()}
    joined |= {"root": np.array(roots, np.int32), "column": np.array(column, np.int32)}
    return {f"trees.{n}": v for n, v in (joined | {"start": start, "depth": np.array([deepest], np.int32)}).items()}


def _nodes(tree: Any, offset: int, rate: float) -> dict[str, Array]:
    leaf, own = tree.children_left < 0, np.arange(tree.node_count)
    cut = tree.threshold.astype(np.float32)
    # Features are float32: x <= threshold holds for them just where x <= the largest float32 that is not above it.
    cut = np.where(cut > tree.threshold, np.nextafter(cut, np.float32(-np.inf)), cut)
    return {
        "feature": np.where(leaf, 0, tree.feature).astype(np.int32),
        "threshold": cut.astype(np.float32),
        "left": (np.where(leaf, own, tree.children_left) + offset).astype(np.int32),
        "right": (np.where(leaf, own, tree.children_right) + offset).astype(np.int32),
        "value": np.where(leaf, rate * tree.value[:, 0, 0], 0).astype(np.float32),
    }


def _start(model: Any) -> Array:
    """What the classifier says before its first tree, from its public answer to one row less the trees' share of it."""
    blank = np.zeros((1, model.n_features_in_), np.float32)
    share = [sum(tree.predict(blank)[0] for tree in trees) for trees in model.estimators_.T]
    return np.ravel(model.decision_function(blank)) - model.learning_rate * np.array(share)


def raw_logits(tensors: Mapping[str, Array], features: Array) -> Array:
    """(n, d) -> (n, c) float32 logits before calibration."""
    parts = [features[i : i + _CHUNK].astype(np.float32) for i in range(0, len(features), _CHUNK)]
    return np.concatenate([_logits(tensors, part) for part in parts])


def _logits(tensors: Mapping[str, Array], x: Array) -> Array:
    start = tensors["trees.start"]
    at = np.broadcast_to(tensors["trees.root"], (len(x), len(tensors["trees.root"])))
    rows = np.arange(len(x))[:, None]
    for _ in range(int(tensors["trees.depth"][0])):
        left = x[rows, tensors["trees.feature"][at]] <= tensors["trees.threshold"][at]
        at = np.where(left, tensors["trees.left"][at], tensors["trees.right"][at])
    speaks = np.eye(len(start), dtype=np.float32)[tensors["trees.column"]]
    return start + tensors["trees.value"][at] @ speaks if speaks.size else np.tile(start, (len(x), 1))
