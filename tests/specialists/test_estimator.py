"""Classifiers of users: scikit-learn estimators as tensors say what the estimator says; ONNX models are run by their card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, QuantileTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier
from tests import phantoms

from consilium import registry
from consilium.encoders import patch_statistics
from consilium.errors import MemberError, UsageError
from consilium.imaging import texture
from consilium.specialists import estimator as adapter
from consilium.specialists.adapter import heads, sklearn_parts
from consilium.types import Case, Image, Study

ENCODER = patch_statistics.load()
IMAGES = [Image(phantoms.draw(phantoms.LABELS[i % 2], i), f"sha256:{i}") for i in range(24)]
LABELS = np.array([phantoms.LABELS[i % 2] for i in range(24)])
CARD: dict[str, Any] = {
    "name": "masses",
    "summary": "Tells masses from clear phantoms.",
    "modality": ["MR"],
    "concepts": ["clear", "mass"],
    "licence": "CC0-1.0",
    "input": {"kind": "encoder features", "encoder": ENCODER.card.version},
}


def case(*images: Image, modality: str | None = "MR") -> Case:
    return Case("case", "What is it?", studies=(Study(modality, None, images),))


def drawn(n: int = 300, d: int = 7, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    x = random.normal(size=(n, d)).astype(np.float32).astype(np.float64)
    y = np.argmax(x @ random.normal(size=(d, classes)) + random.normal(size=(n, classes)), axis=1)
    return x, y


ESTIMATORS = {
    "logistic": LogisticRegression(),
    "liblinear": LogisticRegression(solver="liblinear"),
    "mlp relu": MLPClassifier((9, 5), max_iter=30, random_state=0),
    "mlp tanh": MLPClassifier((6,), activation="tanh", max_iter=30, random_state=0),
    "mlp logistic": MLPClassifier((6,), activation="logistic", max_iter=30, random_state=0),
    "bayes": GaussianNB(),
    "neighbours": KNeighborsClassifier(5),
    "neighbours by distance": KNeighborsClassifier(4, weights="distance", metric="manhattan"),
    "neighbours by cosine": KNeighborsClassifier(5, metric="cosine"),
    "tree": DecisionTreeClassifier(max_depth=5, random_state=0),
    "forest": RandomForestClassifier(9, random_state=0),
    "extra trees": ExtraTreesClassifier(9, random_state=0),
    "boosting": GradientBoostingClassifier(n_estimators=9, random_state=0),
    "histogram boosting": HistGradientBoostingClassifier(max_iter=9, random_state=0),
    "scaled": make_pipeline(StandardScaler(), LogisticRegression()),
    "ranged": make_pipeline(MinMaxScaler(), KNeighborsClassifier(3)),
    "projected": make_pipeline(StandardScaler(), PCA(3, whiten=True), MLPClassifier((5,), max_iter=20, random_state=0)),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_tensors_say_what_the_estimator_says(name: str, classes: int) -> None:
    if name == "liblinear" and classes > 2:
        pytest.skip("scikit-learn has liblinear for two classes alone")
    x, y = drawn(classes=classes)
    fitted = ESTIMATORS[name].fit(x[:200], y[:200])
    tensors, model = sklearn_parts.parts_of(fitted)
    assert json.loads(json.dumps(model)) == model and model["kind"] in heads.KINDS and model["link"] in heads.LINKS
    said = heads.probabilities(tensors, model, x)
    np.testing.assert_allclose(said, fitted.predict_proba(x), rtol=0, atol=1e-6)


def test_several_labels_at_once_are_each_for_itself(tmp_path: Path) -> None:
    x, y = drawn()
    targets = np.stack([y == 0, y > 0], axis=1).astype(int)
    fitted = MLPClassifier((5,), max_iter=20, random_state=0).fit(x, targets)
    adapter.export(fitted, tmp_path / "several", CARD | {"name": "several"})
    member = adapter.load(tmp_path / "several", ENCODER)
    assert not member.speaker.exclusive
    np.testing.assert_allclose(member.probabilities(x), fitted.predict_proba(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_margins_are_not_called_probabilities(tmp_path: Path, classes: int) -> None:
    x, y = drawn(classes=classes)
    fitted = LinearSVC().fit(x, y)
    card = CARD | {"concepts": ["a", "b", "c"][:classes]}
    adapter.export(fitted, tmp_path / "masses", card)
    member = adapter.load(tmp_path / "masses", ENCODER)
    said, margins = member.probabilities(x), fitted.decision_function(x)
    assert (said.argmax(axis=1) == (margins > 0 if classes == 2 else margins.argmax(axis=1))).all()
    assert "margins" in member.speaker.judge(said).caution
    with pytest.raises(UsageError, match="margins alone"):
        adapter.export(
            fitted, tmp_path / "sure", card | {"name": "sure", "calibrated": True, "evidence": "results/x.json"}
        )


@pytest.mark.parametrize("unknown", [SVC(), AdaBoostClassifier()], ids=lambda e: type(e).__name__)
def test_an_estimator_that_is_not_known_is_sent_to_onnx(unknown: Any) -> None:
    x, y = drawn()
    with pytest.raises(UsageError, match=rf"{type(unknown).__name__} cannot be written.*ONNX"):
        sklearn_parts.parts_of(unknown.fit(x, y))


def test_what_is_not_fitted_or_scaled_in_another_way_is_refused() -> None:
    x, y = drawn()
    with pytest.raises(UsageError, match="not fitted"):
        sklearn_parts.parts_of(LogisticRegression())
    with pytest.raises(UsageError, match="QuantileTransformer"):
        sklearn_parts.parts_of(make_pipeline(QuantileTransformer(n_quantiles=50), GaussianNB()).fit(x, y))


def test_an_exported_estimator_is_a_member_that_judges_pictures(home: Path) -> None:
    features = ENCODER.embed(IMAGES).pooled
    fitted = make_pipeline(StandardScaler(), RandomForestClassifier(15, random_state=0)).fit(features, LABELS)
    card = adapter.export(fitted, home / "specialists" / "masses", CARD)
    member = registry.get("specialists", "masses")
    assert member.card == card and card.version.startswith("sha256:") and member.fits(ENCODER.card.version)
    opinion = member.load(encoder=ENCODER).examine(case(*IMAGES[:2]))
    expected = fitted.predict_proba(features[:2]).mean(axis=0)
    said = {f.concept.meaning: f.probability for f in opinion.findings}
    assert said == pytest.approx({"clear": expected[0], "mass": expected[1]}, abs=1e-6)
    assert not any(f.calibrated for f in opinion.findings) and "not calibrated" in opinion.caution
    assert opinion.licence == "CC0-1.0" and opinion.abstained is None


def test_texture_features_and_a_measured_calibration_are_said(tmp_path: Path) -> None:
    features = np.stack([texture.vector(image) for image in IMAGES])
    fitted = GaussianNB().fit(features, LABELS)
    card = CARD | {"input": {"kind": "texture"}, "calibrated": True, "evidence": "results/masses.json"}
    adapter.export(fitted, tmp_path / "masses", card)
    opinion = adapter.load(tmp_path / "masses", ENCODER).examine(case(IMAGES[0]))
    assert opinion.caution == "" and all(f.calibrated for f in opinion.findings)
    path = tmp_path / "masses/card.json"
    path.write_text(path.read_text().replace(f'"texture": "{texture.VERSION}"', '"texture": "0"'))
    with pytest.raises(MemberError, match="texture features of version '0'"):
        adapter.load(tmp_path / "masses", ENCODER)


def test_it_abstains_with_the_reason(tmp_path: Path) -> None:
    features = ENCODER.embed(IMAGES).pooled
    adapter.export(LogisticRegression().fit(features, LABELS), tmp_path / "masses", CARD)
    member = adapter.load(tmp_path / "masses", ENCODER)
    assert member.examine(case(IMAGES[0], modality="CT")).abstained == "it is for MR; the modality is CT"
    assert member.examine(case(IMAGES[0], modality=None)).abstained == "it is for MR; the modality is unknown"
    assert member.examine(case()).abstained == "the case holds no picture"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"licence": ""}, "does not say licence"),
        ({"concepts": ["mass", "clear"]}, "Name them in that order"),
        ({"concepts": ["clear"]}, "Name them in that order"),
        ({"colour": "red"}, "colour, which nothing reads"),
        ({"calibrated": True}, "without `evidence`"),
        ({"input": {"kind": "sound"}}, "one of: encoder features, texture, picture"),
        ({"input": {"kind": "encoder features"}}, "must name the version"),
        ({"input": {"kind": "texture", "size": [1, 2]}}, "knows no size"),
        ({"output": {"kind": "guesses"}}, "probabilities, logits"),
        ({"exclusive": False}, "contradicts the estimator"),
        ({"name": "no spaces"}, "cannot name a specialist"),
        ({"modality": 3}, "modality is not written"),
    ],
    ids=str,
)
def test_a_card_that_cannot_be_followed_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    fitted = LogisticRegression().fit(ENCODER.embed(IMAGES).pooled, LABELS)
    with pytest.raises(UsageError, match=words):
        adapter.export(fitted, tmp_path / "masses", CARD | changes)


def test_features_of_another_encoder_and_files_that_changed_are_refused(tmp_path: Path) -> None:
    fitted = LogisticRegression().fit(ENCODER.embed(IMAGES).pooled, LABELS)
    other = CARD | {"input": {"kind": "encoder features", "encoder": "another"}}
    adapter.export(fitted, tmp_path / "masses", other)
    with pytest.raises(MemberError, match="fitted on features of another"):
        adapter.load(tmp_path / "masses", ENCODER)
    adapter.export(fitted, tmp_path / "masses", CARD)
    with (tmp_path / "masses/model.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(MemberError, match="not the file that the card was written for"):
        adapter.load(tmp_path / "masses", ENCODER)


def test_an_exported_folder_can_be_added_under_another_name(tmp_path: Path, home: Path) -> None:
    fitted = LogisticRegression().fit(ENCODER.embed(IMAGES).pooled, LABELS)
    adapter.export(fitted, tmp_path / "masses", CARD)
    card = adapter.add(tmp_path / "masses", home, name="copied")
    assert card.name == "copied"
    assert registry.get("specialists", "copied").load(encoder=ENCODER).examine(case(IMAGES[0])).abstained is None
