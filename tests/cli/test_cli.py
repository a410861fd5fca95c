"""The command line as its user meets it: help, output that reads back, and one line with an exit code on every mistake."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image as Picture
from tests import phantoms
from typer.main import get_command

from consilium import cli, errors, formats, registry, weights
from consilium.formats import record

DATA = Path(__file__).parents[1] / "data"
CHEST = str(Path(__file__).parents[2] / "examples/chest_xray.jpg")


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, home: Path) -> Run:
    """Runs `consilium` with these words in this process: offline, with an empty home and cache."""
    monkeypatch.setenv("CONSILIUM_OFFLINE", "1")
    monkeypatch.setenv("CONSILIUM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CONSILIUM_WEIGHTS", raising=False)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["consilium", *words])
        with pytest.raises(SystemExit) as left:
            cli.main()
        printed = capsys.readouterr()
        return Done(int(left.value.code or 0), printed.out, printed.err)

    return call


def commands(command: Any = None, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    command = command or get_command(cli.app)
    below = getattr(command, "commands", {})
    return [path, *(found for name, sub in below.items() for found in commands(sub, (*path, name)))]


def test_there_are_the_commands_that_the_documentation_names() -> None:
    names = {" ".join(path) for path in commands()}
    assert names >= {"ask", "inspect", "members", "specialist train", "specialist list", "index build", "weights fetch"}


@pytest.mark.parametrize("path", commands(), ids=" ".join)
def test_help_of_every_command_ends_well_and_gives_an_example(run: Run, path: tuple[str, ...]) -> None:
    done = run(*path, "--help")
    assert done.code == 0 and done.err == ""
    assert f"Example: consilium {' '.join(path)}".strip() in done.out


def test_help_loads_no_heavy_library() -> None:
    heavy = "{'torch', 'numpy', 'transformers', 'lancedb', 'pydicom', 'PIL', 'openai', 'sklearn', 'pyarrow'}"
    code = (
        "import sys, consilium.cli\nsys.argv = ['consilium', '--help']\ntry:\n    consilium.cli.main()\n"
        f"finally:\n    print('loaded:', sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("loaded: []")


def test_python_m_consilium_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "consilium", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("consilium ")
    failed = subprocess.run([sys.executable, "-m", "consilium", "inspect", "/none"], capture_output=True, text=True)
    assert failed.returncode == 2 and "Traceback" not in failed.stderr


def test_threads_do_not_spin_unless_the_user_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for given, expected in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
        if given:
            monkeypatch.setenv("OMP_WAIT_POLICY", given)
        run("--version")
        assert os.environ["OMP_WAIT_POLICY"] == expected


TREE = [error for error in vars(errors).values() if isinstance(error, type)]


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.__name__)
def test_every_error_is_one_line_and_the_code_of_its_branch(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: type[errors.ConsiliumError]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error("what was asked. What to do.")

    monkeypatch.setattr(formats, "read", fail)
    done = run("inspect", "anything")
    assert done == Done(error.exit_code, "", "consilium: what was asked. What to do.\n")


def test_the_branches_can_be_told_apart_by_their_code() -> None:
    root = errors.ConsiliumError
    assert [error.exit_code for error in TREE if root in (error, *error.__bases__)] == [1, 2, 3, 4, 5, 6, 7]


MISTAKES = {
    "no question": (("ask", CHEST), 2, "then the question"),
    "no picture": (("ask", "Is it normal?"), 2, "then the question"),
    "empty question": (("ask", CHEST, " "), 2, "then the question"),
    "no file": (("ask", "/none.png", "?"), 2, "no such file"),
    "second of two is no file": (("ask", CHEST, "/none.png", "?"), 2, "path 2 of 2: there is no such file"),
    "not a picture": (("ask", str(DATA / "README.md"), "?"), 3, "text, not a picture"),
    "policy": (("ask", CHEST, "?", "--policy", "guess"), 5, "gsco, moed, panel_vote, rad, solo"),
    "profile": (("ask", CHEST, "?", "--profile", "guess"), 2, "measured, published"),
    "specialist": (("ask", CHEST, "?", "--specialists", "guess"), 5, "cxr_pneumonia"),
    "generalist": (("ask", CHEST, "?", "--generalist", "guess"), 5, "native, openai, smollm2"),
    "model of a generalist that has one": (("ask", CHEST, "?", "--model", "x"), 2, "not for native"),
    "no weights": (("ask", CHEST, "?"), 4, "CONSILIUM_OFFLINE"),
    "kind of member": (("members", "guess"), 5, "specialists"),
    "inspect no file": (("inspect", "/none.png"), 2, "no such file"),
    "inspect text": (("inspect", str(DATA / "README.md")), 3, "text, not a picture"),
    "picture into no folder": (("inspect", CHEST, "--picture", "/none/seen.png"), 2, "Choose another place"),
    "weights": (("weights", "fetch", "guess"), 4, "clip-vit-b16"),
    "weights to verify": (("weights", "verify", "clip-vit-b16"), 4, "fetch them first"),
    "train on no folder": (("specialist", "train", "/none", "--name", "x"), 6, "not a folder"),
    "name of a specialist": (("specialist", "train", "/none", "--name", "../x"), 2, "letters, digits"),
    "where": (("specialist", "train", "/none", "--name", "x", "--where", "split"), 2, "NAME=VALUE"),
    "index of no folder": (("index", "build", "/none"), 6, "not a folder"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_that_says_what_to_do(run: Run, mistake: str) -> None:
    words, code, said = MISTAKES[mistake]
    done = run(*words)
    assert (done.code, done.out) == (code, ""), done.err
    assert done.err.startswith("consilium: ") and done.err.count("\n") == 1 and said in done.err


def test_groups_name_classes_that_there_are(run: Run, tmp_path: Path) -> None:
    folder = phantoms.folder_of(tmp_path / "phantoms", 20)
    done = run("specialist", "train", str(folder), "--name", "x", "--group", "lesion=mass+tumour")
    assert done.code == 2 and "names tumour, but the classes are clear, mass" in done.err


def test_a_long_question_is_not_taken_for_a_file(run: Run) -> None:
    assert run("ask", "/none.png", "Is it? " * 1000).err.startswith("consilium: there is no such file")


@pytest.mark.parametrize(
    ("path", "modality", "holds"),
    [
        (Path(CHEST), "unknown (from: unknown)", "image 224 x 224 uint8"),
        (DATA / "pydicom__CT_small.dcm", "CT (from: header)", "image 128 x 128 int16, -896 to 1167 HU"),
        (DATA / "pydicom__MR_small_RLE.dcm", "MR (from: header)", "image 64 x 64"),
        (DATA / "pydicom__JPGExtended.dcm", "NM (from: header)", "image 1024 x 256 uint16"),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
def test_inspect_says_what_a_file_is_and_draws_it(
    run: Run, path: Path, modality: str, holds: str, tmp_path: Path
) -> None:
    (study,) = json.loads(run("inspect", str(path), "--json").out)
    assert study["modality"] == modality and study["holds"][0].startswith(holds)
    seen = tmp_path / "seen.png"
    done = run("inspect", str(path), "--picture", str(seen))
    assert done.code == 0 and modality in done.out and str(seen) in done.out
    with Picture.open(io.BytesIO(seen.read_bytes())) as picture:
        assert picture.format == "PNG" and picture.height == 512
        low, high = picture.convert("L").getextrema()
        assert high - low > 100


@pytest.mark.parametrize(("least", "says"), [(5.0, "5 to 23"), (np.nan, "no finite value")])
def test_inspect_of_values_that_are_no_numbers(run: Run, tmp_path: Path, least: float, says: str) -> None:
    voxels = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    voxels[~(voxels >= least)] = np.nan
    nibabel.Nifti1Image(voxels, np.eye(4)).to_filename(tmp_path / "a.nii")
    (study,) = json.loads(run("inspect", str(tmp_path / "a.nii"), "--json").out)
    assert f"float32, {says}, 1 x 1 x 1 mm" in study["holds"][0]
    assert "values are not finite numbers" in study["notes"][-1]


def test_inspect_takes_the_users_word_for_the_modality(run: Run) -> None:
    (study,) = json.loads(run("inspect", CHEST, "--modality", "dx", "--json").out)
    assert study["modality"] == "DX (from: user)"


def test_members_as_json_are_all_cards_and_as_text_all_names(run: Run) -> None:
    cards = [entry["card"] for entry in json.loads(run("members", "--json").out)]
    found = [name for kind in registry.KINDS for name in registry.find(kind)]
    assert [card["name"] for card in cards] == found
    text = run("members").out
    assert all(name in text for name in found) and "AUROC" in text


def test_specialist_list_is_the_specialists(run: Run) -> None:
    entries = json.loads(run("specialist", "list", "--json").out)
    assert [entry["card"]["name"] for entry in entries] == list(registry.find("specialists"))
    assert all(name in run("specialist", "list").out for name in registry.find("specialists"))


def test_weights_are_listed_and_not_fetched(run: Run, tmp_path: Path) -> None:
    facts = json.loads(run("weights", "--json").out)
    assert [fact["name"] for fact in facts] == list(weights.names())
    assert all(fact["here"] == "no" and fact["licence"] for fact in facts)
    assert not (tmp_path / "cache").exists()
    assert run("weights", "verify", "--json").out.strip() == "{}"


@pytest.fixture
def with_weights(run: Run, pretrained: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("CONSILIUM_WEIGHTS", str(pretrained))
    return run


@pytest.mark.weights
def test_ask_prints_a_record_that_reads_back(with_weights: Run, tmp_path: Path) -> None:
    words = ("ask", CHEST, "Is it normal?", "--options", "normal,pneumonia", "--generalist", "echo")
    done = with_weights(*words, "--json", "--out", str(tmp_path / "out"))
    assert done.code == 0
    held = record.from_json(done.out)
    assert held == record.read(tmp_path / "out/consultation.json")
    assert held.case.options == ("normal", "pneumonia") and held.answer.choice in held.case.options
    assert {"reading", "encoder", "total"} <= set(held.timings_s) and held.timings_s["encoder"] > 0.01


@pytest.mark.weights
def test_several_cases_are_one_json_list(with_weights: Run) -> None:
    words = ("ask", CHEST, CHEST, "Is it normal?", "--options", "normal,pneumonia", "--generalist", "echo", "--json")
    one, other = (record.from_json(json.dumps(each)) for each in json.loads(with_weights(*words).out))
    assert one.case == other.case and one.answer == other.answer


@pytest.mark.weights
def test_a_list_that_ends_early_is_still_a_list(with_weights: Run, tmp_path: Path) -> None:
    (tmp_path / "0002").write_text("in the way of the second case", encoding="utf-8")
    words = ("ask", CHEST, CHEST, "Is it normal?", "--options", "normal,pneumonia", "--generalist", "echo", "--json")
    done = with_weights(*words, "--out", str(tmp_path))
    assert done.code == 2 and "0002" in done.err and len(json.loads(done.out)) == 1


@pytest.mark.weights
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--index", "guess"), 5, "consilium index build FOLDER --name guess"),
        (("--options", "normal,Normal"), 2, "cannot be told apart"),
        (("--options", "normal"), 2, "two or more"),
        (("--generalist", "smollm2", "--int8"), 2, "--int8 is for the generalist native"),
        (("--generalist", "openai"), 2, "--base-url and --model"),
        (("--generalist", "openai", "--model", "m", "--base-url", "http://other.example/v1"), 2, "--allow-remote"),
        (("--generalist", "hf", "--model", "/none"), 4, "/none"),
        (("--out", "/proc/none"), 2, "Choose another place"),
    ],
)
def test_a_mistake_found_at_the_table_is_one_line_too(
    with_weights: Run, words: tuple[str, ...], code: int, said: str
) -> None:
    done = with_weights("ask", CHEST, "Is it normal?", *(("--generalist", "echo") if "--out" in words else ()), *words)
    assert (done.code, done.out) == (code, ""), done.err
    assert done.err.startswith("consilium: ") and done.err.count("\n") == 1 and said in done.err
