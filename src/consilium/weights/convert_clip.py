"""An int8 ONNX export of a CLIP vision tower becomes a CLIPVisionModelWithProjection in float32."""

from __future__ import annotations

from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consilium.weights import checkpoint

if TYPE_CHECKING:
    import torch

_HEAD_CHANNELS = 64


def convert(original: Path, out: Path) -> None:
    """Reads the one ``*.onnx`` of `original`; writes config.json and model.safetensors to `out`."""
    from transformers import CLIPVisionModelWithProjection

    (export,) = original.glob("*.onnx")
    tensors = _read(export)
    checkpoint.write(out, CLIPVisionModelWithProjection, _config(tensors), tensors)


def _read(export: Path) -> dict[str, torch.Tensor]:
    """The float tensors as they are; each quantised matrix (in, out) as (out, in): (int8 - zero point) x scale, by column.

    The exporter keeps the names of all but the matrices: those are known by the node that multiplies with them.
    """
    import numpy as np
    import onnx
    import torch
    from onnx import numpy_helper

    graph = onnx.load(export).graph
    stored = {tensor.name: tensor for tensor in graph.initializer}

    def array(name: str) -> Any:
        return numpy_helper.to_array(stored[name])

    tensors = {name: torch.tensor(array(name)) for name in stored if name.startswith("vision_model.")}
    for node in graph.node:
        if node.op_type != "MatMulInteger":
            continue
        matrix = node.input[1].removesuffix("_quantized")
        centred = array(f"{matrix}_quantized").astype(np.float32) - array(f"{matrix}_zero_point").astype(np.float32)
        name = node.name.removesuffix("/MatMul_quant").strip("/").replace("/", ".")
        tensors[f"{name}.weight"] = torch.tensor(np.ascontiguousarray((centred * array(f"{matrix}_scale")).T))
    return tensors


def _config(tensors: dict[str, torch.Tensor]) -> Any:
    from transformers import CLIPVisionConfig

    channels, _, patch, _ = tensors["vision_model.embeddings.patch_embedding.weight"].shape
    positions = tensors["vision_model.embeddings.position_embedding.weight"].shape[0]
    return CLIPVisionConfig(
        hidden_size=channels,
        intermediate_size=tensors["vision_model.encoder.layers.0.mlp.fc1.bias"].shape[0],
        num_hidden_layers=sum(name.endswith("mlp.fc1.bias") for name in tensors),
        num_attention_heads=channels // _HEAD_CHANNELS,
        patch_size=patch,
        image_size=patch * isqrt(positions - 1),
        projection_dim=tensors["visual_projection.weight"].shape[0],
    )
