"""How well each score matched, and the log of every variant with its one reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from consilium.genomics.alleles import Alleles, chromosome_name, key_chromosome, key_position
from consilium.genomics.genotypes import Variants
from consilium.genomics.match import LAST_MATCHED, REASONS, Match
from consilium.genomics.score_kinds import FIRST_UNSCORABLE

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True)
class ScoreReport:
    """One score: its file, how many variants have a weight, how many of them matched, how many have each reason; overlap is the
    share of variants, weight_overlap that of the sum of absolute weights; `refused` where the overlap is below the bar."""

    name: str
    file: str
    build: str | None
    variants: int
    matched: int
    overlap: float
    weight_overlap: float
    refused: bool
    reasons: Mapping[str, int]
    facts: Mapping[str, str]

    def unmatched(self) -> Iterator[tuple[str, int]]:
        """(reason, number) of those not scored, the most frequent first."""
        rest = [(reason, n) for reason, n in self.reasons.items() if not reason.startswith("matched") and n]
        yield from sorted(rest, key=lambda pair: -pair[1])


def reports(matches: Sequence[Match], least: float) -> tuple[ScoreReport, ...]:
    """A report for each score of each table."""
    return tuple(report for found in matches for report in _of_table(found, least))


def _of_table(found: Match, least: float) -> Iterator[ScoreReport]:
    table = found.table
    by_dosage = np.zeros(len(table), bool) if table.by_dosage is None else np.isfinite(table.by_dosage).all(axis=1)
    used = table.weights != 0
    used |= by_dosage
    used |= table.kinds >= FIRST_UNSCORABLE
    codes = np.unique(found.reason)
    counts = np.stack([np.count_nonzero(used[:, found.reason == code], axis=1) for code in codes])
    sizes = np.abs(table.weights)
    total, got = sizes.sum(axis=1), sizes[:, found.reason <= LAST_MATCHED].sum(axis=1)
    for i, name in enumerate(table.names):
        reasons = {REASONS[code]: int(n) for code, n in zip(codes, counts[:, i], strict=True)}
        matched = sum(int(n) for code, n in zip(codes, counts[:, i], strict=True) if code <= LAST_MATCHED)
        n = int(used[i].sum())
        overlap = matched / n if n else 0.0
        share = float(got[i] / total[i]) if total[i] and not np.isinf(total[i]) else 0.0
        refused = overlap < least or not matched
        yield ScoreReport(name, table.file, table.build, n, matched, overlap, share, refused, reasons, table.facts)


def match_log(matches: Sequence[Match], variants: Variants, book: Alleles) -> pyarrow.Table:
    """One row for each variant of each table: where it is, its alleles, the one reason, and what it was matched to."""
    import pyarrow

    return pyarrow.concat_tables([_log_of(found, variants, book) for found in matches])


def _log_of(found: Match, variants: Variants, book: Alleles) -> Any:
    import pyarrow

    table, entry = found.table, found.entry
    known = entry >= 0
    at = np.where(known, entry, 0)
    own = len(variants) > 0
    name = table.names[0] if len(table.names) == 1 else f"{table.names[0]} and {len(table.names) - 1} more"
    texts = np.array([*book.texts(np.arange(len(book))), ""])
    ids = table.ids if table.ids is not None else pyarrow.nulls(len(table), pyarrow.string())
    places = np.array([chromosome_name(code) for code in range(27)])

    def of_entry(values: Any) -> Any:
        return pyarrow.array(values, mask=~known) if own else pyarrow.nulls(len(table), pyarrow.string())

    return pyarrow.table(
        {
            "score": pyarrow.array([name] * len(table)).dictionary_encode(),
            "row": table.row,
            "chromosome": pyarrow.array(places[key_chromosome(table.key)]),
            "position": pyarrow.array(key_position(table.key), mask=table.key < 0),
            "id": ids,
            "effect_allele": pyarrow.array(texts[table.effect]),
            "other_allele": pyarrow.array(texts[table.other]),
            "effect_weight": table.weights[0]
            if len(table.names) == 1
            else pyarrow.nulls(len(table), pyarrow.float64()),
            "reason": pyarrow.DictionaryArray.from_arrays(pyarrow.array(found.reason.astype(np.int8)), list(REASONS)),
            "genotype_id": variants.ids.take(pyarrow.array(at, mask=~known)) if own else of_entry(at),
            "genotype_ref": of_entry(texts[variants.ref[at]] if own else at),
            "genotype_alt": of_entry(texts[variants.alt[at]] if own else at),
            "effect_is_ref": pyarrow.array(found.effect_is_ref, mask=~known),
        }
    )
