"""The parameters of a fitted scikit-learn classifier as tensors (see `heads`), so that nobody need unpickle it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from consilium.errors import UsageError
from consilium.types import Array

Parts = tuple[dict[str, Array], dict[str, Any]]
"""Tensors, and the model table: kind, link and what the kind needs."""

_PROBES = 64
_AGREE = 1e-6


def parts_of(estimator: Any) -> Parts:
    """Tensors and model table of a fitted classifier, or of a Pipeline of scalers or PCA and one.

    UsageError where scikit-learn's class is not known here, is not fitted or answers for several targets at once, and where
    these numbers do not give what the estimator itself says.
    """
    steps, final = _steps(estimator)
    take = _TAKES.get(type(final).__name__)
    if take is None or not type(final).__module__.startswith("sklearn."):
        raise UsageError(
            f"the parameters of {type(final).__name__} cannot be written as plain tensors; known are {', '.join(_TAKES)}. "
            "Convert it to ONNX instead (skl2onnx with options={'zipmap': False}) and add the folder: docs/adapters.md."
        )
    if not hasattr(final, "classes_") or isinstance(final.classes_, list):
        raise UsageError(
            f"{type(final).__name__} is not fitted, or was fitted on several targets. Fit it on one, or use ONNX."
        )
    tensors: dict[str, Array] = {}
    for i, step in enumerate(steps):
        tensors |= {f"step.{i}.{name}": value for name, value in _step(step).items()}
    own, model = take(final)
    tensors |= own
    _prove(estimator, tensors, model)
    return tensors, model


def _steps(estimator: Any) -> tuple[Sequence[Any], Any]:
    if type(estimator).__name__ != "Pipeline":
        return (), estimator
    steps = [step for _, step in estimator.steps if step != "passthrough" and step is not None]
    return steps[:-1], steps[-1]


def _step(step: Any) -> dict[str, Array]:
    name = type(step).__name__
    if name == "StandardScaler":
        d = step.n_features_in_
        centre = step.mean_ if step.with_mean else np.zeros(d)
        return {"centre": np.asarray(centre), "scale": np.asarray(step.scale_ if step.with_std else np.ones(d))}
    if name == "MinMaxScaler" and not step.clip:
        return {"centre": -step.min_ / step.scale_, "scale": 1 / step.scale_}
    if name == "PCA":
        scale = np.sqrt(np.maximum(step.explained_variance_, np.finfo(float).eps)) if step.whiten else 1.0
        matrix = step.components_ / np.reshape(scale, (-1, 1))
        return {"centre": step.mean_, "scale": np.ones_like(step.mean_), "matrix": matrix}
    raise UsageError(
        f"the step {name} cannot be written as plain tensors; known are StandardScaler, MinMaxScaler (without clip) "
        "and PCA. Convert the whole pipeline to ONNX instead: docs/adapters.md."
    )


def _logistic(model: Any) -> Parts:
    tensors = {"weight": model.coef_, "bias": np.broadcast_to(model.intercept_, len(model.coef_))}
    several = "normalised sigmoid" if model.solver == "liblinear" else "softmax"
    return tensors, {"kind": "linear", "link": "binary" if len(model.coef_) == 1 else several}


def _margins(model: Any) -> Parts:
    tensors = {"weight": model.coef_, "bias": np.broadcast_to(model.intercept_, len(model.coef_))}
    return tensors, {"kind": "linear", "link": "binary" if len(model.coef_) == 1 else "softmax", "margins": True}


def _perceptron(model: Any) -> Parts:
    tensors = {f"layer.{i}.weight": w for i, w in enumerate(model.coefs_)}
    tensors |= {f"layer.{i}.bias": b for i, b in enumerate(model.intercepts_)}
    one = model.n_outputs_ == 1
    link = "softmax" if model.out_activation_ == "softmax" else "binary" if one else "sigmoid"
    return tensors, {"kind": "mlp", "link": link, "activation": model.activation}


def _bayes(model: Any) -> Parts:
    tensors = {"mean": model.theta_, "variance": model.var_, "prior": model.class_prior_}
    return tensors, {"kind": "bayes", "link": "softmax"}


def _neighbours(model: Any) -> Parts:
    metric = model.effective_metric_
    if callable(model.weights) or metric not in ("euclidean", "manhattan", "cosine"):
        raise UsageError(
            f"neighbours with the metric {metric!r} and weights {model.weights!r} are not known here. Use ONNX."
        )
    if hasattr(model._fit_X, "toarray"):
        raise UsageError("neighbours of sparse features are not known here. Fit them on an array.")
    tensors = {
        "known": model._fit_X,
        "label": np.ravel(model._y).astype(np.int64),
        "classes": np.array([len(model.classes_)], np.int64),
    }
    table = {"euclidean": "euclidean", "manhattan": "cityblock", "cosine": "cosine"}
    return tensors, {
        "kind": "neighbours",
        "link": "normalise",
        "k": int(model.n_neighbors),
        "metric": table[metric],
        "weights": model.weights,
    }


def _one_tree(model: Any) -> Parts:
    return _forest([model])


def _forest_of(model: Any) -> Parts:
    return _forest(model.estimators_)


def _forest(models: Sequence[Any]) -> Parts:
    """Trees whose leaves hold shares of the classes: the mean over the trees."""
    trees = [model.tree_ for model in models]
    nodes = [_nodes(t.children_left, t.children_right, t.feature, t.threshold, _shares(t) / len(trees)) for t in trees]
    start = np.zeros(nodes[0]["value"].shape[1])
    return _joined(nodes, start, max(t.max_depth for t in trees)), {
        "kind": "trees",
        "link": "normalise",
        "single": True,
    }


def _shares(tree: Any) -> Array:
    value = tree.value[:, 0, :]
    return value / value.sum(axis=1, keepdims=True)


def _boosted(model: Any) -> Parts:
    if model.init is not None and model.init != "zero":
        raise UsageError("gradient boosting on top of another estimator (init) is not known here. Use ONNX.")
    if model.loss != "log_loss":
        raise UsageError(f"gradient boosting by the loss {model.loss!r} is not known here. Use ONNX.")
    columns = model.estimators_.shape[1]
    nodes, deepest = [], 0
    for stage in model.estimators_:
        for column, tree in enumerate(each.tree_ for each in stage):
            value = np.zeros((tree.node_count, columns))
            value[:, column] = model.learning_rate * tree.value[:, 0, 0]
            nodes.append(_nodes(tree.children_left, tree.children_right, tree.feature, tree.threshold, value))
            deepest = max(deepest, tree.max_depth)
    blank = np.zeros((1, model.n_features_in_), np.float32)
    share = [sum(tree.predict(blank)[0] for tree in trees) for trees in model.estimators_.T]
    start = np.ravel(model.decision_function(blank)) - model.learning_rate * np.array(share)
    link = "binary" if columns == 1 else "softmax"
    return _joined(nodes, start, deepest), {"kind": "trees", "link": link, "single": True}


def _histogram_boosted(model: Any) -> Parts:
    if getattr(model, "is_categorical_", None) is not None:
        raise UsageError("histogram boosting with categorical features is not known here. Use ONNX.")
    columns = len(model._predictors[0])
    nodes, deepest = [], 0
    for stage in model._predictors:
        for column, predictor in enumerate(stage):
            table = predictor.nodes
            leaf = table["is_leaf"].astype(bool)
            value = np.zeros((len(table), columns))
            value[:, column] = np.where(leaf, table["value"], 0)
            left, right = (np.where(leaf, -1, table[side].astype(np.int64)) for side in ("left", "right"))
            nodes.append(_nodes(left, right, table["feature_idx"], table["num_threshold"], value))
            deepest = max(deepest, int(table["depth"].max()))
    start = np.ravel(model._baseline_prediction)
    link = "binary" if columns == 1 else "softmax"
    return _joined(nodes, start, deepest), {"kind": "trees", "link": link, "single": False}


def _nodes(left: Array, right: Array, feature: Array, threshold: Array, value: Array) -> dict[str, Array]:
    """One tree, a leaf leading back to itself; only leaves hold a value."""
    leaf, own = left < 0, np.arange(len(left))
    return {
        "feature": np.where(leaf, 0, feature),
        "threshold": np.where(leaf, 0.0, threshold),
        "left": np.where(leaf, own, left),
        "right": np.where(leaf, own, right),
        "value": np.where(leaf[:, None], value, 0.0),
    }


def _joined(trees: Sequence[Mapping[str, Array]], start: Array, depth: int) -> dict[str, Array]:
    offsets = np.concatenate([[0], np.cumsum([len(tree["left"]) for tree in trees])])
    moved = {side: [tree[side] + o for tree, o in zip(trees, offsets, strict=False)] for side in ("left", "right")}
    return {
        "feature": np.concatenate([tree["feature"] for tree in trees]).astype(np.int32),
        "threshold": np.concatenate([tree["threshold"] for tree in trees]),
        "left": np.concatenate(moved["left"]).astype(np.int32),
        "right": np.concatenate(moved["right"]).astype(np.int32),
        "value": np.concatenate([tree["value"] for tree in trees]),
        "root": offsets[:-1].astype(np.int32),
        "start": start.astype(np.float64),
        "depth": np.array([depth], np.int64),
    }


_TAKES: Mapping[str, Callable[[Any], Parts]] = {
    "LogisticRegression": _logistic,
    "LinearSVC": _margins,
    "MLPClassifier": _perceptron,
    "GaussianNB": _bayes,
    "KNeighborsClassifier": _neighbours,
    "DecisionTreeClassifier": _one_tree,
    "RandomForestClassifier": _forest_of,
    "ExtraTreesClassifier": _forest_of,
    "GradientBoostingClassifier": _boosted,
    "HistGradientBoostingClassifier": _histogram_boosted,
}


def _prove(estimator: Any, tensors: Mapping[str, Array], model: Mapping[str, Any]) -> None:
    """UsageError unless drawn features get from the tensors what they get from the estimator."""
    from consilium.specialists.adapter.heads import linked, probabilities

    drawn = np.random.default_rng(0).normal(size=(_PROBES, estimator.n_features_in_))
    if model.get("margins"):
        margins = estimator.decision_function(drawn)
        theirs = linked(margins[:, None] if margins.ndim == 1 else margins, model["link"])
    else:
        theirs = estimator.predict_proba(drawn)
    ours = probabilities(tensors, model, drawn)
    if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=0, atol=_AGREE):
        raise UsageError(
            f"the tensors of {type(estimator).__name__} do not say what the estimator says: this release of scikit-learn keeps "
            "its parameters in another way. Convert it to ONNX instead: docs/adapters.md."
        )
