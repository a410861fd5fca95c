"""`consilium index list`, and what the help of commands says of the folders that they read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from consilium import cli
from consilium.protocols import Entry
from consilium.retrievers import lance, patient_key
from consilium.types import Precedent


def run(*words: str) -> str:
    done = CliRunner().invoke(cli.app, words, catch_exceptions=False, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return done.stdout


def test_index_list_names_the_shipped_one_and_those_built_here(home: Path) -> None:
    (shipped,) = json.loads(run("index", "list", "--json"))
    assert shipped["name"] == "shipped" and shipped["cases"] > 1000 and "CT" in shipped["modalities"]
    assert shipped["licences"] and all(shipped["licences"])
    (home / "indices/empty").mkdir(parents=True)
    said = [Precedent(f"case-{i}", "benign", 0.0, "", "US", licence="CC0-1.0" if i else "") for i in range(3)]
    known = [Entry(np.eye(4)[i], p, patient_key("test", str(i)), f"digest-{i}") for i, p in enumerate(said)]
    lance.load(home / "indices/mine", "test/1/pooled", create=True).add(known)
    lance.load(home / "indices/one", "test/1/pooled", create=True).add(known[:1])
    first, *others = run("index", "list").splitlines()
    assert first.startswith(f"shipped: {shipped['cases']} cases, CR, CT")
    assert others[0].startswith("empty: there is no index in ")
    assert others[1:] == ["mine: 3 cases, US; CC0-1.0", "one: 1 case, US; no licence told"]


@pytest.mark.parametrize("path", ["evaluate run", "specialist suite", "specialist train", "index build"])
def test_help_names_the_tables_and_folders_that_are_read(path: str) -> None:
    said = " ".join(run(*path.split(), "--help").replace("│", " ").split())
    for words in (
        "label (or labels, parted by |)",
        "Data_Entry csv",
        "train.csv with val.csv",
        "within train, val and test",
    ):
        assert words in said
