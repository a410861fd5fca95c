"""The command line: parse, call one function, print. Heavy libraries load only inside a command."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

import consilium
from consilium.cli import (
    ask,
    datasets,
    evaluate,
    explain,
    export,
    genome,
    index,
    inspect,
    members,
    specialist,
    train,
    weights,
)
from consilium.errors import ConsiliumError

app = typer.Typer(
    name="consilium",
    help="A council for medical AI: specialists and known cases are consulted, a generalist decides, the evidence stays "
    "beside the answer. Runs on this machine alone. Not a medical device.\n\n"
    'Example: consilium ask chest.png "Is there pneumonia?" --options normal,pneumonia',
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("ask")(ask.ask)
app.command("datasets")(datasets.datasets)
app.command("explain")(explain.explain)
app.command("export")(export.export)
app.command("inspect")(inspect.inspect)
app.command("members")(members.members)
app.command("train")(train.train)
app.add_typer(specialist.app, name="specialist")
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(genome.app, name="genome")
app.add_typer(index.app, name="index")
app.add_typer(weights.app, name="weights")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"consilium {consilium.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Runs the command; an error of consilium's own is one message on stderr and its branch's exit code."""
    # Threads that spin while they wait starve each other where cores are shared: ten times slower was seen with two.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Progress is shown by our own bars, once.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        app()
    except ConsiliumError as error:
        typer.echo(f"consilium: {error}", err=True)
        sys.exit(error.exit_code)
