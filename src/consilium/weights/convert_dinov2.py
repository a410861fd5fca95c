"""A DINOv2 state dict in its authors' names becomes a Dinov2WithRegistersModel."""

from __future__ import annotations

import re
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consilium.weights import checkpoint

if TYPE_CHECKING:
    import torch

_HEAD_CHANNELS = 64
_RENAMED = (
    (r"^(cls_token|mask_token|register_tokens)$", r"embeddings.\1"),
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^norm\.", "layernorm."),
    (r"^blocks\.", "encoder.layer."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.ls([12])\.gamma$", r".layer_scale\1.lambda1"),
)


def convert(original: Path, out: Path) -> None:
    """Reads the one ``*.pt`` of `original` (tensors only, no code runs); writes config.json and model.safetensors."""
    import torch
    from transformers import Dinov2WithRegistersModel

    (pickled,) = original.glob("*.pt")
    tensors = _renamed(torch.load(pickled, map_location="cpu", weights_only=True))
    checkpoint.write(out, Dinov2WithRegistersModel, _config(tensors), tensors)


def _renamed(theirs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    tensors = {}
    for name, tensor in theirs.items():
        for pattern, ours in _RENAMED:
            name = re.sub(pattern, ours, name)
        if ".attn.qkv." in name:
            for part, chunk in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                tensors[name.replace(".attn.qkv.", f".attention.attention.{part}.")] = chunk.clone()
        else:
            tensors[name] = tensor
    return tensors


def _config(tensors: dict[str, torch.Tensor]) -> Any:
    from transformers import Dinov2WithRegistersConfig

    channels, _, patch, _ = tensors["embeddings.patch_embeddings.projection.weight"].shape
    positions = tensors["embeddings.position_embeddings"].shape[1]
    return Dinov2WithRegistersConfig(
        hidden_size=channels,
        num_hidden_layers=sum(name.endswith(".layer_scale1.lambda1") for name in tensors),
        num_attention_heads=channels // _HEAD_CHANNELS,
        patch_size=patch,
        image_size=patch * isqrt(positions - 1),
        num_register_tokens=tensors["embeddings.register_tokens"].shape[1],
    )
