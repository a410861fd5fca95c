"""`consilium specialist`: train light specialists on a folder, list those there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from consilium.cli.common import counting, emit, pairs, split

app = typer.Typer(
    help="Train light specialists on your own folders, and list those there are.\n\nExample: consilium specialist list",
    no_args_is_help=True,
)


@app.command()
def train(
    folder: Annotated[
        Path,
        typer.Argument(help="A folder with index.csv (path, label[s], split, patient_id), or a sub-folder per class."),
    ],
    name: Annotated[str, typer.Option(help="What to call the specialist.")],
    modality: Annotated[
        str | None, typer.Option(help="What the pictures are (CR,DX | CT | MR | US ...), if headers do not say.")
    ] = None,
    body_part: Annotated[str | None, typer.Option(help="What they show (CHEST, HEAD ...).")] = None,
    labels: Annotated[str | None, typer.Option(help="Columns of 0, 1 or blank to learn, instead of `label`.")] = None,
    where: Annotated[list[str] | None, typer.Option(help="Keep only rows with COLUMN=VALUE. May be repeated.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="NAME=a+b: a concept that is the sum of classes.")] = None,
    licence: Annotated[str, typer.Option(help="Licence of the trained specialist, for its card.")] = "",
    data_licence: Annotated[str, typer.Option(help="Licence of the data, for its card.")] = "",
    summary: Annotated[str, typer.Option(help="One line for its card.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print the card as JSON.")] = False,
) -> None:
    """Train a light specialist: encodes each picture once, chooses and calibrates a head, measures it on the test split.

    Interrupted, it goes on where it stopped: pictures already encoded are not encoded again.

    Example: consilium specialist train ../shared/data/lung_ct_iqoth --name lung_ct --modality CT --body-part CHEST
    """
    from consilium import registry
    from consilium.consult.panel import DEFAULT_ENCODER
    from consilium.datasets.folder import read_folder
    from consilium.errors import UsageError
    from consilium.settings import settings
    from consilium.train.specialist import Recipe
    from consilium.train.specialist import train as train_specialist

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
        raise UsageError(f"{name!r} cannot name a specialist: use letters, digits, _ and -, at most 64.")
    data = read_folder(folder, label_columns=split(labels), where=pairs(where, "--where"))
    recipe = Recipe(
        name,
        tuple(m.upper() for m in split(modality)),
        tuple(b.upper() for b in split(body_part)),
        summary=summary,
        licence=licence,
        data_licence=data_licence,
        groups=_groups(pairs(group, "--group"), data.classes),
    )
    with counting(f"encoding {data.name}", quiet=json) as progress:
        encoder = registry.get("encoders", DEFAULT_ENCODER).load()
        card = train_specialist(data, recipe, encoder, settings().home / "specialists", progress)
    if json:
        emit(card)
        return
    typer.echo(f"trained {card.name} ({', '.join(c.meaning for c in card.concepts)}), measured on its test split:")
    for score in card.scores:
        typer.echo(f"  {score.metric:<28} {score.value:.3f}  [{score.low:.3f}, {score.high:.3f}]  n={score.n}")


def _groups(given: dict[str, str], classes: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    from consilium.errors import UsageError

    groups = {name: tuple(members.split("+")) for name, members in given.items()}
    unknown = {member for members in groups.values() for member in members} - set(classes)
    if unknown:
        raise UsageError(f"--group names {', '.join(sorted(unknown))}, but the classes are {', '.join(classes)}.")
    return groups


@app.command("list")
def list_(json: Annotated[bool, typer.Option("--json", help="Print every card as JSON.")] = False) -> None:
    """List every specialist, shipped and trained here.

    Example: consilium specialist list
    """
    from consilium.cli.members import members

    members("specialists", json)
