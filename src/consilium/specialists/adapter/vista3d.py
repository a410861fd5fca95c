"""VISTA3D asked by class prompts: numbers of its published table, several at a time, on one sliding window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from consilium.errors import UsageError
from consilium.specialists.adapter.bundle_card import table
from consilium.types import Array

if TYPE_CHECKING:
    from consilium.specialists.adapter.bundle_run import Pipeline

# Sixteen maps of a CT at 1.5 mm are about as much memory as its network needs beside them.
_AT_ONCE = 16
_WINDOW, _OVERLAP = (128, 128, 128), 0.3


def prompts(asked: Any = None) -> tuple[int, ...]:
    """Numbers of the classes to outline: of names, numbers or groups, one or several (text joined by commas, or a list); None:
    everything that the bundle outlines unasked. A whole stands for its parts. UsageError names what is not in the table."""
    known = table("vista3d")
    numbers = range(1, len(known["labels"]) + 1)
    if asked is None:
        return tuple(number for number in numbers if number not in known["not_in_everything"])
    words = asked.split(",") if isinstance(asked, str) else asked if isinstance(asked, list | tuple) else [asked]
    found: list[int] = []
    for word in words:
        for number in _numbers(str(word).strip().lower(), known):
            found += known["parts"].get(str(number), [number])
    return tuple(dict.fromkeys(found))


def _numbers(word: str, known: Mapping[str, Any]) -> Sequence[int]:
    named = {label.lower(): number for number, label in enumerate(known["labels"], 1)}
    if word in known["groups"]:
        return known["groups"][word]
    number = named.get(word, int(word) if word.isdecimal() else 0)
    if not 1 <= number <= len(known["labels"]):
        groups = ", ".join(known["groups"])
        raise UsageError(
            f"VISTA3D has no class {word!r}. Name classes as adapter/vista3d.toml does, numbers 1 to 132, or {groups}."
        )
    return (number,)


def label_map(pipeline: Pipeline, values: Array, affine: Array, numbers: Sequence[int]) -> Array | str:
    """(columns, rows, slices) numbers of the classes, 0 where none is likelier than not; or why there is none.

    As VISTA3D's own steps do: a place belongs to the class with the highest logit, where that is above 0.
    """
    import torch

    from consilium.specialists.adapter.bundle_run import batch

    data = pipeline.prepared(values, affine)
    picture = batch(data[pipeline.key])
    best = torch.zeros(tuple(picture.shape[2:]))
    chosen = torch.zeros_like(best)
    for start in range(0, len(numbers), _AT_ONCE):
        some = torch.tensor(list(numbers[start : start + _AT_ONCE]))
        logits = _logits(pipeline, picture, some)
        if not bool(logits.isfinite().all()):
            return "its model gave numbers that are not finite"
        top, place = logits.max(dim=0)
        better = top > best
        best = torch.where(better, top, best)
        chosen = torch.where(better, some[place].float(), chosen)
    return _laid_back(pipeline, data, chosen[None], values.shape[1:])


def _logits(pipeline: Pipeline, picture: Any, numbers: Any) -> Any:
    import torch
    from monai.inferers.utils import sliding_window_inference

    def ask(patch: Any) -> Any:
        return pipeline.network(input_images=patch, class_vector=numbers[:, None], transpose=True)

    window = [min(side, _window_of(length)) for side, length in zip(_WINDOW, picture.shape[2:], strict=True)]
    with torch.inference_mode():
        said = sliding_window_inference(
            picture, window, 1, ask, overlap=_OVERLAP, mode="gaussian", padding_mode="replicate"
        )
    return torch.as_tensor(said)[0]


def _window_of(length: int) -> int:
    """The least multiple of 32, by which the network divides, that holds a short side."""
    return -(-length // 32) * 32


def _laid_back(pipeline: Pipeline, data: Mapping[str, Any], chosen: Any, size: Sequence[int]) -> Array:
    from dataclasses import replace

    from consilium.specialists.adapter.bundle_run import laid_back

    # The map is made already: what is left of its steps is to lay it back, which is done by the nearest neighbour.
    done = replace(pipeline, after=(("AsDiscreted", lambda held: held),))
    return laid_back(done, data, chosen, size)[0]
