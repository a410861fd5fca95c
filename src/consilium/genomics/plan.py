"""What to read, and how each reading enters each score: the bridge between matches and matrix products."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from consilium.genomics import score_kinds
from consilium.genomics.genotypes import Variants
from consilium.genomics.match import LAST_MATCHED, Match
from consilium.types import Array

COUNT, SECOND_COPY, ONE = 0, 1, 2
"""What is taken of a dosage d: d itself; max(d - 1, 0), which tells two copies from one; 1, whatever it is."""


@dataclass(frozen=True, eq=False)
class Part:
    """One table's share. Score `offset + s` gets the sum over j of weights[s, take[j]] sign[j] (reading of item[j] - base[j])."""

    offset: int
    weights: Array
    take: Array
    item: Array
    sign: Array
    base: Array

    def block(self, span: tuple[int, int], out: Array, constants: Array, valid: Array, centre: Array) -> None:
        """Add the weights of the items in `span` to `out` (scores, items), what the bases contribute to `constants` (scores,).

        Only items that are `valid` count; their readings come less `centre`."""
        start, end = span
        low, high = np.searchsorted(self.item, (start, end))
        if low == high:
            return
        column = self.item[low:high] - start
        weights = self.weights[:, self.take[low:high]] * (self.sign[low:high] * valid[column])
        rows = slice(self.offset, self.offset + len(weights))
        constants[rows] -= weights @ (self.base[low:high] - centre[column])
        if np.any(column[1:] == column[:-1]):
            np.add.at(out[rows].T, column, weights.T)
        else:
            out[rows, column] += weights


@dataclass(frozen=True, eq=False)
class Plan:
    """Items to read, in the order of the file: variant `row`, counted `allele`, `kind` of reading; `entry` is the Variants entry
    of each (its frequency is looked up there). `names` and `denominators` (alleles in each average) are those of the scores."""

    row: Array
    allele: Array
    kind: Array
    entry: Array
    parts: tuple[Part, ...]
    names: tuple[str, ...]
    denominators: Array

    def __len__(self) -> int:
        return len(self.row)

    def digest(self) -> str:
        """sha256 of all that decides the sums, but for the genotypes."""
        made = hashlib.sha256("\n".join(self.names).encode())
        for array in (self.row, self.allele, self.kind):
            made.update(np.ascontiguousarray(array).data)
        for part in self.parts:
            for array in (part.weights, part.take, part.item, part.sign, part.base):
                made.update(np.ascontiguousarray(array).data)
        return made.hexdigest()


@dataclass(frozen=True, eq=False)
class _Terms:
    """Terms of one part before items are numbered: the reading (row, allele, kind, entry), its sign and base, its weights."""

    row: Array
    allele: Array
    kind: Array
    entry: Array
    sign: Array
    base: Array
    take: Array
    weights: Array


def plan(matches: Sequence[Match], variants: Variants, chosen: Sequence[Array]) -> Plan:
    """`chosen` says for each match which of its table's scores (indices) are computed."""
    terms: list[_Terms] = []
    offsets: list[int] = []
    names: list[str] = []
    denominators: list[int] = []
    for found, scores in zip(matches, chosen, strict=True):
        if not len(scores):
            continue
        weights = found.table.weights if len(scores) == len(found.table.names) else found.table.weights[scores]
        made = [_additive(found, variants, weights), _by_copies(found, variants, weights)]
        kept = [term for term in made if len(term.row)]
        terms += kept
        offsets += [len(names)] * len(kept)
        names += [found.table.names[s] for s in scores]
        denominators += [2 * int(np.count_nonzero(found.reason <= LAST_MATCHED))] * len(scores)
    if not terms:
        empty = np.empty(0, np.int64)
        return Plan(empty, empty, empty, empty, (), tuple(names), np.array(denominators))
    code = np.concatenate([(t.row * 2**16 + t.allele) * 4 + t.kind for t in terms])
    codes, first, item = np.unique(code, return_index=True, return_inverse=True)
    parts, at = [], 0
    for term, offset in zip(terms, offsets, strict=True):
        own = item[at : at + len(term.row)]
        at += len(term.row)
        order = np.argsort(own, kind="stable")
        parts.append(Part(offset, term.weights, term.take[order], own[order], term.sign[order], term.base[order]))
    entry = np.concatenate([t.entry for t in terms])[first]
    allele = (codes // 4) % 2**16
    return Plan(codes // 2**18, allele, codes % 4, entry, tuple(parts), tuple(names), np.array(denominators))


def _additive(found: Match, variants: Variants, weights: Array) -> _Terms:
    """Copies of the effect allele; where it is the reference of a variant with two alleles, 2 less the copies of the other.
    Variants whose weights are all 0 are not read."""
    take = np.flatnonzero(found.matched & (found.table.kinds == score_kinds.ADDITIVE) & np.any(weights != 0, axis=0))
    entry, is_ref = found.entry[take], found.effect_is_ref[take]
    several = variants.several[entry]
    turned = is_ref & ~several
    allele = np.where(is_ref & several, 0, variants.allele[entry]).astype(np.int64)
    kind = np.full(len(take), COUNT)
    return _Terms(
        variants.row[entry], allele, kind, entry, np.where(turned, -1.0, 1.0), np.where(turned, 2.0, 0.0), take, weights
    )


def _by_copies(found: Match, variants: Variants, weights: Array) -> _Terms:
    """Weights t0, t1, t2 of 0, 1 and 2 copies d of the effect allele: t0 + (t1 - t0) d + (t2 - 2 t1 + t0) max(d - 1, 0)."""
    table = found.table
    own = np.flatnonzero(found.matched & (table.kinds != score_kinds.ADDITIVE))
    kinds, w = table.kinds[own], weights[:, own]
    copies = np.zeros((3, *w.shape))
    copies[1:] = w * np.stack([kinds == score_kinds.DOMINANT, kinds != score_kinds.ADDITIVE])[:, None, :]
    if table.by_dosage is not None:
        given = kinds == score_kinds.DOSAGE
        copies[:, :, given] = table.by_dosage[own[given]].T[:, None, :]
    t0, t1, t2 = copies
    entry = np.tile(found.entry[own], 3)
    allele = np.where(np.tile(found.effect_is_ref[own], 3), 0, variants.allele[entry]).astype(np.int64)
    kind = np.repeat([COUNT, SECOND_COPY, ONE], len(own))
    n = len(entry)
    weights = np.concatenate([t1 - t0, t2 - 2 * t1 + t0, t0], axis=1)
    return _Terms(variants.row[entry], allele, kind, entry, np.ones(n), np.zeros(n), np.arange(n), weights)
