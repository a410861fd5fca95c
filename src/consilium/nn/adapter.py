"""The shipped part of the native generalist: what training changed, as one safetensors file, and its merge into the network.

    projector.<name>         the projector whole ("projector.linear_1.weight" ...)
    <module path>.lora_A     (rank, in) and
    <module path>.lora_B     (out, rank) of a linear module, named as in LlavaForConditionalGeneration
                             ("model.language_model.layers.0.self_attn.q_proj")
    vision.<name>            tensors of the vision tower that were trained, if any

all in bfloat16; the metadata hold "scale" (alpha / rank), "layer" (depth of the vision tower) and what else the trainer says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from consilium.errors import WeightsError, WeightsMissingError

Tensors = Mapping[str, torch.Tensor]
_PROJECTOR, _VISION = "projector.", "vision."
_PEFT = re.compile(r"(?:base_model\.model\.)?(?P<path>.+)\.lora_(?P<side>[AB])(?:\.default)?(?:\.weight)?")
_PEFT_WHOLE = re.compile(
    r"(?:^|\.)multi_modal_projector\.(?:(?:modules_to_save\.)?default\.)?(?P<name>linear_\d\.\w+)$"
)


@dataclass(frozen=True, eq=False)
class Adapter:
    """What training changed.

    projector  tensors of the projector by their names in it ("linear_1.weight").
    lora       module path -> (A (rank, in), B (out, rank)): the module's weight grows by scale * B @ A.
    scale      alpha / rank.
    layer      hidden layers that the vision tower keeps.
    vision     changed tensors of the vision tower by their names in it; {} where it was frozen.
    facts      further metadata, texts by name ("base", "recipe", "steps").
    """

    projector: Tensors
    lora: Mapping[str, tuple[torch.Tensor, torch.Tensor]]
    scale: float
    layer: int = 9
    vision: Tensors = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)


def pack(state: Tensors, scale: float, layer: int = 9, facts: Mapping[str, str] | None = None) -> Adapter:
    """The adapter inside the state dict of a model that peft wrapped (whole, or what get_peft_model_state_dict gives).

    Names may bear peft's "base_model.model." and ".default". Raises WeightsError on an A without its B.
    """
    halves: dict[str, dict[str, torch.Tensor]] = {}
    projector = {}
    for name, tensor in state.items():
        if found := _PEFT.fullmatch(name):
            halves.setdefault(found["path"], {})[found["side"]] = tensor.detach()
        elif found := _PEFT_WHOLE.search(name):
            projector[found["name"]] = tensor.detach()
    return Adapter(projector, _pairs(halves, "the trained state"), scale, layer, facts=facts or {})


def write_adapter(adapter: Adapter, out: Path) -> None:
    """Writes `adapter` to the file `out` in bfloat16."""
    from safetensors.torch import save_file

    tensors = {f"{_PROJECTOR}{name}": tensor for name, tensor in adapter.projector.items()}
    tensors |= {f"{_VISION}{name}": tensor for name, tensor in adapter.vision.items()}
    for path, (a, b) in adapter.lora.items():
        tensors |= {f"{path}.lora_A": a, f"{path}.lora_B": b}
    metadata = {**adapter.facts, "scale": str(float(adapter.scale)), "layer": str(adapter.layer), "format": "pt"}
    kept = {name: tensor.detach().cpu().to(torch.bfloat16).contiguous() for name, tensor in tensors.items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(kept, out, metadata)


def read_adapter(path: Path) -> Adapter:
    """The adapter in the file `path`; WeightsMissingError where there is none, WeightsError where it is something else."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise WeightsMissingError(f"there is no adapter {path}. Name the adapter.safetensors that a training wrote.")
    try:
        with safe_open(path, "pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
        scale, layer = float(metadata.pop("scale")), int(metadata.pop("layer"))
    except (SafetensorError, KeyError, ValueError) as error:
        raise WeightsError(
            f"{path} is no adapter of the native generalist ({error}); take the one that a training wrote, whole."
        ) from error
    metadata.pop("format", None)
    halves: dict[str, dict[str, torch.Tensor]] = {}
    whole: dict[str, dict[str, torch.Tensor]] = {_PROJECTOR: {}, _VISION: {}}
    for name, tensor in tensors.items():
        prefix = next((prefix for prefix in whole if name.startswith(prefix)), None)
        if prefix:
            whole[prefix][name.removeprefix(prefix)] = tensor
        else:
            module, _, side = name.rpartition(".lora_")
            halves.setdefault(module, {})[side] = tensor
    return Adapter(whole[_PROJECTOR], _pairs(halves, str(path)), scale, layer, whole[_VISION], metadata)


@torch.no_grad()
def merge(adapter: Adapter, model: Any) -> None:
    """Writes `adapter` into a LlavaForConditionalGeneration: W + scale * B @ A in float32, rounded once to the model's dtype.

    Raises WeightsError where a tensor has no place in the model, or not its shape; the model is then partly changed.
    """
    for path, (a, b) in adapter.lora.items():
        weight = _parameter(model, f"{path}.weight")
        if (b.shape[0], a.shape[1]) != tuple(weight.shape) or a.shape[0] != b.shape[1]:
            _misfit(f"{path}.lora", f"{tuple(b.shape)} x {tuple(a.shape)}", tuple(weight.shape))
        weight.copy_(weight.float() + adapter.scale * (b.to(weight.device).float() @ a.to(weight.device).float()))
    parts = ((model.model.multi_modal_projector, adapter.projector), (model.model.vision_tower, adapter.vision))
    for part, tensors in parts:
        for name, tensor in tensors.items():
            target = _parameter(part, name)
            if target.shape != tensor.shape:
                _misfit(name, tuple(tensor.shape), tuple(target.shape))
            target.copy_(tensor)


def _pairs(halves: Mapping[str, Tensors], where: str) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    odd = sorted(path for path, half in halves.items() if set(half) != {"A", "B"})
    if odd:
        raise WeightsError(f"{where} holds half a LoRA or a tensor without a place at {odd[0]!r}; write it again.")
    return {path: (half["A"], half["B"]) for path, half in halves.items()}


def _parameter(module: Any, name: str) -> torch.Tensor:
    try:
        return module.get_parameter(name)
    except AttributeError as error:
        raise WeightsError(
            f"the adapter changes {name}, which this network does not have; it was trained on another base."
        ) from error


def _misfit(name: str, found: object, expected: object) -> None:
    raise WeightsError(
        f"the adapter's {name} has shape {found}, where the network has {expected}; it was trained on another base."
    )
