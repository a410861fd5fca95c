"""The native generalist's checkpoint, put together: a vision tower, a language model, and what training changed of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

# Rows of the vocabulary that no text uses are drawn; the same on every machine.
_SEED = 0


def convert(bases: Sequence[Path], adapter: Path, out: Path) -> None:
    """Writes an ordinary LLaVA folder to `out`, in bfloat16.

    bases    the folders of the CLIP vision tower and of the Llama language model.
    adapter  the file that `nn.adapter.write_adapter` wrote; its fact "activation", where there is one, is the projector's.
    Raises WeightsError where the adapter does not fit the bases.
    """
    import torch

    from consilium.nn import llava
    from consilium.nn.adapter import merge, read_adapter

    vision, language = bases
    change = read_adapter(adapter)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        model, processor = llava.build(vision, language, change.layer, change.facts.get("activation", "gelu"))
    for config in (model.config.vision_config, model.config.text_config):
        config._name_or_path = ""  # where the bases lie on this machine names its user, and is of no use to others
    merge(change, model)
    llava.save(model, processor, out)
