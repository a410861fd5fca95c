"""What a segmentation network says of a picture and of its mirror image, and how surely: the signs of a poor mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# Networks see uint8 about zero, with unit spread for an even histogram.
MIDDLE, SPREAD = 0.5, 0.25

SIGNS = ("self-Dice", "mirror agreement", "mean probability")
"""Columns of `signs`, each in [0, 1], the higher the better."""


def entered(canvas: Tensor) -> Tensor:
    """uint8 (b, channels, ...) -> what a network takes."""
    return (canvas.float() / 255 - MIDDLE) / SPREAD


def both_ways(net: Callable[[Tensor], Tensor], entered: Tensor, swap: Sequence[int]) -> tuple[Tensor, Tensor]:
    """(b, channels, ...) -> probabilities (b, labels, ...) of the picture and of its left-right mirror image, turned back;
    `swap` says which label each becomes in the mirror."""
    plain = net(entered).float().softmax(1)
    mirrored = net(entered.flip(-1)).float().softmax(1).flip(-1)[:, list(swap)]
    return plain, mirrored


def signs(plain: Tensor, mirrored: Tensor) -> Tensor:
    """(b, labels, ...) twice -> (b, labels without background, 3), see SIGNS."""
    return of_tallies(tallies(plain, mirrored))


def tallies(plain: Tensor, mirrored: Tensor) -> Tensor:
    """(b, labels, ...) twice -> (b, labels without background, 7): sums over all places, and last the highest probability. Of
    parts of a picture, the first six add up."""
    import torch

    mean = (plain + mirrored) / 2
    said = [way.argmax(1) for way in (mean, plain, mirrored)]
    rows = []
    for label in range(1, mean.shape[1]):
        p = mean[:, label].flatten(1)
        mask, one, two = ((way == label).flatten(1).float() for way in said)
        sums = [(p * mask).sum(1), p.sum(1), mask.sum(1), (one * two).sum(1), one.sum(1), two.sum(1)]
        rows.append(torch.stack([*sums, p.amax(1)], 1))
    return torch.stack(rows, 1)


def joined(one: Tensor, other: Tensor) -> Tensor:
    """The tallies of two parts of the same pictures -> those of both."""
    import torch

    return torch.cat([one[..., :6] + other[..., :6], torch.maximum(one[..., 6:], other[..., 6:])], -1)


def of_tallies(found: Tensor) -> Tensor:
    """(..., 7) -> (..., 3), see SIGNS. Of a label that is nowhere, the first and the last say how little speaks for it."""
    import torch

    shared, p, size, both, one, two, highest = found.unbind(-1)
    absent = size == 0
    own = torch.where(absent, 1 - highest, 2 * shared / (p + size).clamp_min(1e-6))
    agreed = (2 * both + 1e-6) / (one + two + 1e-6)
    return torch.stack([own, agreed, torch.where(absent, 1 - highest, shared / size.clamp_min(1))], -1)
