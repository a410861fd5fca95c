"""`consilium genome`: polygenic scores from genotype files: match, score, describe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from consilium.cli import genome_make, genome_specialist
from consilium.cli.common import counting, emit, writing
from consilium.cli.genome_options import (
    Ambiguous,
    Blank,
    Build,
    Columns,
    Extract,
    Flips,
    Genotypes,
    Json,
    Out,
    Overlap,
    ScoreBuild,
    Scores,
    Several,
    request_of,
)

if TYPE_CHECKING:
    from consilium.genomics.report import ScoreReport
    from consilium.genomics.run import Matched, Request, Scored

app = typer.Typer(
    help="Polygenic scores from your own genotype files, on this machine alone: PLINK .bed and .pgen, VCF and BCF.\n\n"
    "Example: consilium genome score cohort.bed --score PGS001229.txt.gz --out scores",
    no_args_is_help=True,
)
app.command("reference")(genome_make.reference)
app.command("threshold")(genome_make.threshold)
app.command("specialist")(genome_specialist.specialist)


@app.command()
def score(
    genotypes: Genotypes,
    scores: Scores,
    out: Out = Path("genome_scores"),
    build: Build = None,
    score_build: ScoreBuild = None,
    columns: Columns = None,
    blank_weights: Blank = "error",
    ambiguous: Ambiguous = "drop",
    strand_flips: Flips = True,
    multiallelic: Several = "keep",
    min_overlap: Overlap = 0.75,
    keep: Annotated[
        Path | None, typer.Option(help="Score only these people: IID, or FID and IID, a line each.")
    ] = None,
    extract: Extract = None,
    frequencies: Annotated[
        Path | None, typer.Option(help="Allele frequencies to fill in missing calls with (plink2 .afreq, plink .frq).")
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="A reference made by `genome reference`: adds Z, percentile, ancestry adjustment."),
    ] = None,
    dosage: Annotated[
        Literal["GT", "DS", "GP"] | None, typer.Option(help="What to read of a VCF; DS if it has it.")
    ] = None,
    absent_is_reference: Annotated[
        Path | None,
        typer.Option(
            help="A .pvar, .bim or .afreq: what the genotypes lack, but this lists, counts as two reference alleles. For whole "
            "genomes whose file leaves out places where nobody differs from the reference."
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of the matrix products; all cores by default.", min=1)
    ] = None,
    precision: Annotated[
        Literal["float32", "float64"], typer.Option(help="Of the products within a block.")
    ] = "float32",
    digits: Annotated[
        int | None, typer.Option(help="Round to so many significant digits; all by default.", min=1)
    ] = None,
    json: Json = False,
) -> None:
    """Score every person: sums and averages of weight times copies of the effect allele, as exact as plink2 and with every digit.

    OUT gets scores.tsv and scores.parquet (a row a person), report.tsv and report.json (what matched), match_log.parquet (one
    reason for each variant). Missing calls count as twice the allele's frequency among those scored; with fewer than 50 people
    --frequencies or --reference must give it. Interrupted, the same command goes on where it stopped.

    Example: consilium genome score cohort.pgen --score PGS001229_hmPOS_GRCh38.txt.gz --out height
    """
    from consilium.genomics import run

    how: dict[str, Any] = {
        "keep": keep,
        "extract": extract,
        "frequencies": frequencies,
        "dosage": dosage,
        "precision": precision,
    }
    how |= {"absent_is_reference": absent_is_reference, "threads": threads}
    options = (columns, blank_weights, ambiguous, strand_flips, multiallelic)
    request = request_of(genotypes, scores, build, score_build, options, min_overlap=min_overlap, **how)
    with writing(out), counting(f"scoring {genotypes.name}", quiet=json) as progress:
        if reference is not None:
            from consilium.genomics.adjust import score_against

            done, more = score_against(request, reference, progress, out / ".unfinished")
        else:
            done, more = run.score_files(request, progress, out / ".unfinished"), {}
        _write_scores(out, request, done, more, digits)
        (out / ".unfinished").unlink(missing_ok=True)
    _tell(done.matched.reports, json)
    if not json:
        typer.echo(f"{done.sums.shape[1]} people, {len(done.names)} scores: {out / 'scores.tsv'}")


@app.command()
def match(
    genotypes: Genotypes,
    scores: Scores,
    out: Out = Path("genome_match"),
    build: Build = None,
    score_build: ScoreBuild = None,
    columns: Columns = None,
    blank_weights: Blank = "error",
    ambiguous: Ambiguous = "drop",
    strand_flips: Flips = True,
    multiallelic: Several = "keep",
    min_overlap: Overlap = 0.75,
    extract: Extract = None,
    json: Json = False,
) -> None:
    """Say which variants of a score are in the genotypes, and why the others are not, without scoring anybody.

    OUT gets match_log.tsv and .parquet (one reason for each variant), report.tsv and report.json (a row a score).

    Example: consilium genome match cohort.bed --score PGS001229.txt.gz --out overlap
    """
    from consilium.genomics import output, run
    from consilium.genomics.report import match_log

    options = (columns, blank_weights, ambiguous, strand_flips, multiallelic)
    request = request_of(genotypes, scores, build, score_build, options, min_overlap=min_overlap, extract=extract)
    found = run.match_files(request)
    log = match_log(found.matches, found.variants, found.book)
    tables = {"match_log.tsv": log, "match_log.parquet": log, "report.tsv": output.report_table(found.reports)}
    with writing(out):
        output.write_all(out, tables, {"report.json": output.report_json(_facts(request, found), found.reports)})
    _tell(found.reports, json)


@app.command()
def describe(
    files: Annotated[list[Path], typer.Argument(help="Genotype files and scoring files.")],
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Say what lies in genotype and scoring files: people, variants, build and how it is known, kinds of weight.

    Example: consilium genome describe cohort.bed PGS001229.txt.gz
    """
    from consilium.genomics.describe import describe as describe_file

    found = [describe_file(path) for path in files]
    if json:
        emit(found)
        return
    for facts in found:
        for name, value in facts.items():
            typer.echo(f"{name:<22} {value}")
        typer.echo("")


