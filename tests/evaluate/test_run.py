"""Records: what they hold and what never, a killed run that goes on, records of another making, unreadable pictures, jobs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.evaluate import small
from tests.train import small_sets

from consilium.consult.council import case_of, consult
from consilium.datasets.folder import read_folder
from consilium.errors import DamagedFileError, DataError, UnknownMemberError, UsageError
from consilium.evaluate import records
from consilium.evaluate.plan import Wishes, plan
from consilium.evaluate.run import Outcome, run
from consilium.formats import read
from consilium.retrievers import patient_key

Place = tuple[Path, Path]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def timeless(path: Path) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines(path)]


def test_a_record_holds_what_a_score_needs(kept: Path, place: Place) -> None:
    header, *rows = lines(kept / "gsco.jsonl")
    made = header["made_with"]
    assert (made["dataset"], made["split"], made["policy"]) == ("breast_ultrasound_busi", "test", "gsco")
    assert made["generalist"] == {"name": "echo", "version": "1"} and made["options"] == [
        "benign",
        "malignant",
        "normal",
    ]
    assert made["specialists"].keys() == {"finder"} and made["index"]["name"] == "small" and made["index"]["size"] == 36
    assert len(made["wording"]) == 12 and made["consilium"]
    assert lines(kept / "panel_vote.jsonl")[0]["made_with"]["generalist"] is None
    assert len(rows) == 12 and [row["row"] for row in rows] == sorted(row["row"] for row in rows)
    row = rows[0]
    assert row["truth"] in made["options"] and row["choice"] in made["options"]
    assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    (opinion,) = row["opinions"]
    assert opinion["specialist"] == "finder" and sum(opinion["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert opinion["foreignness"] > 0 and opinion["version"] == made["specialists"]["finder"]
    assert [p["label"] in made["options"] for p in row["precedents"]] == [True] * 5
    assert row["seconds"]["total"] > 0 and row["versions"]["echo"] == "1" and len(row["group"]) == 16
    assert "opinions" in rows[0] and not lines(kept / "solo.jsonl")[1]["opinions"]


def test_the_answer_is_that_of_consult(kept: Path, place: Place) -> None:
    evaluation = small.evaluation(place, kept)
    panel = evaluation.council.panel()
    for item, row in zip(evaluation.task.items(), lines(kept / "moed.jsonl")[1:], strict=True):
        studies = read(item.record.path, modality="US", body_part="BREAST")
        held = consult(case_of(studies, "What does the picture show?", evaluation.task.options), panel, "moed")
        assert row["choice"] == held.answer.choice and row["truth"] == item.record.labels[0]
        assert row["probabilities"] == pytest.approx(dict(held.answer.probabilities), abs=1e-6)


def test_nobody_is_named(kept: Path, place: Place) -> None:
    data = read_folder(place[0])
    text = "".join(path.read_text("utf-8") for path in kept.glob("*.jsonl"))
    assert text and str(place[0]) not in text
    for record in data.of("test"):
        assert f'"{record.patient}"' not in text and record.path.name not in text and record.row["path"] not in text
        assert patient_key(data.name, record.patient) not in text


def test_a_killed_run_goes_on_after_a_torn_line(place: Place, kept: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(kept, out)
    path = out / "moed.jsonl"
    header, first, second, third, *_ = path.read_text("utf-8").splitlines(keepends=True)
    # A kill leaves some answers merged, some in the part of a process, the last one torn.
    path.write_text(header + first, "utf-8")
    (out / "moed.part-1.jsonl").write_text(header + second + third[:40], "utf-8")
    (out / "solo.jsonl").unlink()
    (out / "solo.part-1.jsonl").write_text('{"format": "cons', "utf-8")
    assert len(records.read_run(path).rows) == 2
    outcome = run(small.evaluation(place, out))
    assert outcome.new == {"solo": 12, "panel_vote": 0, "moed": 10, "gsco": 0}
    assert not list(out.glob("*.part-*"))
    for policy in ("solo", "moed", "gsco"):
        assert timeless(out / f"{policy}.jsonl") == timeless(kept / f"{policy}.jsonl")
    before = path.read_bytes()
    assert run(small.evaluation(place, out)).new["moed"] == 0 and path.read_bytes() == before


def test_an_error_midway_loses_nothing(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation = small.evaluation(place, tmp_path, "moed")
    asked = []

    def answer(panel: Any, case: Any, sitting: Any) -> list[dict[str, Any]]:
        asked.append(case)
        if len(asked) == 5:
            raise UsageError("the fifth")
        return evaluation.study.answer(panel, case, sitting)

    with pytest.raises(UsageError, match="the fifth"):
        run(replace(evaluation, study=replace(evaluation.study, answer=answer)))
    assert len(records.read_run(tmp_path / "moed.jsonl").rows) == 4
    assert run(evaluation).new == {"moed": 8}


def test_records_made_with_something_else_are_set_aside_and_taken_up_again(place: Place, tmp_path: Path) -> None:
    first = small.evaluation(place, tmp_path, "moed", wishes={"cases": 4})
    other = small.evaluation(place, tmp_path, "moed", wishes={"cases": 4, "question": "What is it?"})
    run(first)
    digest = records.read_run(tmp_path / "moed.jsonl").header.digest
    assert run(other).new == {"moed": 4}
    aside = tmp_path / f"moed.aside-{digest}.jsonl"
    assert [row["question"] for row in [lines(aside)[0]["made_with"]]] == ["What does the picture show?"]
    assert len(lines(aside)) == 5 and len(lines(tmp_path / "moed.jsonl")) == 5
    assert records.find_runs([tmp_path]) == [tmp_path / "moed.jsonl"]
    assert run(first).new == {"moed": 0} and not aside.exists()
    more = small.evaluation(place, tmp_path, "moed", wishes={"cases": 6})
    assert run(more).answered["moed"] >= 6 and run(more).new == {"moed": 0}


@pytest.mark.parametrize("change", ["labels", "picture", "specialist"])
def test_a_dataset_or_member_that_changed_is_another_making(place: Place, tmp_path: Path, change: str) -> None:
    data, room = tmp_path / "breast_ultrasound_busi", tmp_path / "room"
    shutil.copytree(place[0], data)
    shutil.copytree(place[1], room)
    run(small.evaluation((data, room), tmp_path / "out", "panel_vote", wishes={"cases": 2}))
    row = read_folder(data).of("test")[0]
    if change == "picture":
        small_sets.picture(row.path, "malignant", 4711)
    elif change == "labels":
        text = (data / "index.csv").read_text("utf-8")
        (data / "index.csv").write_text(
            text.replace(f"{row.row['path']},{row.labels[0]}", f"{row.row['path']},normal2")
        )
    else:
        card = json.loads((room / "finder/card.json").read_text("utf-8")) | {"version": "other"}
        (room / "finder/card.json").write_text(json.dumps(card), "utf-8")
    run(small.evaluation((data, room), tmp_path / "out", "panel_vote", wishes={"cases": 2}))
    assert len(list((tmp_path / "out").glob("panel_vote.aside-*"))) == 1


@pytest.fixture
def torn(place: Place, tmp_path: Path) -> Place:
    """The set with one test picture cut short."""
    data = tmp_path / "breast_ultrasound_busi"
    shutil.copytree(place[0], data)
    path = read_folder(data).of("test")[3].path
    whole = path.read_bytes()
    path.write_bytes(whole[:60] + bytes(len(whole) - 60))
    return data, place[1]


def test_a_picture_that_cannot_be_read_is_named_after_what_stands_before_it(torn: Place, tmp_path: Path) -> None:
    name = read_folder(torn[0]).of("test")[3].path
    with pytest.raises(DataError, match=f"{name} cannot be read.*--skip-unreadable"):
        run(small.evaluation(torn, tmp_path / "out", "panel_vote"))
    assert len(records.read_run(tmp_path / "out/panel_vote.jsonl").rows) == 3


def test_a_picture_that_cannot_be_read_is_skipped_and_counted(
    torn: Place, place: Place, kept: Path, tmp_path: Path
) -> None:
    data = read_folder(torn[0])
    path = data.of("test")[3].path
    evaluation = small.evaluation(torn, tmp_path / "out", "panel_vote", "moed", skip_unreadable=True)
    outcome = run(evaluation)
    assert outcome == Outcome({"panel_vote": 11, "moed": 11}, {"panel_vote": 11, "moed": 11}, 1, 0)
    (skipped,) = [row for row in lines(tmp_path / "out/moed.jsonl")[1:] if "skipped" in row]
    assert "DamagedFileError" in skipped["skipped"] and path.name not in json.dumps(skipped)
    # It is tried again, and once it is mended its answer takes the place of the note.
    path.write_bytes((place[0] / path.relative_to(torn[0])).read_bytes())
    assert run(evaluation) == Outcome({"panel_vote": 12, "moed": 12}, {"panel_vote": 1, "moed": 1}, 0, 0)
    assert timeless(tmp_path / "out/moed.jsonl")[1:] == timeless(kept / "moed.jsonl")[1:]


def test_an_index_yields_neither_the_case_nor_its_patient_nor_a_copy(place: Place, tmp_path: Path) -> None:
    tempted = small.evaluation(place, tmp_path, "gsco", tempted=True)
    run(tempted)
    rows = lines(tmp_path / "gsco.jsonl")[1:]
    # Each patient of the set has two pictures, both now in the index.
    assert all(row["left_out"] >= 1 and len(row["precedents"]) == 5 for row in rows)
    assert all(p["similarity"] <= 0.995 for row in rows for p in row["precedents"])


@pytest.mark.timeout(120)
def test_two_processes_answer_as_one_does(place: Place, kept: Path, tmp_path: Path) -> None:
    before, counts = dict(os.environ), []
    outcome = run(small.evaluation(place, tmp_path, "panel_vote", "gsco"), 2, lambda *count: counts.append(count))
    assert outcome.answered == {"panel_vote": 12, "gsco": 12} and counts[0] == (0, 12) and counts[-1] == (12, 12)
    for policy in ("panel_vote", "gsco"):
        assert timeless(tmp_path / f"{policy}.jsonl") == timeless(kept / f"{policy}.jsonl")
    assert not list(tmp_path.glob("*.part-*")) and dict(os.environ) == before


EMPLOYER = """
import os, time
from consilium.evaluate.jobs import several
with several(None, 1) as crew:
    print(crew._pool.submit(os.getpid).result(), flush=True)
    crew._pool.submit(time.sleep, 120).result()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 here")
