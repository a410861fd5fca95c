"""Scores from summary statistics: of linked variants the most significant stays (clumping), at several bars of p."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from consilium.errors import GenotypeError, ScoringFileError
from consilium.genomics.alleles import Alleles, chromosome_name, key_chromosome, key_position
from consilium.genomics.gwas import Reading, betas, p_values, statistics_of
from consilium.genomics.ld import clump, neighbours
from consilium.genomics.match import REASONS, Match
from consilium.genomics.run import Request, match_files, take_variants
from consilium.types import Array

BARS = (5e-8, 1e-5, 1e-3, 0.05, 0.5, 1.0)


@dataclass(frozen=True)
class Clumping:
    """bars: greatest p of each score. Variants at most `kb` apart that correlate more than `r2` (squared) count as one.

    Linkage is measured in at most `people` people, evenly drawn. `reading` says what the names of the columns do not."""

    bars: Sequence[float] = BARS
    r2: float = 0.1
    kb: float = 250
    people: int = 5000
    reading: Reading = field(default_factory=Reading)


@dataclass(frozen=True, eq=False)
class Clumped:
    """`tested` variants had a p-value, `matched` are in the genotypes, `kept` after clumping; `counts` of them for each bar."""

    path: Path
    tested: int
    matched: int
    kept: int
    counts: Mapping[str, int]


def threshold(request: Request, statistics: Path, out: Path, how: Clumping | None = None) -> Clumped:
    """Write a scoring file with a score for each bar, for `consilium genome score`. An odds ratio enters as its logarithm.

    Raises ScoringFileError where effect or p are missing or not what they are said to be, or no variant is left; GenotypeError
    where variants are not in order."""
    how = how or Clumping()
    of = statistics_of(statistics, how.reading)
    found = match_files(
        replace(request, scores=(statistics,), options=of.options(request.score_build), min_overlap=0.0)
    )
    (one,) = found.matches
    sizes = betas(of, one.table.weights[0])
    values, order = p_values(of, one.table.weights[1])
    rows = _usable(one, sizes, values, max(how.bars))
    entry, first = np.unique(one.entry[rows], return_index=True)
    rows = rows[first]
    mask = np.zeros(len(found.variants), bool)
    mask[entry] = True
    variants = take_variants(found.variants, mask)
    if np.any(np.diff(variants.key) < 0):
        raise GenotypeError(
            f"{found.genotypes.path.name} is not in the order of positions. Sort it (plink2 --sort-vars)."
        )
    starts, linked = neighbours(
        found.genotypes, variants, _evenly(found.index, len(found.genotypes.people), how.people), how.r2, how.kb
    )
    kept = clump(np.lexsort((variants.key, order[rows])), starts, linked)
    counts = _write(out, one, rows[kept], (sizes, values), how.bars, found.book)
    return Clumped(out, int(np.count_nonzero(~np.isnan(values))), int(one.matched.sum()), int(kept.sum()), counts)


def _usable(one: Match, sizes: Array, values: Array, greatest: float) -> Array:
    """Rows in the genotypes with an effect and a p of at most `greatest`. Raises ScoringFileError where there is none."""
    known = one.matched & np.isfinite(sizes) & ~np.isnan(values)
    rows = np.flatnonzero(known & (values <= greatest))
    if len(rows):
        return rows
    file = one.table.file
    if not one.matched.any():
        counts = zip(*np.unique(one.reason, return_counts=True), strict=True)
        reasons = ", ".join(f"{n} {REASONS[code]}" for code, n in counts)
        raise ScoringFileError(
            f"none of the {len(one.table)} variants of {file} is in the genotypes ({reasons}). Check that both have the same "
            "build, alleles and names of variants."
        )
    if not known.any():
        raise ScoringFileError(
            f"none of the {int(one.matched.sum())} variants of {file} that are in the genotypes has both an effect and a p. "
            "Name other columns with --effect and --p-value."
        )
    raise ScoringFileError(
        f"none of the {int(known.sum())} variants of {file} that are in the genotypes has a p-value of at most {greatest:g}; the "
        f"least is {values[known].min():g}. Give a greater one with --p."
    )


def _evenly(index: Array | None, people: int, most: int) -> Array:
    own = np.arange(people) if index is None else index
    return own if len(own) <= most else own[np.linspace(0, len(own) - 1, most).astype(np.int64)]


def _write(
    out: Path, one: Match, rows: Array, numbers: tuple[Array, Array], bars: Sequence[float], book: Alleles
) -> dict[str, int]:
    """The scoring file, whole or not there."""
    sizes, values = numbers
    table = one.table
    names = [f"p{bar:g}" for bar in bars]
    ids: list[Any] = [None] * len(table) if table.ids is None else table.ids.to_pylist()
    effects, others = book.texts(table.effect), book.texts(table.other)
    places = zip(key_chromosome(table.key), key_position(table.key), strict=True)
    where = [(chromosome_name(code), str(position) if position > 0 else "") for code, position in places]
    half = out.with_name(out.name + ".writing")
    with half.open("w", encoding="utf-8") as file:
        if table.build:
            file.write(f"#genome_build={table.build}\n")
        file.write("rsID\tchr_name\tchr_position\teffect_allele\tother_allele\t" + "\t".join(names) + "\n")
        for row in rows:
            weights = [repr(float(sizes[row])) if values[row] <= bar else "0" for bar in bars]
            file.write("\t".join([ids[row] or "", *where[row], effects[row], others[row], *weights]) + "\n")
    half.replace(out)
    return {name: int(np.count_nonzero(values[rows] <= bar)) for name, bar in zip(names, bars, strict=True)}