def _write_scores(
    out: Path, request: Request, done: Scored, more: Mapping[str, Mapping[str, Any]], digits: int | None
) -> None:
    from consilium.genomics import output
    from consilium.genomics.report import match_log

    people = done.matched.genotypes.people
    if done.matched.index is not None:
        people = people.take(done.matched.index)
    columns: dict[str, Any] = {}
    for i, name in enumerate(done.names):
        columns |= {f"{name}_sum": done.sums[i], f"{name}_avg": done.averages[i]}
        columns |= {f"{name}_{key}": values for key, values in more.get(name, {}).items()}
    columns |= more.get("", {})
    table = output.score_table(people, columns, done.filled, digits)
    log = match_log(done.matched.matches, done.matched.variants, done.matched.book)
    against = "" in more  # a reference: its frequencies, one alternate allele a site, all in double precision
    facts = _facts(request, done.matched) | {
        "people": len(people),
        "variants_without_any_call": done.without_call,
        "missing_calls": "twice the allele frequency in the reference" if against else _missing(request),
        "precision": "float64" if against else request.precision,
    }
    tables = {
        "scores.tsv": table,
        "scores.parquet": table,
        "match_log.parquet": log,
        "report.tsv": output.report_table(done.matched.reports),
    }
    output.write_all(out, tables, {"report.json": output.report_json(facts, done.matched.reports)})


def _missing(request: Request) -> str:
    if request.frequencies:
        return f"twice the allele frequency in {request.frequencies.name}"
    return "twice the allele frequency among the founders scored"


def _facts(request: Request, found: Matched) -> dict[str, Any]:
    return {
        "genotypes": request.genotypes.name,
        "format": found.genotypes.file_format,
        "build": found.build,
        "build_source": found.build_source,
        "min_overlap": request.min_overlap,
        "ambiguous": found.policy.ambiguous,
        "strand_flips": found.policy.strand_flips,
        "multiallelic": found.policy.multiallelic,
    }


def _tell(found: tuple[ScoreReport, ...], json: bool) -> None:
    """The reports, one line each; refused scores on stderr as well."""
    if json:
        emit(found)
        return
    for report in found[:20]:
        rest = ", ".join(f"{n} {reason}" for reason, n in report.unmatched())
        line = f"{report.name}: {report.matched} of {report.variants} variants ({report.overlap:.1%})"
        typer.echo(f"{line}{'; ' + rest if rest else ''}{'  REFUSED' if report.refused else ''}")
    if len(found) > 20:
        typer.echo(f"... and {len(found) - 20} more in report.tsv")
    refused = [report.name for report in found if report.refused]
    if refused:
        typer.echo(f"refused for low overlap: {', '.join(refused[:20])}", err=True)
