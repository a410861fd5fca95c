"""A network on pictures that it did not learn from: what it reached, beside the signs by which that can be told later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from consilium.nn.mask_judge import both_ways, entered, signs
from consilium.train.segment_augment import Augment
from consilium.train.segment_task import Task, autocast, prepared
from consilium.types import Array

if TYPE_CHECKING:
    from torch import Tensor, nn

AT_ONCE = 16
# Far beyond what is learnt from: spoilt pictures give the poor masks that good pictures do not.
_SPOILING = Augment(
    rotate=40, zoom=0.5, shift=0.3, bend=0.08, gamma=1.2, brightness=0.4, contrast=0.7, shading=0.6, noise=0.35, blur=0.5,
    cutout=0.6,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Judged:
    """Held-out pictures: signs (n, labels, signs), the Dice reached (n, labels; NaN: nowhere, and nothing outlined), the
    `row` of each among the packed ones and whether it was spoilt."""

    signs: Array
    dice: Array
    row: Array
    spoilt: Array


def judge(net: nn.Module, images: Tensor, masks: Tensor, rows: Array, task: Task) -> Judged:
    """The network on held-out `rows`, as they are and spoilt: its signs of confidence and the Dice that it reached."""
    parts = [
        _judged(net, images, masks, rows[start : start + AT_ONCE], (task, copy > 0))
        for copy in range(1 + task.spoilt)
        for start in range(0, len(rows), AT_ONCE)
    ]
    return joined(parts)


def _judged(net: nn.Module, images: Tensor, masks: Tensor, some: Array, how: tuple[Task, bool]) -> Judged:
    import torch

    task, spoilt = how
    where = torch.from_numpy(some).to(images.device)
    image, truth = entered(images[where]), masks[where].long()
    with torch.inference_mode():
        if spoilt:
            image, labels = prepared(images[where], masks[where], task, _SPOILING)
            truth = labels.argmax(1)
        with autocast(image):
            plain, mirrored = both_ways(net, image, task.swap)
        said = (plain + mirrored).argmax(1)
        found = signs(plain, mirrored).cpu().numpy()
    return Judged(found, _dice(said, truth, task.network.outputs), some, np.full(len(some), spoilt))


def _dice(said: Tensor, truth: Tensor, labels: int) -> Array:
    """(n, labels without background); NaN where a label is neither said nor true."""
    import torch

    columns = []
    for label in range(1, labels):
        a, b = (said == label).flatten(1).float(), (truth == label).flatten(1).float()
        columns.append(2 * (a * b).sum(1) / (a.sum(1) + b.sum(1)))
    return torch.stack(columns, 1).cpu().numpy()


def joined(parts: Sequence[Judged]) -> Judged:
    return Judged(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("signs", "dice", "row", "spoilt"))
    )
