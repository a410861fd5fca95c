"""Writes a Hugging Face folder and proves that transformers reads every tensor of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from consilium.errors import WeightsMissingError

if TYPE_CHECKING:
    import torch


def write(out: Path, model_class: Any, config: Any, tensors: dict[str, torch.Tensor]) -> None:
    """`tensors`, named as the hub names them, and `config` in the folder `out`; then loads them once as `model_class`.

    Hub names are the stable ones: transformers renames its modules between versions and maps hub names onto them.
    WeightsMissingError when a tensor is missing or left over, for a network with random parts must never pass.
    """
    from safetensors.torch import save_file

    config.architectures = [model_class.__name__]
    config.save_pretrained(out)
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()}, out / "model.safetensors", {"format": "pt"}
    )
    _, loaded = model_class.from_pretrained(out, output_loading_info=True)
    wrong = {
        kind: sorted(loaded[kind])[:3]
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")
        if loaded[kind]
    }
    if wrong:
        raise WeightsMissingError(f"the original does not fill {model_class.__name__}: {wrong}; it is another network")
