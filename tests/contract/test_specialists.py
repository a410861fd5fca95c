"""What every specialist must do, shipped or installed. Each is loaded here as the panel loads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests import phantoms

from consilium import formats, registry
from consilium.consult.council import case_of
from consilium.consult.panel import DEFAULT_ENCODER, ROUTER
from consilium.protocols import Card, Encoder, Specialist
from consilium.types import Case, Finding, Image, Opinion, Study

FOUND = {name: m for name, m in registry.find("specialists").items() if m.origin != "trained here"}
EXAMPLES = {
    "brain_tumor_mr": ("brain_mr.jpg", "MR", "HEAD"),
    "breast_us": ("breast_us.jpg", "US", "BREAST"),
    "cxr_findings": ("chest_xray.jpg", "CR", "CHEST"),
    "cxr_pneumonia": ("chest_xray.jpg", "CR", "CHEST"),
    "lung_ct": ("chest_ct.jpg", "CT", "CHEST"),
}


def case(image: Image, card: Card) -> Case:
    study = Study(card.modalities[0], (card.body_parts or (None,))[0], (image,))
    return case_of([study], "What is it?")


def gradient() -> Image:
    """A drawn colour gradient: no examination looks like it."""
    across = np.linspace(0, 255, 224, dtype=np.uint8)
    square = np.broadcast_to(across, (224, 224))
    return Image(np.stack([square, square.T, 255 - square], axis=2), "sha256:gradient", units="RGB")


@pytest.fixture(params=FOUND)
def card(request: pytest.FixtureRequest) -> Card:
    return FOUND[request.param].card


def test_there_are_the_specialists_that_the_examples_need() -> None:
    assert set(FOUND) >= {*EXAMPLES, ROUTER}


def test_its_card_is_complete(card: Card) -> None:
    assert card.kind == "specialist" and card.name in FOUND and card.version
    fields = ["summary", "modalities", "concepts", "trained_on", "licence", "evidence", "not_for"]
    for field in fields + (["arguments"] if card.on_call else ["scores"]):
        assert getattr(card, field), field
    assert all(card.trained_on.values()) and all(card.not_for)


def test_its_concepts_are_coded_once_each_and_its_groups_name_them(card: Card) -> None:
    assert len({(code.scheme, code.value) for code in card.concepts}) == len(card.concepts)
    labels = [code.meaning for code in card.concepts]
    assert all(labels) and len(set(labels)) == len(labels)
    for group, members in card.groups.items():
        assert group not in labels and len(set(members)) == len(members) and set(members) <= set(labels)


def test_its_scores_have_an_interval_and_a_number_of_cases(card: Card) -> None:
    assert card.on_call or any(score.metric.startswith(("AUROC", "Dice")) for score in card.scores)
    for score in card.scores:
        assert score.n > 0 and 0 <= score.low <= score.high and score.value >= 0, score
        # Resampling raises a calibration error, so that its interval may lie above it.
        assert score.metric.startswith("ECE") or score.low <= score.value <= score.high, score


@pytest.fixture(scope="module")
def encoder(pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CONSILIUM_WEIGHTS", str(pretrained))
        environment.setenv("CONSILIUM_CACHE", str(tmp_path_factory.mktemp("cache")))
        return registry.get("encoders", DEFAULT_ENCODER).load()


@pytest.fixture(params=FOUND)
def specialist(request: pytest.FixtureRequest, encoder: Encoder) -> Specialist:
    return FOUND[request.param].load(encoder=encoder)


def check(opinion: Opinion, card: Card) -> None:
    """What holds of any opinion."""
    assert (opinion.specialist, opinion.version) == (card.name, card.version)
    assert opinion.reliability[: len(card.scores)] == card.scores and opinion.licence == card.licence
    assert all(score.metric == "local accuracy" for score in opinion.reliability[len(card.scores) :])
    assert bool(opinion.findings) == (opinion.abstained is None)
    assert opinion.abstained != ""


def check_findings(findings: tuple[Finding, ...], card: Card, exclusive: bool) -> None:
    assert {f.concept.meaning for f in findings} == {*(c.meaning for c in card.concepts), *card.groups}
    said = {f.concept.meaning: f.probability for f in findings}
    assert all(p is not None and 0 <= p <= 1 for p in said.values())
    assert [f.probability for f in findings] == sorted(said.values(), reverse=True)
    if exclusive:
        assert sum(said[c.meaning] for c in card.concepts) == pytest.approx(1, abs=1e-5)
    for group, members in card.groups.items():
        assert said[group] == pytest.approx(sum(said[member] for member in members), abs=1e-5)
    grids = [f.region.grid for f in findings if f.region is not None]
    assert all(g.ndim == 2 and np.isfinite(g).all() and g.min() >= 0 and g.max() <= 1 for g in grids)


@pytest.mark.weights
def test_it_keeps_the_protocol(specialist: Specialist) -> None:
    assert isinstance(specialist, Specialist) and specialist.card == FOUND[specialist.card.name].card


@pytest.mark.weights
def test_without_a_picture_it_abstains_with_the_reason(specialist: Specialist) -> None:
    for studies in ([], [Study(specialist.card.modalities[0], None, ())]):
        opinion = specialist.examine(case_of(studies, "What is it?"))
        check(opinion, specialist.card)
        assert opinion.abstained == "the case holds no picture"


@pytest.mark.weights
@pytest.mark.parametrize(
    "foreign", [gradient(), Image(phantoms.draw("mass", 1), "sha256:noise")], ids=["gradient", "noise"]
)
def test_of_a_foreign_picture_it_abstains_and_says_how_foreign(specialist: Specialist, foreign: Image) -> None:
    opinion = specialist.examine(case(foreign, specialist.card))
    check(opinion, specialist.card)
    why = "unlike the pictures it was trained on"
    if specialist.card.on_call:  # it says nothing at all before it is told where to look
        why = "give "
    assert opinion.abstained and why in opinion.abstained


@pytest.mark.weights
@pytest.mark.parametrize("name", EXAMPLES)
def test_of_a_picture_of_its_own_kind_it_gives_probabilities(
    name: str, encoder: Encoder, examples_folder: Path
) -> None:
    specialist = FOUND[name].load(encoder=encoder)
    file, modality, part = EXAMPLES[name]
    studies = formats.read(examples_folder / file, modality=modality, body_part=part)
    opinion = specialist.examine(case_of(studies, "What is it?"))
    check(opinion, specialist.card)
    check_findings(opinion.findings, specialist.card, opinion.exclusive)
    assert specialist.examine(case_of(studies, "What is it?")) == opinion


@pytest.mark.weights
def test_the_router_names_each_example(encoder: Encoder, examples_folder: Path) -> None:
    router = FOUND[ROUTER].load(encoder=encoder)
    for file, modality, part in EXAMPLES.values():
        opinion = router.examine(case_of(formats.read(examples_folder / file), "What is it?"))
        check_findings(opinion.findings, router.card, opinion.exclusive)
        assert opinion.findings[0].concept.meaning == f"{modality}/{part}"
