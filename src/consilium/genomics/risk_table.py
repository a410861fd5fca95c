"""From genotypes to what a risk image shows: many traits' scores at three bars of p, each against a reference.

A folder holds what `genome reference` wrote (reference.json, variants.afreq, components.tsv) and, in scores/, one scoring file
for each trait, as `genome threshold` writes it, of three bars. Each person is compared with the reference alone: absent variants
and missing calls count as the panel's mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from consilium.errors import DataError, ReadError
from consilium.genomics import score_kinds
from consilium.genomics.adjust import table_digests
from consilium.genomics.alleles import Alleles
from consilium.genomics.build import demand_same
from consilium.genomics.genotypes import Genotypes, Variants, Wanted
from consilium.genomics.match import MatchPolicy, match
from consilium.genomics.panel_files import COMPONENTS, FREQUENCIES, REFERENCE
from consilium.genomics.plink import read_variants
from consilium.genomics.reference import Reference, read_reference
from consilium.genomics.risk_image import CHANNELS
from consilium.genomics.scoring_file import ScoreOptions, ScoreTable, read_scores
from consilium.types import Array

SCORES = "scores"
_PANEL = {"effect_allele": "ALT", "other_allele": "REF", "effect_weight": "ALT_FREQS"}


@dataclass(frozen=True, eq=False)
class Standings:
    """Of n people: `percentiles` (n, traits, 3) of 0 to 100 among the reference, ancestry allowed for; `overlap` (n, traits, 3)
    share of each score's variants that were called; `foreignness` (n,), 1 where 99 % of the reference's ancestry end;
    `ancestry` (n,) share of the variants by which that is told that were called, 1 where there are none."""

    percentiles: Array
    overlap: Array
    foreignness: Array
    ancestry: Array


@dataclass(frozen=True, eq=False)
class RiskTable:
    """The scores of a folder over its panel's n variants.

    panel      the variants, as a table of scores whose weight is the alternate allele's frequency.
    frequency  (n,) of that allele.
    weights    (traits * 3, n) for each copy of it, `constant` (traits * 3,) what is added to the sum.
    loadings   (components, n) of ancestry; `with_loading` (n,) the variants that have one.
    keys       what the reference calls the scores (traits * 3).
    """

    traits: tuple[str, ...]
    bars: tuple[str, ...]
    panel: ScoreTable
    book: Alleles
    frequency: Array
    weights: Array
    constant: Array
    loadings: Array
    keys: tuple[str, ...]
    reference: Reference

    def wanted(self) -> Wanted:
        """The places to read of a genotype file."""
        return Wanted(np.unique(self.panel.key))

    def standings(self, genotypes: Genotypes, index: Array | None = None, build: str | None = None) -> Standings:
        """Of the people `index` (None: all). `build`: of the genotypes, where they do not say it. BuildError where it is not the
        reference's."""
        demand_same(genotypes.build or build, self.reference.build, f"the reference {self.reference.name}")
        variants = genotypes.variants(self.book, self.wanted())
        found = match(self.panel, variants, self.book, policy_of(self.reference))
        rows = np.flatnonzero(found.matched)
        rows = rows[np.argsort(found.entry[rows], kind="stable")]
        people = len(genotypes.people) if index is None else len(index)
        sums = _Sums(self, people)
        entry = found.entry[rows]
        at = 0
        for block in genotypes.blocks(variants.row[entry], variants.allele[entry].astype(np.int64), index):
            own = rows[at : at + len(block)]
            at += len(block)
            turned = found.effect_is_ref[own][:, None] & (block >= 0)
            sums.add(own, np.where(turned, 2 - block, block).astype(np.float64))
        return self._standings(sums)

    def _standings(self, sums: _Sums) -> Standings:
        components = sums.components.T
        # the mean over what was called: what is missing tells no ancestry
        misfit = 1 + sums.misfit / np.maximum(sums.loaded, 1)
        stands = [
            self.reference.standing(k, row, components).adjusted_percentile
            for k, row in zip(self.keys, sums.scores, strict=True)
        ]
        shape = (-1, len(self.traits), CHANNELS)
        total = np.maximum((self.weights != 0).sum(axis=1), 1)
        far = self.reference.foreignness(components, misfit) if len(self.loadings) else np.zeros(len(misfit))
        told = sums.loaded / len(self.loaded) if len(self.loaded) else np.ones(len(misfit))
        return Standings(np.stack(stands, 1).reshape(shape), (sums.called.T / total).reshape(shape), far, told)

    @property
    def loaded(self) -> Array:
        """Indices of the variants that ancestry is told by."""
        return np.flatnonzero(np.any(self.loadings != 0, axis=0)) if len(self.loadings) else np.empty(0, np.int64)


