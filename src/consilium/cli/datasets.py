"""`consilium datasets`: the published benchmark by name, what of it is here, and how to get the rest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consilium.cli.common import emit

if TYPE_CHECKING:
    from consilium.datasets.benchmark import Description


def datasets(
    name: Annotated[
        str | None, typer.Argument(help="Show all about this dataset: what to download, the folder, the prompt.")
    ] = None,
    root: Annotated[
        Path, typer.Option(help="Where the datasets lie, each in a folder of its name (ROOT/pneumoniamnist).")
    ] = Path("../shared/data"),
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List the published benchmark: 28 datasets of the GSCo study and its 2 cross-domain partners, and which are here.

    Nothing is downloaded: many are under a licence that you must accept yourself. To use one, (1) ask for it by name to see what
    to download; (2) unpack it to ROOT/NAME as shown; (3) list again: it now reads "here". Official splits are kept.

    Example: consilium datasets

    Example: consilium datasets ham10000 --root /data/benchmark
    """
    from consilium.datasets import benchmark

    wanted = (name,) if name else benchmark.names()
    found = [(benchmark.describe(each), benchmark.missing(each, root / each)) for each in wanted]
    if json:
        facts = [_facts(description, missing, root) for description, missing in found]
        emit(facts[0] if name else facts)
    elif name:
        _show(*found[0], root)
    else:
        _list(found, root)


def _list(found: Sequence[tuple[Description, tuple[str, ...]]], root: Path) -> None:
    here = sum(not missing for _, missing in found)
    typer.echo(f"{here} of {len(found)} are under {root}; `consilium datasets NAME` shows one whole.\n")
    for description, missing in found:
        kinds = f"{len(description.classes)} classes" if description.classes else "-"
        seen = ",".join(description.modality)
        state = "missing" if missing else "here"
        typer.echo(f"{description.name:<15} {state:<8} {description.task:<11} {kinds:<11} {seen}")
        typer.echo(f"{'':<15} GSCo: {description.gsco}. Access: {description.access}. Licence: {description.licence}")
        if missing:
            typer.echo(f"{'':<15} get {description.download}")


def _show(description: Description, missing: tuple[str, ...], root: Path) -> None:
    place = root / description.name
    typer.echo(f"{description.title}  ({description.name})")
    state = f"missing under {place}: {', '.join(missing)}" if missing else f"here, under {place}"
    facts = {
        "state": state,
        "task": description.task,
        "sees": ", ".join((*description.modality, *description.body_part)),
        "GSCo": description.gsco,
        "home": description.home,
        "access": description.access,
        "licence": description.licence,
        "download": description.download,
        "question": description.question,
        "options": "; ".join(description.options),
        "prompt": description.prompt,
        "metrics": ", ".join(description.metrics),
        "leak": description.leak,
        "notes": description.notes,
        "basis": description.basis,
    }
    for key, value in facts.items():
        if value:
            typer.echo(f"  {key:<9} {value}")
    typer.echo(f"  folder    under {root}:\n")
    typer.echo("\n".join(f"    {line}" for line in description.tree.splitlines()))


def _facts(description: Description, missing: tuple[str, ...], root: Path) -> dict[str, Any]:
    keys = (
        "name", "title", "task", "modality", "body_part", "gsco", "home", "access", "licence", "download", "tree", "question",
        "classes", "options", "prompt", "metrics", "leak", "notes", "basis",
    )  # fmt: skip
    facts: dict[str, Any] = {key: getattr(description, key) for key in keys}
    return facts | {"folder": str(root / description.name), "present": not missing, "missing": missing}
