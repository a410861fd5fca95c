"""Scores of a genotype file from start to end: open, agree on the build, match, refuse what matches too little, sum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from consilium.errors import BuildError, OverlapError, UsageError
from consilium.genomics import build as builds
from consilium.genomics import score_kinds, tables
from consilium.genomics.alleles import NONE, Alleles
from consilium.genomics.frequency import item_frequencies, read_frequencies
from consilium.genomics.genotypes import Genotypes, Variants, Wanted, open_genotypes, select_people
from consilium.genomics.match import CODE, Match, MatchPolicy, fill_absent, match
from consilium.genomics.plan import plan
from consilium.genomics.plink import read_variants
from consilium.genomics.report import ScoreReport, reports
from consilium.genomics.score import ScoreWork, Sums, score
from consilium.genomics.scoring_file import ScoreOptions, ScoreTable, read_scores
from consilium.types import Array

if TYPE_CHECKING:
    from consilium.genomics.vcf import Field

MIN_OVERLAP = 0.75
"""The least share of a score's variants that must be in the genotypes, as in the PGS Catalog's calculator."""


@dataclass(frozen=True)
class Request:
    """What is to be scored, and how. build and score_build say what the files do not; keep lists people, extract variants (ids or
    chromosome:position); frequencies is a file of allele frequencies; dosage the FORMAT field of a VCF."""

    genotypes: Path
    scores: tuple[Path, ...]
    build: str | None = None
    score_build: str | None = None
    options: ScoreOptions = field(default_factory=ScoreOptions)
    policy: MatchPolicy = field(default_factory=MatchPolicy)
    min_overlap: float = MIN_OVERLAP
    keep: Path | None = None
    extract: Path | None = None
    frequencies: Path | None = None
    dosage: Field | None = None
    absent_is_reference: Path | None = None
    threads: int | None = None
    precision: Literal["float32", "float64"] = "float32"


@dataclass(frozen=True, eq=False)
class Matched:
    """What `match_files` found. `build_source`: "header", "user", "positions", or "" where no position was compared."""

    genotypes: Genotypes
    book: Alleles
    build: str | None
    build_source: str
    variants: Variants
    matches: tuple[Match, ...]
    reports: tuple[ScoreReport, ...]
    index: Array | None
    policy: MatchPolicy


@dataclass(frozen=True, eq=False)
class Scored:
    """Sums of the scores that were not refused: `names`, `sums` (scores, people), `averages` over the alleles matched, `filled`
    (people,) missing calls of each person, `without_call` how many variants nobody has a call of."""

    matched: Matched
    names: tuple[str, ...]
    sums: Array
    averages: Array
    filled: Array
    without_call: int


def match_files(request: Request) -> Matched:
    """Match every score to the genotypes. Raises BuildError, GenotypeError, ScoringFileError or UsageError; a low overlap is
    reported, not raised."""
    genotypes = open_file(request.genotypes, request.dosage)
    book = Alleles()
    index = select_people(genotypes.people, request.keep)
    build, source = _stated_build(genotypes, request.build)
    scores = _read_all(request, book, build)
    if build is None and any(table.has_positions for table in scores):
        build = builds.build_of_positions(genotypes.variants(book, Wanted(builds.all_known_keys())), book)
        source = "positions" if build else ""
        scores = _read_all(request, book, build)
    for table in scores:
        if table.has_positions:
            builds.demand_same(build, table.build, table.file)
            builds.demand_within(str(build), table.key, table.file)
    variants = genotypes.variants(book, _wanted(scores))
    if build and source != "positions":
        builds.demand_within(build, variants.key, genotypes.path.name)
    if request.extract:
        variants = _extracted(variants, request.extract)
    matches = [match(table, variants, book, request.policy) for table in scores]
    if request.absent_is_reference:
        sites = read_variants(request.absent_is_reference, book, _wanted(scores))
        sites = _extracted(sites, request.extract) if request.extract else sites
        matches = [fill_absent(found, sites, book, request.policy) for found in matches]
    return Matched(
        genotypes,
        book,
        build,
        source,
        variants,
        tuple(matches),
        reports(matches, request.min_overlap),
        index,
        request.policy,
    )


def open_file(path: Path, dosage: Field | None = None) -> Genotypes:
    genotypes = open_genotypes(path)
    if dosage is None:
        return genotypes
    from consilium.genomics.vcf import VcfFile, open_vcf

    if not isinstance(genotypes, VcfFile):
        raise UsageError(f"{path.name} is {genotypes.file_format}; only of a VCF or BCF is a FORMAT field chosen.")
    return open_vcf(path, dosage)


def score_files(
    request: Request,
    progress: Callable[[int, int], None] | None = None,
    checkpoint: Path | None = None,
    matched: Matched | None = None,
) -> Scored:
    """Match and sum. Raises OverlapError where every score is refused; one refused beside others is in the reports."""
    matched = matched or match_files(request)
    by_table, at = [], 0
    for found in matched.matches:
        own = matched.reports[at : at + len(found.table.names)]
        at += len(own)
        by_table.append(np.flatnonzero([not report.refused for report in own]))
    if not any(map(len, by_table)):
        raise OverlapError(refusal(matched.reports, request.min_overlap))
    work = plan(matched.matches, matched.variants, by_table)
    frequency = None
    if request.frequencies:
        known = read_frequencies(request.frequencies, matched.variants, matched.book, matched.build)
        frequency = item_frequencies(work, matched.variants, known)
    how = ScoreWork(frequency, request.precision, progress, checkpoint, request.threads)
    done: Sums = score(matched.genotypes, work, matched.index, how)
    done.sums[:] += np.concatenate([_of_absent(f, s) for f, s in zip(matched.matches, by_table, strict=True)])[:, None]
    averages = done.sums / np.maximum(work.denominators, 1)[:, None]
    return Scored(matched, work.names, done.sums, averages, done.filled, len(done.no_calls))


def _of_absent(found: Match, scores: Array) -> Array:
    """What variants that are absent and count as the reference add to each of the scores: the weight of two copies or of none."""
    rows = np.flatnonzero(found.reason == CODE["absent_as_reference"])
    is_ref, table = found.effect_is_ref[rows], found.table
    copies = np.where(is_ref, np.where(table.kinds[rows] == score_kinds.ADDITIVE, 2.0, 1.0), 0.0)
    total = table.weights[scores][:, rows] * copies
    if table.by_dosage is not None:
        given = table.kinds[rows] == score_kinds.DOSAGE
        total[:, given] = np.where(is_ref, table.by_dosage[rows, 2], table.by_dosage[rows, 0])[given]
    return total.sum(axis=1)


def refusal(found: Sequence[ScoreReport], least: float) -> str:
    """Why no score was computed, in a sentence."""
    best = max(found, key=lambda report: report.overlap)
    reasons = ", ".join(f"{n} {reason}" for reason, n in best.unmatched())
    return (
        f"of {len(found)} scores none has {least:.0%} of its variants in the genotypes; the best, {best.name}, has "
        f"{best.matched} of {best.variants} ({reasons}). Impute the genotypes or take another score; --min-overlap lowers "
        "the bar."
    )


def _stated_build(genotypes: Genotypes, said: str | None) -> tuple[str | None, str]:
    user = builds.build_named(said)
    if user and genotypes.build and user != genotypes.build:
        raise BuildError(
            f"--build says {user}, but the header of {genotypes.path.name} says {genotypes.build}. Leave --build out."
        )
    if genotypes.build:
        return genotypes.build, "header"
    return user, "user" if user else ""


def _read_all(request: Request, book: Alleles, target: str | None) -> list[ScoreTable]:
    options = replace(request.options, build=request.score_build or request.options.build)
    found = [(path, table) for path in request.scores for table in read_scores(path, book, target, options)]
    names = [name for _, table in found for name in table.names]
    if len(set(names)) < len(names):
        found = [(path, replace(table, names=_prefixed(path, table.names))) for path, table in found]
        names = [name for _, table in found for name in table.names]
    if len(set(names)) < len(names):
        raise UsageError("two scores have the same name. Give files of different names.")
    return [table for _, table in found]


def _prefixed(path: Path, names: tuple[str, ...]) -> tuple[str, ...]:
    stem = path.name.split(".")[0]
    return tuple(name if name == stem else f"{stem}:{name}" for name in names)


def _wanted(scores: Sequence[ScoreTable]) -> Wanted:
    import pyarrow

    keys = np.unique(np.concatenate([table.key[table.key != NONE] for table in scores]))
    ids = [table.ids.filter(pyarrow.array(table.key == NONE)) for table in scores if table.ids is not None]
    named = pyarrow.concat_arrays(ids).drop_null() if ids else None
    return Wanted(keys, named)


def _extracted(variants: Variants, path: Path) -> Variants:
    """Only the variants that a file lists: an id or chromosome:position a line."""
    import pyarrow
    from pyarrow import compute

    from consilium.genomics.alleles import chromosome, site_keys

    with tables.guarded(path), tables.open_text(path) as stream:
        words = [line.split()[0].decode() for line in stream if line.strip()]
    if not words:
        raise UsageError(f"{path.name} lists no variants. Give an id, or chromosome:position, a line.")
    places = [word.split(":") for word in words if word.count(":") == 1 and word.split(":")[1].isdigit()]
    keys = site_keys(
        np.array([chromosome(c) for c, _ in places], np.int64), np.array([int(p) for _, p in places], np.int64)
    )
    kept = compute.is_in(variants.ids, pyarrow.array(words)).to_numpy(zero_copy_only=False) | np.isin(
        variants.key, keys[keys >= 0]
    )
    if not kept.any():
        raise UsageError(f"none of the {len(words)} variants in {path.name} is one that is scored. Check the ids.")
    return take_variants(variants, kept)


def take_variants(variants: Variants, kept: Array) -> Variants:
    """The entries of a mask."""
    arrays = {name: getattr(variants, name)[kept] for name in ("row", "allele", "key", "ref", "alt", "several")}
    import pyarrow

    return replace(variants, ids=variants.ids.filter(pyarrow.array(kept)), **arrays)
