"""triggered: who is called, what is refused, what returns, and the bounds; with a generalist that says what it is told to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from tests.consult.conftest import case

from consilium.consult import cards_prompt, returns
from consilium.consult.choose import shortlist
from consilium.consult.council import consult
from consilium.consult.panel import Panel
from consilium.errors import CannotScoreError, UsageError
from consilium.imaging.picture import VIEWS
from consilium.protocols import Card
from consilium.types import (
    Case,
    Code,
    Completion,
    Consultation,
    Finding,
    Image,
    Message,
    Opinion,
    Score,
    Segmentation,
    Volume,
)

LUNG = Code.local("lung")


@dataclass
class Speaker:
    """Says its lines one after the other, the last again and again. `rates`: text -> rating; None: it cannot rate."""

    lines: tuple[str, ...]
    rates: Mapping[str, float] | None = None
    sees_images: bool = True
    card: Card = field(default_factory=lambda: Card("generalist", "speaker", "1", ""))
    heard: list[tuple[Message, ...]] = field(default_factory=list)

    def generate(self, messages: Sequence[Message], max_tokens: int = 128) -> Completion:
        self.heard.append(tuple(messages))
        return Completion(self.lines[min(len(self.heard), len(self.lines)) - 1])

    def score(self, messages: Sequence[Message], options: Sequence[str]) -> tuple[float, ...]:
        if self.rates is None:
            raise CannotScoreError("speaker rates nothing.")
        return tuple(self.rates.get(option, -5.0) for option in options)


@dataclass
class Expert:
    card: Card
    found: Opinion
    asked: list[Mapping[str, Any] | None] = field(default_factory=list)

    def examine(self, case: Case, args: Mapping[str, Any] | None = None) -> Opinion:
        self.asked.append(args)
        if args and args.get("side") == "left":
            raise UsageError("the left side was not taken")
        return self.found


@pytest.fixture
def outliner() -> Expert:
    card = Card(
        "specialist",
        "outliner",
        "1",
        "Outlines a lung.",
        ("CR",),
        ("CHEST",),
        (LUNG,),
        arguments={"side": "one of left, right"},
    )
    findings = (
        Finding(LUNG, quantity=1234.5, unit="mm2", site="area"),
        Finding(LUNG, quantity=3, unit="1", site="connected parts"),
    )
    labels = np.zeros((64, 64), np.uint8)
    labels[10:30, 10:30] = 1
    return Expert(
        card,
        Opinion(
            "outliner", "1", findings, exclusive=False, segmentations=(Segmentation(labels, "sha256:test", (LUNG,)),)
        ),
    )


def held(panel: Panel, *lines: str, asked: Case | None = None, **how: Any) -> Consultation:
    panel._loaded[""] = Speaker(lines, **how)
    return consult(asked or case(), panel, "triggered")


def speaker(panel: Panel) -> Speaker:
    found = panel._loaded[""]
    assert isinstance(found, Speaker)
    return found


def notes(consultation: Consultation) -> str:
    return " | ".join(consultation.notes)


def test_the_called_expert_alone_speaks_and_its_words_return(panel: Panel, outliner: Expert) -> None:
    panel.seat("outliner", outliner)
    told = held(panel, "Let me trigger <MASS_FINDER()>.", "mass", "mass")
    assert [opinion.specialist for opinion in told.opinions] == ["mass_finder"] and not outliner.asked
    assert told.answer.choice == "mass" and told.answer.citations == ("mass_finder",)
    system, offer, call, back, answer = told.exchange[:5]
    assert "<OUTLINER()>" in offer.text and "<MASS_FINDER()>" in offer.text and offer.text.endswith("one option only.")
    assert isinstance(offer.parts[0], Image) and call.text == "Let me trigger <MASS_FINDER()>."
    assert back.text == cards_prompt.returned(told.case, told.opinions[0]) and "Specialist mass_finder" in back.text
    assert (system.role, answer.role) == ("system", "assistant")
    assert set(told.versions) >= {"mass_finder", "speaker"}


def test_nobody_called_is_solo_with_a_note(panel: Panel) -> None:
    told = held(panel, "clear", rates={"clear": -0.1, "mass": -1.0})
    alone = consult(case(), panel, "solo")
    assert told.opinions == () and told.answer == alone.answer
    assert "nobody was called; by their cards there fit mass_finder" in notes(told)


def test_who_measures_is_asked_an_open_question_though_nobody_called_it(panel: Panel, outliner: Expert) -> None:
    outliner.card = replace(outliner.card, outlines=True)
    panel.seat("outliner", outliner)
    told = held(panel, "It looks clear.", asked=case(options=()))
    assert [opinion.specialist for opinion in told.opinions] == ["outliner"]
    assert "though the generalist did not call it: outliner" in notes(told)
    assert "outliner measured lung: area 1,234" in "".join(message.text for message in told.exchange)
    closed = held(panel, "clear", rates={"clear": -0.1, "mass": -1.0})
    assert closed.opinions == ()


def test_a_slip_of_the_pen_becomes_the_likeliest_call(panel: Panel, outliner: Expert) -> None:
    panel.seat("outliner", outliner)
    told = held(panel, "<MASS_FINDR()>", "mass", rates={"<MASS_FINDER()>": -0.1, "<OUTLINER()>": -0.5, "mass": -0.1})
    assert [opinion.specialist for opinion in told.opinions] == ["mass_finder"] and told.answer.choice == "mass"
    assert told.exchange[2].text == "<MASS_FINDER()>" and "it wrote '<MASS_FINDR()>'" in notes(told)
    assert "no expert is called MASS_FINDR" in notes(told)


def test_arguments_are_rated_too(panel: Panel, outliner: Expert) -> None:
    panel.seat("outliner", outliner)
    held(panel, "<OUTLINER()>", "mass", rates={'<OUTLINER(side="right")>': -0.1, "<OUTLINER()>": -0.5})
    assert outliner.asked == [{"side": "right"}]


def test_an_unknown_expert_is_answered_with_those_there_are(panel: Panel) -> None:
    told = held(panel, "<LIVER_CT(organ='liver')>", "<MASS_FINDER()>", "mass")
    assert (
        "Not carried out: no expert is called LIVER_CT; those for this picture: mass_finder." in told.exchange[3].text
    )
    assert "Specialist" not in told.exchange[3].text and told.exchange[3].text.endswith("one option only.")
    assert [opinion.specialist for opinion in told.opinions] == ["mass_finder"]


def test_the_gate_refuses_an_expert_for_other_pictures(panel: Panel, outliner: Expert) -> None:
    outliner.card = replace(outliner.card, modalities=("CT",))
    panel.seat("outliner", outliner)
    told = held(panel, "<OUTLINER()>", "mass")
    assert not outliner.asked and told.opinions == () and "OUTLINER" not in told.exchange[1].text
    assert "gate: a call was refused: outliner may not see this picture: it is for CT; the study is CR" in notes(told)
    assert "outliner may not see this picture" in told.exchange[3].text


def test_what_the_expert_cannot_use_is_answered_and_what_is_broken_raises(panel: Panel, outliner: Expert) -> None:
    panel.seat("outliner", outliner)
    told = held(panel, '<OUTLINER(side="left")>', "mass")
    assert "Not carried out: outliner cannot use these arguments: the left side was not taken." in told.exchange[3].text
    assert told.opinions == ()


def test_several_calls_and_rounds(panel: Panel, outliner: Expert) -> None:
    panel.seat("outliner", outliner)
    told = held(panel, '<MASS_FINDER()> <OUTLINER(side="right")>', "<OUTLINER()>", "clear", "clear")
    assert [opinion.specialist for opinion in told.opinions] == ["mass_finder", "outliner", "outliner"]
    assert outliner.asked == [{"side": "right"}, None]
    assert told.exchange[3].text.count("Question: ") == 1
    assert [m.role for m in told.exchange] == ["system", *("user", "assistant") * 3] and told.answer.choice == "clear"
    assert len(speaker(panel).heard) == 3  # its last words are its answer: it is not asked for them again


def test_rounds_and_calls_are_bounded(panel: Panel, outliner: Expert) -> None:
    outliner.card = replace(outliner.card, arguments={"size": "number of pixels"})
    panel.seat("outliner", outliner)
    endless = [f"<OUTLINER(size={i})>" for i in range(9)]
    told = held(panel, *endless)
    assert len(outliner.asked) == 4 and "no more calls were taken after 4" in notes(told)
    outliner.asked.clear()
    told = held(panel, " ".join(endless), "mass")
    assert len(outliner.asked) == 6 and told.exchange[3].text.count("Specialist outliner") == 6
    assert "Not carried out: no more than 6 calls may be made." in told.exchange[3].text


def test_who_has_answered_is_not_asked_again(panel: Panel) -> None:
    told = held(panel, "<MASS_FINDER()>", "<MASS_FINDER()>", "mass")
    assert len(told.opinions) == 1 and told.answer.choice == "mass"
    assert "Not carried out: mass_finder has answered this already." in told.exchange[5].text
    told = held(panel, "<MASS_FINDER()>", asked=case(options=()))
    assert len(told.opinions) == 1 and told.answer.text == "" and "another call" in str(told.answer.abstained)
    assert "no more calls were taken" in notes(told)


def test_calls_without_end_give_an_answer_from_what_was_heard(panel: Panel) -> None:
    told = held(panel, *("<MASS_FINDER()>",) * 5, "There is a mass.", asked=case(options=()))
    assert told.answer.text == "There is a mass." and told.answer.abstained is None
    assert "last words were another call" in notes(told)
    asked_again = told.exchange[-2].text
    assert "Specialist mass_finder" in asked_again and "<MASS_FINDER()>" not in asked_again


def test_an_abstention_returns_with_its_reason(panel: Panel, outliner: Expert) -> None:
    outliner.found = Opinion("outliner", "1", abstained="the film is cut off")
    panel.seat("outliner", outliner)
    told = held(panel, "<OUTLINER()>", "mass")
    assert "Specialist outliner abstains: the film is cut off." in told.exchange[3].text
    assert told.opinions[0].abstained and told.answer.citations == ()


def test_measurements_and_an_overlay_return(panel: Panel, outliner: Expert) -> None:
    panel.seat("outliner", outliner)
    told = held(panel, "<OUTLINER()>", "mass")
    picture, text = told.exchange[3].parts
    assert isinstance(picture, Image) and picture.pixels.shape[1] >= 448 and isinstance(text, str)
    assert "Specialist outliner measured lung: area 1,234 mm², connected parts 3." in text and "%" not in text
    assert returns.LEGEND.format(specialist="outliner") in text
    blind = held(panel, "<OUTLINER()>", "mass", sees_images=False)
    assert all(isinstance(part, str) for part in blind.exchange[3].parts) and "area 1,234 mm²" in blind.exchange[3].text


@pytest.mark.parametrize("called", [True, False])
def test_what_a_generalist_never_learnt_it_does_not_decide(panel: Panel, called: bool) -> None:
    """It calls an expert, or forgets to, and is sure of the contrary. Where it learnt what the expert learnt, both count."""
    lines = ("<MASS_FINDER()>", "clear") if called else ("clear",)
    rates = {"<MASS_FINDER()>": -0.1, "clear": -0.01, "mass": -6.0}
    told = {}
    for learnt in ("elsewhere", "phantoms"):
        panel._loaded[""] = Speaker(lines, rates, card=replace(Speaker(()).card, trained_on={learnt: ""}))
        told[learnt] = consult(case(), panel, "triggered")
    alone, both = told["elsewhere"], told["phantoms"]
    assert [opinion.specialist for opinion in alone.opinions] == ["mass_finder"]
    assert alone.answer.choice == "mass" and alone.answer.citations == ("mass_finder",)
    assert "trained on nothing that" in notes(alone) and "trained on nothing" not in notes(both)
    assert both.answer.probabilities["clear"] > alone.answer.probabilities["clear"]
    assert ("asked by its card, though" in notes(alone)) is not called
    assert alone.answer.calibrated and both.answer.calibrated is not called


@pytest.mark.parametrize("policy", ["gsco", "moed"])
def test_where_it_decides_all_the_same_a_caution_says_so(panel: Panel, policy: str) -> None:
    rates = {"clear": -0.01, "mass": -6.0}
    for learnt, cautioned in (("elsewhere", True), ("phantoms", False)):
        panel._loaded[""] = Speaker(("clear",), rates, card=replace(Speaker(()).card, trained_on={learnt: ""}))
        answer = consult(case(), panel, policy).answer
        assert answer.choice == "clear" and "their vote is mass" in answer.caution
        assert ("trained on nothing that" in answer.caution) is cautioned


def test_of_a_volume_the_slice_that_shows_most_is_drawn() -> None:
    volume = Volume(np.zeros((5, 32, 32), np.int16), "v", (1.0, 1.0, 1.0), np.eye(4))
    labels = np.zeros((5, 32, 32), np.uint8)
    labels[1, 4:6, 4:6] = labels[3, 4:20, 4:20] = 1
    asked = case()
    asked = replace(asked, studies=(replace(asked.studies[0], images=(volume,)),))
    opinion = Opinion("o", "1", segmentations=(Segmentation(labels, "v", (LUNG,)),))
    (picture,) = returns.outlines(asked, opinion)
    alone = replace(
        opinion,
        segmentations=(Segmentation(labels * (np.arange(5) == 3)[:, None, None].astype(np.uint8), "v", (LUNG,)),),
    )
    assert picture == returns.outlines(asked, alone)[0]
    assert returns.outlines(asked, replace(opinion, segmentations=(Segmentation(labels * 0, "v", (LUNG,)),))) == ()


def test_a_blind_generalist_weighs_as_under_moed(panel: Panel) -> None:
    told = held(
        panel, "<MASS_FINDER()>", "mass", sees_images=False, rates={"mass": -0.1, "clear": -2.0, "<MASS_FINDER()>": 0}
    )
    moed = consult(case(), panel, "moed")
    assert told.answer == moed.answer and told.answer.choice == "mass"


def test_a_conflict_with_the_called_is_said(panel: Panel) -> None:
    told = held(panel, "<MASS_FINDER()>", "clear", "clear")
    assert told.answer.choice == "clear" and "their vote is mass" in told.answer.caution


def test_without_a_fitting_expert_nothing_is_offered(panel: Panel) -> None:
    told = held(panel, "mass", asked=case(modality="MR", body_part="HEAD"))
    assert "no expert's card admits the picture" in notes(told) and "Experts" not in told.exchange[0].text
    with pytest.raises(UsageError, match="modality"):
        held(panel, "mass", asked=case(modality=None, body_part=None))


def test_the_shortlist_knows_what_is_asked_and_puts_the_better_first() -> None:
    cards = [
        Card("specialist", f"c{i}", "1", f"finding{i}", ("CR",), scores=(Score("AUROC", 0.5 + i / 40, 0, 1, 9),))
        for i in range(12)
    ]
    wanted = replace(cards[0], name="fractures", concepts=(Code.local("rib fracture"),))
    found = shortlist([*cards, wanted], replace(case(), question="Is there a fracture of a rib?"))
    assert len(found) == 8 and found[-1] == wanted and found[0].name == "c11"


def test_beside_one_that_knows_all_options_no_other_classifier_is_offered() -> None:
    other = Card("specialist", "other", "1", "tells apart head and abdomen", ("CR",), concepts=(Code.local("head"),))
    knows = replace(
        other, name="knows", summary="", concepts=(Code.local("mass"), Code.local("rest")), groups={"clear": ("rest",)}
    )
    outlines = replace(other, name="outlines", outlines=True)
    offered = {card.name for card in shortlist([other, knows, outlines], case(options=("clear", "mass")))}
    assert offered == {"knows", "outlines"}
    assert len(shortlist([other, knows, outlines], case(options=("clear", "mass", "fracture")))) == 3
    assert len(shortlist([other, knows, outlines], case(options=()))) == 3


@pytest.mark.parametrize("policy", ["solo", "moed", "triggered"])
def test_of_a_volume_so_many_slices_are_shown_as_the_generalist_asks_for(panel: Panel, policy: str) -> None:
    volume = Volume(np.zeros((20, 32, 32), np.int16), "v", (1.0, 1.0, 1.0), np.eye(4))
    asked = replace(case(options=()), studies=(replace(case().studies[0], images=(volume,)),))
    for slices in (VIEWS, 7):
        told = Speaker(("mass",))
        told.slices = slices  # type: ignore[attr-defined]
        panel._loaded[""] = told
        consult(asked, panel, policy)
        shown = [part for part in told.heard[0][-1].parts if isinstance(part, Image)]
        assert len(shown) == slices