@pytest.mark.timeout(120)
def test_processes_end_with_the_one_that_employed_them() -> None:
    with subprocess.Popen([sys.executable, "-c", EMPLOYER], stdout=subprocess.PIPE, text=True) as employer:
        assert employer.stdout is not None
        worker = int(employer.stdout.readline())
        employer.kill()
        try:
            # The worker holds the other end of the pipe, so that it is at its end once the worker is.
            assert employer.communicate(timeout=15) == ("", None)
        except subprocess.TimeoutExpired:
            os.kill(worker, signal.SIGKILL)
            raise


def test_what_a_part_holds_twice_is_one_answer(place: Place, kept: Path, tmp_path: Path) -> None:
    """A kill between the merge and the removal of the parts, a worker that was late, and a line that was torn."""
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "moed.jsonl"
    header, *rows = path.read_text("utf-8").splitlines(keepends=True)
    (tmp_path / "moed.part-1.jsonl").write_text("".join((header, *rows)), "utf-8")
    (tmp_path / "moed.part-2.jsonl").write_text("".join((header, *rows[:3], rows[3][:-9])), "utf-8")
    assert timeless(path)[1:] == [{k: v for k, v in r.items() if k != "seconds"} for r in records.read_run(path).rows]
    assert run(small.evaluation(place, tmp_path, "moed")).new == {"moed": 0}
    assert timeless(path) == timeless(kept / "moed.jsonl") and not list(tmp_path.glob("*.part-*"))


