"""`consilium inspect`: what a file is, how it was read, and a picture of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from consilium.cli.common import emit, modality_named, writing


def inspect(
    path: Annotated[Path, typer.Argument(help="A file, folder or ZIP.")],
    picture: Annotated[Path | None, typer.Option(help="Write what was read as a PNG here.")] = None,
    modality: Annotated[str | None, typer.Option(help="Read it as this modality.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Say what a file is and how it was read; with --picture, write what the council would see.

    Example: consilium inspect examples/chest_xray.jpg --picture seen.png
    """
    from consilium import formats

    studies = formats.read(path, modality=modality_named(modality))
    facts = [_facts(study) for study in studies]
    if picture is not None:
        _draw(studies, picture)
    if json:
        emit(facts)
        return
    for number, fact in enumerate(facts, 1):
        typer.echo(f"study {number} of {len(facts)}")
        for name, value in fact.items():
            for line in value if isinstance(value, list) else [value]:
                typer.echo(f"  {name:<12} {line}")
    if picture is not None:
        typer.echo(f"  picture      {picture}")


def _facts(study: Any) -> dict[str, Any]:
    return {
        "format": study.file_format,
        "modality": f"{study.modality or 'unknown'} (from: {study.modality_source})",
        "body part": f"{study.body_part or 'unknown'} (from: {study.body_part_source})",
        "holds": [_describe(item) for item in study.images],
        "notes": list(study.notes),
    }


def _describe(item: Any) -> str:
    from consilium.types import Volume

    array = item.voxels if isinstance(item, Volume) else item.pixels
    kind = "volume" if isinstance(item, Volume) else "image"
    spacing = f", {' x '.join(f'{s:.3g}' for s in item.spacing_mm)} mm" if item.spacing_mm else ""
    window = f", window {item.window[0]:g} to {item.window[1]:g}" if item.window else ""
    units = f" {item.units}" if item.units else ""
    return f"{kind} {' x '.join(map(str, array.shape))} {array.dtype}, {_range(array)}{units}{spacing}{window}"


def _range(array: Any) -> str:
    """The least and the greatest finite value."""
    import numpy as np

    values = array[np.isfinite(array)] if array.dtype.kind == "f" else array
    return f"{values.min():g} to {values.max():g}" if values.size else "no finite value"


def _draw(studies: Any, target: Path) -> None:
    """All views side by side, at one height."""
    import numpy as np

    from consilium.imaging.picture import png_bytes, resize, views
    from consilium.imaging.window import to_display

    height, widest = 512, 4096
    shown = [to_display(view) for study in studies for item in study.images for view in views(item)][:8]
    row = [resize(rgb, height, min(widest, max(1, round(rgb.shape[1] * height / rgb.shape[0])))) for rgb in shown]
    with writing(target):
        target.write_bytes(png_bytes(np.concatenate(row, axis=1)))
