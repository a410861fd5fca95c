"""The models of the polygenic study: those trained on an outcome's labels, and those that never saw one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from consilium.nn import light_head, risk_set
from consilium.nn.fit_head import calibrate
from consilium.nn.risk_head import RiskHead, demographic_terms, raw_logits
from consilium.train.polygenic_fit import FOLDS, GateShape, Ridge, gate, ridge
from consilium.types import Array

GATED, LINEAR = "gated image head", "ridge, all scores"
BASELINE = "nearest trained outcome, linear (the paper's baseline)"
INDEX = "summary-statistic index x gate"
_PLACES = 12


@dataclass(frozen=True, eq=False)
class Data:
    """Train and test people: x (n, traits, 3) as read from the pictures, d (n, 4), y (n, outcomes). z (V, traits) and
    z_outcomes (V, outcomes): summary statistics; scores_z (traits * 3, outcomes): correlation of each score with each outcome by
    summary statistics; gwas: people in these studies, prevalence (outcomes,) in them."""

    x: tuple[Array, Array]
    d: tuple[Array, Array]
    y: tuple[Array, Array]
    places: tuple[Array, Array]
    scores_r: Array
    gwas: int
    prevalence: Array

    def flat(self, part: int) -> Array:
        return self.x[part].reshape(len(self.x[part]), -1)


def terms(age: Array, sex: Array) -> Array:
    return demographic_terms(age, np.where(sex > 0, "male", "female"), 0.0, 1.0)


def places_of(z: Array) -> Array:
    """(V, p) z -> (p, r) coordinates: leading eigenvectors of their correlations over variants."""
    correlation = np.corrcoef(z, rowvar=False)
    size, vectors = np.linalg.eigh(correlation)
    leading = np.argsort(-size)[:_PLACES]
    found = vectors[:, leading] * np.sqrt(np.maximum(size[leading], 0))
    return found / found.std()


def trained(data: Data, boosting: bool, net: bool, elastic: bool) -> tuple[dict[str, Array], RiskHead, Ridge]:
    """Model -> (test people, trained outcomes) probabilities; the gated head and the ridge regression under it."""
    x, xt, (d, dt), (y, _) = data.flat(0), data.flat(1), data.d, data.y
    found = ridge(x, y, d)
    head = gate(found, y, d, (0.0, 1.0), GateShape())
    said = {
        "demographics": _logistic(d, y, dt),
        "best single score": _best_single(x, y, d, xt, dt),
        LINEAR: gate(found, y, d, (0.0, 1.0), GateShape(gated=False)).probabilities(xt, dt),
        "score x demographics logistic": _products(found, y, d, xt, dt),
        GATED: head.probabilities(xt, dt),
    }
    if elastic:
        other = _elastic(x, y, d)
        said["elastic net, all scores"] = gate(other, y, d, (0.0, 1.0), GateShape(gated=False)).probabilities(xt, dt)
    if boosting:
        said["gradient boosting"] = _boosted(np.column_stack([x, d]), y, np.column_stack([xt, dt]))
    if net:
        said["set encoder"] = _set_encoder(data)
    return said, head, found


def never_trained(data: Data, head: RiskHead, found: Ridge, outcomes: Data, own: Array) -> dict[str, Array]:
    """Model -> (test people, never-trained outcomes) probabilities, all with the intercept that gives the prevalence in the
    association study. `outcomes` holds the labels, which only the ceiling and the choice of the phenotypically nearest trained
    outcome (the paper's baseline) look at; `own` (bars, test people, outcomes): scores of the outcome's own association study."""
    x, xt, (d, dt) = data.flat(0), data.flat(1), data.d
    y, new = data.y[0], outcomes.y[0]
    linear = gate(found, y, d, (0.0, 1.0), GateShape(gated=False))
    nearest = np.array([[np.corrcoef(a, b)[0, 1] for a in y.T] for b in new.T]).argmax(axis=1)
    spread, share = x.std(axis=0), outcomes.prevalence
    weight = np.asarray(head.tensors["weight"], np.float64) * spread
    r = np.corrcoef(x, rowvar=False)
    unit = np.sqrt(np.diag(weight @ r @ weight.T))
    weight /= unit[:, None]
    between, to_trained = weight @ r @ weight.T, weight @ outcomes.scores_r
    shared = np.exp(np.clip(dt @ head.tensors["gate.shared"], -2, 2))[:, None]
    base = raw_logits(linear.tensors, np.zeros((len(dt), y.shape[1])), dt)[:, nearest]
    gt = (xt / spread) @ weight.T
    logits = {BASELINE: linear.logits(xt, dt)[:, nearest]}
    levels = np.where(np.abs(to_trained) > 0.15, 1.0, np.where(np.abs(to_trained) > 0.07, 0.5, 0.0)) * np.sign(
        to_trained
    )
    for name, known in (("correlations in three words x gate", levels * 0.2), ("correlations x gate", to_trained)):
        mix = np.linalg.solve(between + 0.5 * np.eye(len(between)), known)
        logits[name] = base + shared * _sized(gt @ mix, _promised(mix, between, known), share)
    index = _index(r, weight, outcomes)
    size = _promised(index, r, outcomes.scores_r)
    values = _sized((xt / spread) @ index, size, share)
    logits |= {INDEX: base + shared * values, "summary-statistic index, no gate": base + values}
    for bar, scores in zip(("p < 0.01", "p < 0.3"), own[1:], strict=True):
        logits[f"the outcome's own score, {bar}"] = base + _sized(scores, size, share)
    ceiling = gate(ridge(x, new, d), new, d, (0.0, 1.0), GateShape())
    said = {name: _with_prevalence(values, share) for name, values in logits.items()}
    return said | {"trained on the outcome itself (ceiling)": ceiling.probabilities(xt, dt)}


def _promised(mix: Array, r: Array, known: Array) -> Array:
    """(outcomes,) correlation of a mix of scores with the outcome that the summary statistics promise."""
    size = np.sqrt(np.maximum((mix * (r @ mix)).sum(axis=0), 1e-12))
    return np.clip((mix * known).sum(axis=0) / size, 0, 0.6)


def _sized(values: Array, promised: Array, share: Array) -> Array:
    """Genetic values in logits: of the spread that such a correlation with an outcome of this prevalence has."""
    return (values - values.mean(axis=0)) / values.std(axis=0) * promised / np.sqrt(share * (1 - share))


def _with_prevalence(logits: Array, share: Array) -> Array:
    """Probabilities with the intercept moved until their mean is the prevalence."""
    low, high = np.full(len(share), -20.0), np.full(len(share), 20.0)
    for _ in range(50):
        middle = (low + high) / 2
        above = light_head.to_probabilities(logits + middle, False).mean(axis=0) > share
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return light_head.to_probabilities(logits + middle, False)


def _index(r: Array, towards: Array, outcomes: Data) -> Array:
    """(scores, outcomes) weights by summary statistics: ridge over the scores, with the trained outcomes' directions (k, scores)
    counted as scores of their own that cost a tenth."""
    penalty = len(r) / (outcomes.gwas * 0.03)
    wide = np.concatenate([np.eye(len(r)), towards])
    cost = np.concatenate([np.full(len(r), penalty), np.full(len(towards), penalty / 10)])
    gram, right = wide @ r @ wide.T, wide @ outcomes.scores_r
    return wide.T @ np.linalg.solve(gram + np.diag(cost), right)


def _logistic(x: Array, y: Array, xt: Array) -> Array:
    from sklearn.linear_model import LogisticRegression

    return np.stack([LogisticRegression(max_iter=500).fit(x, own).predict_proba(xt)[:, 1] for own in y.T], axis=1)


def _best_single(x: Array, y: Array, d: Array, xt: Array, dt: Array) -> Array:
    """Each outcome's score that correlates most with it in the train people, with the demographics."""
    r = np.abs((x - x.mean(axis=0)).T @ (y - y.mean(axis=0)) / x.std(axis=0)[:, None])
    best = r.argmax(axis=0)
    columns = [
        _logistic(np.column_stack([x[:, b], d]), y[:, [k]], np.column_stack([xt[:, b], dt])) for k, b in enumerate(best)
    ]
    return np.concatenate(columns, axis=1)


def _products(found: Ridge, y: Array, d: Array, xt: Array, dt: Array) -> Array:
    """The explicit model: demographics, the ridge score out of fold, and its products with the demographics."""
    spread = found.out_of_fold.std(axis=0)
    columns = []
    for k in range(y.shape[1]):
        g, gt = found.out_of_fold[:, [k]] / spread[k], (xt @ found.weight[k])[:, None] / spread[k]
        columns.append(_logistic(np.hstack([d, g, g * d]), y[:, [k]], np.hstack([dt, gt, gt * dt])))
    return np.concatenate(columns, axis=1)


def _elastic(x: Array, y: Array, d: Array) -> Ridge:
    """Elastic net (half lasso) on what demographics leave of each outcome, its penalty by cross-validation."""
    from sklearn.linear_model import ElasticNet, ElasticNetCV

    fold = np.random.default_rng(20240).permutation(len(x)) % FOLDS
    line = np.column_stack([np.ones(len(d)), d])
    weight, said, penalty = [], np.empty(y.shape), []
    for k, own in enumerate(y.T):
        rest = own - line @ np.linalg.lstsq(line, own, rcond=None)[0]
        alpha = ElasticNetCV(l1_ratio=0.5, alphas=8, eps=0.03, cv=3, tol=1e-3, fit_intercept=False).fit(x, rest).alpha_
        model = ElasticNet(alpha=alpha, l1_ratio=0.5, tol=1e-3, fit_intercept=False, precompute=True)
        for f in range(FOLDS):
            said[fold == f, k] = model.fit(x[fold != f], rest[fold != f]).predict(x[fold == f])
        weight.append(model.fit(x, rest).coef_)
        penalty.append(float(alpha))
    return Ridge(np.stack(weight), said, np.array(penalty))


def _boosted(x: Array, y: Array, xt: Array) -> Array:
    from sklearn.ensemble import HistGradientBoostingClassifier

    columns = []
    for own in y.T:
        model = HistGradientBoostingClassifier(
            learning_rate=0.08, max_iter=120, max_leaf_nodes=8, min_samples_leaf=60, l2_regularization=5, max_bins=64,
            max_features=0.3, early_stopping=True, random_state=0,
        )  # fmt: skip
        columns.append(model.fit(x, own).predict_proba(xt)[:, 1])
    return np.stack(columns, axis=1)


def _set_encoder(data: Data) -> Array:
    """Fitted on nine tenths, calibrated on the last."""
    x, d, y = data.x[0], data.d[0], data.y[0]
    last = len(x) * 9 // 10
    model = risk_set.fit(x[:last], y[:last], d[:last], data.places)
    head = calibrate(risk_set.logits(model, x[last:], d[last:]), y[last:], False)
    return light_head.to_probabilities(light_head.calibrated(head, risk_set.logits(model, data.x[1], data.d[1])), False)


def of_outcomes(data: Data, own: Sequence[int]) -> Data:
    """The same people with other outcomes."""
    rows = list(own)
    y = (data.y[0][:, rows], data.y[1][:, rows])
    places = (data.places[0], data.places[1][rows])
    return replace(data, y=y, places=places, scores_r=data.scores_r[:, rows], prevalence=data.prevalence[rows])
