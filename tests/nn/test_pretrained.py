"""Loading checkpoints: the precision that is picked, and what is said of those that cannot be loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging as transformers_logging

from consilium.errors import MemberError, UsageError, WeightsError, WeightsMissingError
from consilium.nn.pretrained import load_model, pick_dtype


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    config = LlamaConfig(
        vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, pad_token_id=0
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    return tmp_path


def load(source: Path | str):
    return load_model(LlamaForCausalLM, str(source), device="cpu", dtype=torch.float32, offline=True)


def test_the_weights_are_those_of_the_file(checkpoint: Path) -> None:
    model = load(checkpoint)
    stored = load_file(checkpoint / "model.safetensors")
    assert not model.training
    assert torch.equal(model.model.embed_tokens.weight, stored["model.embed_tokens.weight"])


def test_progress_bars_stay_as_they_were(checkpoint: Path) -> None:
    before = transformers_logging.is_progress_bar_enabled()
    load(checkpoint)
    assert transformers_logging.is_progress_bar_enabled() == before


def test_a_missing_tensor_is_not_invented(checkpoint: Path) -> None:
    path = checkpoint / "model.safetensors"
    tensors = load_file(path)
    del tensors["model.layers.0.mlp.up_proj.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"lacks 1 tensors .*up_proj"):
        load(checkpoint)


def test_weights_of_another_size_are_refused(checkpoint: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config | {"intermediate_size": 12}))
    with pytest.raises(WeightsError, match=r"do not fit its config.json"):
        load(checkpoint)


def test_a_cut_file_is_called_damaged(checkpoint: Path) -> None:
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(WeightsError, match="damaged"):
        load(checkpoint)


def test_a_pickle_is_no_checkpoint(checkpoint: Path) -> None:
    torch.save(load_file(checkpoint / "model.safetensors"), checkpoint / "pytorch_model.bin")
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(WeightsMissingError, match="safetensors"):
        load(checkpoint)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissingError, match="Name an existing folder"):
        load(tmp_path / "absent")


def test_an_unknown_architecture(checkpoint: Path) -> None:
    from transformers import AutoModelForCausalLM

    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config | {"model_type": "nobody_knows"}))
    with pytest.raises(MemberError, match="no checkpoint that this transformers release can load"):
        load_model(AutoModelForCausalLM, str(checkpoint), device="cpu", dtype=torch.float32, offline=True)


@pytest.mark.parametrize(
    ("has", "picked"),
    [({"avx512_bf16": True}, torch.bfloat16), ({"amx_bf16": True}, torch.bfloat16), ({"avx2": True}, torch.float32)],
)
def test_the_precision_follows_the_processor(monkeypatch: pytest.MonkeyPatch, has, picked) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    assert pick_dtype("auto", "cpu") == picked
    assert pick_dtype("float32", "cpu") == torch.float32


def test_an_unknown_precision() -> None:
    with pytest.raises(UsageError, match="'int3'"):
        pick_dtype("int3")  # type: ignore[arg-type]
