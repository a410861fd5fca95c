"""Each converter on a small original made here: transformers then computes what the original means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Dinov2WithRegistersModel

from consilium.errors import WeightsMissingError
from consilium.weights import convert_clip, convert_dinov2, convert_llama


def dinov2_state(layers: int = 2, channels: int = 64) -> dict[str, torch.Tensor]:
    """A state dict in the authors' names, of random numbers."""
    rng = torch.Generator().manual_seed(0)
    shapes = {
        "cls_token": (1, 1, channels),
        "pos_embed": (1, 17, channels),
        "register_tokens": (1, 4, channels),
        "mask_token": (1, channels),
        "patch_embed.proj.weight": (channels, 3, 14, 14),
        "patch_embed.proj.bias": (channels,),
        "norm.weight": (channels,),
        "norm.bias": (channels,),
    }
    for n in range(layers):
        block = f"blocks.{n}."
        for name, rows in (("attn.qkv", 3 * channels), ("attn.proj", channels), ("mlp.fc1", 4 * channels)):
            shapes |= {f"{block}{name}.weight": (rows, channels), f"{block}{name}.bias": (rows,)}
        shapes |= {f"{block}mlp.fc2.weight": (channels, 4 * channels), f"{block}mlp.fc2.bias": (channels,)}
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "ls1.gamma", "ls2.gamma"):
            shapes[block + name] = (channels,)
    return {name: torch.randn(shape, generator=rng) * 0.1 for name, shape in shapes.items()}


def dinov2_as_its_authors_compute(state: dict[str, torch.Tensor], pixels: torch.Tensor) -> torch.Tensor:
    from torch.nn import functional as f

    channels = state["cls_token"].shape[-1]

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return f.layer_norm(x, (channels,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return f.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    patches = f.conv2d(pixels, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=14)
    x = torch.cat([state["cls_token"], patches.flatten(2).transpose(1, 2)], 1) + state["pos_embed"]
    x = torch.cat([x[:, :1], state["register_tokens"], x[:, 1:]], 1)
    for n in range(sum(name.endswith("ls1.gamma") for name in state)):
        b = f"blocks.{n}."
        heads = linear(norm(x, b + "norm1"), b + "attn.qkv").reshape(1, -1, 3, channels // 64, 64)
        mixed = f.scaled_dot_product_attention(*heads.permute(2, 0, 3, 1, 4)).transpose(1, 2).flatten(2)
        x = x + linear(mixed, b + "attn.proj") * state[b + "ls1.gamma"]
        inner = f.gelu(linear(norm(x, b + "norm2"), b + "mlp.fc1"))
        x = x + linear(inner, b + "mlp.fc2") * state[b + "ls2.gamma"]
    return norm(x, "norm")


def test_dinov2_computes_what_its_authors_compute(tmp_path: Path) -> None:
    state = dinov2_state()
    torch.save(state, tmp_path / "original.pt")
    convert_dinov2.convert(tmp_path, tmp_path / "out")
    pixels = torch.randn(1, 3, 56, 56, generator=torch.Generator().manual_seed(1))
    model = Dinov2WithRegistersModel.from_pretrained(tmp_path / "out").eval()
    with torch.inference_mode():
        found = model(pixels).last_hidden_state
    torch.testing.assert_close(found, dinov2_as_its_authors_compute(state, pixels), rtol=1e-4, atol=1e-5)


def test_a_network_with_a_hole_is_refused(tmp_path: Path) -> None:
    state = dinov2_state()
    del state["blocks.1.mlp.fc1.weight"]
    torch.save(state, tmp_path / "original.pt")
    with pytest.raises(WeightsMissingError, match="does not fill Dinov2WithRegistersModel"):
        convert_dinov2.convert(tmp_path, tmp_path / "out")


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"cls_token": Evil()}, tmp_path / "original.pt")
    with pytest.raises(pickle.UnpicklingError):
        convert_dinov2.convert(tmp_path, tmp_path / "out")
    assert not (tmp_path / "ran").exists()


def test_an_int8_matrix_is_dequantised_by_column_and_transposed(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    stored = np.array([[10, -3], [0, 7], [-128, 127]], np.int8)
    zero, scale = np.array([1, -2], np.int8), np.array([0.5, 2.0], np.float32)
    arrays = {"w_quantized": stored, "w_zero_point": zero, "w_scale": scale}
    arrays["vision_model.pre_layrnorm.weight"] = np.ones(3, np.float32)
    name = "/vision_model/encoder/layers.0/mlp/fc1/MatMul_quant"
    node = helper.make_node("MatMulInteger", ["x", "w_quantized", "", "w_zero_point"], ["y"], name=name)
    ends = [helper.make_tensor_value_info("x", TensorProto.INT8, [1, 3])]
    ends.append(helper.make_tensor_value_info("y", TensorProto.INT32, [1, 2]))
    graph = helper.make_graph(
        [node], "g", ends[:1], ends[1:], [numpy_helper.from_array(array, key) for key, array in arrays.items()]
    )
    onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
    tensors = convert_clip._read(tmp_path / "m.onnx")
    expected = [[4.5, -0.5, -64.5], [-2.0, 18.0, 258.0]]
    assert tensors["vision_model.encoder.layers.0.mlp.fc1.weight"].tolist() == expected
    assert tensors["vision_model.pre_layrnorm.weight"].tolist() == [1, 1, 1]


def test_gguf_names_and_rotary_order() -> None:
    assert convert_llama._hub_name("blk.3.attn_q.weight") == "model.layers.3.self_attn.q_proj.weight"
    assert convert_llama._hub_name("token_embd.weight") == "model.embed_tokens.weight"
    interleaved = torch.arange(8.0)[:, None]  # two heads of four rows: pairs (0, 1), (2, 3)
    assert convert_llama._rotary_halves(interleaved, 2).flatten().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
