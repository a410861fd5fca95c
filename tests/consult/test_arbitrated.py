"""The policy `arbitrated`: who is asked, what each piece of evidence adds, when nobody can say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from tests.consult.conftest import case

from consilium.consult import arbiter
from consilium.consult.arbiter import FEATURES, Arbiter, reliability, weighable
from consilium.consult.council import consult
from consilium.consult.panel import Panel
from consilium.consult.prompt import Evidence
from consilium.errors import MemberError
from consilium.protocols import Card
from consilium.types import Case, Code, Completion, Finding, Message, Opinion, Precedent, Score

OPTIONS = ("clear", "mass")
ASKED = Case("c", "Is there a mass?", OPTIONS)
WEIGHTS = {"specialists": 1.0, "precedents": 0.4, "generalist": 2.0}


@dataclass
class Seer:
    """A generalist that sees, is always of one opinion, and counts how often it is asked."""

    likelihoods: tuple[float, ...] = (0.0, -3.0)
    asked: int = 0
    sees_images: bool = True
    card: Card = field(default_factory=lambda: Card("generalist", "seer", "1", ""))

    def generate(self, messages: Sequence[Message], max_tokens: int = 128) -> Completion:
        return Completion("clear")

    def score(self, messages: Sequence[Message], options: Sequence[str]) -> tuple[float, ...]:
        self.asked += 1
        assert "Specialist" not in messages[-1].text
        return self.likelihoods


def seated(panel: Panel, seer: Seer, **arbiter_options: object) -> Panel:
    panel._loaded[""] = seer
    panel.__dict__["arbiter"] = Arbiter(
        {k: v for k, v in WEIGHTS.items() if k != "generalist"},
        WEIGHTS,
        **arbiter_options,  # type: ignore[arg-type]
    )
    return panel


def opinion(p: float, name: str = "finder", **more: object) -> Opinion:
    findings = tuple(Finding(Code.local(o), v) for o, v in zip(OPTIONS, (1 - p, p), strict=True))
    return Opinion(name, "1", findings, **more)  # type: ignore[arg-type]


def test_the_generalist_is_asked_only_where_the_others_are_not_sure(panel: Panel) -> None:
    sure, doubting = Seer(), Seer()
    held = consult(case("mass"), seated(panel, sure, sure=0.5), "arbitrated")
    assert held.answer.choice == "mass" and not sure.asked and not held.exchange
    again = consult(case("mass"), seated(panel, doubting, sure=1.0), "arbitrated")
    assert doubting.asked == 1 and again.exchange[-1].text == "clear" and "seer" in again.versions
    assert again.answer.probabilities["clear"] > held.answer.probabilities["clear"]


def test_a_generalist_that_learnt_nothing_of_it_is_not_asked(panel: Panel) -> None:
    for learnt, asked in (("elsewhere", 0), ("phantoms", 1)):
        seer = Seer(card=Card("generalist", "seer", "1", "", trained_on={learnt: ""}))
        held = consult(case("mass"), seated(panel, seer, sure=1.0), "arbitrated")
        assert seer.asked == asked and (asked or "trained on nothing that" in " ".join(held.notes))


def test_probabilities_are_told_with_the_two_pieces_that_decided(panel: Panel) -> None:
    answer = consult(case("mass"), seated(panel, Seer()), "arbitrated").answer
    assert sum(answer.probabilities.values()) == pytest.approx(1) and answer.calibrated
    told = answer.sections["relied on"].split("; ")
    assert len(told) == 2 and all("this answer)" in words for words in told)
    assert "mass_finder" in answer.citations and "generalist" not in answer.citations


def test_a_picture_unlike_all_that_was_learnt_is_an_abstention(panel: Panel) -> None:
    strange = replace(case(), studies=case(modality="CT").studies)
    answer = consult(strange, seated(panel, Seer()), "arbitrated").answer
    assert answer.choice is None and "every specialist abstained (mass_finder: it is for CR" in (answer.abstained or "")
    unknown = consult(case(options=("large", "small")), seated(panel, Seer()), "arbitrated").answer
    assert "knows all of the options large, small" in (unknown.abstained or "")


def test_an_answer_that_is_not_likely_enough_is_an_abstention_with_its_probabilities(panel: Panel) -> None:
    answer = consult(case("mass"), seated(panel, Seer(), floor=0.9999), "arbitrated").answer
    assert answer.choice is None and "no option is likely enough" in (answer.abstained or "") and answer.probabilities


def test_a_blind_generalist_is_not_weighed(panel: Panel) -> None:
    alone = {"specialists": 0.3}
    seated(panel, Seer(sees_images=False)).__dict__["arbiter"] = Arbiter(alone, {"specialists": 3.0})
    held = consult(case("mass"), panel, "arbitrated")
    pieces, _ = weighable(held.case, Evidence(held.opinions, held.precedents))
    assert held.answer.probabilities["mass"] == pytest.approx(Arbiter(alone, {}).probabilities(pieces, False)[1])
    assert not held.exchange and "was not asked" in " ".join(held.notes) and held.answer.choice == "mass"


def test_an_open_question_is_answered_in_words(panel: Panel) -> None:
    held = consult(case("mass", options=()), seated(panel, Seer()), "arbitrated")
    assert held.answer.text == "clear" and held.opinions and held.precedents


def test_what_the_pieces_add_is_the_lead() -> None:
    known = [Precedent(f"k{i}", label, 0.9) for i, label in enumerate(("mass", "mass", "clear", "cyst"))]
    pieces, afar = weighable(ASKED, Evidence([opinion(0.8), opinion(0.3, "other")], known), {"clear": 0.6, "mass": 0.4})
    weighs = Arbiter(WEIGHTS, WEIGHTS)
    p = weighs.probabilities(pieces, asked=True)
    leads = weighs.influence(pieces, asked=True)
    assert [piece.name for piece in pieces] == ["finder", "other", "precedents", "generalist"] and afar == 0
    assert sum(lead for _, lead in leads) == pytest.approx(np.log(p.max() / p.min()))
    assert [abs(lead) for _, lead in leads] == sorted((abs(lead) for _, lead in leads), reverse=True)
    assert "2 of the 3 most similar known cases: mass" in pieces[2].words


def test_a_generalist_that_did_not_help_is_never_asked(panel: Panel) -> None:
    seer = Seer()
    assert consult(case("mass"), seated(panel, seer, sure=0.0), "arbitrated").answer.choice and not seer.asked


def test_distance_disagreement_and_reliability_are_measured() -> None:
    near, far = opinion(0.9, foreignness=0.8), opinion(0.9, "far", foreignness=1.4, caution="1.40 times as far")
    pieces, afar = weighable(ASKED, Evidence([near, far, opinion(0.2, "third")]), {"clear": 0.3, "mass": 0.7})
    assert afar == pytest.approx(0.4 / 3)
    chief = dict(zip(FEATURES, pieces[-1].values[1], strict=True))
    assert chief["generalist, where specialists differ"] == pytest.approx(chief["generalist"] / 3)
    assert chief["generalist, from afar"] == pytest.approx(chief["generalist"] * afar)
    assert "unlike those it learnt" in pieces[1].words
    local = Score("local accuracy", 0.75, 0.6, 0.9, 25)
    assert reliability(opinion(0.9, reliability=(Score("AUROC", 0.95, 0.9, 1, 50), local)), 2) == pytest.approx(0.5)
    assert reliability(opinion(0.9, reliability=(Score("AUROC", 0.95, 0.9, 1, 50),)), 2) == pytest.approx(0.9)
    assert reliability(opinion(0.9, reliability=(Score("AUROC", float("nan"), 0, 1, 50),)), 2) == 0


def test_the_order_of_the_options_changes_nothing(panel: Panel) -> None:
    seer = Seer(likelihoods=(-1.0, -1.0))
    one = consult(case("mass"), seated(panel, seer), "arbitrated").answer.probabilities
    other = consult(case("mass", options=("mass", "clear")), seated(panel, seer), "arbitrated").answer.probabilities
    assert one == pytest.approx(other)


@pytest.mark.parametrize("text", ["", "[]", '{"alone": {}}', json.dumps({"alone": {"luck": 1}, "asked": {}})])
def test_a_damaged_arbiter_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "arbiter.json").write_text(text)
    with pytest.raises(MemberError, match=r"arbiter\.json"):
        arbiter.load(tmp_path / "arbiter.json")


def test_the_shipped_arbiter_reads() -> None:
    assert arbiter.load().alone["specialists"] > 0


def test_a_case_without_pictures_has_no_voters(panel: Panel) -> None:
    answer = consult(Case("c", "Is there a mass?", OPTIONS), seated(panel, Seer()), "arbitrated").answer
    assert answer.abstained and "no study" in answer.abstained


def test_whoever_counts_more_among_the_specialists_moves_the_answer_more() -> None:
    weights = Arbiter({"specialists": 1.0}, {"specialists": 1.0})

    def of(*weighed: tuple[float, float]) -> float:
        opinions = [opinion(p, f"s{i}", weight=w) for i, (p, w) in enumerate(weighed)]
        pieces, _ = weighable(ASKED, Evidence(opinions, ()))
        return float(weights.probabilities(pieces, asked=False)[1])

    assert of((0.9, 1.0), (0.1, 1.0)) == pytest.approx(0.5)
    assert of((0.9, 1.5), (0.1, 0.5)) == pytest.approx(0.75)
    assert of((0.9, 0.2)) == pytest.approx(0.9)  # alone at the table a weight changes nothing


def test_known_cases_of_a_source_that_nobody_learnt_count_by_themselves() -> None:
    weights = Arbiter({"precedents that no specialist learnt": 1.0}, {})
    known = [Precedent("a", "mass", 1.0, source="ours"), Precedent("b", "clear", 1.0, source="theirs")]

    def of(learnt: frozenset[str]) -> tuple[float, str]:
        pieces, _ = weighable(ASKED, Evidence([opinion(0.5)], known, learnt=learnt))
        return float(weights.probabilities(pieces, asked=False)[1]), pieces[-1].words

    p, words = of(frozenset({"theirs"}))
    assert p == pytest.approx(1.2 / 1.4) and "1 of them of a source that no specialist here learnt from" in words
    for learnt in (frozenset({"theirs", "ours"}), frozenset[str]()):  # all learnt; and not known who learnt what
        p, words = of(learnt)
        assert p == pytest.approx(0.5) and "source" not in words
