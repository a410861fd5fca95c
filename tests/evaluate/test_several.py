"""Several labels a picture under one question: one consultation, a record a label, and "No finding" where none is said."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.train import small_sets

from consilium import registry
from consilium.consult.panel import Panel
from consilium.consult.prompt import NO_FINDING
from consilium.datasets.folder import FolderDataset, read_folder
from consilium.encoders import patch_statistics
from consilium.errors import UsageError
from consilium.evaluate import arbitration
from consilium.evaluate.answers import systems
from consilium.evaluate.compare import compare_all
from consilium.evaluate.council import Council
from consilium.evaluate.plain import STUDY
from consilium.evaluate.plan import Wishes, plan
from consilium.evaluate.run import Evaluation, Study, run
from consilium.evaluate.score import score
from consilium.protocols import Card
from consilium.train.precedents import entries
from consilium.types import Case, Code, Completion, Finding, Message, Opinion

QUESTION = "Which findings does it show?"
SAID = {"Air_Fluid": 0.2, "Edema": 0.9, "Mass": 0.4}
LABELS = ("Mass", "Edema|Mass", "No Finding", "Air_Fluid|Edema", "No Finding", "Edema")


@dataclass
class Finder:
    """Says SAID of every picture."""

    card: Card = field(default_factory=lambda: Card("specialist", "finder", "1", "", ("CR",)))

    def examine(self, case: Case, args: Mapping[str, Any] | None = None) -> Opinion:
        found = tuple(Finding(Code.local(label), p, True) for label, p in SAID.items())
        return Opinion("finder", "1", found, exclusive=False, foreignness=0.5)


@dataclass
class Reader:
    """Rates "Air Fluid" alone above "No finding", and counts how often it is asked."""

    asked: list[tuple[str, ...]] = field(default_factory=list)
    sees_images: bool = True
    card: Card = field(default_factory=lambda: Card("generalist", "echo", "1", ""))

    def generate(self, messages: Sequence[Message], max_tokens: int = 128) -> Completion:
        raise AssertionError("it is asked to rate")

    def score(self, messages: Sequence[Message], options: Sequence[str]) -> tuple[float, ...]:
        self.asked.append(tuple(options))
        return tuple({"Air Fluid": -1.0, NO_FINDING: -2.0}.get(option, -4.0) for option in options)


@dataclass(frozen=True)
class SeveralCouncil(Council):
    data: FolderDataset | None = None
    reader: Reader = field(default_factory=Reader)

    def panel(self) -> Panel:
        encoder = patch_statistics.load()
        index = registry.get("retrievers", "exact").load(encoder_key=encoder.card.version)
        assert self.data is not None
        index.add(entries(self.data, self.data.of("train"), encoder, ("CR", ""), ""))
        made = Panel(encoder, {}, "echo", index)
        made.seat("finder", Finder())
        made.seat_generalist(self.reader)
        return made


@pytest.fixture
def data(tmp_path: Path) -> FolderDataset:
    rows = [
        {"path": f"{split}{i}.png", "labels": labels, "split": split, "patient_id": f"{split}{i}"}
        for split in ("train", "val", "test")
        for i, labels in enumerate(LABELS)
    ]
    small_sets.index(tmp_path / "several", rows)
    for number, row in enumerate(rows):
        small_sets.picture(tmp_path / "several" / row["path"], small_sets.CLASSES[number % 3], number)
    return read_folder(tmp_path / "several")


def evaluation(data: FolderDataset, out: Path, *policies: str, study: Study = STUDY) -> Evaluation:
    task = plan(data, Wishes(question=QUESTION, modality="CR"))
    return Evaluation(task, SeveralCouncil(generalist="echo", index="small", data=data), policies, out, study)


def rows(out: Path, policy: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / f"{policy}.jsonl").read_text("utf-8").splitlines()[1:]]


def test_one_consultation_answers_every_label(data: FolderDataset, tmp_path: Path) -> None:
    asked = evaluation(data, tmp_path / "out", "solo", "panel_vote", "arbitrated")
    assert asked.task.together and asked.task.offered == ("Air Fluid", "Edema", "Mass")
    run(asked)
    council = asked.council
    assert isinstance(council, SeveralCouncil)
    assert council.reader.asked == [("Air Fluid", "Edema", "Mass", NO_FINDING)] * len(LABELS)
    solo, voted = (rows(tmp_path / "out", policy) for policy in ("solo", "panel_vote"))
    assert [(row["asked"], row["truth"], row["choice"]) for row in solo[:3]] == [
        ("Air_Fluid", "no", "yes"),
        ("Edema", "no", "no"),
        ("Mass", "yes", "no"),
    ]
    assert [row["probabilities"] for row in voted[:3]] == [
        {"yes": p, "no": pytest.approx(1 - p)} for p in SAID.values()
    ]
    assert [row["opinions"][0]["probabilities"]["yes"] for row in voted[:3]] == list(SAID.values())
    assert voted[0]["seconds"]["total"] > 0 and all(row["case"] == solo[0]["case"] for row in solo[:3])


def test_known_cases_count_for_or_against_each_label(data: FolderDataset, tmp_path: Path) -> None:
    run(evaluation(data, tmp_path, "arbitrated"))
    told = rows(tmp_path, "arbitrated")
    assert {p["label"] for row in told for p in row["precedents"]} == {"yes", "no"}
    shown = {row["asked"]: [p["label"] for p in row["precedents"]] for row in told[:3]}
    fluid, edema = shown["Air_Fluid"], shown["Edema"]
    assert fluid and len(fluid) == len(edema)
    # Whoever shows air and fluid shows edema too.
    assert all(e == "yes" for f, e in zip(fluid, edema, strict=True) if f == "yes")


def test_no_finding_is_no_to_every_label(data: FolderDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SAID, "Edema", 0.1)
    run(evaluation(data, tmp_path, "panel_vote"))
    assert {row["choice"] for row in rows(tmp_path, "panel_vote")} == {"no"}


def test_what_is_missing_is_asked_again_and_nothing_else(data: FolderDataset, tmp_path: Path) -> None:
    asked = evaluation(data, tmp_path, "panel_vote")
    run(asked)
    path = tmp_path / "panel_vote.jsonl"
    kept = path.read_text("utf-8").splitlines()
    path.write_text("\n".join(kept[:2] + kept[3:]) + "\n", "utf-8")
    assert run(asked).new == {"panel_vote": 1} and len(rows(tmp_path, "panel_vote")) == 3 * len(LABELS)


def test_figures_and_tests_are_those_of_yes_and_no(data: FolderDataset, tmp_path: Path) -> None:
    run(evaluation(data, tmp_path, "solo", "panel_vote"))
    found = {system.name: system for system in systems([tmp_path])}
    # "Edema" to all: right of three in six. "Air Fluid" to all: right of one in six.
    assert score(found["panel_vote"], 50).figures["macro-F1"].value == pytest.approx((2 / 3 + 0 + 0) / 3)  # type: ignore[union-attr]
    assert score(found["solo"], 50).figures["macro-F1"].value == pytest.approx((2 / 7 + 0 + 0) / 3)  # type: ignore[union-attr]
    (test,) = compare_all(list(found.values()), against="solo", figures=["macro-F1"])
    assert test.found is not None and test.found.score.n == 3 * len(LABELS)


def test_specialists_are_not_forced_on_all_labels_at_once(data: FolderDataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"one label at a time; write \{label\}"):
        run(evaluation(data, tmp_path, "moed", study=arbitration.STUDY))


def test_a_picture_with_blank_labels_is_not_asked_about(data: FolderDataset) -> None:
    index = data.folder / "index.csv"
    asked, unlabelled = len(plan(data, Wishes()).items()), plan(data, Wishes()).unlabelled
    first = next(record for record in data.of("test") if record.labels)
    lines = index.read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith(first.row["path"]))
    lines[place] = lines[place].replace(first.row["labels"], "")
    index.write_text("\n".join(lines) + "\n")
    task = plan(read_folder(data.folder), Wishes())
    assert len(task.items()) == asked - 1 and task.unlabelled == unlabelled + 1
