"""Trees kept as arrays say just what scikit-learn says."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingClassifier

from consilium.nn import trees
from consilium.nn.light_head import to_probabilities
from consilium.nn.trees import Boost


def points(classes: int, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(classes)
    x = draw.normal(size=(n, 9)).astype(np.float32)
    # Coarse values, so that many lie on a threshold.
    x[:, :4] = np.round(x[:, :4], 1)
    return x, np.digitize(x[:, 0] + 0.3 * draw.normal(size=n), np.linspace(-0.7, 0.7, classes - 1))


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_equal_to_scikit_learn(classes: int) -> None:
    x, y = points(classes)
    model = GradientBoostingClassifier(n_estimators=30, max_depth=3, random_state=1).fit(x, y)
    columns = np.array([1]) if classes == 2 else np.arange(classes)
    tensors = trees.pack([(model, columns)], np.zeros(classes))
    unseen = np.concatenate([x, points(classes + 10)[0]])
    np.testing.assert_allclose(
        to_probabilities(trees.raw_logits(tensors, unseen), True), model.predict_proba(unseen), atol=2e-5
    )


def test_fit_is_the_classifier_of_its_setting_and_its_seed() -> None:
    x, y = points(3)
    boost = Boost(20, 2)
    said = trees.raw_logits(trees.fit(x, np.eye(3)[y], True, boost, 7), x)
    model = GradientBoostingClassifier(
        n_estimators=20,
        max_depth=2,
        learning_rate=trees.RATE,
        subsample=trees.SUBSAMPLE,
        min_samples_leaf=trees.LEAF,
        max_features="sqrt",
        random_state=7,
    ).fit(x, y)
    np.testing.assert_allclose(said, model.decision_function(x), atol=2e-5)
    assert not np.allclose(said, trees.raw_logits(trees.fit(x, np.eye(3)[y], True, boost, 8), x))


def test_several_labels_blanks_and_concepts_with_one_value() -> None:
    x, y = points(2)
    targets = np.stack([y, np.zeros(len(y)), np.full(len(y), np.nan)], axis=1)
    targets[::3, 0] = np.nan
    said = trees.raw_logits(trees.fit(x, targets, False, Boost(30, 2), 0), x)
    known = ~np.isnan(targets[:, 0])
    model = trees._model(x[known], y[known], Boost(30, 2), 0)
    np.testing.assert_allclose(said[:, 0], model.decision_function(x), atol=2e-5)
    assert (said[:, 1] < -5).all() and np.ptp(said[:, 1]) == 0 and (said[:, 2] == 0).all()


@pytest.mark.parametrize("present", [[1], [0, 2]])
def test_a_class_that_a_fold_lacks_is_thought_rare(present: list[int]) -> None:
    x, _ = points(2)
    y = np.random.default_rng(0).choice(present, len(x))
    p = to_probabilities(trees.raw_logits(trees.fit(x, np.eye(3)[y], True, Boost(10, 2), 0), x), True)
    assert np.allclose(p.sum(1), 1) and p[:, [c for c in range(3) if c not in present]].max() < 0.02
