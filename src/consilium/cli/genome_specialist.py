"""`consilium genome specialist`: a specialist that reads genomes, made of a cohort's files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consilium.cli.common import emit, writing
from consilium.cli.genome_options import Build, Genotypes


def specialist(
    genotypes: Genotypes,
    people: Annotated[
        Path,
        typer.Option(
            help="A table (TSV): IID, age, sex (female or male), split (reference, train or test), and a column of 1, 0 or blank "
            "(not known) for each outcome."
        ),
    ],
    scores: Annotated[
        list[Path],
        typer.Option(
            "--score", help="One file a trait, named after it, of three bars of p (`genome threshold`). Repeat it."
        ),
    ],
    name: Annotated[str, typer.Option(help="What to call the specialist: letters, digits and _.")],
    ancestry: Annotated[str, typer.Option(help="Of the reference people, in words; for the card.")],
    licence: Annotated[str, typer.Option(help="Licence of the specialist; for its card.")] = "",
    data_licence: Annotated[str, typer.Option(help="Licence of the cohort; for the card.")] = "",
    summary: Annotated[str, typer.Option(help="One line for its card.")] = "",
    components: Annotated[int, typer.Option(help="Principal components of ancestry; 0 for none.", min=0)] = 10,
    build: Build = None,
    json: Annotated[bool, typer.Option("--json", help="Print the card as JSON.")] = False,
) -> None:
    """Make a specialist that tells the risk of each outcome from a genome, age and sex; it then sits at the table of `ask`.

    The reference people give allele frequencies, ancestry and percentiles, the train people the weights, the test people the
    figures on its card. The studies behind the scores must have had none of the train and test people. It is kept in
    CONSILIUM_HOME/specialists, without genotypes and without ids.

    Before: consilium genome threshold cohort.bed --statistics gout.tsv.gz --p 5e-8,1e-5,1e-3 --out gout.tsv, for each trait.

    After: consilium ask "Does this person develop gout?" --options yes,no --genome cohort.bed --person ID --age 58 --sex male

    Example: consilium genome specialist cohort.bed --people people.tsv --score gout.tsv --name gout_risk --ancestry European
    """
    from consilium.errors import UsageError
    from consilium.settings import settings
    from consilium.train.polygenic import Recipe, make

    missing = [str(path) for path in (people, *scores) if not path.is_file()]
    if missing:
        raise UsageError(f"there is no file {missing[0]}. Correct the path.")
    recipe = Recipe(name, genotypes, scores, people, ancestry, licence, data_licence, components, build, summary)
    room = settings().home / "specialists"
    with writing(room):
        card = make(recipe, room)
    if json:
        emit(card)
        return
    outcomes = ", ".join(code.meaning for code in card.concepts)
    typer.echo(f"made {card.name} ({outcomes}), measured on its test people:")
    for score in card.scores:
        typer.echo(f"  {score.metric:<28} {score.value:.3f}  [{score.low:.3f}, {score.high:.3f}]  n={score.n}")
    typer.echo(f"\n{room / card.name}")
