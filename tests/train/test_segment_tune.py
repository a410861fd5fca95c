"""A small installed segmenter is trained on: the card of what comes of it, and the way on after a kill. Clocks are counters."""

import itertools
import json
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from tests.train.test_segment import pictures

from consilium.errors import DataError
from consilium.nn import light_head
from consilium.specialists import segmenter
from consilium.train import segment_tune
from consilium.train.checkpoint import latest
from consilium.train.segment_own import Own, table_of, train_own
from consilium.train.trained_folder import write

OWN = Own("disc", ("disc",), "US", "BREAST")
HOW = segment_tune.Tuning(2, rate=2e-3, batch=2)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """(folder of the data's folder, the config's table, the installed member's folder). It has seen next to nothing yet."""
    home = tmp_path_factory.mktemp("home")
    pictures(home / "discs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("consilium.train.segment_own._SIDE", 32)
        patch.setattr("consilium.train.segment_own._LEVELS_2D", (4, 8, 8))
        table = table_of(home / "discs", OWN)
        train_own(home / "discs", OWN, home / "specialists", (0.001, "cpu", None), lambda line: None)
    folder = home / "specialists" / "disc"
    made = json.loads((folder / "card.json").read_text())
    made["fit"]["kept"] = "as it is"
    write(made, light_head.read(folder / "model.safetensors", ()) | {"foreign.residual": np.ones(1)}, folder)
    return home, table, folder


@pytest.fixture(autouse=True)
def seconds(monkeypatch):
    """Every look at the clock is one second: a step takes three, and a fit is kept after every tenth."""

    def tick(length=1):
        clock = itertools.count(step=length).__next__
        monkeypatch.setattr(segment_tune, "time", SimpleNamespace(process_time=clock, monotonic=clock))

    tick()
    return tick


def test_a_tuned_member_keeps_what_it_knows_and_says_what_it_learnt(installed, tmp_path):
    home, table, folder = installed
    lines = []
    card = segment_tune.tune(folder, table, home, HOW, tmp_path, lines.append)
    old, new = (json.loads((place / "card.json").read_text()) for place in (folder, tmp_path / "disc"))
    (said,) = new["fit"]["fine-tuned"]
    assert card.version == new["version"] != old["version"] == said["from"] and not card.scores
    assert {**new["fit"], "fine-tuned": None} == {**old["fit"], "fine-tuned": None}
    assert new["segmenter"] == old["segmenter"] and new["trained_on"] == old["trained_on"]
    assert (said["minutes"], said["rate"], said["batch"], said["pictures"]) == (2, 2e-3, 2, 6)
    assert said["steps"] > 30 and said["val Dice"]["n"] == 4 and said["loss"]["last"] < said["loss"]["first"]
    before, after = (light_head.read(place / "model.safetensors", ()) for place in (folder, tmp_path / "disc"))
    assert {n: v.dtype for n, v in before.items()} == {n: v.dtype for n, v in after.items()}
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed and all(name.startswith("net.") and after[name].dtype == np.float16 for name in changed)
    assert any("minutes done" in line for line in lines) and [p.name for p in tmp_path.iterdir()] == ["disc"]
    assert segmenter.load(tmp_path / "disc").card == card


def test_a_stopped_tuning_goes_on(installed, tmp_path, seconds):
    home, table, folder = installed

    def stop(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segment_tune.tune(folder, table, home, HOW, tmp_path, stop)
    left, facts = latest(tmp_path / ".disc-unfinished")
    with pytest.raises(DataError, match="Finish that one"):
        segment_tune.tune(folder, table, home, segment_tune.Tuning(3), tmp_path, stop)
    shutil.copytree(tmp_path / ".disc-unfinished", tmp_path / "late" / ".disc-unfinished")
    seconds()
    lines = []
    segment_tune.tune(folder, table, home, HOW, tmp_path, lines.append)
    (said,) = json.loads((tmp_path / "disc" / "card.json").read_text())["fit"]["fine-tuned"]
    assert lines[0].startswith(f"goes on at step {facts['step']}, ") and said["loss"]["first"] == facts["first"]
    assert facts["step"] + 10 < said["steps"] < 45
    # Where no time is left, the averaged weights are those of the checkpoint.
    seconds(1000)
    segment_tune.tune(folder, table, home, HOW, tmp_path / "late", lines.append)
    for name, value in light_head.read(tmp_path / "late" / "disc" / "model.safetensors", ()).items():
        if name.startswith("net."):
            assert np.array_equal(value, left[f"averaged.{name.removeprefix('net.')}"].numpy().astype(np.float16))


def test_with_folds_val_is_learnt_from_too(installed, tmp_path):
    home, table, folder = installed
    how = segment_tune.Tuning(0.1, batch=2)
    segment_tune.tune(folder, {**table, "folds": 2}, home, how, tmp_path, lambda line: None)
    (said,) = json.loads((tmp_path / "disc" / "card.json").read_text())["fit"]["fine-tuned"]
    assert said["pictures"] == 10 and "val Dice" not in said


def test_another_config_and_another_member_are_refused(installed, tmp_path, monkeypatch, capsys):
    home, table, folder = installed
    with pytest.raises(DataError, match="another canvas"):
        segment_tune.tune(folder, {**table, "canvas": {**table["canvas"], "side": 64}}, home, HOW, tmp_path, print)
    config = tmp_path / "config.toml"
    config.write_text("tasks = []\n")
    monkeypatch.setenv("CONSILIUM_HOME", str(home))
    given = ["--config", str(config), "--member", "disc", "--data", str(home), "--minutes", "1"]
    monkeypatch.setattr(sys, "argv", ["segment_tune", *given])
    with pytest.raises(SystemExit) as stopped:
        segment_tune.main()
    assert stopped.value.code == DataError.exit_code and "describes no trained member 'disc'" in capsys.readouterr().err
