"""`consilium specialist segment`: train a segmenter on a folder of pictures or volumes and masks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consilium.cli.common import emit, modality_named, split


def segment(
    folder: Annotated[Path, typer.Argument(help="A folder with index.csv: path, mask_path, split, patient_id.")],
    name: Annotated[str, typer.Option(help="What to call the segmenter.")],
    labels: Annotated[
        str, typer.Option(help="What the values 1, 2 ... of the masks stand for: lesion | anterior,posterior")
    ],
    modality: Annotated[str, typer.Option(help="What the pictures are (CR | CT | MR | US | DMS ...).")],
    body_part: Annotated[str, typer.Option(help="What they show (CHEST, HEAD ...).")] = "",
    mirrored: Annotated[
        str | None, typer.Option(help="The labels as they are in a mirror image: of 'right lung,left lung', 2,1.")
    ] = None,
    always: Annotated[
        bool, typer.Option("--always", help="Every part is in every picture: abstain where one is not found.")
    ] = False,
    minutes: Annotated[float, typer.Option(min=0.05, help="How long to train.")] = 30,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    licence: Annotated[str, typer.Option(help="Licence of the trained segmenter, for its card.")] = "",
    data_licence: Annotated[str, typer.Option(help="Licence of the data, for its card.")] = "",
    summary: Annotated[str, typer.Option(help="One line for its card.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print the card as JSON.")] = False,
) -> None:
    """Train a segmenter, with MONAI: learns outlines, what their Dice can be expected to be, and what is foreign to it.

    It is measured on the val split; benchmarks/segmentation.py measures on test what configs/segment.toml describes.

    Example: consilium specialist segment ../shared/data/skin_ham10000 --name skin --labels lesion --modality DMS
    """
    import re

    from consilium import registry
    from consilium.consult.panel import DEFAULT_ENCODER
    from consilium.errors import UsageError
    from consilium.settings import settings
    from consilium.train.segment_own import Own, train_own

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
        raise UsageError(f"{name!r} cannot name a segmenter: use letters, digits, _ and -, at most 64.")
    swap = (0, *(_number(part) for part in split(mirrored))) if mirrored else ()
    if swap and sorted(swap) != list(range(len(split(labels)) + 1)):
        raise UsageError(f"--mirrored {mirrored} must name each of the {len(split(labels))} labels once, by number.")
    own = Own(
        name,
        split(labels),
        modality_named(modality) or "",
        body_part.strip().upper(),
        swap,
        always,
        licence,
        data_licence,
        summary,
    )
    encoder = registry.get("encoders", DEFAULT_ENCODER).load()
    card = train_own(
        folder.resolve(),
        own,
        settings().home / "specialists",
        (minutes, device, encoder),
        lambda line: typer.echo(line, err=True),
    )
    if json:
        emit(card)
        return
    typer.echo(f"trained {card.name} ({', '.join(c.meaning for c in card.concepts)}), measured on its val split:")
    for score in card.scores:
        typer.echo(f"  {score.metric:<28} {score.value:.3f}  [{score.low:.3f}, {score.high:.3f}]  n={score.n}")


def _number(text: str) -> int:
    from consilium.errors import UsageError

    if not text.isdigit():
        raise UsageError(f"--mirrored takes numbers of labels, as 2,1; not {text!r}.")
    return int(text)
