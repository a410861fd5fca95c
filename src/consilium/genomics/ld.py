"""Linkage disequilibrium within a window: squared correlations of dosages, pruning and clumping by them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from consilium.genomics.alleles import key_chromosome, key_position
from consilium.genomics.genotypes import Genotypes, Variants
from consilium.types import Array

PRUNE_R2 = 0.1
PRUNE_KB = 500
_CHUNK = 256


@dataclass(frozen=True, eq=False)
class _Chunk:
    start: int
    keys: Array
    values: Array


def pairs(
    genotypes: Genotypes, variants: Variants, index: Array | None, r2: float, kb: float
) -> Iterator[tuple[Array, Array]]:
    """(i, j), i < j, of entries on one chromosome, at most `kb` apart, whose squared correlation among the people is above `r2`.
    Variants must be in the order of their places within each chromosome; only the window is in memory."""
    window: deque[_Chunk] = deque()
    for chunk in _chunks(genotypes, variants, index):
        chromosome, first = key_chromosome(chunk.keys), key_position(chunk.keys)
        low = int(first.min()) - kb * 1000
        while window and (
            key_chromosome(window[0].keys[-1:])[0] != chromosome[0] or key_position(window[0].keys[-1:])[0] < low
        ):
            window.popleft()
        for other in [*window, chunk]:
            square = (other.values @ chunk.values.T) ** 2
            near = np.abs(key_position(other.keys)[:, None] - first[None, :]) <= kb * 1000
            near &= key_chromosome(other.keys)[:, None] == chromosome[None, :]
            i, j = np.nonzero((square > r2) & near)
            i, j = i + other.start, j + chunk.start
            yield i[i < j], j[i < j]
        window.append(chunk)


def _chunks(genotypes: Genotypes, variants: Variants, index: Array | None) -> Iterator[_Chunk]:
    at = 0
    for block in genotypes.blocks(variants.row, variants.allele.astype(np.int64), index):
        for low in range(0, len(block), _CHUNK):
            part = block[low : low + _CHUNK]
            yield _Chunk(at, variants.key[at : at + len(part)], _unit(part))
            at += len(part)


def _unit(block: Array) -> Array:
    """Rows of mean 0 and length 1 (0 where nothing varies), missing calls at the mean."""
    known = block >= 0
    n = np.maximum(known.sum(axis=1), 1)
    values = np.where(known, block, 0).astype(np.float32)
    values -= (values.sum(axis=1, dtype=np.float64) / n)[:, None].astype(np.float32)
    values[~known] = 0
    length = np.sqrt((values.astype(np.float64) ** 2).sum(axis=1))
    return values / np.where(length > 0, length, 1).astype(np.float32)[:, None]


def neighbours(
    genotypes: Genotypes, variants: Variants, index: Array | None, r2: float, kb: float
) -> tuple[Array, Array]:
    """`pairs` as lists: those of entry i are linked[starts[i]:starts[i + 1]]."""
    left, right = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for i, j in pairs(genotypes, variants, index, r2, kb):
        left += [i, j]
        right += [j, i]
    of, linked = np.concatenate(left), np.concatenate(right)
    order = np.argsort(of, kind="stable")
    starts = np.searchsorted(of[order], np.arange(len(variants) + 1))
    return starts, linked[order]


def clump(order: Array, starts: Array, linked: Array) -> Array:
    """Mask of the entries that stay: in the given order each that is left takes away those linked with it."""
    state = np.zeros(len(starts) - 1, np.int8)
    for i in order:
        if state[i] == 0:
            others = linked[starts[i] : starts[i + 1]]
            state[others[state[others] == 0]] = 2
            state[i] = 1
    return state == 1


def prune(
    genotypes: Genotypes, variants: Variants, index: Array | None, r2: float = PRUNE_R2, kb: float = PRUNE_KB
) -> Array:
    """Mask of variants no two of which are linked more than `r2`; the earlier stays."""
    starts, linked = neighbours(genotypes, variants, index, r2, kb)
    return clump(np.arange(len(variants)), starts, linked)
