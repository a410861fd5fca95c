"""`consilium datasets`: what is there, what is missing and how to get it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from tests.datasets.test_benchmark import pneumoniamnist, retoct
from typer.testing import CliRunner, Result

from consilium.cli.datasets import datasets
from consilium.datasets import benchmark
from consilium.errors import UsageError

app = typer.Typer()
app.command("datasets")(datasets)


def run(*words: str) -> Result:
    done = CliRunner().invoke(app, words)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_the_list_says_what_is_here_and_how_to_get_the_rest(tmp_path: Path) -> None:
    pneumoniamnist(tmp_path / "pneumoniamnist")
    retoct(tmp_path / "retoct")
    done = run("--root", str(tmp_path))
    assert done.exit_code == 0 and f"2 of 30 are under {tmp_path}" in done.output
    lines = done.output.splitlines()
    states = {line.split()[0]: line.split()[1] for line in lines[2:] if line[:1].strip()}
    assert tuple(states) == benchmark.names()
    assert {name for name, state in states.items() if state == "here"} == {"pneumoniamnist", "retoct"}
    assert sum(line.strip().startswith("get ") for line in lines) == 28
    assert any("2 classes" in line and "diagnosis" in line for line in lines if line.startswith("pneumoniamnist"))


def test_one_dataset_is_shown_whole(tmp_path: Path) -> None:
    done = run("vindr_spinexr", "--root", str(tmp_path))
    for words in (
        "missing under",
        "annotations/train.csv",
        "PhysioNet",
        "You are given a spine x-ray image",
        "Which of these findings does the spine X-ray show?",
        "train_images/00073745e02e69432c002b527c565151.dicom",
    ):
        assert words in done.output, words


@pytest.mark.parametrize("name", benchmark.names())
def test_every_dataset_can_be_shown(name: str, tmp_path: Path) -> None:
    done = run(name, "--root", str(tmp_path))
    assert done.exit_code == 0 and benchmark.describe(name).tree.splitlines()[1].strip() in done.output


def test_json_reads_back(tmp_path: Path) -> None:
    pneumoniamnist(tmp_path / "pneumoniamnist")
    facts = json.loads(run("--json", "--root", str(tmp_path)).output)
    assert [fact["name"] for fact in facts] == list(benchmark.names())
    assert [fact["name"] for fact in facts if fact["present"]] == ["pneumoniamnist"]
    one = json.loads(run("pneumoniamnist", "--json", "--root", str(tmp_path)).output)
    assert one["classes"] == ["normal", "pneumonia"] and one["missing"] == [] and one["licence"] == "CC BY 4.0"


def test_an_unknown_name_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no benchmark dataset is called 'mnist'"):
        run("mnist", "--root", str(tmp_path))


def test_the_help_teaches() -> None:
    output = " ".join(run("--help").output.split())
    for words in ("Nothing is downloaded", "Example: consilium datasets", "--root", "ROOT/pneumoniamnist"):
        assert words in output
