"""`consilium specialist add`: make a member of a model that the user has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consilium.cli.common import emit

KINDS = ("bundle", "xrv", "estimator", "writer")


def add(
    folder: Annotated[
        Path,
        typer.Argument(help="A MONAI bundle, TorchXRayVision weights, or card.toml with model.onnx or a checkpoint."),
    ],
    kind: Annotated[str, typer.Option("--as", help="What it is: bundle, xrv, estimator or writer (of reports).")],
    name: Annotated[str, typer.Option(help="What to call the specialist; by default what its card says.")] = "",
    torchscript: Annotated[
        bool, typer.Option(help="Run models/model.ts of a bundle, which is a program: where you trust its author.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the card as JSON.")] = False,
) -> None:
    """Make a specialist of a model that you have. It is copied, and no code of it is run; how good it is, nobody measured here.

    Example: consilium specialist add spleen_ct_segmentation --as bundle --name spleen
    """
    import importlib

    from consilium.errors import UsageError
    from consilium.settings import settings

    if kind not in KINDS:
        raise UsageError(f"--as {kind} is not known; it is one of: {', '.join(KINDS)}.")
    if torchscript and kind != "bundle":
        raise UsageError(f"--torchscript is for bundles, not for {kind}. Leave it out.")
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder. Give the folder that holds the model.")
    card = importlib.import_module(f"consilium.specialists.{kind}").add(
        folder, settings().home, name, **({"torchscript": True} if torchscript else {})
    )
    if json:
        emit(card)
        return
    named = ", ".join(concept.meaning for concept in card.concepts[:8]) or "drafts of reports"
    more = f" and {len(card.concepts) - 8} more" if len(card.concepts) > 8 else ""
    typer.echo(f"added {card.name} ({', '.join(card.modalities)}: {named}{more}), licence: {card.licence}")
