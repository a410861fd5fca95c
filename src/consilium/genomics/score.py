"""Sums over variants of weight times dosage, for many people and scores at once: matrix products over blocks of variants.

Products are taken in float32 (or float64 where asked) over a few variants, and those are summed in float64. What the
allele's direction adds is a constant, added once. Only variants with a missing call are looked at twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from consilium.errors import UsageError
from consilium.genomics.checkpoint import Checkpoint, Progress
from consilium.genomics.genotypes import Genotypes
from consilium.genomics.plan import COUNT, ONE, SECOND_COPY, Plan
from consilium.types import Array

LEAST_FOR_FREQUENCIES = 50
"""Fewer founders than this give no allele frequencies to fill in missing calls with (plink2 draws the same line)."""

_SLICE = 128
"""Variants whose products are summed in float32: few enough that rounding stays below 1e-6 SD for a hundred thousand people."""

_SAVE_EVERY_S = 30.0
_WORTH_A_THREAD = 4000
"""With fewer people the two threads would wait for each other longer than a block takes."""


@dataclass(frozen=True)
class ScoreWork:
    """How sums are made. frequency: of each item's counted allele (items,), NaN where not known, or None to take that of the
    founders scored. checkpoint: where to save what is done, to go on there. threads: for the matrix products; None: as the
    environment says (OMP_NUM_THREADS), else all cores."""

    frequency: Array | None = None
    precision: Literal["float32", "float64"] = "float32"
    progress: Callable[[int, int], None] | None = None
    checkpoint: Path | None = None
    threads: int | None = None


@dataclass(frozen=True, eq=False)
class Sums:
    """`sums` (scores, people) float64; `filled` (people,) how many variants of each person were missing and filled in; `no_calls`
    entries of Variants that nobody has a call of, which contribute nothing."""

    sums: Array
    filled: Array
    no_calls: Array


def score(genotypes: Genotypes, work: Plan, index: Array | None = None, how: ScoreWork | None = None) -> Sums:
    """The sums of a plan over the people `index` (None: all).

    A missing call counts as the mean: twice the allele's frequency, or its square for a second copy. Raises UsageError where a
    call is missing, fewer than LEAST_FOR_FREQUENCIES founders are scored and no frequencies are given.
    """
    how = how or ScoreWork()
    people = len(genotypes.people) if index is None else len(index)
    founder = genotypes.people.founder if index is None else genotypes.people.founder[index]
    done = Progress(0, np.zeros((len(work.names), people)), np.zeros(people, np.int64), np.empty(0, np.int64))
    saved = Checkpoint(how.checkpoint, work, genotypes, index, how) if how.checkpoint else None
    if saved:
        done = saved.load() or done
    total, last = len(work), time.monotonic()
    adder = _Adder(work, how, founder, people)
    rest = slice(done.items, None)
    blocks = genotypes.blocks(work.row[rest], work.allele[rest], index)
    with _limited(how.threads):
        for block in _ahead(blocks) if people >= _WORTH_A_THREAD else blocks:
            done = adder.add(done, block)
            if how.progress:
                how.progress(done.items, total)
            if saved and time.monotonic() - last > _SAVE_EVERY_S:
                saved.save(done)
                last = time.monotonic()
    return Sums(done.sums, done.filled, np.unique(work.entry[done.no_calls]))


def _limited(threads: int | None) -> AbstractContextManager[Any]:
    if threads is None:
        return nullcontext()
    from threadpoolctl import threadpool_limits

    return threadpool_limits(threads)


def _ahead(blocks: Iterator[Array]) -> Iterator[Array]:
    """The same blocks, each decoded while the one before it is multiplied."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = pool.submit(next, blocks, None)
            yield block


def _narrowed(weights: Array, dtype: np.dtype[Any]) -> Array:
    """UsageError where the type is too narrow for a weight: it would be lost without a word."""
    most, least = np.finfo(dtype).max, np.finfo(dtype).tiny
    sizes = np.abs(weights)
    if np.any(sizes > most) or np.any((sizes > 0) & (sizes < least)):
        raise UsageError("a weight is too large or too small for --precision float32. Score with --precision float64.")
    return weights.astype(dtype)


