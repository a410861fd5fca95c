"""`consilium export`: a member's whole checkpoint as an ordinary folder, for other tools."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

import typer

from consilium.cli.common import emit, staging, writing


def export(
    generalist: Annotated[str, typer.Argument(help="Whose checkpoint: native, or another that has named weights.")],
    out: Annotated[Path, typer.Argument(help="A folder that is not there yet, or empty.")],
    adapter: Annotated[
        Path | None, typer.Option(help="An adapter.safetensors that training wrote, instead of the shipped one.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Write a generalist's checkpoint, whole and merged: any tool that reads Hugging Face folders loads it, without consilium.

    Example: consilium export native my-native
    """
    import shutil

    from consilium import registry, weights
    from consilium.errors import UsageError

    member = registry.get("generalists", generalist)
    name = getattr(importlib.import_module(member.module), "WEIGHTS", None)
    if name is None:
        raise UsageError(f"generalist {generalist} has no weights of its own to export; native and smollm2 have.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there already; name a folder that is not, so that nothing is overwritten.")
    with staging(quiet=json) as progress, writing(out):
        if adapter is not None:
            weights.assemble(name, adapter, out, progress)
        else:
            shutil.copytree(weights.folder(name, progress), out, dirs_exist_ok=True)
    files = sorted(path for path in out.iterdir() if path.is_file())
    if json:
        emit({"folder": out, "files": {path.name: path.stat().st_size for path in files}})
        return
    typer.echo(f"{out}: {len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.0f} MB")