def test_what_cannot_be_run(place: Place, tmp_path: Path) -> None:
    from filelock import FileLock

    with pytest.raises(UnknownMemberError, match="guess"):
        run(small.evaluation(place, tmp_path, "guess"))
    with FileLock(tmp_path / ".lock"), pytest.raises(UsageError, match="another run writes"):
        run(small.evaluation(place, tmp_path, "solo"))
    with pytest.raises(UsageError, match="no records"):
        records.find_runs([tmp_path / "nowhere"])
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(DamagedFileError, match="header"):
        records.read_run(tmp_path / "x.jsonl")
    unknown = small.evaluation(place, tmp_path / "new", "moed", wishes={"modality": None, "body_part": None})
    with pytest.raises(UsageError, match=r"\.png: .*--modality"):
        run(unknown)


def test_a_plan_says_what_does_not_fit(place: Place, tmp_path: Path) -> None:
    data = read_folder(place[0])
    merged = plan(data, Wishes(options={"benign": "mass", "malignant": "mass"}, normal="normal"))
    assert merged.options == ("mass", "normal") and merged.normal_option == "normal"
    assert {item.asks[0].truth for item in merged.items()} == {"mass", "normal"}
    assert len(plan(data, Wishes(cases=5)).items()) == 5
    for wishes, said in (
        (Wishes(options={"cyst": "cyst"}), "no label cyst; its labels are benign"),
        (Wishes(options=dict.fromkeys(data.classes, "same")), "give two or more"),
        (Wishes(asked=("benign",)), "several labels"),
        (Wishes(cases=0), "1 or more"),
    ):
        with pytest.raises(UsageError, match=said):
            plan(data, wishes)
    with pytest.raises(DataError, match="'dev'"):
        plan(data, Wishes(split="dev"))


