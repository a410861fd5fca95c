"""Every command that reads a folder tells on stderr how it read it; JSON on stdout stays whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from tests import phantoms
from tests.evaluate import small
from typer.testing import CliRunner

from consilium.cli import evaluate, index, specialist
from consilium.consult import panel
from consilium.evaluate.council import Council
from consilium.train import precedents

TOLD = (
    "note: Data_Entry.csv: path from 'Image Index', label from 'Diagnosis', patients from 'Patient ID', split from 'Set'; not "
    "used: Age\n"
)


@pytest.fixture
def folder(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(panel, "DEFAULT_ENCODER", "patch_statistics")
    monkeypatch.setattr(precedents, "DEFAULT_ENCODER", "patch_statistics")
    made = phantoms.folder_of(tmp_path / "phantoms", 60)
    head, *rows = (made / "index.csv").read_text().splitlines()
    assert head == "path,label,split,patient_id"
    (made / "index.csv").unlink()
    text = "\n".join(["Image Index,Diagnosis,Set,Patient ID,Age", *(f"{row},50" for row in rows)])
    (made / "Data_Entry.csv").write_text(text)
    return made


def done(result: Result) -> Result:
    assert result.exit_code == 0, result.output
    return result


def test_training_tells_how_the_folder_was_read(folder: Path) -> None:
    words = ["train", str(folder), "--name", "finder", "--modality", "CR", "--json"]
    result = done(CliRunner().invoke(specialist.app, words))
    assert result.stderr == TOLD and json.loads(result.stdout)["name"] == "finder"


def test_training_tells_of_labels_with_little_to_learn_from_or_none_to_test(folder: Path) -> None:
    made = folder / "Data_Entry.csv"
    head, *rows = made.read_text().splitlines()
    places = [row.split(",") for row in rows]
    rare = [i for i, cells in enumerate(places) if cells[2] == "train" and cells[1] != "normal"][:3]
    lines = [",".join([c[0], "rare" if i in rare else c[1], *c[2:]]) for i, c in enumerate(places)]
    made.write_text("\n".join([head.replace("Diagnosis", "Finding Labels"), *lines]))
    words = ["train", str(folder), "--name", "finder", "--modality", "CR", "--json"]
    result = done(CliRunner().invoke(specialist.app, words))
    assert "is a guess: rare (3)" in result.stderr and "no AUROC of rare" in result.stderr
    card = json.loads(result.stdout, parse_constant=lambda name: pytest.fail(f"{name} in the card"))
    assert not any(score["metric"] == "AUROC rare" for score in card["scores"])


def test_a_suite_tells_how_the_folder_was_read(folder: Path) -> None:
    words = ["suite", str(folder), "--members", "linear", "--seeds", "1", "--modality", "CR", "--no-index", "--json"]
    result = done(CliRunner().invoke(specialist.app, words))
    assert result.stderr == TOLD and json.loads(result.stdout)["name"] == "phantoms"


def test_an_index_tells_how_the_folder_was_read(folder: Path) -> None:
    result = done(CliRunner().invoke(index.app, ["build", str(folder), "--modality", "CR", "--json"]))
    assert result.stderr == TOLD and json.loads(result.stdout)["added"] == 36


def test_an_evaluation_tells_how_the_folder_was_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = small.prepare(tmp_path / "small")
    monkeypatch.setattr(Council, "panel", lambda self: small.SmallCouncil(room=place[1], data=place[0]).panel())
    words = ["run", str(folder), "--policies", "solo", "--generalist", "echo", "--modality", "CR", "--cases", "2"]
    result = done(CliRunner().invoke(evaluate.app, [*words, "--out", str(tmp_path / "out"), "--json"]))
    assert result.stderr == TOLD and json.loads(result.stdout)["answered"] == {"solo": 2}
