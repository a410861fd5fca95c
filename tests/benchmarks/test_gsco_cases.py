"""What the GSCo study weighs: a record is weighed again as it was, and the findings of held-out pictures become cases."""

from __future__ import annotations

import importlib
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
from tests.evaluate import small
from tests.evaluate.test_several import LABELS, QUESTION, Reader, evaluation
from tests.train import small_sets

from consilium.consult import arbiter
from consilium.consult.arbiter import GENERALIST, PRECEDENTS
from consilium.datasets.folder import read_folder
from consilium.encoders import patch_statistics
from consilium.evaluate.records import read_run
from consilium.evaluate.run import run
from consilium.train import specialist
from consilium.train.specialist import Recipe
from consilium.train.suite import Options, train_suite

ROOT = Path(__file__).parents[2]


@pytest.fixture
def gsco_cases(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("gsco_cases")


def several(folder: Path, count: int = len(LABELS)) -> Path:
    """`count` patients a split, each with one picture that shows what LABELS says in turn."""
    rows = [
        {"path": f"{split}{i}.png", "labels": LABELS[i % len(LABELS)], "split": split, "patient_id": f"{split}{i}"}
        for split in ("train", "val", "test")
        for i in range(count)
    ]
    small_sets.index(folder, rows)
    for number, row in enumerate(rows):
        small_sets.picture(folder / row["path"], small_sets.CLASSES[number % 3], number)
    return folder


def test_a_record_is_weighed_again_as_it_was(gsco_cases: ModuleType, tmp_path: Path) -> None:
    data = read_folder(several(tmp_path / "several"))
    asked = evaluation(data, tmp_path / "many", "arbitrated")
    # Who sees no pictures is not asked: the specialists and known cases decide.
    run(replace(asked, council=replace(asked.council, reader=Reader(sees_images=False))))  # type: ignore[call-arg]
    run(small.evaluation(small.prepare(tmp_path / "small"), tmp_path / "one", "arbitrated"))
    weights = arbiter.load()
    for folder, options in (("many", ("yes", "no")), ("one", ("benign", "malignant", "normal"))):
        rows = read_run(tmp_path / folder / "arbitrated.jsonl").rows
        answered = [row for row in rows if row["abstained"] is None]
        assert len(answered) > len(rows) / 2
        for row in answered:
            pieces, _ = arbiter.weighable(*gsco_cases.recalled(row, options))
            again = dict(zip(options, weights.probabilities(pieces, asked=False), strict=True))
            assert again == pytest.approx(row["probabilities"], abs=1e-4)


def test_each_finding_of_a_held_out_picture_is_a_case(
    gsco_cases: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSILIUM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(specialist, "interval", partial(specialist.interval, resamples=20))
    monkeypatch.setattr(gsco_cases, "encoder", patch_statistics.load)
    data = read_folder(several(tmp_path / "several", 24))
    options = Options(members=("linear", "neighbours"), seeds=1, index=False)
    made = train_suite(data, Recipe("drawn", ("CR",)), patch_statistics.load(), tmp_path / "home", options)
    places = importlib.import_module("gsco_places")
    place = places.Place("drawn", {"question": QUESTION}, data, "drawn", (made.kept,))
    assert place.several
    first = next(i for i, record in enumerate(data.records) if record.split == "val")
    solo = [{"row": first, "asked": "Mass", "probabilities": {"yes": 0.7, "no": 0.3}}]
    cases = gsco_cases.held_out(place, 0, solo)
    assert {case.name for case in cases} == {"drawn"}
    names = [[piece.name for piece in case.pieces] for case in cases]
    # It was asked about one finding of one picture.
    assert 0 < sum(GENERALIST in of for of in names) <= len(cases) / len(data.classes) / 24
    assert all(case.features(True).shape[0] == 2 for case in cases) and any(PRECEDENTS in of for of in names)
    # Two of six val pictures show air and fluid or a mass, three edema: yes is option 0.
    assert 0 < sum(case.truth == 0 for case in cases) < len(cases) / 2
