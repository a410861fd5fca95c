"""Allele frequencies, with which missing calls are filled in: read from a file, or counted in a panel and written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from consilium.errors import ScoringFileError
from consilium.genomics import tables
from consilium.genomics.alleles import Alleles, chromosome_name, key_chromosome, key_position
from consilium.genomics.genotypes import Genotypes, Variants
from consilium.genomics.match import MatchPolicy, match
from consilium.genomics.plan import Plan
from consilium.genomics.scoring_file import ScoreOptions, read_scores
from consilium.types import Array

_COLUMNS: Sequence[tuple[str, str, str]] = (
    ("ALT", "REF", "ALT_FREQS"),
    ("A1", "A2", "MAF"),
    ("effect_allele", "other_allele", "frequency"),
)
"""What files of frequencies call the allele counted, the other, and the frequency: plink2 (.afreq), plink 1.9 (.frq), ours."""


def read_frequencies(path: Path, variants: Variants, book: Alleles, build: str | None) -> Array:
    """Frequency (entries,) float64 of the alternate allele of each variant, NaN where the file has none. Variants are matched by
    place where the file has a POS column, else by name; alleles must be the same, on the same strand."""
    names = set(tables.layout(path).names)
    known = next((columns for columns in _COLUMNS if set(columns) <= names), None)
    if known is None:
        raise ScoringFileError(
            f"{path.name} is no file of allele frequencies (plink2 --freq, or columns effect_allele, other_allele, frequency)."
        )
    columns = dict(zip(("effect_allele", "other_allele", "effect_weight"), known, strict=True))
    (table,) = read_scores(path, book, build, ScoreOptions(columns, build, "keep"))
    found = match(table, variants, book, MatchPolicy("keep", strand_flips=False))
    frequency = np.full(len(variants), np.nan)
    took = np.flatnonzero(found.matched)
    given = table.weights[0, took]
    frequency[found.entry[took]] = np.where(found.effect_is_ref[took], 1 - given, given)
    return frequency


def item_frequencies(work: Plan, variants: Variants, alternate: Array) -> Array:
    """Frequency (items,) of the allele that each item of a plan counts, of those of the alternate alleles (entries,). Where the
    reference of several alleles is counted, all of them must be known."""
    frequency = alternate[work.entry]
    is_ref = work.allele == 0
    if is_ref.any():
        rows, inverse = np.unique(variants.row, return_inverse=True)
        of_others = np.bincount(inverse, alternate)
        frequency = np.where(is_ref, 1 - of_others[np.searchsorted(rows, work.row)], frequency)
    return frequency


def count_frequencies(genotypes: Genotypes, variants: Variants, index: Array | None = None) -> Array:
    """Frequency (entries,) of each alternate allele among the founders, NaN where nobody has a call."""
    founder = genotypes.people.founder if index is None else genotypes.people.founder[index]
    frequency, at = np.full(len(variants), np.nan), 0
    for block in genotypes.blocks(variants.row, variants.allele.astype(np.int64), index):
        called = block[:, founder]
        known = called >= 0
        n = known.sum(axis=1)
        total = np.where(known, called, 0).sum(axis=1, dtype=np.float64)
        frequency[at : at + len(block)] = np.where(n > 0, total / np.maximum(2 * n, 1), np.nan)
        at += len(block)
    return frequency


def write_frequencies(path: Path, variants: Variants, book: Alleles, frequency: Array) -> None:
    """A table that `read_frequencies`, and plink2 --read-freq, reads; variants without a frequency are left out."""
    known = np.isfinite(frequency)
    rows = zip(
        key_chromosome(variants.key[known]),
        key_position(variants.key[known]),
        variants.ids.filter(known).to_pylist(),
        book.texts(variants.ref[known]),
        book.texts(variants.alt[known]),
        frequency[known],
        strict=True,
    )
    half = path.with_name(path.name + ".writing")
    with half.open("w", encoding="utf-8") as file:
        file.write("#CHROM\tPOS\tID\tREF\tALT\tALT_FREQS\n")
        for code, position, name, ref, alt, value in rows:
            file.write(f"{chromosome_name(code)}\t{position}\t{name or '.'}\t{ref}\t{alt}\t{float(value)!r}\n")
    half.replace(path)
