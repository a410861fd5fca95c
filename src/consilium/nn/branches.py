"""Several replies to one prompt in one pass: as branches behind it, under a mask that keeps them apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch


def tree(
    start: int, tail: int, branches: Sequence[int], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Places (n,) and mask (n, start + n) of `tail` tokens behind `start` cached ones, and of branches of these lengths
    that each go on behind the tail and see it and themselves. No mask (None) where one token sees all."""
    n = tail + sum(branches)
    places = torch.arange(start, start + n, device=device)
    if n == 1:
        return places, None
    mask = torch.ones(n, start + n, dtype=torch.bool, device=device).tril(start)
    first = tail
    for length in branches:
        places[first : first + length] = torch.arange(start + tail, start + tail + length, device=device)
        mask[first : first + length, start + tail : start + first] = False
        first += length
    return places, mask


def given(replies: Sequence[Sequence[int]]) -> list[int]:
    """The tokens that the branches hold: every reply but its last token, which is only predicted."""
    return [token for reply in replies for token in reply[:-1]]


def predictions(replies: Sequence[Sequence[int]]) -> Iterator[tuple[list[int], list[int]]]:
    """For each reply the rows that predict its tokens, and those tokens. Row 0 is the last token of the prompt, the others
    are the branches' tokens in order."""
    row = 1
    for reply in replies:
        yield [0, *range(row, row + len(reply) - 1)], list(reply)
        row += len(reply) - 1