def test_several_labels_are_asked_one_by_one(tmp_path: Path, place: Place) -> None:
    folder = tmp_path / "several"
    labels = [("1", ""), ("0", "1"), ("1", "0"), ("0", "0"), ("1", "1"), ("", "")]
    splits = ("test", "test", "val", "train", "train", "test")
    rows = [
        {"path": f"{i}.png", "Mass": mass, "Air_Fluid": fluid, "split": split}
        for i, ((mass, fluid), split) in enumerate(zip(labels, splits, strict=True))
    ]
    small_sets.drawn(folder, rows)
    data = read_folder(folder, label_columns=("Mass", "Air_Fluid"))
    task = plan(data, Wishes(modality="US"))
    asked = {(item.row, ask.asked): ask for item in task.items() for ask in item.asks}
    assert set(asked) == {(0, "Mass"), (1, "Mass"), (1, "Air_Fluid")}  # not labelled is not negative
    assert task.unlabelled == 1
    assert asked[0, "Mass"].question == "Does the picture show Mass?" and asked[0, "Mass"].truth == "yes"
    with pytest.raises(UsageError, match=r"write \{label\} once into"):
        plan(data, Wishes(question="Is it {label}, or {label}?"))
    only = plan(data, Wishes(asked=("Mass",), options={"Mass": "a mass"}))
    assert {ask.question for item in only.items() for ask in item.asks} == {"Does the picture show a mass?"}
    run(replace(small.evaluation(place, tmp_path / "out", "solo"), task=task))
    rows = lines(tmp_path / "out/solo.jsonl")[1:]
    assert {(row["row"], row["asked"]) for row in rows} == set(asked) and rows[0]["choice"] in ("yes", "no")
