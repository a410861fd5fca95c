"""Conversations that call experts: the one that fits is called as it is written, or nobody; arguments are those asked for."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest

from consilium.consult.admit import admit
from consilium.consult.calls import find
from consilium.consult.cards_prompt import INVITATION, call
from consilium.datasets.folder import Record
from consilium.protocols import Card
from consilium.retrievers import exact
from consilium.train.conversations import calls, cards
from consilium.train.conversations.bench import Bench
from consilium.train.conversations.group import Branch
from consilium.train.conversations.out_of_fold import Judged
from consilium.train.mixture import Source
from consilium.types import Code, Score

LABELS = ("bacterial_pneumonia", "normal", "viral_pneumonia")
SHARES = {"twice": 0.1, "unfitting": 0.3, "adversarial": 0.1, "silent": 0.1, "questions": 6}


def expert(name: str, concepts: tuple[str, ...], modality: str = "CR", part: str = "CHEST") -> Card:
    codes = tuple(Code.local(concept) for concept in concepts)
    return Card(
        "specialist", name, "1", f"{name}.", (modality,), (part,), codes, scores=(Score("AUROC", 0.9, 0.8, 1.0, 50),)
    )


OWN = expert("cxr_pneumonia", LABELS)
CARDS = (
    OWN,
    expert("cxr_findings", ("Effusion", "Mass")),
    expert("lung_ct", ("benign",), "CT"),
    expert("breast_us", ("benign",), "US", "BREAST"),
)


@pytest.fixture(scope="module")
def bench() -> Bench:
    source = Source("cxr_pneumonia_kermany", "diagnosis", "CC BY 4.0", {"guided": 1}, 3, "CR", "CHEST")
    records = tuple(
        Record(Path(f"{i}.jpg"), (LABELS[i % 3],), "train", f"p{i}", {"path": f"{i}.jpg"}) for i in range(30)
    )
    said = np.eye(3)[[i % 3 for i in range(30)]] * 0.8 + 0.2 / 3
    judged = Judged(OWN, True, said, np.zeros(30), 2.0)
    beside = (Judged(CARDS[1], False, np.full((30, 2), 0.1), np.zeros(30), 2.0),)
    index = exact.load(encoder_key="test")
    return Bench(source, records, ("0" * 64,) * 30, np.ones((30, 4), np.float32), judged, beside, index, False)


@pytest.fixture(scope="module")
def told(bench: Bench) -> list[tuple[int, Branch]]:
    blocks = [(i % 30, calls.conversations(bench, i % 30, CARDS, SHARES, Random(i))) for i in range(400)]
    return [(row, branch) for row, branches in blocks for branch in branches]


def offers(branch: Branch) -> dict[str, str]:
    """Name -> card line of everyone offered."""
    lines = branch.messages[0][1].splitlines()
    return {line.split("(")[0][1:]: line for line in lines if line.startswith("<")}


def test_each_kind_is_as_often_as_the_recipe_says(told: list[tuple[int, Branch]]) -> None:
    share = {name: n / len(told) for name, n in Counter(branch.extra["condition"] for _, branch in told).items()}
    # A block where nobody fits asks its own question less; of those who are not offered, and needlessly, each asks now and then.
    assert 0.3 < share["call_other"] < 0.6 and 0.05 < share["call_unfitting"] < 0.2
    assert 0.05 < share["call_needless"] < 0.15 and 0.05 < share["call_absent"] < 0.15 and share["call_twice"] > 0.01
    assert share["call_as_is"] > 4 * share["call_adversarial"] > 0 and share["call_missing"] > 0


def test_who_is_called_is_offered_once_among_one_to_ten(told: list[tuple[int, Branch]]) -> None:
    for _, branch in told:
        assert branch.messages[0][1].startswith(INVITATION) and 1 <= len(offers(branch)) <= 10
        spoken = [text for role, text in branch.messages if role == "assistant"]
        called = [found for text in spoken for found in find(text)]
        assert all(c.name in offers(branch) for c in called) and len({c.name for c in called}) == len(called)
        direct = branch.extra["condition"] in ("call_unfitting", "call_needless", "call_absent")
        assert bool(called) != direct and len(called) == (
            2 if branch.extra["condition"] == "call_twice" else not direct
        )


def test_the_answer_is_the_label_and_another_expert_leaves_it_untold(told: list[tuple[int, Branch]]) -> None:
    means = {"normal": {"normal"}, "viral_pneumonia": {"viral_pneumonia", "viral pneumonia", "viral", "pneumonia"}}
    means["bacterial_pneumonia"] = {"bacterial_pneumonia", "bacterial pneumonia", "bacterial", "pneumonia"}
    for row, branch in told:
        if branch.extra["condition"] in ("call_other", "call_asked"):
            assert len(branch.messages) == 2 and find(branch.messages[-1][1])
        elif branch.extra["condition"] == "call_absent":
            assert branch.messages[-1][1] == calls.UNKNOWN
        elif branch.extra["condition"] != "call_needless" and branch.messages[-1][1] not in ("yes", "no"):
            assert branch.messages[-1][1] in means[LABELS[row % 3]]


def test_yes_and_no_are_true_and_neither_they_nor_options_tell_whether_to_call(told: list[tuple[int, Branch]]) -> None:
    own = [(row, b) for row, b in told if b.extra["condition"] in ("call_as_is", "call_unfitting", "call_adversarial")]
    for row, branch in own:
        question = branch.messages[0][1].split("Question: ")[1].splitlines()[0]
        if branch.messages[-1][1] in ("yes", "no") and "viral" in question and "or" not in question.split():
            assert (branch.messages[-1][1] == "yes") == (LABELS[row % 3] == "viral_pneumonia")
    for condition in ("call_as_is", "call_unfitting"):
        some = [branch for _, branch in own if branch.extra["condition"] == condition]
        assert 0.25 < np.mean(["Options: " not in branch.messages[0][1] for branch in some]) < 0.5
        assert 0.15 < np.mean([branch.messages[-1][1] in ("yes", "no") for branch in some]) < 0.35


def test_who_abstained_is_followed_by_the_other(told: list[tuple[int, Branch]]) -> None:
    for _, branch in (entry for entry in told if entry[1].extra["condition"] == "call_twice"):
        first, second = (find(branch.messages[turn][1])[0].name for turn in (1, 3))
        assert f"Specialist {first.lower()} abstains" in branch.messages[2][1]
        assert f"Specialist {second.lower()} (" in branch.messages[4][1]
        assert list(offers(branch)).index(first) < list(offers(branch)).index(second)


def test_names_vary_and_other_tasks_of_the_same_picture_stand_beside(told: list[tuple[int, Branch]]) -> None:
    own = [b for _, b in told if b.extra["condition"] == "call_as_is"]
    named = Counter(find(branch.messages[1][1])[0].name for branch in own)
    assert named["CXR_PNEUMONIA"] < 0.75 * len(own) and len(named) > 10
    alike = [sum("modality: chest X-ray" in line for line in offers(branch).values()) for branch in own]
    assert np.mean([n > 1 for n in alike]) > 0.4


def test_every_made_up_expert_admits_its_own_questions() -> None:
    for task in cards.tasks():
        for seed in range(12):
            case, filled = task.question(Random(seed))
            card = task.card(Random(seed))
            (written,) = find(call(card, filled), [card.name])
            request = admit(written, {card.name: card}, case)
            assert request.problem == "" and request.arguments == filled and "{" not in case.question


def test_what_the_benchmark_holds_out_is_never_taught() -> None:
    held_out = tomllib.loads(
        (Path(__file__).parents[2] / "benchmarks/triggers_cards.toml").read_text(encoding="utf-8")
    )["tasks"]
    taught = [*cards.tasks()]
    assert len(held_out) >= 10
    assert not {name for task in held_out for name in task["names"]} & {name for task in taught for name in task.names}
    assert not {q for task in held_out for q in task["questions"]} & {q for task in taught for q in task.questions}
    assert not {c for task in held_out for c in task["overviews"]} & {c for task in taught for c in task.overviews}
