"""What a training needs to go on after a kill as if it had not been: written whole or not at all, read back bit for bit."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from consilium.errors import DataError

STATE, FACTS = "state.safetensors", "facts.json"
KEPT = 2


def save(folder: Path, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Writes `folder`/step-0000123 and removes all but the last KEPT. `tensors` by name; `facts` as JSON."""
    from safetensors.torch import save_file

    target = folder / f"step-{step:07d}"
    unfinished = folder / f".step-{step:07d}"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, unfinished / STATE)
    (unfinished / FACTS).write_text(json.dumps({**facts, "step": step}, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    os.replace(unfinished, target)
    for old in sorted(folder.glob("step-*"))[:-KEPT]:
        shutil.rmtree(old)


def latest(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The tensors and facts of the last checkpoint, or None; DataError where it does not read."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    found = sorted(folder.glob("step-*"))
    if not found:
        return None
    try:
        facts = json.loads((found[-1] / FACTS).read_text(encoding="utf-8"))
        if not isinstance(facts, dict) or not isinstance(facts.get("step"), int):
            raise ValueError(f"{FACTS} does not say its step")
        return load_file(found[-1] / STATE), facts
    except (OSError, ValueError, SafetensorError) as error:
        raise DataError(
            f"the checkpoint {found[-1]} cannot be read: {error}. Remove that folder to go on from the one before."
        ) from error


def of_adamw(optimiser: torch.optim.AdamW, names: Mapping[int, str]) -> dict[str, Tensor]:
    """The optimiser's moments by parameter name; `names` maps id(parameter) to it."""
    tensors = {}
    for parameter, state in optimiser.state.items():
        for key, value in state.items():
            tensors[f"optimiser.{key}.{names[id(parameter)]}"] = value.detach().cpu()
    return tensors


def to_adamw(optimiser: torch.optim.AdamW, names: Mapping[int, str], tensors: Mapping[str, Tensor]) -> None:
    """Puts back what `of_adamw` gave."""
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            if f"optimiser.step.{name}" not in tensors:
                continue  # it had no gradient yet
            optimiser.state[parameter] = {
                key: tensors[f"optimiser.{key}.{name}"].to("cpu" if key == "step" else parameter.device)
                for key in ("step", "exp_avg", "exp_avg_sq")
            }