class _Adder:
    """Adds blocks to running sums; keeps the buffers that every block needs."""

    def __init__(self, work: Plan, how: ScoreWork, founder: Array, people: int) -> None:
        self._work, self._how = work, how
        self._dtype = np.dtype(how.precision)
        self._founder = None if founder.all() else founder.astype(np.float64)
        self._n_founders = int(founder.sum())
        self._values = np.empty((0, people), self._dtype)
        self._product = np.empty((len(work.names), people), self._dtype)

    def add(self, done: Progress, block: Array) -> Progress:
        """Add one block, whose values are changed in place; `done.sums` grows in place too."""
        start, end = done.items, done.items + len(block)
        kind = self._work.kind[start:end]
        missing = self._missing(block, kind)
        mark = float(block[missing[0][0], missing[1][0]]) if len(missing[0]) else 0.0
        centre = self._centres(block, kind)
        block -= centre[:, None]
        if len(self._values) < len(block):
            self._values = np.empty(block.shape, self._dtype)
        values = self._values[: len(block)]
        values[:] = block
        means, valid = self._means(values, missing, start, (centre, mark))
        _second_copies(values, kind, means)
        values[missing] = (means - centre)[missing[0]]
        values[~valid] = 0
        weights = np.zeros((len(self._work.names), len(block)))
        constants = np.zeros(len(self._work.names))
        for part in self._work.parts:
            part.block((start, end), weights, constants, valid, centre)
        sums = done.sums
        weights = _narrowed(weights, self._dtype)
        for low in range(0, len(values), _SLICE):
            np.matmul(weights[:, low : low + _SLICE], values[low : low + _SLICE], out=self._product)
            sums += self._product
        sums += constants[:, None]
        no_calls = np.r_[done.no_calls, start + np.flatnonzero(~valid)]
        return Progress(end, sums, done.filled + self._filled(missing, start, block.shape[1]), no_calls)

    def _centres(self, block: Array, kind: Array) -> Array:
        """The whole number (items,) nearest the mean of a sample of people. Without it, float32 would lose to the mean the digits
        that tell people apart."""
        sample = block[:, :: max(1, block.shape[1] // 64)]
        centre = np.rint(np.maximum(sample, 0).mean(axis=1))
        centre[kind != COUNT] = 0
        return centre.astype(block.dtype)

    def _missing(self, block: Array, kind: Array) -> tuple[Array, Array]:
        """(item, person) of the missing calls of a block."""
        touched = np.flatnonzero((block.min(axis=1) < 0) & (kind != ONE))
        if not len(touched):
            return touched, touched
        flat = np.flatnonzero((block if len(touched) == len(block) else block[touched]) < 0)
        item, person = np.divmod(flat, block.shape[1])
        return touched[item], person

    def _means(
        self, values: Array, missing: tuple[Array, Array], start: int, shift: tuple[Array, float]
    ) -> tuple[Array, Array]:
        """Mean dosage (items,) of the items with missing calls (0 elsewhere), and which items anything is known of. `shift` is
        what was taken from the values, and the mark of a missing call."""
        means, valid = np.zeros(len(values)), np.ones(len(values), bool)
        touched = np.unique(missing[0])
        if not len(touched):
            return means, valid
        if self._how.frequency is not None:
            means[touched] = 2 * self._how.frequency[start + touched]
            _demand_frequencies(means)
            return means, valid
        _demand_founders(self._n_founders)
        known, total = self._known(values, touched, missing, shift)
        means[touched] = total / np.maximum(known, 1)
        valid[touched[known == 0]] = False
        return means, valid

    def _known(
        self, values: Array, touched: Array, missing: tuple[Array, Array], shift: tuple[Array, float]
    ) -> tuple[Array, Array]:
        """How many founders have a call of each touched item, and the sum of their dosages."""
        centre, mark = shift
        weight = None if self._founder is None else self._founder[missing[1]]
        unknown = np.bincount(missing[0], weight, len(values))[touched]
        # To gather most of the rows would cost more than to sum them all.
        every = len(touched) > len(values) // 4
        rows = values if every else values[touched]
        if np.issubdtype(centre.dtype, np.floating):
            rows = rows.astype(np.float64)
        ones = np.ones(values.shape[1]) if self._founder is None else self._founder
        # Sums of whole numbers below 2^24 are exact in float32 too.
        total = np.asarray(rows @ ones.astype(rows.dtype), np.float64)
        total = total[touched] if every else total
        return self._n_founders - unknown, total + centre[touched] * float(self._n_founders) - mark * unknown

    def _filled(self, missing: tuple[Array, Array], start: int, people: int) -> Array:
        """Missing calls of each person, each variant once."""
        row = self._work.row
        item = start + missing[0]
        first = (item == 0) | (row[item] != row[item - 1])
        return np.bincount(missing[1][first], minlength=people)


def _second_copies(values: Array, kind: Array, means: Array) -> None:
    """Readings that are no plain count, and what is expected of them where a call is missing (in random mating)."""
    if not kind.any():
        return
    second = kind == SECOND_COPY
    values[second] = np.maximum(values[second] - 1, 0)
    values[kind == ONE] = 1
    means[second] = (means[second] / 2) ** 2


def _demand_frequencies(means: Array) -> None:
    unknown = int(np.isnan(means).sum())
    if unknown:
        raise UsageError(
            f"calls are missing of {unknown} variants (or more) whose frequency is not in the file of frequencies. Give a file "
            "that has all, or leave these variants out (--extract)."
        )


def _demand_founders(n: int) -> None:
    if n < LEAST_FOR_FREQUENCIES:
        raise UsageError(
            f"calls are missing, and {n} people (founders) are too few to estimate what to fill in (at least "
            f"{LEAST_FOR_FREQUENCIES}). Give allele frequencies with --frequencies (a .afreq of plink2, or a panel's)."
        )
