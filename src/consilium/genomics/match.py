"""Which variant of the genotypes each variant of a score is, and why one is none: a single reason for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from consilium.genomics import score_kinds
from consilium.genomics.alleles import NONE, Alleles, Y, key_chromosome
from consilium.genomics.genotypes import Variants
from consilium.genomics.scoring_file import ScoreTable
from consilium.types import Array

if TYPE_CHECKING:
    import pyarrow

REASONS = (
    "matched",
    "matched_strand_flip",
    "matched_no_other_allele",
    "matched_no_other_allele_strand_flip",
    "matched_ambiguous",
    "absent_as_reference",
    "absent",
    "alleles_differ",
    "ambiguous",
    "multiallelic",
    "several_fit",
    "duplicate_in_genotypes",
    "duplicate_in_score",
    "no_place_or_id",
    "chromosome_not_scored",
    "not_in_reference",
    *(f"unscorable_{kind}" for kind in score_kinds.KINDS[score_kinds.FIRST_UNSCORABLE :]),
)
"""Codes of the match log. Those that begin with `matched` are scored; `absent_as_reference` counts as two reference alleles."""

CODE = {reason: code for code, reason in enumerate(REASONS)}
LAST_MATCHED = CODE["absent_as_reference"]


@dataclass(frozen=True)
class MatchPolicy:
    """ambiguous: what becomes of A/T and C/G variants, whose strand no allele tells: "drop" (and list), or "keep" as written.
    strand_flips: whether alleles of the other strand count. multiallelic: "keep" or "drop" sites with more than two alleles."""

    ambiguous: Literal["drop", "keep"] = "drop"
    strand_flips: bool = True
    multiallelic: Literal["keep", "drop"] = "keep"


@dataclass(frozen=True, eq=False)
class Match:
    """For each variant of a score table (n,): the reason's code; where it is matched, the entry of Variants (else -1) and
    whether the effect allele is that entry's reference."""

    table: ScoreTable
    reason: Array
    entry: Array
    effect_is_ref: Array

    @property
    def matched(self) -> Array:
        """Which are scored by what was called."""
        return self.entry >= 0


def match(table: ScoreTable, variants: Variants, book: Alleles, policy: MatchPolicy | None = None) -> Match:
    """Match by place and alleles; by name where the score gives no place."""
    policy = policy or MatchPolicy()
    n = len(table)
    reason = np.full(n, CODE["absent"], np.uint8)
    reason[~_placed(table)] = CODE["no_place_or_id"]
    of, entry = _candidates(table, variants)
    reason[of] = CODE["alleles_differ"]
    fit, effect_is_ref = _fits(table, variants, book, of, entry, policy.strand_flips)
    entry_of, is_ref = np.full(n, NONE, np.int64), np.zeros(n, bool)
    of, entry, fit, effect_is_ref = (a[fit < _NO_FIT] for a in (of, entry, fit, effect_is_ref))
    if len(of):
        best, several = _best(of, entry, fit, effect_is_ref, variants)
        reason[of[best]] = fit[best]
        entry_of[of[best]], is_ref[of[best]] = entry[best], effect_is_ref[best]
        reason[of[several]] = np.where(fit[several] < 2, CODE["duplicate_in_genotypes"], CODE["several_fit"])
    _apply_policy(policy, reason, entry_of, variants, book)
    _drop_unscorable(table, reason, entry_of, variants)
    _drop_duplicates(reason, entry_of, is_ref, variants)
    entry_of[reason > LAST_MATCHED] = NONE
    return Match(table, reason, entry_of, is_ref)


def fill_absent(found: Match, sites: Variants, book: Alleles, policy: MatchPolicy) -> Match:
    """The same, with what is absent from the genotypes, but in `sites`, taken as two copies of the reference there: for whole
    genomes whose file leaves out places where nobody differs from it."""
    there = match(found.table, sites, book, policy)
    filled = (found.reason == CODE["absent"]) & there.matched & (found.table.kinds < score_kinds.FIRST_UNSCORABLE)
    reason = np.where(filled, CODE["absent_as_reference"], found.reason).astype(np.uint8)
    return Match(found.table, reason, found.entry, np.where(filled, there.effect_is_ref, found.effect_is_ref))


_NO_FIT = 9


def _placed(table: ScoreTable) -> Array:
    placed = table.key != NONE
    if table.ids is not None:
        placed = placed | table.ids.is_valid().to_numpy(zero_copy_only=False)
    return placed


def _candidates(table: ScoreTable, variants: Variants) -> tuple[Array, Array]:
    """Pairs (row of the score, entry of the genotypes) at the same place, or of the same name where the place is not given; rows
    rising."""
    of, entry = _pairs(table.key, variants.key)
    unplaced = np.flatnonzero(table.key == NONE)
    if table.ids is None or not len(unplaced):
        return of, entry
    own, theirs = _name_codes(table.ids, variants.ids)
    by_name, named = _pairs(own[unplaced], theirs)
    of, entry = np.concatenate([of, unplaced[by_name]]), np.concatenate([entry, named])
    order = np.argsort(of, kind="stable")
    return of[order], entry[order]


