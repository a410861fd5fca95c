"""LiteMedSAM's state dict, in its authors' names, becomes the folder that `nn.lite_medsam` fills itself from."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from consilium.errors import WeightsMissingError

if TYPE_CHECKING:
    import torch

_EPSILON = 1e-5
_SETTINGS = {"architectures": ["LiteMedSam"], "model_type": "lite_medsam", "image_size": 256, "grid": 64}
_ENCODER = (
    (r"^patch_embed\.seq\.", "stem."),
    (r"^layers\.", "stages."),
    (r"\.blocks\.", "."),
    (r"\.conv1\.", ".widen."),
    (r"\.attn\.attention_biases$", ".attention.biases"),
    (r"\.attn\.proj\.", ".attention.project."),
    (r"\.attn\.", ".attention."),
    (r"\.local_conv\.", ".local."),
    (r"\.mlp\.norm\.", ".mlp.0."),
    (r"\.mlp\.fc1\.", ".mlp.1."),
    (r"\.mlp\.fc2\.", ".mlp.3."),
)
_BLOCK = ((r"\.conv2\.", ".mix."), (r"\.conv3\.", ".narrow."))
_REDUCTION = ((r"\.conv2\.", ".shrink."), (r"\.conv3\.", ".project."))
_PROMPTS = (
    (r"^pe_layer\.positional_encoding_gaussian_matrix$", "shared_embedding.positional_embedding"),
    (r"^point_embeddings\.", "point_embed."),
    (r"^mask_downscaling\.0\.", "mask_embed.conv1."),
    (r"^mask_downscaling\.1\.", "mask_embed.layer_norm1."),
    (r"^mask_downscaling\.3\.", "mask_embed.conv2."),
    (r"^mask_downscaling\.4\.", "mask_embed.layer_norm2."),
    (r"^mask_downscaling\.6\.", "mask_embed.conv3."),
)
_DECODER = (
    (r"\.norm(\d)\.", r".layer_norm\1."),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
    (r"^output_upscaling\.0\.", "upscale_conv1."),
    (r"^output_upscaling\.1\.", "upscale_layer_norm."),
    (r"^output_upscaling\.3\.", "upscale_conv2."),
    (r"\.layers\.0\.(weight|bias)$", r".proj_in.\1"),
    (r"\.layers\.1\.(weight|bias)$", r".layers.0.\1"),
    (r"\.layers\.2\.(weight|bias)$", r".proj_out.\1"),
)


def convert(original: Path, out: Path) -> None:
    """Reads the one ``*.pth`` of `original` (tensors only, no code runs); writes config.json and model.safetensors to `out`.

    WeightsMissingError where the original is another network: every tensor must find its place, and every place a tensor.
    """
    import torch
    from safetensors.torch import save_file

    from consilium.nn.lite_medsam import LiteMedSam

    (pickled,) = original.glob("*.pth")
    tensors = renamed(torch.load(pickled, map_location="cpu", weights_only=True))
    try:
        LiteMedSam().load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise WeightsMissingError(f"{pickled.name} does not fill LiteMedSAM: {error}; it is another network") from error
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(_SETTINGS, indent=1) + "\n", encoding="utf-8")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, out / "model.safetensors")


def renamed(theirs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Their tensors under our names, each batch norm folded into the convolution before it."""
    return {_name(name): tensor for name, tensor in _folded(theirs).items()}


def _folded(theirs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """``x.c`` (a convolution without bias) and ``x.bn`` become ``x.weight`` and ``x.bias``."""
    tensors = {name: tensor for name, tensor in theirs.items() if not re.search(r"\.(c|bn)\.\w+$", name)}
    for name, weight in theirs.items():
        if not name.endswith(".c.weight"):
            continue
        part = name.removesuffix(".c.weight")
        scale, bias, mean, variance = (
            theirs[f"{part}.bn.{kind}"].double() for kind in ("weight", "bias", "running_mean", "running_var")
        )
        scale = scale / (variance + _EPSILON).sqrt()
        tensors[f"{part}.weight"] = (weight.double() * scale[:, None, None, None]).float()
        tensors[f"{part}.bias"] = (bias - mean * scale).float()
    return tensors


def _name(theirs: str) -> str:
    room, _, rest = theirs.partition(".")
    if room == "image_encoder":
        return f"{room}.{_encoder_name(rest)}"
    return f"{room}.{_replaced(rest, _PROMPTS if room == 'prompt_encoder' else _DECODER)}"


def _encoder_name(name: str) -> str:
    """A stage's reduction follows its blocks: ``layers.1.downsample`` is ``stages.1.2`` after two blocks."""
    from consilium.nn.tiny_vit import LITE_MEDSAM

    name = _replaced(name, (*_ENCODER, *(_REDUCTION if ".downsample." in name else _BLOCK)))
    for number, stage in enumerate(LITE_MEDSAM):
        name = name.replace(f"stages.{number}.downsample.", f"stages.{number}.{stage.blocks}.")
    return name


def _replaced(name: str, patterns: tuple[tuple[str, str], ...]) -> str:
    for theirs, ours in patterns:
        name = re.sub(theirs, ours, name)
    return name
