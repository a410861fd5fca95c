"""`consilium genome reference|threshold`: what scores are compared with, and scores from a study's summary statistics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from consilium.cli.common import counting, emit, pairs, split, writing
from consilium.cli.genome_options import (
    Ambiguous,
    Build,
    Columns,
    Genotypes,
    Json,
    Overlap,
    ScoreBuild,
    Scores,
    request_of,
)


def reference(
    panel: Annotated[Path, typer.Argument(help="Genotypes of reference people: .bed, .pgen, .vcf[.gz] or .bcf.")],
    scores: Scores,
    out: Annotated[Path, typer.Option(help="The folder of the reference.")],
    name: Annotated[str, typer.Option(help="What to call it.")] = "reference",
    components: Annotated[int, typer.Option(help="Principal components of ancestry; 0 for none.", min=0)] = 10,
    build: Build = None,
    score_build: ScoreBuild = None,
    columns: Columns = None,
    ambiguous: Ambiguous = "drop",
    min_overlap: Overlap = 0.75,
    keep: Annotated[Path | None, typer.Option(help="Use only these people.")] = None,
    json: Json = False,
) -> None:
    """Make a reference for `genome score --reference` from a panel: components of ancestry from one half of its people, the
    distributions of the scores from the other. It holds no genotypes and names no person.

    Example: consilium genome reference panel.pgen --score PGS001229.txt.gz --out panel_height
    """
    from consilium.genomics.adjust import make_reference

    options = (columns, "error", ambiguous, True, "drop")
    request = request_of(panel, scores, build, score_build, options, min_overlap=min_overlap, keep=keep)
    with writing(out), counting(f"reading {panel.name}", quiet=json) as progress:
        made = make_reference(request, out, name, components, progress)
    if json:
        emit({"name": made.name, "build": made.build, "people": made.people, "components": made.components})
        return
    typer.echo(f"{made.name}: {made.people} people, {made.components} components, {len(made.scores)} scores: {out}")


def threshold(
    genotypes: Genotypes,
    statistics: Annotated[
        Path, typer.Option(help="Summary statistics: effect allele, BETA or OR, P or LOG10P, and id or place.")
    ],
    out: Annotated[Path, typer.Option(help="The scoring file to write, for `genome score`.")],
    bars: Annotated[str, typer.Option("--p", help="Greatest p-values, one score each.")] = "5e-8,1e-5,1e-3,0.05,0.5,1",
    r2: Annotated[float, typer.Option(help="Squared correlation above which variants count as one.")] = 0.1,
    kb: Annotated[float, typer.Option(help="Kilobases within which they do.")] = 250,
    people: Annotated[int, typer.Option(help="People in whom linkage is measured, at most.")] = 5000,
    effect: Annotated[str | None, typer.Option(help="Column of the effect, if not BETA or OR.")] = None,
    effect_is: Annotated[
        Literal["beta", "or"] | None,
        typer.Option(help="Whether effects are betas or odds ratios; by default as named."),
    ] = None,
    p_value: Annotated[str | None, typer.Option(help="Column of the p-value, if not P.")] = None,
    p_is: Annotated[
        Literal["p", "log10p"] | None, typer.Option(help="Whether these are p or -log10 p; by default as named.")
    ] = None,
    build: Build = None,
    score_build: ScoreBuild = None,
    columns: Columns = None,
    ambiguous: Ambiguous = "drop",
    keep: Annotated[Path | None, typer.Option(help="Measure linkage in these people.")] = None,
) -> None:
    """Make scores from the summary statistics of a study: clumping and p-value thresholds, linkage from the genotypes given.

    Columns are known as plink, REGENIE, SAIGE, BOLT-LMM, GCTA, METAL, daner and the GWAS Catalog name them; of plink's tests ADD
    alone is taken.

    Example: consilium genome threshold panel.bed --statistics gwas.tsv.gz --score-build GRCh37 --out my_scores.tsv
    """
    from consilium.errors import UsageError
    from consilium.genomics.gwas import Reading
    from consilium.genomics.threshold import Clumping
    from consilium.genomics.threshold import threshold as make

    request = request_of(
        genotypes, [statistics], build, score_build, (None, "error", ambiguous, True, "drop"), keep=keep
    )
    try:
        greatest = tuple(float(bar) for bar in split(bars))
    except ValueError:
        raise UsageError(f"--p takes p-values separated by commas, such as 5e-8,1e-3; not {bars!r}.") from None
    reading = Reading(effect, p_value, effect_is, p_is, pairs(columns, "--columns"))
    with writing(out):
        made = make(request, statistics, out, Clumping(greatest, r2, kb, people, reading))
    typer.echo(f"{made.tested} tested, {made.matched} genotyped, {made.kept} after clumping: {out}")
    typer.echo("  ".join(f"{bar}: {n}" for bar, n in made.counts.items()))