def _pairs(left: Array, right: Array) -> tuple[Array, Array]:
    """All (i, j) with left[i] == right[j] != NONE."""
    order = np.argsort(right, kind="stable")
    ranked = right[order]
    low, high = np.searchsorted(ranked, left, "left"), np.searchsorted(ranked, left, "right")
    counts = np.where(left == NONE, 0, high - low)
    of = np.repeat(np.arange(len(left)), counts)
    within = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)
    return of, order[np.repeat(low, counts) + within]


def _name_codes(left: pyarrow.Array, right: pyarrow.Array) -> tuple[Array, Array]:
    from pyarrow import compute

    known = left.unique().drop_null()
    codes = [compute.index_in(names, known).fill_null(NONE).to_numpy(zero_copy_only=False) for names in (left, right)]
    return codes[0].astype(np.int64), codes[1].astype(np.int64)


def _fits(
    table: ScoreTable, variants: Variants, book: Alleles, of: Array, entry: Array, flips: bool
) -> tuple[Array, Array]:
    """How well each pair's alleles fit (the reason's code, 0 best; _NO_FIT: not at all), and whether the effect allele is the
    reference."""
    effect, other = table.effect[of], table.other[of]
    ref, alt = variants.ref[entry], variants.alt[entry]
    fit = np.full(len(of), _NO_FIT, np.uint8)
    is_ref = np.zeros(len(of), bool)
    strands = [(effect, other)]
    if flips:
        strands.append((book.complements(effect), book.complements(other)))
    for flipped, (e, o) in reversed(list(enumerate(strands))):
        unnamed = other == NONE
        known = (e != NONE) & (unnamed | (o != NONE))
        as_alt = known & (e == alt) & (unnamed | (o == ref))
        as_ref = known & (e == ref) & (unnamed | (o == alt))
        for found, ref_is_effect in ((as_ref, True), (as_alt, False)):
            fit[found] = flipped + 2 * unnamed[found]
            is_ref[found] = ref_is_effect
    return fit, is_ref


def _best(of: Array, entry: Array, fit: Array, is_ref: Array, variants: Variants) -> tuple[Array, Array]:
    """Indices of the best pair of each row, and of the rows (by one of their pairs) where several are equally good."""
    starts = np.flatnonzero(np.r_[True, of[1:] != of[:-1]])
    group = np.cumsum(np.r_[False, of[1:] != of[:-1]])
    equal = fit == np.minimum.reduceat(fit, starts)[group]
    # At a site of several alternate alleles the reference fits once with each of them: that is one thing to count.
    what = variants.row[entry] * 2**16 + np.where(is_ref & variants.several[entry], 0, variants.allele[entry])
    index = np.flatnonzero(equal)
    first = index[np.r_[True, group[index][1:] != group[index][:-1]]]
    differs = equal & (what != what[first][group])
    return first, first[np.isin(group[first], group[differs])]


def _apply_policy(policy: MatchPolicy, reason: Array, entry_of: Array, variants: Variants, book: Alleles) -> None:
    found = np.flatnonzero(reason <= LAST_MATCHED)
    entry = entry_of[found]
    ambiguous = book.complements(variants.ref[entry]) == variants.alt[entry]
    reason[found[ambiguous]] = CODE["ambiguous" if policy.ambiguous == "drop" else "matched_ambiguous"]
    if policy.multiallelic == "drop":
        reason[found[variants.several[entry]]] = CODE["multiallelic"]


def _drop_unscorable(table: ScoreTable, reason: Array, entry_of: Array, variants: Variants) -> None:
    # Females have no Y, males one copy: a dosage of 0 to 2 says nothing there.
    found = np.flatnonzero(reason <= LAST_MATCHED)
    reason[found[key_chromosome(variants.key[entry_of[found]]) >= Y]] = CODE["chromosome_not_scored"]
    unscorable = table.kinds >= score_kinds.FIRST_UNSCORABLE
    first = CODE[f"unscorable_{score_kinds.KINDS[score_kinds.FIRST_UNSCORABLE]}"]
    reason[unscorable] = table.kinds[unscorable] - score_kinds.FIRST_UNSCORABLE + first


def _drop_duplicates(reason: Array, entry_of: Array, is_ref: Array, variants: Variants) -> None:
    """Of rows that count the same allele of the same variant the first stays."""
    found = np.flatnonzero(reason <= LAST_MATCHED)
    entry = entry_of[found]
    counted = np.where(is_ref[found], np.where(variants.several[entry], 0, 2**15), variants.allele[entry])
    _, first = np.unique(variants.row[entry] * 2**16 + counted, return_index=True)
    again = np.ones(len(found), bool)
    again[first] = False
    reason[found[again]] = CODE["duplicate_in_score"]
