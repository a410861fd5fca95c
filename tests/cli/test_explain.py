"""`consilium explain` and `consilium export`, on a native checkpoint of toy size."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture
from tests.cli.test_cli import CHEST, Done, Run, run
from tests.generalists import tiny_native

from consilium.formats import record

__all__ = ["run"]
QUESTION = ("What is it?", "--options", "pneumonia,no finding", "--policy", "solo", "--modality", "DX")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tiny_native.Made:
    return tiny_native.write(tmp_path_factory.mktemp("native"))


@pytest.fixture
def council(run: Run, pretrained: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run`, with the pretrained weights of the shared encoder."""
    monkeypatch.setenv("CONSILIUM_WEIGHTS", str(pretrained))
    return run


@pytest.mark.weights
def test_it_draws_where_the_generalist_looked(council: Run, made: tiny_native.Made, tmp_path: Path) -> None:
    out = tmp_path / "seen"
    done: Done = council("explain", CHEST, *QUESTION, "--folder", str(made.checkpoint), "--out", str(out))
    assert done.code == 0, done.err
    held = record.read(out / "consultation.json")
    assert f"answer  {held.answer.choice}\n" in done.out and str(out / "seen_1.png") in done.out
    drawn, plain = (np.asarray(Picture.open(path).convert("RGB"), int) for path in (out / "seen_1.png", CHEST))
    assert drawn.shape == plain.shape
    # A coloured map over a grey picture; what is not relevant stays grey.
    (finding,) = held.answer.findings
    assert finding.region is not None
    changed = np.abs(drawn - plain).sum(-1) > 30
    assert changed.any() == bool(finding.region.grid.any())
    assert "where native found evidence for" in (out / "consultation.html").read_text(encoding="utf-8")


@pytest.mark.weights
def test_as_json_it_gives_the_grids(council: Run, made: tiny_native.Made, tmp_path: Path) -> None:
    words = ("--folder", str(made.checkpoint), "--out", str(tmp_path / "seen"), "--json")
    said = json.loads(council("explain", CHEST, *QUESTION, *words).out)
    (picture,) = said["pictures"]
    assert said["answer"] in ("pneumonia", "no finding") and np.array(picture["relevance"]).shape == (2, 2)


@pytest.mark.weights
def test_who_cannot_explain_is_told_to_stand_back(council: Run, tmp_path: Path) -> None:
    done = council("explain", CHEST, *QUESTION, "--generalist", "echo", "--out", str(tmp_path / "seen"))
    assert done.code == 2 and "--generalist native" in done.err
    assert not (tmp_path / "seen").exists()


def bases(made: tiny_native.Made, folder: Path) -> Path:
    """A folder for CONSILIUM_WEIGHTS in which the toy bases bear the names of the real ones."""
    folder.mkdir()
    for name, base in (("clip-vit-b16", made.vision), ("smollm2-135m-instruct", made.language)):
        (folder / name).symlink_to(base, target_is_directory=True)
    return folder


def test_a_fresh_adapter_is_exported_as_a_whole_checkpoint(
    run: Run, made: tiny_native.Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSILIUM_WEIGHTS", str(bases(made, tmp_path / "weights")))
    done = run("export", "native", str(tmp_path / "out"), "--adapter", str(made.adapter))
    assert done.code == 0, done.err
    written, expected = ((folder / "model.safetensors").read_bytes() for folder in (tmp_path / "out", made.checkpoint))
    assert written == expected
    again = run("export", "native", str(tmp_path / "out"), "--adapter", str(made.adapter))
    assert again.code == 2 and "overwritten" in again.err


def test_the_assembled_checkpoint_is_copied(
    run: Run, made: tiny_native.Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "weights"
    mine.mkdir()
    (mine / "consilium-native").symlink_to(made.checkpoint, target_is_directory=True)
    monkeypatch.setenv("CONSILIUM_WEIGHTS", str(mine))
    said = json.loads(run("export", "native", str(tmp_path / "out"), "--json").out)
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= set(said["files"])
    assert sorted(os.listdir(tmp_path / "out")) == sorted(os.listdir(made.checkpoint))


def test_what_cannot_be_exported_says_why(run: Run, tmp_path: Path) -> None:
    done = run("export", "echo", str(tmp_path / "out"))
    assert done.code == 2 and "no weights of its own" in done.err
    done = run("export", "native", str(tmp_path / "out"), "--adapter", str(tmp_path / "none"))
    assert done.code == 4 and "no adapter" in done.err and "Traceback" not in done.err


def test_weights_lists_it(run: Run) -> None:
    facts = {fact["name"]: fact for fact in json.loads(run("weights", "--json").out)}
    assert facts["consilium-native"]["here"] == "no" and "adapter.safetensors" in facts["consilium-native"]["source"]


def test_importing_the_commands_loads_no_model_library() -> None:
    import subprocess

    code = "import sys; from consilium.cli import explain, export; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
