"""A consultation from case to answer, under every policy, and what must be in its record."""

import pytest

from consilium.consult import policies
from consilium.consult.council import case_of, consult
from consilium.consult.panel import Panel
from consilium.errors import UnknownMemberError, UsageError
from consilium.formats import record
from consilium.types import Consultation

from tests.consult.conftest import case


@pytest.mark.parametrize("policy", policies.names())
@pytest.mark.parametrize("profile", ["measured", "published"])
def test_every_policy_answers_or_abstains_and_reads_back(panel: Panel, policy: str, profile: str) -> None:
    held = consult(case(), panel, policy, profile)  # type: ignore[arg-type]
    assert (held.answer.choice in held.case.options) != (held.answer.abstained is not None)
    assert held.policy == policy and held.timings_s["total"] > 0
    assert record.from_json(record.to_json(held)) == held


def test_what_each_policy_asks(panel: Panel) -> None:
    heard = {name: consult(case(), panel, name) for name in policies.names()}
    assert not heard["solo"].opinions and not heard["solo"].precedents
    assert heard["moed"].opinions and not heard["moed"].precedents
    assert heard["rad"].precedents and not heard["rad"].opinions
    assert heard["gsco"].opinions and heard["gsco"].precedents
    assert heard["panel_vote"].opinions and not heard["panel_vote"].exchange
    assert "echo" not in heard["panel_vote"].versions and heard["gsco"].versions["echo"]


def test_the_vote_follows_the_specialists(panel: Panel) -> None:
    assert consult(case("mass"), panel, "panel_vote").answer.choice == "mass"
    assert consult(case("clear"), panel, "panel_vote").answer.choice == "clear"
    grouped = consult(case("mass", options=("lesion", "clear")), panel, "panel_vote").answer
    assert grouped.choice == "lesion" and sum(grouped.probabilities.values()) == pytest.approx(1)


def test_options_that_no_specialist_knows_are_not_voted_on(panel: Panel) -> None:
    answer = consult(case(options=("yes", "no")), panel, "panel_vote").answer
    assert answer.choice is None and "yes, no" in (answer.abstained or "")


def test_the_prompt_carries_the_evidence(panel: Panel) -> None:
    prompt = consult(case(), panel, "gsco").exchange[1].text
    opinion = consult(case(), panel, "moed").opinions[0]
    best = opinion.findings[0]
    assert f"mass_finder says: {best.concept.meaning} {100 * (best.probability or 0):.0f} %" in prompt
    assert "measured AUROC" in prompt and "similarity" in prompt and "Options: clear, mass" in prompt


def test_the_published_profile_shows_labels_alone(panel: Panel) -> None:
    (message, answer) = consult(case(), panel, "gsco", "published").exchange
    assert message.text == (
        "You are a helpful medical assistant. Your task is disease diagnosis. You are given a chest X-ray image. "
        "The possible diagnoses are: 'clear', 'mass'. The diagnoses of the most similar cases are "
        f"{', '.join(p.label for p in consult(case(), panel, 'gsco').precedents)}. "
        "The diagnoses of the specialist models are mass. The response should only contain one option."
    )
    assert answer.role == "assistant"


def test_a_specialist_for_another_modality_is_refused_with_its_reason(panel: Panel) -> None:
    held = consult(case(modality="CT"), panel, "moed")
    assert held.opinions[0].abstained == "it is for CR; the study is CT"
    assert "mass_finder" not in held.versions and "mass_finder" not in held.answer.citations


def test_a_case_is_never_its_own_precedent(panel: Panel) -> None:
    known = case("mass", 503)
    held = consult(known, panel, "rad")
    assert held.precedents and max(p.similarity for p in held.precedents) < 0.99999


def test_what_cannot_be_asked(panel: Panel) -> None:
    with pytest.raises(UsageError, match="--modality"):
        consult(case(modality=None), panel)
    with pytest.raises(UnknownMemberError, match="panel_vote"):
        consult(case(), panel, "guess")


def test_a_case_names_nobody_and_changes_with_its_content() -> None:
    one, other = case(seed=1), case(seed=2)
    assert one.id != other.id and one.id == case(seed=1).id
    assert one.id.startswith("case-") and len(one.id) == 17


def test_a_case_without_picture_is_answered_from_words(panel: Panel) -> None:
    held: Consultation = consult(case_of([], "Is it a mass?", ("clear", "mass")), panel, "gsco")
    assert held.opinions[0].abstained and "no precedents" in " ".join(held.notes)