class _Sums:
    """Running sums over blocks, begun as if every call were missing: (traits * 3, people), (components, people), (people,)."""

    def __init__(self, table: RiskTable, people: int) -> None:
        self._table = table
        self._is_loaded = np.zeros(len(table.panel), bool)
        self._is_loaded[table.loaded] = True
        start = table.constant + table.weights @ (2 * table.frequency)
        self.scores = np.repeat(start[:, None], people, axis=1)
        self.components = np.zeros((len(table.loadings), people))
        self.misfit, self.loaded = np.zeros(people), np.zeros(people)
        self.called = np.zeros((len(table.weights), people))

    def add(self, rows: Array, dosages: Array) -> None:
        """(m,) rows of the panel and (m, people) copies of its alternate allele, negative where there is no call."""
        table, known = self._table, dosages >= 0
        p = table.frequency[rows][:, None]
        off = np.where(known, dosages - 2 * p, 0)
        self.scores += table.weights[:, rows] @ off
        self.called += (table.weights[:, rows] != 0).astype(np.float64) @ known
        if len(table.loadings):
            self.components += table.loadings[:, rows] @ off
            loaded = self._is_loaded[rows]
            square = off[loaded] ** 2 / (2 * p * (1 - p))[loaded] - 1
            self.misfit += np.where(known[loaded], square, 0).sum(axis=0)
            self.loaded += known[loaded].sum(axis=0)


def policy_of(reference: Reference) -> MatchPolicy:
    """How variants were matched when the reference was made."""
    return MatchPolicy(reference.ambiguous, reference.strand_flips, "drop")


def read_risk_table(folder: Path) -> RiskTable:
    """ReadError or DataError where the folder is not what is said above."""
    reference = read_reference(folder / REFERENCE)
    files = sorted((folder / SCORES).glob("*.tsv"))
    if not files:
        raise ReadError(
            f"{folder / SCORES} holds no scoring file (*.tsv). Make them with `consilium genome threshold`."
        )
    book = Alleles()
    panel = _one(folder / FREQUENCIES, book, ScoreOptions(_PANEL, reference.build))
    sites = read_variants(folder / FREQUENCIES, book)
    tables = [_one(path, book, ScoreOptions(build=reference.build)) for path in files]
    bars = tables[0].names
    other = [table.file for table in tables if table.names != bars]
    if len(bars) != CHANNELS or other:
        raise DataError(
            f"{(other or [files[0].name])[0]} should hold three bars of p, the same as the other traits' ({', '.join(bars)}). "
            "Make all with the same `consilium genome threshold --p`."
        )
    policy = policy_of(reference)
    parts = [_aligned(table, sites, book, policy) for table in tables]
    frequency = panel.weights[0]
    path = folder / COMPONENTS
    loadings = (
        _aligned(_one(path, book, ScoreOptions(build=reference.build)), sites, book, policy)[0]
        if path.is_file()
        else np.zeros((0, len(panel)))
    )
    traits = tuple(path.stem for path in files)
    return RiskTable(
        traits,
        bars,
        panel,
        book,
        frequency,
        np.concatenate([weights for weights, _ in parts]),
        np.concatenate([constant for _, constant in parts]),
        loadings,
        _keys(reference.scores, traits, tables, book),
        reference,
    )


def _one(path: Path, book: Alleles, options: ScoreOptions) -> ScoreTable:
    (table,) = read_scores(path, book, options.build, options)
    return table


def _aligned(table: ScoreTable, sites: Variants, book: Alleles, policy: MatchPolicy) -> tuple[Array, Array]:
    """(scores, panel's variants) weights for each copy of the alternate allele, and constants (scores,). What the panel lacks is
    left out, as when the reference was made."""
    if np.any(table.kinds != score_kinds.ADDITIVE):
        raise DataError(f"{table.file} has weights that are not additive: a risk image is of additive scores.")
    found = match(table, sites, book, policy)
    rows = np.flatnonzero(found.matched)
    sign = np.where(found.effect_is_ref[rows], -1.0, 1.0)
    weights = np.zeros((len(table.names), len(sites)))
    weights[:, found.entry[rows]] = table.weights[:, rows] * sign
    return weights, table.weights[:, rows] @ (1 - sign)


def _keys(
    known: Mapping[str, object], traits: Sequence[str], tables: Sequence[ScoreTable], book: Alleles
) -> tuple[str, ...]:
    """What the reference calls each score: its name, a blank, the digest of its weights."""
    names = {key.rpartition(" ")[0] for key in known}
    keys = []
    for trait, table in zip(traits, tables, strict=True):
        for bar, digest in table_digests(table, book).items():
            called = f"{trait}:{bar}" if f"{trait}:{bar}" in names or len(traits) > 1 else bar
            if f"{called} {digest}" not in known:
                why = "knows it with other weights" if called in names else "does not know it"
                raise DataError(f"{table.file}, {bar}: the reference {why}. Make it again with these scoring files.")
            keys.append(f"{called} {digest}")
    return tuple(keys)
