"""`consilium train` from files to a checkpoint that transformers loads, on tiny networks and drawn pictures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from tests.train import tiny_bases
from typer.testing import CliRunner

from consilium import formats
from consilium.cli import app
from consilium.errors import ConsiliumError, UsageError
from consilium.imaging.picture import views
from consilium.nn import llava

RECIPE = """
name = "tiny"
vision = "{vision}"
language = "{language}"
encoder = "clip_vit_b16"
layer = 2
rank = 4
precision = "float32"
seed = 1
mixture = "none.toml"

[stages.warmstart]
mix = {{ talk = 1.0 }}
epochs = 2
shown = 3

[stages.instruction]
after = "warmstart"
mix = {{ talk = 1.0 }}
learns = ["projector", "lora"]
rate = 5e-3
tokens = 400
shown = 3
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with bases, recipe, pictures and shards; the cache is its own."""
    monkeypatch.setenv("CONSILIUM_CACHE", str(tmp_path / "cache"))
    vision, language = tiny_bases.write_bases(tmp_path / "bases")
    (tmp_path / "tiny.toml").write_text(RECIPE.format(vision=vision, language=language), encoding="utf-8")
    made = tiny_bases.groups(12)
    (tmp_path / "data" / "tiny").mkdir(parents=True)
    for number, group in enumerate(made):
        (picture,) = group["images"]
        path = tmp_path / "data" / picture["path"]
        light = np.random.default_rng(number).integers(0, 90, (40, 30)) + 120 * (number % 2)
        Pillow.fromarray(light.astype(np.uint8)).save(path)
        picture["digest"] = views(formats.read(path)[0].images[0])[0].digest
    tiny_bases.write_shards(tmp_path / "out" / "shards", "talk", made)
    return tmp_path


def train(work: Path, *words: str) -> str:
    where = ["--config", str(work / "tiny.toml"), "--data", str(work / "data"), "--out", str(work / "out")]
    device = [] if "--device" in words else ["--device", "cpu"]
    done = CliRunner().invoke(app, ["train", *words, *where, *device], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_stages_then_a_checkpoint(work: Path) -> None:
    assert "val_right" in train(work, "warmstart")
    facts = json.loads(train(work, "instruction", "--json"))
    assert facts["examples"] == {"train": 10, "val": 2} and facts["val_loss"] > 0
    folder = Path(train(work, "checkpoint").strip())
    assert folder == work / "out" / "instruction" / "checkpoint"
    llava.load(folder)
    # Run again, it finds itself done: no step is added.
    assert json.loads(train(work, "instruction", "--json"))["steps"] == facts["steps"]


def test_two_processes_train_a_model_that_lies_in_pieces(work: Path) -> None:
    """As on two GPUs, but on the CPU: the frozen language model is spread, what comes out is whole, and told once."""
    train(work, "warmstart")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    where = ["--config", str(work / "tiny.toml"), "--data", str(work / "data"), "--out", str(work / "out")]
    what = [
        "-m",
        "consilium",
        "train",
        "instruction",
        *where,
        "--device",
        "cpu",
        "--set",
        "stages.instruction.fsdp=true",
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([*launch, *what, "--json"], env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    facts = json.loads(done.stdout)
    assert facts["steps"] > 0 and facts["val_loss"] > 0
    assert "What is it?" in (work / "out" / "instruction" / "samples.html").read_text(encoding="utf-8")
    llava.load(train(work, "checkpoint").strip())
    with pytest.raises(UsageError, match="processes 2, now 1"):
        train(work, "instruction")


def test_a_picture_that_changed_is_an_error(work: Path) -> None:
    Pillow.new("L", (40, 30), 7).save(work / "data" / "tiny" / "0.png")
    with pytest.raises(ConsiliumError, match=r"tiny/0\.png is not the picture that the shards were made of"):
        train(work, "warmstart")


def test_a_tracker_that_is_not_installed_is_an_error(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "trackio" else find(name))
    with pytest.raises(UsageError, match="pip install trackio"):
        train(work, "warmstart", "--track", "trackio")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("instruction",), "run that stage first"),
        (("fine-tuning",), "there are: warmstart, instruction"),
        (("warmstart", "--track", "paper"), "trackio or mlflow"),
        (("warmstart", "--set", "rank"), "KEY=VALUE"),
        (("warmstart", "--device", "cuda:7"), "device cuda:7 was asked for"),
        (("warmstart", "--device", "gpu"), "there is no device 'gpu'"),
        (
            ("instruction", "--set", "stages.instruction.rate=1e30", "--set", 'stages.instruction.after=""'),
            "ran away|is nan",
        ),
    ],
)
def test_a_mistake_says_what_to_do(work: Path, words: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConsiliumError, match=said):
        train(work, *words)
