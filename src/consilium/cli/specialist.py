"""`consilium specialist`: train specialists on a folder, one or a suite of different ones, list those there are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consilium.cli import adapters
from consilium.cli.common import (
    FOLDER,
    counting,
    emit,
    modalities_named,
    pairs,
    read_dataset,
    split,
    staging,
    tell_note,
)
from consilium.cli.segment import segment

if TYPE_CHECKING:
    from consilium.protocols import Card

app = typer.Typer(
    help="Train specialists on your own folders, and list those there are.\n\nExample: consilium specialist list",
    no_args_is_help=True,
)
app.command("add")(adapters.add)
app.command("segment")(segment)


@app.command()
def train(
    folder: Annotated[Path, typer.Argument(help=FOLDER)],
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
    from consilium.settings import settings
    from consilium.train.specialist import Recipe
    from consilium.train.specialist import train as train_specialist

    _demand_name(name)
    data = read_dataset(folder, labels, where)
    recipe = Recipe(
        name,
        modalities_named(modality),
        tuple(b.upper() for b in split(body_part)),
        summary=summary,
        licence=licence,
        data_licence=data_licence,
        groups=_groups(pairs(group, "--group"), data.classes),
    )
    room = settings().home / "specialists"
    with counting(f"encoding {data.name}", quiet=json) as progress:
        encoder = registry.get("encoders", DEFAULT_ENCODER).load()
        card = train_specialist(data, recipe, encoder, room, progress)
    _cautions(card, room / name)
    if json:
        emit(card)
        return
    typer.echo(f"trained {card.name} ({', '.join(c.meaning for c in card.concepts)}), measured on its test split:")
    for score in card.scores:
        typer.echo(f"  {score.metric:<28} {score.value:.3f}  [{score.low:.3f}, {score.high:.3f}]  n={score.n}")


def _few(counts: Mapping[str, Any]) -> None:
    """Says on stderr of which labels little was learnt; `counts` as on a card."""
    if few := counts.get("few_pictures"):
        told = ", ".join(f"{label} ({n})" for label, n in few.items())
        tell_note(f"few pictures to learn from, so that what is said of them is a guess: {told}")


def _cautions(card: Card, folder: Path) -> None:
    """Says on stderr of which labels little or nothing was learnt, or could not be measured."""
    from json import loads

    _few(loads((folder / "card.json").read_text(encoding="utf-8"))["fit"])
    measured = {score.metric for score in card.scores}
    lost = [c.meaning for c in card.concepts if f"AUROC {c.meaning}" not in measured]
    if lost:
        tell_note(
            f"no AUROC of {', '.join(lost)}: no test picture with it, or none without; the mean is over the other "
            f"{len(card.concepts) - len(lost)} of {len(card.concepts)} labels"
        )


@app.command()
def suite(
    folder: Annotated[Path, typer.Argument(help=FOLDER)],
    name: Annotated[
        str | None, typer.Option(help="What the members' names begin with; the folder's name by default.")
    ] = None,
    members: Annotated[
        str | None, typer.Option(help="Which of linear, mlp, neighbours, dino, convnet, texture; all by default.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="How often to train each; the first ships, all are measured.")] = 3,
    modality: Annotated[
        str | None, typer.Option(help="What the pictures are (CR,DX | CT | MR | US ...), if headers do not say.")
    ] = None,
    body_part: Annotated[str | None, typer.Option(help="What they show (CHEST, HEAD ...).")] = None,
    labels: Annotated[str | None, typer.Option(help="Columns of 0, 1 or blank to learn, instead of `label`.")] = None,
    where: Annotated[list[str] | None, typer.Option(help="Keep only rows with COLUMN=VALUE. May be repeated.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="NAME=a+b: a concept that is the sum of classes.")] = None,
    licence: Annotated[str, typer.Option(help="Licence of the trained specialists, for their cards.")] = "",
    data_licence: Annotated[str, typer.Option(help="Licence of the data, for the cards and the precedents.")] = "",
    second_encoder: Annotated[str, typer.Option(help="What the member `dino` looks through.")] = "dinov2_small",
    index: Annotated[bool, typer.Option(help="Write the train part as an index of precedents too.")] = True,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Train several cheap and different specialists on one folder, and measure how well and how differently they judge.

    Interrupted, it goes on where it stopped. The report lies in CONSILIUM_HOME/suites/NAME/suite.html.

    Example: consilium specialist suite ../shared/data/lung_ct_iqoth --name lung --modality CT --body-part CHEST
    """
    from consilium import registry
    from consilium.consult.panel import DEFAULT_ENCODER
    from consilium.settings import settings
    from consilium.train import suite_report
    from consilium.train.specialist import Recipe
    from consilium.train.suite import Options, train_suite
    from consilium.train.suite_members import MEMBERS

    name = name or folder.resolve().name
    # The longest member's name is built from it: NAME_neighbours.
    _demand_name(name, at_most=50)
    data = read_dataset(folder, labels, where)
    recipe = Recipe(
        name,
        modalities_named(modality),
        tuple(b.upper() for b in split(body_part)),
        licence=licence,
        data_licence=data_licence,
        groups=_groups(pairs(group, "--group"), data.classes),
    )
    with staging(quiet=json) as tell:
        encoder = registry.get("encoders", DEFAULT_ENCODER).load()
        options = Options(split(members) or MEMBERS, seeds, second_encoder, index, tell)
        made = train_suite(data, recipe, encoder, settings().home, options)
    _few(made.counts)
    if json:
        emit(suite_report.as_json(made))
        return
    for row in suite_report.table(made):
        typer.echo(f"{row[0]:<28} {row[1]:>15} {row[2]:>15} {row[3]:>15} {row[4]:>8}  {row[5]}")
    typer.echo(f"\n{settings().home / 'suites' / name / 'suite.html'}")


def _demand_name(name: str, at_most: int = 64) -> None:
    from consilium.consult.panel import ROUTER
    from consilium.errors import UsageError

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name) or len(name) > at_most:
        raise UsageError(f"{name!r} cannot name a specialist: use letters, digits, _ and -, at most {at_most}.")
    if name == ROUTER:
        raise UsageError(f"{name} is the name of the one who recognises modalities. Choose another.")


def _groups(given: dict[str, str], classes: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    from consilium.errors import UsageError

    groups = {name: tuple(part.strip() for part in members.split("+")) for name, members in given.items()}
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
