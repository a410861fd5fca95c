"""Questions of which any number of options may hold: "No finding" only where nothing else fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from tests.consult.conftest import case

from consilium.consult import parse, policies
from consilium.consult.arbiter import Arbiter
from consilium.consult.council import consult
from consilium.consult.panel import Panel
from consilium.consult.prompt import NO_FINDING, Evidence
from consilium.consult.several import about
from consilium.consult.vote import votes
from consilium.errors import UsageError
from consilium.formats import page, record
from consilium.protocols import Card
from consilium.types import Case, Code, Completion, Finding, Message, Opinion, Precedent

LABELS = ("Edema", "Effusion", "Mass")


@dataclass
class Finder:
    """Says these probabilities of every picture."""

    said: Mapping[str, float]
    card: Card = field(default_factory=lambda: Card("specialist", "labels", "1", "", ("CR",), ("CHEST",)))

    def examine(self, case: Case, args: Mapping[str, Any] | None = None) -> Opinion:
        found = tuple(Finding(Code.local(label), p, True) for label, p in self.said.items())
        return Opinion("labels", "1", found, exclusive=False, foreignness=0.5)


@dataclass
class Reader:
    """A generalist that rates the options as told and lists them in words as told."""

    likelihoods: Mapping[str, float]
    words: str = ""
    sees_images: bool = True
    card: Card = field(default_factory=lambda: Card("generalist", "reader", "1", ""))

    def generate(self, messages: Sequence[Message], max_tokens: int = 128) -> Completion:
        return Completion(self.words)

    def score(self, messages: Sequence[Message], options: Sequence[str]) -> tuple[float, ...]:
        assert options[-1] == NO_FINDING and "Edema, Effusion, Mass, No finding" in messages[-1].text
        return tuple(self.likelihoods[option] for option in options)


def council(panel: Panel, said: Mapping[str, float], reader: Reader | None = None) -> Panel:
    panel.specialists.clear()
    panel.seat("labels", Finder(said))
    panel._loaded[""] = reader or Reader({"Edema": -1.0, "Effusion": -2.0, "Mass": -4.0, NO_FINDING: -3.0})
    return panel


def asked(**more: object) -> Case:
    return replace(case(options=LABELS), multiple=True, question="Which findings does it show?", **more)


@pytest.mark.parametrize("policy", policies.names())
@pytest.mark.parametrize("profile", ["measured", "published"])
def test_every_policy_names_options_or_no_finding(panel: Panel, policy: str, profile: str) -> None:
    reader = Reader({"Edema": -1.0, "Effusion": -2.0, "Mass": -4.0, NO_FINDING: -3.0}, "Edema and Effusion")
    held = consult(asked(), council(panel, {"Edema": 0.9, "Effusion": 0.7, "Mass": 0.1}, reader), policy, profile)  # type: ignore[arg-type]
    assert held.answer.choices == ("Edema", "Effusion") and held.answer.choice is None
    assert record.from_json(record.to_json(held)) == held and "Edema, Effusion" in page.to_html(held)


@pytest.mark.parametrize("policy", ["panel_vote", "arbitrated", "solo"])
def test_no_finding_is_said_only_where_nothing_else_holds(panel: Panel, policy: str) -> None:
    low = Reader({"Edema": -5.0, "Effusion": -6.0, "Mass": -4.0, NO_FINDING: -1.0})
    answer = consult(asked(), council(panel, {"Edema": 0.2, "Effusion": 0.1, "Mass": 0.05}, low), policy).answer
    assert answer.choices == (NO_FINDING,) and answer.text == NO_FINDING and answer.abstained is None
    assert all(p < 0.5 for p in answer.probabilities.values()) and set(answer.probabilities) == set(LABELS)


def test_the_generalist_is_asked_only_by_weights_made_for_such_questions(panel: Panel) -> None:
    weights = {"specialists": 1.0, "generalist": 1.0}
    held = {}
    for several in (False, True):
        council(panel, {"Edema": 0.8, "Effusion": 0.7, "Mass": 0.1})
        panel.__dict__["arbiter"] = Arbiter(weights, weights, several=several)
        held[several] = consult(asked(), panel, "arbitrated")
    assert not held[False].exchange and held[True].exchange
    assert held[True].answer.probabilities["Edema"] != held[False].answer.probabilities["Edema"]


def test_a_finding_that_no_specialist_knows_is_not_voted_on(panel: Panel) -> None:
    for policy in ("panel_vote", "arbitrated"):
        answer = consult(asked(), council(panel, {"Edema": 0.9, "Mass": 0.8}), policy).answer
        assert answer.choices == () and "knows Effusion" in (answer.abstained or "")


def test_the_vote_against_single_options_is_told(panel: Panel) -> None:
    answer = consult(asked(), council(panel, {"Edema": 0.9, "Effusion": 0.1, "Mass": 0.8}), "moed").answer
    assert answer.choices == ("Edema", "Effusion")
    assert answer.caution == "the specialists disagree on Effusion 10 %, Mass 80 %"


def test_the_published_prompt_says_when_to_choose_no_finding(panel: Panel) -> None:
    held = consult(asked(), council(panel, {"Edema": 0.9, "Effusion": 0.7, "Mass": 0.1}), "moed", "published")
    assert held.exchange[0].text.endswith(
        "The possible diagnoses are: 'Edema', 'Effusion', 'Mass', 'No finding'. The diagnoses of the specialist models are "
        "Edema, Effusion. The response should only contain one or more options. Only if no other option fits, you can "
        "choose 'No finding'."
    )
    assert held.answer.abstained == "the generalist's words state something beside the options"


def test_a_list_of_words_is_read_whole_or_not_at_all() -> None:
    def read(text: str) -> tuple[str, ...] | None:
        return parse.choices(text, LABELS, NO_FINDING)

    assert (
        read("Effusion\nEdema") == read("- Effusion\n- Edema") == read("1. Edema\n2. Effusion") == ("Edema", "Effusion")
    )
    assert read("- Effusion\n- Edema\n- fracture") is None
    assert read("Effusion, Edema\nThe heart is large.") == ("Edema", "Effusion")
    joined = ("Edema and atelectasis", "Mass")
    assert parse.choices("Mass, edema and atelectasis", joined, NO_FINDING) == joined

    assert read("Mass, edema.") == ("Edema", "Mass") and read("The answer is: Effusion and Mass") == (
        "Effusion",
        "Mass",
    )
    assert read("No finding") == (NO_FINDING,) and read("No finding, Mass") == ("Mass",)
    assert read("Mass, fracture") is None and read("") is None and read("no mass") is None


def test_what_cannot_be_asked(panel: Panel) -> None:
    for options in ((), (*LABELS, "no finding"), ("Edema", "edema")):
        with pytest.raises(UsageError, match="options"):
            consult(replace(asked(), options=options), panel)


def test_who_knows_the_coarser_finding_does_not_vote_on_the_finer(panel: Panel) -> None:
    held = consult(
        replace(case(), options=("viral mass", "Mass"), multiple=True), council(panel, {"Mass": 0.9}), "panel_vote"
    )
    assert held.answer.abstained == "no specialist who spoke knows viral mass"


def test_a_known_case_speaks_by_the_group_of_its_label_and_not_at_all_without_one() -> None:
    labels = ("bacterial_pneumonia", "not labelled", "", "Edema", "Mass, Pneumonia")
    known = tuple(Precedent(f"known-{i}", label, 0.9) for i, label in enumerate(labels))
    opinion = Opinion("labels", "1", (Finding(Code.local("Pneumonia"), 0.7), Finding(Code.local("Mass"), 0.2)))
    other = Opinion("other", "1", (Finding(Code.local("Edema"), 0.7),))
    evidence = Evidence((opinion, other), known, {"bacterial_pneumonia": "pneumonia"})
    asked, told = about("pneumonia", Case("c", "Which?", ("pneumonia", "Mass"), multiple=True), evidence)
    assert (asked.question, asked.options) == ("Does it show pneumonia?", ("yes", "no")) and not asked.multiple
    assert [precedent.label for precedent in told.precedents] == ["yes", "no", "yes"]
    cast = votes(told.opinions, asked.options, asked.question)
    assert list(cast) == ["labels"] and cast["labels"]["yes"] == pytest.approx(0.7)
