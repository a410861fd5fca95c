"""The adapter file: what training changed, back without loss, and merged as peft merges it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from consilium.errors import WeightsError, WeightsMissingError
from consilium.nn.adapter import Adapter, merge, pack, read_adapter, write_adapter

PATH = "model.language_model.layers.0.self_attn.q_proj"


class Network(torch.nn.Module):
    """The places that an adapter names in a LLaVA, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        attention = torch.nn.ModuleDict({"self_attn": torch.nn.ModuleDict({"q_proj": torch.nn.Linear(8, 6)})})
        self.model = torch.nn.Module()
        self.model.language_model = torch.nn.ModuleDict({"layers": torch.nn.ModuleList([attention])})
        self.model.multi_modal_projector = torch.nn.ModuleDict({"linear_1": torch.nn.Linear(4, 8)})
        self.model.vision_tower = torch.nn.ModuleDict({"norm": torch.nn.LayerNorm(4)})


def drawn() -> Adapter:
    torch.manual_seed(1)
    return Adapter(
        projector={"linear_1.weight": torch.randn(8, 4), "linear_1.bias": torch.randn(8)},
        lora={PATH: (torch.randn(2, 8), torch.randn(6, 2))},
        scale=2.0,
        layer=9,
        vision={"norm.weight": torch.randn(4)},
        facts={"base": "smollm2"},
    )


def test_it_comes_back_in_bfloat16(tmp_path: Path) -> None:
    write_adapter(drawn(), tmp_path / "a.safetensors")
    found = read_adapter(tmp_path / "a.safetensors")
    assert (found.scale, found.layer, dict(found.facts)) == (2.0, 9, {"base": "smollm2"})
    torch.testing.assert_close(found.lora[PATH][1], drawn().lora[PATH][1].bfloat16(), rtol=0, atol=0)
    torch.testing.assert_close(
        found.projector["linear_1.bias"], drawn().projector["linear_1.bias"].bfloat16(), rtol=0, atol=0
    )
    assert set(found.vision) == {"norm.weight"}


def test_a_merge_adds_scaled_b_times_a_in_float32() -> None:
    network, adapter = Network(), drawn()
    before = network.get_parameter(f"{PATH}.weight").detach().clone()
    a, b = adapter.lora[PATH]
    merge(adapter, network)
    torch.testing.assert_close(network.get_parameter(f"{PATH}.weight").detach(), before + 2.0 * b @ a)
    torch.testing.assert_close(
        network.model.multi_modal_projector["linear_1"].weight.detach(), adapter.projector["linear_1.weight"]
    )
    torch.testing.assert_close(network.model.vision_tower["norm"].weight.detach(), adapter.vision["norm.weight"])


def test_it_merges_what_peft_merges() -> None:
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

    network = Network()
    wrapped = get_peft_model(network, LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj"]))
    layer = wrapped.base_model.model.model.language_model["layers"][0]["self_attn"]["q_proj"]
    torch.nn.init.normal_(layer.lora_B["default"].weight)
    for state in (wrapped.state_dict(), get_peft_model_state_dict(wrapped)):
        fresh = Network()
        merge(pack(state, scale=2.0), fresh)
        expected = Network().get_parameter(f"{PATH}.weight") + layer.get_delta_weight("default")
        torch.testing.assert_close(fresh.get_parameter(f"{PATH}.weight"), expected)
    assert set(pack(wrapped.state_dict(), 2.0).projector) == {"linear_1.weight", "linear_1.bias"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"lora": {"model.language_model.layers.7.self_attn.q_proj": drawn().lora[PATH]}},
        {"lora": {PATH: (torch.zeros(2, 9), torch.zeros(6, 2))}},
        {"projector": {"linear_1.weight": torch.zeros(8, 5)}},
    ],
)
def test_what_does_not_fit_is_refused(wrong: dict) -> None:
    with pytest.raises(WeightsError, match="trained on another base"):
        merge(replace(drawn(), **wrong), Network())


def test_another_file_or_none_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    with pytest.raises(WeightsMissingError, match="no adapter"):
        read_adapter(tmp_path / "none.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="no adapter of the native"):
        read_adapter(tmp_path / "other.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"cut")
    with pytest.raises(WeightsError, match="no adapter of the native"):
        read_adapter(tmp_path / "cut.safetensors")
    with pytest.raises(WeightsError, match="half a LoRA"):
        pack({f"{PATH}.lora_A.weight": torch.zeros(2, 8)}, 1.0)
