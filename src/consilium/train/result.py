"""What a stage leaves in its folder, and how the next one, or a model of its own, takes it up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from consilium import generalists
from consilium.errors import DataError, UsageError
from consilium.nn.adapter import Adapter, read_adapter, write_adapter
from consilium.nn.student import LORA_SCALE, Student
from consilium.train.plan import Recipe

LEARNT = "learnt.safetensors"


def take(student: Student, learnt: Path) -> None:
    """Puts the result of a stage into the student; UsageError where that stage has not been run to its end, or was run for
    another student, DataError where its file is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not learnt.is_file():
        raise UsageError(f"there is no {learnt}: run that stage first, to its end.")
    try:
        student.take(load_file(learnt))
    except SafetensorError as error:
        raise DataError(f"{learnt} cannot be read: {error}. Remove it and run that stage again.") from error
    except ValueError as error:
        raise UsageError(
            f"{learnt} does not fit this recipe: {error}. Take the rank and networks that it was trained with, or train that "
            "stage again with these."
        ) from error


def take_shipped(student: Student, recipe: Recipe) -> None:
    """Puts the adapter that comes with consilium into the student; UsageError where it is for another student."""
    adapter = read_adapter(Path(generalists.__file__).parent / "adapter" / "adapter.safetensors")
    wanted = {
        "base": _base_named(recipe),
        "layer": recipe.layer,
        "activation": recipe.activation,
        "blocks": recipe.blocks,
    }
    has = {"activation": "gelu", **adapter.facts, "layer": adapter.layer, "blocks": len(adapter.vision)}
    other = [name for name, value in wanted.items() if has.get(name) != value]
    try:
        if other:
            raise ValueError(f"it has another {', '.join(other)}")
        student.take_adapter(adapter.projector, adapter.lora)
    except (ValueError, RuntimeError) as error:
        raise UsageError(
            f"the shipped adapter does not fit recipe {recipe.name}: {error}. Take its rank and networks."
        ) from error


def write_result(student: Student, recipe: Recipe, folder: Path, facts: Mapping[str, Any]) -> None:
    """Writes learnt.safetensors (float32, for the next stage), adapter.safetensors (bfloat16, to ship) and facts.json."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{LEARNT}.part"
    save_file({n: t.contiguous() for n, t in student.learnt().items()}, part)
    part.replace(folder / LEARNT)
    adapter = Adapter(
        {n: t.detach() for n, t in student.projector.state_dict().items()},
        student.lora(),
        LORA_SCALE,
        recipe.layer,
        student.vision(),
        {
            "base": _base_named(recipe),
            "recipe": recipe.name,
            "stage": str(facts["stage"]),
            "activation": recipe.activation,
        },
    )
    write_adapter(adapter, folder / "adapter.safetensors")
    (folder / "facts.json").write_text(json.dumps(facts, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def facts_of(folder: Path) -> dict[str, Any]:
    """The facts that a stage left in its folder; {} where it has not been run to its end."""
    try:
        return dict(json.loads((folder / "facts.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _base_named(recipe: Recipe) -> str:
    return json.dumps({"vision": recipe.vision, "language": recipe.language})
