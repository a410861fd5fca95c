"""`specialist add`: a model of the user's becomes a member by one command; what is wrong is said with its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from onnx import TensorProto, helper, numpy_helper, save
from typer.testing import CliRunner

from consilium import registry
from consilium.cli import adapters, common, specialist
from consilium.errors import UsageError

CARD = """
name = "brightness"
summary = "Tells bright pictures from dark ones."
modality = ["MR"]
concepts = ["dark", "bright"]
licence = "CC0-1.0"

[input]
kind = "texture"

[output]
kind = "logits"
"""


@pytest.fixture
def given(tmp_path: Path) -> Path:
    folder = tmp_path / "given"
    folder.mkdir()
    entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, None])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 2])
    pick = numpy_helper.from_array(np.array([0, 1]), "i")
    graph = helper.make_graph(
        [helper.make_node("Gather", ["x", "i"], ["scores"], axis=1)], "g", [entry], [scores], [pick]
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "model.onnx")
    (folder / "card.toml").write_text(CARD)
    return folder


def run(*words: str) -> str:
    app = typer.Typer()
    app.command()(adapters.add)
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_folder_becomes_a_specialist(given: Path, home: Path) -> None:
    said = run(str(given), "--as", "estimator")
    assert said == "added brightness (MR: dark, bright), licence: CC0-1.0\n"
    shown = json.loads(run(str(given), "--as", "estimator", "--name", "other", "--json"))
    assert shown["name"] == "other" and {"brightness", "other"} <= set(registry.find("specialists"))


def test_what_cannot_be_added_is_said(given: Path, home: Path) -> None:
    for words, said in (
        ((str(given), "--as", "pickle"), "it is one of: bundle, xrv, estimator, writer"),
        ((str(given / "none"), "--as", "xrv"), "is no folder"),
        ((str(given), "--as", "xrv"), "no weights known by name"),
        ((str(given), "--as", "xrv", "--torchscript"), "is for bundles"),
    ):
        with pytest.raises(UsageError, match=said):
            run(*words)


@pytest.mark.parametrize(("said", "term"), [("mri", "MR"), (" X-ray ", "CR"), ("dx", "DX"), ("", None), (None, None)])
def test_a_modality_is_named_in_dicoms_words(said: str | None, term: str | None) -> None:
    assert common.modality_named(said) == term


def test_what_is_no_modality_is_refused() -> None:
    with pytest.raises(UsageError, match="'XX' is no modality of DICOM"):
        common.modalities_named("CR, XX")


def test_the_name_of_the_router_is_taken() -> None:
    with pytest.raises(UsageError, match="recognises modalities"):
        specialist._demand_name("modality_router")
