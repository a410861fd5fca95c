"""Forced opinions and poisoned precedents reach the prompt, and the report counts what was kept, corrected and found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.evaluate import made, small

from consilium.consult.council import case_of, consult
from consilium.consult.panel import Panel
from consilium.consult.vote import votes
from consilium.encoders import patch_statistics
from consilium.errors import UsageError
from consilium.evaluate import arbitration
from consilium.evaluate.arbitration_report import reports
from consilium.evaluate.exclude import Excluding
from consilium.evaluate.forced import SURE, Forced, Stance, reseat, stance
from consilium.evaluate.plan import Ask
from consilium.evaluate.records import write
from consilium.evaluate.run import run
from consilium.formats import read
from consilium.generalists import echo
from consilium.protocols import Card
from consilium.types import Case, Code, Opinion

ASK = Ask("", "", "What?", ("benign", "malignant", "normal"), "benign")


def card(*concepts: str, **more: Any) -> Card:
    return Card("specialist", "s", "1", "", ("US",), concepts=tuple(map(Code.local, concepts)), **more)


class Silent:
    """A specialist that abstains; `exclusive` as given."""

    def __init__(self, card: Card, exclusive: bool = True) -> None:
        self.card = card
        self.exclusive = exclusive

    def examine(self, case: Case, args: object = None) -> Opinion:
        return Opinion("s", "1", abstained="foreign", exclusive=self.exclusive, reliability=self.card.scores)


def said(forced: Forced) -> dict[str, float]:
    opinion = forced.examine(Case("c", "q"))
    assert opinion.abstained is None and not opinion.caution
    assert [f.probability for f in opinion.findings] == sorted((f.probability for f in opinion.findings), reverse=True)  # type: ignore[type-var]
    return {f.concept.meaning: f.probability or 0.0 for f in opinion.findings}


def test_a_forced_specialist_claims_a_concept_or_a_group() -> None:
    lung = card("bacterial", "viral", "normal", groups={"pneumonia": ("bacterial", "viral")})
    p = said(Forced(Silent(lung), Stance("normal", True)))
    assert p == pytest.approx({"normal": SURE, "bacterial": 0.025, "viral": 0.025, "pneumonia": 0.05})
    p = said(Forced(Silent(lung), Stance("pneumonia", True)))
    assert p["pneumonia"] == pytest.approx(SURE) and p["bacterial"] == pytest.approx(SURE / 2)
    assert p["normal"] == pytest.approx(1 - SURE)
    p = said(Forced(Silent(lung), Stance("pneumonia", False)))
    assert p["normal"] == pytest.approx(SURE)


def test_one_whose_concepts_do_not_exclude_each_other_denies_all_or_claims_one() -> None:
    many = Silent(card("Mass", "Edema"), exclusive=False)
    assert said(Forced(many, Stance("Mass", True))) == pytest.approx({"Mass": SURE, "Edema": 1 - SURE})
    assert said(Forced(many, Stance("Mass", False))) == pytest.approx({"Mass": 1 - SURE, "Edema": 1 - SURE})


def test_a_stance_is_taken_in_the_words_of_the_question() -> None:
    words = {"bacterial_pneumonia": "pneumonia", "normal": "normal"}
    lung = card("bacterial_pneumonia", "normal")
    assert stance(lung, ASK, "pneumonia", "normal", words) == Stance("bacterial_pneumonia", True)
    assert stance(card("Pneumonia"), ASK, "normal", "pneumonia", words) == Stance("Pneumonia", False)
    assert stance(card("glioma"), ASK, "normal", "pneumonia", words) is None
    yes_no = Ask("Mass", "a mass", "Is it?", ("yes", "no"), "no")
    assert stance(card("Mass"), yes_no, "yes", "no", {}) == Stance("Mass", True)
    assert stance(card("Mass"), yes_no, "no", "yes", {}) == Stance("Mass", False)
    assert stance(card("Edema"), yes_no, "no", "yes", {}) is None


def test_the_wrong_answer_calls_diseases_normal_and_normal_a_disease() -> None:
    assert arbitration.wrong_option(ASK, "normal", "x") == "normal"
    healthy = Ask("", "", "What?", ASK.options, "normal")
    drawn = {arbitration.wrong_option(healthy, "normal", str(i)) for i in range(20)}
    assert drawn == {"benign", "malignant"}
    assert arbitration.wrong_option(ASK, None, "x") == arbitration.wrong_option(ASK, None, "x") != "benign"


def test_forced_words_stand_in_the_prompt_that_is_served(place: tuple[Path, Path], tmp_path: Path) -> None:
    evaluation = small.evaluation(place, tmp_path, "gsco")
    panel, item = evaluation.council.panel(), evaluation.task.items()[0]
    assert panel.retriever is not None
    panel.retriever = Excluding(panel.retriever)
    case = case_of(read(item.record.path, modality="US", body_part="BREAST"), "What?", evaluation.task.options)
    lie = {"finder": Forced(panel.specialist("finder"), Stance("malignant", True))}
    held = consult(case, reseat(panel, lie, label="malignant"), "gsco")
    prompt = held.exchange[-2].text
    assert "Specialist finder" in prompt and "malignant 95 %" in prompt and held.answer.choice == "malignant"
    assert {p.label for p in held.precedents} == {"malignant"}
    assert votes(held.opinions, case.options)["finder"]["malignant"] == pytest.approx(SURE)
    honest = consult(case, panel, "gsco")
    assert honest.opinions[0].version == held.opinions[0].version and len({p.label for p in honest.precedents}) >= 1
    assert not consult(case, reseat(panel, empty=True), "gsco").opinions
    # The panel itself is as it was.
    assert consult(case, panel, "gsco").opinions == honest.opinions


def test_a_study_from_pictures_to_a_report(place: tuple[Path, Path], tmp_path: Path) -> None:
    changes = {"study": arbitration.STUDY, "wishes": {"normal": "normal", "cases": 6}}
    run(small.evaluation(place, tmp_path, "panel_vote", "gsco", **changes))
    rows = [json.loads(line) for line in (tmp_path / "gsco.jsonl").read_text().splitlines()[1:]]
    assert len(rows) == 6 and all(row["able"] == ["finder"] for row in rows)
    names = {"solo", "as is", "1 wrong", "all right", "random", "absent", "poisoned"}
    assert all(row["conditions"].keys() == names for row in rows)
    for row in rows:
        assert (
            row["conditions"]["1 wrong"]["vote"]
            == row["wrong"]
            != row["truth"]
            == row["conditions"]["all right"]["vote"]
        )
        assert row["conditions"]["absent"]["vote"] is None
    by_policy = {report.policy: report for report in reports([tmp_path])}
    assert "poisoned" not in {r.condition for r in by_policy["panel_vote"].conditions}
    right = next(r for r in by_policy["panel_vote"].conditions if r.condition == "all right")
    # The vote follows one who is right, and one who is wrong.
    assert right.accuracy is not None and right.accuracy.value == 1
    wrong = next(r for r in by_policy["panel_vote"].conditions if r.condition == "all wrong")
    assert wrong.accuracy is not None and wrong.accuracy.value == 0
    assert [r.condition for r in by_policy["panel_vote"].curve] == ["as is", "1 wrong"]
    assert run(small.evaluation(place, tmp_path, "panel_vote", "gsco", **changes)).new == {"panel_vote": 0, "gsco": 0}


def test_rates_are_shares_of_the_conflicts(tmp_path: Path) -> None:
    def held(choice: str | None, vote: str | None = None) -> dict[str, Any]:
        return {"choice": choice, "vote": vote, "probabilities": {}, "abstained": None, "opinions": {}, "seconds": 0.1}

    def one(i: int, truth: str, solo: str, misled: str, as_is: tuple[str, str]) -> dict[str, Any]:
        wrong = "normal" if truth != "normal" else "benign"
        conditions = {"solo": held(solo), "as is": held(*as_is), "1 wrong": held(misled, wrong)}
        base = {"row": i, "asked": "", "case": f"c{i}", "group": f"g{i}", "truth": truth}
        return {**base, "wrong": wrong, "able": ["finder"], "conditions": conditions}

    rows = [
        one(0, "benign", "benign", "benign", ("benign", "benign")),  # kept, and a disease still found
        one(1, "benign", "benign", "normal", ("normal", "normal")),  # lost
        one(2, "malignant", "benign", "normal", ("malignant", "malignant")),  # corrected as is; found alone, lost
        one(3, "normal", "benign", "benign", ("benign", "normal")),  # not corrected
        one(4, "malignant", "malignant", "benign", ("malignant", "malignant")),  # wrong, but still a disease
    ]
    write(tmp_path / "moed.jsonl", made.header("moed", study="arbitration"), rows)
    (report,) = reports([tmp_path])
    assert [r.condition for r in report.shown] == ["solo", "as is", "1 wrong"]
    as_is = next(r for r in report.conditions if r.condition == "as is")
    wrong = next(r for r in report.conditions if r.condition == "all wrong")
    shares = [(s.value, s.n) for s in (wrong.accuracy, wrong.keeps, wrong.found) if s]
    assert shares == [(0.2, 5), (pytest.approx(1 / 3), 3), (0.5, 4)] and wrong.corrects is None
    assert as_is.corrects is not None and (as_is.corrects.value, as_is.corrects.n) == (0.5, 2)
    assert as_is.keeps is not None and (as_is.keeps.value, as_is.keeps.n) == (0, 1)
    assert json.dumps(report.json())


def test_no_row_is_shown_twice(tmp_path: Path) -> None:
    def one(i: int, able: int) -> dict[str, Any]:
        told = {"vote": "normal", "probabilities": {}, "abstained": None, "opinions": {}, "seconds": 0.1}
        names = ("solo", "as is", *(f"{k} wrong" for k in range(1, able + 1)))
        held = {name: {**told, "choice": "normal" if name.startswith(str(able)) else "benign"} for name in names}
        base = {"row": i, "asked": "", "case": f"c{i}", "group": f"g{i}", "truth": "benign", "wrong": "normal"}
        return {**base, "able": ["a", "b", "c"][:able], "conditions": held}

    def shown(*able: int) -> list[str]:
        write(tmp_path / "moed.jsonl", made.header("moed", study="arbitration"), [one(*it) for it in enumerate(able)])
        (report,) = reports([tmp_path])
        assert {"one wrong", "all wrong"} <= {r["condition"] for r in report.json()["conditions"]}
        return [rates.condition for rates in report.shown]

    assert shown(2, 2, 2) == ["solo", "as is", "1 wrong", "2 wrong"]
    assert shown(2, 0, 2) == ["solo", "as is", "1 wrong", "2 wrong"]
    assert shown(2, 1, 3) == ["solo", "as is", "all wrong", "1 wrong", "2 wrong", "3 wrong"]


def test_no_study_is_an_error(kept: Path) -> None:
    with pytest.raises(UsageError, match="evaluate arbitration"):
        reports([kept])


def test_a_reseated_panel_weighs_and_asks_as_its_own_does(tmp_path: Path) -> None:
    own = Panel(patch_statistics.load(), {}, "native", generalist_options={"dtype": "float32"}, explains=True)
    own.arbiter_file = tmp_path / "mine.json"
    own.seat_generalist(echo.load())
    other = reseat(own)
    assert other.arbiter_file == own.arbiter_file and other.explains and other.has_generalist
    assert other.generalist_card == own.generalist_card == echo.CARD
