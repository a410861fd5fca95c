"""What the commands of `consilium genome` ask in common, and the request that it makes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from consilium.cli.common import pairs

if TYPE_CHECKING:
    from consilium.genomics.run import Request

Genotypes = Annotated[Path, typer.Argument(help="A .bed, .pgen, .vcf[.gz] or .bcf file, or the prefix of one.")]
Scores = Annotated[
    list[Path],
    typer.Option(
        "--score",
        help="A PGS Catalog file, a plink --score table (id, allele, weights) or a table with named columns. May be repeated.",
    ),
]
Out = Annotated[Path, typer.Option(help="A folder for the results.")]
Build = Annotated[
    str | None, typer.Option(help="Build of the genotypes (GRCh37 or GRCh38) where header and positions do not tell.")
]
ScoreBuild = Annotated[str | None, typer.Option(help="Build of scoring files that do not state theirs.")]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        help="ROLE=NAME: which column is which, as in effect_allele=EA or effect_weight=T1+T2. May be repeated."
    ),
]
Blank = Annotated[
    Literal["error", "zero"],
    typer.Option(help="What a blank weight is: an error, or a variant not in that score (zero)."),
]
Ambiguous = Annotated[
    Literal["drop", "keep"],
    typer.Option(help="A/T and C/G variants, whose strand no allele tells: drop and list, or keep."),
]
Flips = Annotated[bool, typer.Option(help="Whether alleles of the other strand match.")]
Several = Annotated[Literal["keep", "drop"], typer.Option(help="Sites with more than two alleles.")]
Overlap = Annotated[float, typer.Option(help="The least share of a score's variants that must match.", min=0, max=1)]
Extract = Annotated[Path | None, typer.Option(help="Use only these variants: an id or chromosome:position a line.")]
Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]


def request_of(
    genotypes: Path,
    scores: list[Path],
    build: str | None,
    score_build: str | None,
    options: tuple[Any, ...],
    **more: Any,
) -> Request:
    """`options`: columns, blank weights, ambiguous, strand flips, multi-allelic; `more` goes into the Request as it is."""
    from consilium.genomics.match import MatchPolicy
    from consilium.genomics.run import Request
    from consilium.genomics.scoring_file import ScoreOptions

    columns, blank, ambiguous, flips, several = options
    return Request(
        genotypes,
        tuple(scores),
        build,
        score_build,
        ScoreOptions(pairs(columns, "--columns"), None, blank),
        MatchPolicy(ambiguous, flips, several),
        **more,
    )
