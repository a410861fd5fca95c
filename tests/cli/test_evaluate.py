"""`consilium evaluate` from a folder to figures, comparison and page, with a council that needs no weights."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.evaluate import made, small
from typer.testing import CliRunner

from consilium.cli import evaluate
from consilium.datasets.folder import read_folder
from consilium.errors import ConsiliumError, UsageError
from consilium.evaluate.council import Council


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return small.prepare(tmp_path_factory.mktemp("evaluate"))


@pytest.fixture
def seated(place: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small council sits in for the one that the options name; what they named is kept on it."""

    def panel(council: Council) -> Any:
        found = small.SmallCouncil(room=place[1], data=place[0])
        return replace(found.panel(), generalist_name=council.generalist)

    monkeypatch.setattr(Council, "panel", panel)
    return place[0]


def invoke(*words: str) -> str:
    done = CliRunner().invoke(evaluate.app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_run_score_compare_board(seated: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    words = ["run", str(seated), "--policies", "panel_vote,moed,solo", "--generalist", "echo", "--modality", "US"]
    words += ["--body-part", "BREAST", "--cases", "6", "--out", str(out), "--resamples", "20"]
    shown = invoke(*words)
    assert "macro-F1" in shown and "6 in " in shown and f"records: {out}" in shown.replace("\n", "")
    told = json.loads(invoke(*words, "--json"))
    assert told["new"] == {"panel_vote": 0, "moed": 0, "solo": 0} and told["answered"]["moed"] == 6
    assert {scored["policy"] for scored in told["scores"]} == {"panel_vote", "moed", "solo"}
    again = json.loads(invoke("score", str(out), "--json", "--resamples", "20"))
    assert sorted(again["scores"], key=str) == sorted(told["scores"], key=str)
    compared = json.loads(invoke("compare", str(out), "--against", "solo", "--json"))
    assert {test["second"] for test in compared["tests"]} == {"solo"}
    assert {matrix["name"] for matrix in compared["arbitration"]} == {"moed", "panel_vote"}
    page = tmp_path / "deep/board.html"
    assert str(page) in invoke("board", str(out), "--out", str(page), "--resamples", "20").replace("\n", "")
    assert "breast_ultrasound_busi" in page.read_text("utf-8")


def test_one_picture_is_one_picture(seated: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(seated, data)
    torn = read_folder(data).of("test")[0].path
    torn.write_bytes(torn.read_bytes()[:60])
    words = ["run", str(data), "--policies", "panel_vote", "--generalist", "echo", "--modality", "US", "--cases", "2"]
    words += ["--body-part", "BREAST", "--out", str(tmp_path / "out"), "--resamples", "20", "--skip-unreadable"]
    done = CliRunner().invoke(evaluate.app, words, catch_exceptions=False)
    assert "panel_vote: 1 answer on record, 1 of them new" in done.stderr and "1 in 1 group, 1 skipped" in done.stdout
    assert "skipped, since unreadable: 1 picture; the records say why" in done.stderr


def test_arbitration(seated: Path, tmp_path: Path) -> None:
    words = ["arbitration", str(seated), "--policy", "moed", "--generalist", "echo", "--modality", "US", "--cases", "3"]
    words += ["--body-part", "BREAST", "--normal", "normal", "--out", str(tmp_path)]
    shown = invoke(*words)
    assert shown.count("1 wrong") == 1 and "one wrong" not in shown and "all wrong" not in shown
    (report,) = json.loads(invoke(*words, "--json"))["reports"]
    assert report["policy"] == "moed" and {"solo", "as is"} <= {r["condition"] for r in report["conditions"]}


def test_the_terminal_shows_comparisons_in_full(tmp_path: Path) -> None:
    made.records(tmp_path, "solo", n=8)
    made.records(tmp_path, "moed", n=8, votes=made.soft(8, 0)[0])
    shown = invoke("compare", str(tmp_path))
    assert "p (Holm)" in shown and "vote right, alone right" in shown and "…" not in shown


def test_the_terminal_shows_splits_of_a_dataset_apart(tmp_path: Path) -> None:
    for split in ("test", "train"):
        made.records(tmp_path / split, "solo", n=8, split=split)
        made.records(tmp_path / split, "moed", n=8, seed=1, split=split)
    rows = [line.split() for line in invoke("score", str(tmp_path), "--resamples", "20").splitlines()]
    assert [row for row in rows if row[0] == "made,"] == [["made,", "test"], ["made,", "train"]]
    assert [row[3::2] for row in rows if "figure" in row] == [["moed", "solo"]] * 2
    assert "made, train" in invoke("compare", str(tmp_path))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--profile", "poem"], "there are: measured, published"),
        (["--model", "x"], "for the generalists hf and openai"),
        (["--option", "benign"], "NAME=VALUE"),
        (["--policies", ""], "at least one policy"),
        (["--labels-asked", "benign"], "several labels"),
    ],
)
def test_a_mistake_says_what_to_do(place: tuple[Path, Path], tmp_path: Path, words: list[str], said: str) -> None:
    with pytest.raises(ConsiliumError, match=said):
        invoke("run", str(place[0]), "--out", str(tmp_path), *words)


def test_records_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="evaluate run"):
        invoke("score", str(tmp_path))


def test_every_command_teaches_by_an_example() -> None:
    group = typer.main.get_command(evaluate.app)
    assert set(group.commands) == {"run", "score", "compare", "board", "arbitration"}  # type: ignore[attr-defined]
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        assert f"Example: consilium evaluate {name} " in command.help
