"""Sequences that branch: one prefix (pictures, cards) read once, and several questions after it that do not see each other.

A tree is laid out in one row: the prefix first, then every branch. A branch attends to the prefix and to itself, and its
positions go on from the prefix's end, so that each branch is computed as if it stood alone after the prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Branch:
    """Token ids after the prefix, and for each whether it is learnt (the answers) or given (the questions)."""

    ids: tuple[int, ...]
    learnt: tuple[bool, ...]


@dataclass(frozen=True)
class Tree:
    """prefix    token ids before the pictures.
    kept      for each picture the places (0 to `per_image` - 1) of the visual tokens that are shown, in order; all for
              the network as it is served, some while it is trained (patch dropout: Liu et al., arXiv 2208.07220).
    per_image positions that a picture takes, shown in full or not.
    shared    token ids after the pictures with which every branch goes on.
    """

    prefix: tuple[int, ...]
    kept: tuple[Tensor, ...]
    per_image: int
    branches: tuple[Branch, ...]
    shared: tuple[int, ...] = ()

    def __len__(self) -> int:
        text = len(self.prefix) + len(self.shared) + sum(len(branch.ids) for branch in self.branches)
        return text + sum(map(len, self.kept))


@dataclass(frozen=True, eq=False)
class Rows:
    """Trees as a batch of b rows of t tokens, padded on the right.

    ids        (b, t) int64; 0 at visual and padded places.
    positions  (b, t) int64, as in the sequence with every visual token in it.
    segments   (b, t) int64: 0 prefix, 1... branches, -1 padding.
    visual     (b, t) bool: where a visual token stands, row by row in the order of `kept`.
    learnt     (m,) int64 flat places whose next token is learnt; targets (m,) those tokens; weights (m,) float32 of each.
    """

    ids: Tensor
    positions: Tensor
    segments: Tensor
    visual: Tensor
    learnt: Tensor
    targets: Tensor
    weights: Tensor

    def mask(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """(b, 1, t, t) to be added to attention scores: 0 where a token attends, the least number of `dtype` elsewhere."""
        seen = (self.segments[:, None, :] == 0) | (self.segments[:, None, :] == self.segments[:, :, None])
        seen &= torch.ones(seen.shape[1:], dtype=torch.bool, device=seen.device).tril()
        # A padded place attends to itself: a row without any would be 0/0.
        seen |= torch.eye(seen.shape[1], dtype=torch.bool, device=seen.device)
        return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)[
            :, None
        ]

    def to(self, device: torch.device | str) -> Rows:
        return Rows(**{name: tensor.to(device) for name, tensor in vars(self).items()})


def lay_out(trees: Sequence[Tree]) -> Rows:
    """The trees as one padded batch. A token of a branch's answers weighs 1 / sqrt(how many they are), so that a long
    description does not drown a one-word diagnosis, nor count as little as one."""
    width = max(map(len, trees))
    shape = (len(trees), width)
    ids, positions = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    segments, visual = torch.full(shape, -1), torch.zeros(shape, dtype=torch.bool)
    learnt: list[int] = []
    targets: list[int] = []
    weights: list[float] = []
    for row, tree in enumerate(trees):
        at = len(tree.prefix)
        ids[row, :at] = torch.tensor(tree.prefix, dtype=torch.long)
        positions[row, :at] = torch.arange(at)
        place = at
        for kept in tree.kept:
            visual[row, at : at + len(kept)] = True
            positions[row, at : at + len(kept)] = place + kept
            at, place = at + len(kept), place + tree.per_image
        end = at + len(tree.shared)
        ids[row, at:end] = torch.tensor(tree.shared, dtype=torch.long)
        positions[row, at:end] = place + torch.arange(end - at)
        place, at = place + end - at, end
        segments[row, :at] = 0
        for number, branch in enumerate(tree.branches, 1):
            end = at + len(branch.ids)
            ids[row, at:end] = torch.tensor(branch.ids)
            positions[row, at:end] = place + torch.arange(end - at)
            segments[row, at:end] = number
            # The token before a learnt one predicts it; a branch begins with a given token.
            told = [i for i, is_learnt in enumerate(branch.learnt) if is_learnt]
            learnt += [row * width + at + i - 1 for i in told]
            targets += [branch.ids[i] for i in told]
            weights += [max(1, len(told)) ** -0.5] * len(told)
            at = end
    return Rows(
        ids,
        positions,
        segments,
        visual,
        torch.tensor(learnt, dtype=torch.long),
        torch.tensor(targets, dtype=torch.long),
        torch.tensor(weights, dtype=torch.float32),
    )
