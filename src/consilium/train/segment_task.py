"""What a segmenter is to learn, and its pictures as the network takes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from consilium.nn.mask_judge import MIDDLE, SPREAD
from consilium.nn.unet import Description
from consilium.train.segment_augment import Augment, augmented

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Task:
    """What the data cannot say. `swap`: which label each becomes in the mirror; `share` of the whole time; `spoilt`: how many
    spoilt copies of each held-out picture are judged too, so that poor masks are known."""

    name: str
    network: Description
    augment: Augment = field(default_factory=Augment)
    swap: tuple[int, ...] = (0, 1)
    batch: int = 8
    rate: float = 2e-3
    share: float = 1.0
    folds: int = 0
    spoilt: int = 2


def prepared(image: Tensor, mask: Tensor, task: Task, how: Augment) -> tuple[Tensor, Tensor]:
    """uint8 pictures (b, channels, ...) and masks (b, ...) -> augmented, as the network takes them, and one-hot labels."""
    from torch.nn import functional

    onehot = functional.one_hot(mask.long(), task.network.outputs).movedim(-1, 1).float()
    seen, labels = augmented(image.float() / 255, onehot, how, task.swap)
    return (seen - MIDDLE) / SPREAD, labels


def autocast(like: Tensor, on_cpu: bool = False) -> torch.autocast:
    """bfloat16 on a card, and on a CPU where it is asked for."""
    import torch

    return torch.autocast(like.device.type, torch.bfloat16, enabled=like.device.type == "cuda" or on_cpu)
