"""Classifiers in ONNX: tried on a blank picture when they are added, and run by their card."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.specialists.test_estimator import ENCODER, case

from consilium import registry
from consilium.errors import MemberError, UsageError
from consilium.specialists import estimator as adapter
from consilium.types import Image


def onnx_of(
    path: Path, nodes: list[Any], constants: dict[str, np.ndarray], shape: list[Any], outputs: dict[str, int]
) -> None:
    entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    made = [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", [entry], made, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))


def mean_model(path: Path, columns: int = 2, factor: float = 1.0) -> None:
    """(1, 1, 8, 8) -> columns logits: the mean of the picture times 1, 2 ..."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["m", "w"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["label"], axis=1),
    ]
    weight = (np.arange(1, columns + 1, dtype=np.float32) * factor)[None]
    onnx_of(path, nodes, {"w": weight}, [1, 1, 8, 8], {"label": TensorProto.INT64, "scores": TensorProto.FLOAT})


ONNX_CARD = """
name = "brightness"
summary = "Tells bright pictures from dark ones."
modality = ["MR"]
concepts = ["dark", "bright"]
licence = "CC0-1.0"

[input]
kind = "picture"
size = [8, 8]
channels = 1
mean = [0.5]
std = [0.25]

[output]
kind = "logits"
"""


@pytest.fixture
def onnx_folder(tmp_path: Path) -> Path:
    mean_model(tmp_path / "given/model.onnx")
    (tmp_path / "given/card.toml").write_text(ONNX_CARD)
    return tmp_path / "given"


def test_an_onnx_model_is_added_and_judges_as_its_card_says(onnx_folder: Path, home: Path) -> None:
    card = adapter.add(onnx_folder, home, encoder=ENCODER)
    member = registry.get("specialists", "brightness")
    assert member.card == card and member.origin == "trained here"
    grey = Image(np.full((20, 30), 204, np.uint8), "sha256:grey")
    opinion = member.load(encoder=ENCODER).examine(case(grey))
    logit = (0.8 - 0.5) / 0.25
    expected = 1 / (1 + np.exp(-logit))  # of logits z and 2z
    assert opinion.findings[0].concept.meaning == "bright"
    assert opinion.findings[0].probability == pytest.approx(expected, abs=1e-3)
    with pytest.raises(UsageError, match="there is a specialist brightness already"):
        adapter.add(onnx_folder, home)


@pytest.mark.parametrize(
    ("factor", "kind", "words"),
    [
        (float("nan"), "logits", "not finite"),
        (9.0, "probabilities", "are no probabilities"),
        (0.1, "probabilities", "sum to"),
    ],
)
def test_numbers_that_are_not_what_the_card_promises_are_an_abstention(
    onnx_folder: Path, home: Path, factor: float, kind: str, words: str
) -> None:
    mean_model(onnx_folder / "model.onnx", factor=factor)
    (onnx_folder / "card.toml").write_text(ONNX_CARD.replace('"logits"', f'"{kind}"'))
    adapter.add(onnx_folder, home)
    opinion = adapter.load(home / "specialists/brightness", ENCODER).examine(
        case(Image(np.full((8, 8), 230, np.uint8), "u"))
    )
    assert opinion.findings == () and opinion.abstained is not None and words in opinion.abstained


def test_what_an_onnx_model_cannot_take_or_give_is_said(onnx_folder: Path, home: Path) -> None:
    (onnx_folder / "card.toml").write_text(ONNX_CARD.replace("[8, 8]", "[9, 8]"))
    with pytest.raises(MemberError, match=r"given/model.onnx does not take an input of shape \(1, 1, 9, 8\)"):
        adapter.add(onnx_folder, home)
    (onnx_folder / "card.toml").write_text(ONNX_CARD + 'name = "probabilities"\n')
    with pytest.raises(MemberError, match="names probabilities"):
        adapter.add(onnx_folder, home)
    (onnx_folder / "model.onnx").write_bytes(b"not a model")
    (onnx_folder / "card.toml").write_text(ONNX_CARD)
    with pytest.raises(MemberError, match="cannot be run"):
        adapter.add(onnx_folder, home)
    assert not (home / "specialists/brightness").exists()


def test_a_model_that_gives_another_count_of_numbers_than_the_card_names_concepts_is_not_added(
    onnx_folder: Path, home: Path
) -> None:
    mean_model(onnx_folder / "model.onnx", columns=3)
    with pytest.raises(MemberError, match=r"given/model.onnx gives 3 numbers .* names 2 concepts \(dark, bright\)"):
        adapter.add(onnx_folder, home)
    assert not (home / "specialists/brightness").exists()


FEATURES_INPUT = f'[input]\nkind = "encoder features"\nencoder = "{ENCODER.card.version}"\n'


def test_a_model_of_features_is_tried_on_as_many_as_it_takes_or_on_the_councils(onnx_folder: Path, home: Path) -> None:
    (onnx_folder / "card.toml").write_text(ONNX_CARD.split("[input]")[0] + FEATURES_INPUT)
    picked = [helper.make_node("Gather", ["x", "i"], ["scores"], axis=1)]
    for columns, width in ((3, 9), (2, 9)):
        constants = {"i": np.arange(columns)}
        onnx_of(onnx_folder / "model.onnx", picked, constants, [1, width], {"scores": TensorProto.FLOAT})
        with pytest.raises(MemberError, match="gives 3 numbers" if columns == 3 else "does not take an input of shape"):
            adapter.add(onnx_folder, home, encoder=None if columns == 3 else ENCODER)
    assert adapter.add(onnx_folder, home).name == "brightness"


@pytest.mark.parametrize(
    ("given", "instead", "words"),
    [
        ("size = [8, 8]", 'size = "32"', r"two whole numbers above 0; found '32'"),
        ("size = [8, 8]", "size = [32, 32, 3]", "two whole numbers above 0"),
        ("size = [8, 8]", "size = [8.5, 8]", "two whole numbers above 0"),
        ("size = [8, 8]", "size = [0, 8]", "two whole numbers above 0"),
        ("size = [8, 8]", "", "two whole numbers above 0; found None"),
        ("mean = [0.5]", "mean = [nan]", "`mean` under .* finite numbers"),
        ("mean = [0.5]", 'mean = "5"', "`mean` under .* finite numbers"),
        ("std = [0.25]", "std = [inf]", "`std` under .* finite numbers"),
        ("std = [0.25]", "std = []", "one number or one a channel"),
        ("channels = 1", 'channels = "1"', "channels 1 or 3"),
    ],
)
def test_a_card_by_which_no_picture_can_be_laid_before_the_model_is_refused(
    onnx_folder: Path, home: Path, given: str, instead: str, words: str
) -> None:
    (onnx_folder / "card.toml").write_text(ONNX_CARD.replace(given, instead))
    with pytest.raises(UsageError, match=words):
        adapter.add(onnx_folder, home)


def test_a_member_that_was_added_with_such_a_card_is_told_to_be_added_again(onnx_folder: Path, home: Path) -> None:
    adapter.add(onnx_folder, home)
    path = home / "specialists/brightness/card.json"
    made = json.loads(path.read_text())
    made["input"]["size"] = "32"
    path.write_text(json.dumps(made))
    with pytest.raises(MemberError, match=r"specialist brightness: .*remove its folder and add it again"):
        adapter.load(path.parent, ENCODER)


def test_without_onnxruntime_the_extra_is_named(onnx_folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MemberError, match=r"pip install -e .\.\[onnx\]"):
        adapter.add(onnx_folder, home)
