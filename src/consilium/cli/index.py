"""`consilium index`: precedents of your own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from consilium.cli.common import FOLDER, counted, counting, emit, modality_named, pairs, split, tell_note

app = typer.Typer(
    help="Build and look at indices of known cases, which answers cite as precedents.\n\nExample: consilium index list",
    no_args_is_help=True,
)


@app.command()
def build(
    folder: Annotated[Path, typer.Argument(help=FOLDER)],
    name: Annotated[str | None, typer.Option(help="What to call the index; the folder's name by default.")] = None,
    modality: Annotated[str | None, typer.Option(help="What the pictures are, if headers do not say.")] = None,
    body_part: Annotated[str, typer.Option(help="What they show.")] = "",
    where: Annotated[list[str] | None, typer.Option(help="Keep only rows with COLUMN=VALUE. May be repeated.")] = None,
    splits: Annotated[
        str, typer.Option(help="Which splits to hold; test cases stay out, or a test would flatter.")
    ] = "train",
    labels: Annotated[str | None, typer.Option(help="Columns of 0, 1 or blank to know, instead of `label`.")] = None,
    licence: Annotated[str, typer.Option(help="Licence of the cases, shown beside each.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Add the cases of a folder to an index. Cases already there are not added twice, so it may be interrupted; those whose
    label, modality or body part is another now are replaced.

    Example: consilium index build ../shared/data/lung_ct_iqoth --modality CT --body-part CHEST
    """
    from consilium.train.precedents import build as build_index

    with counting("encoding", quiet=json) as progress:
        outcome = build_index(
            folder,
            name,
            modality=modality_named(modality),
            body_part=body_part.strip().upper(),
            where=pairs(where, "--where"),
            splits=split(splits),
            licence=licence,
            label_columns=split(labels),
            progress=progress,
            tell=tell_note,
        )
    replaced = f", {outcome['replaced']} replaced" if outcome["replaced"] else ""
    emit(outcome) if json else typer.echo(
        f"index {outcome['name']}: {outcome['added']} added{replaced}, {outcome['size']} cases in all"
    )


@app.command("list")
def list_(json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """List the index that is shipped and those built here: how many cases, which modalities, under which licences.

    Example: consilium index list
    """
    from consilium.consult.panel import SHIPPED_INDEX
    from consilium.settings import settings

    built = sorted(path for path in (settings().home / "indices").glob("*") if path.is_dir())
    places = {"shipped": SHIPPED_INDEX} | {path.name: path for path in built}
    facts = [{"name": name, **_held(place)} for name, place in places.items()]
    emit(facts) if json else typer.echo("\n".join(map(_line, facts)))


def _held(place: Path) -> dict[str, Any]:
    """What it holds, or why that cannot be told: a damaged index hides none of the others."""
    from consilium.errors import ConsiliumError
    from consilium.retrievers.held import held

    try:
        return held(place)
    except (ConsiliumError, OSError, ValueError, RuntimeError) as error:
        return {"unreadable": str(error).partition("\n")[0]}


def _line(fact: dict[str, Any]) -> str:
    if "unreadable" in fact:
        return f"{fact['name']}: {fact['unreadable']}"
    modalities = ", ".join(fact["modalities"]) or "modality unknown"
    return f"{fact['name']}: {counted(fact['cases'], 'case')}, {modalities}; {'; '.join(fact['licences']) or 'no licence told'}"
