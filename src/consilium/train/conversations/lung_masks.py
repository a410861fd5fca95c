"""Reviewed lung masks of open films of covid_cxr_notes: which lung field is larger, how much of the film is lung.

The masks take in most of the heart's shadow, so only plain differences are asked for."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np

from consilium import formats
from consilium.errors import DataError, ReadError
from consilium.train.conversations import asked, covid, film
from consilium.train.conversations.group import Branch, Item
from consilium.train.mixture import Source
from consilium.types import Array, Image

LUNG = 255
# A lung field larger by this factor is called larger, a difference below the second one about equal; between, nothing is asked.
LARGER, EQUAL = 1.25, 1.08
_SHARES = ((0.33, "less than a third"), (0.42, "more than a third"), (1.0, "nearly half or more"))


def items(source: Source, data: Path) -> list[Item]:
    """Every film with a mask that `where` admits, its split as covid.later_splits keeps the sets apart."""
    later = covid.later_splits(data)
    found = []
    for row in covid.rows(data / source.folder / "index.csv"):
        if any(row.get(column) != value for column, value in (source.where or {}).items()):
            continue
        split = later.get((covid.NOTES, row["patient_id"]), row["split"])
        facts = {"share": float(row["lung_fraction"]), "ratio": _ratio(_mask(data / source.folder / row["path"]))}
        licence = f"picture {row['licence']}, mask {source.licence}"
        found.append(Item(row["image_in_pack"], split, row["patient_id"], licence, (), facts))
    return found


def _mask(path: Path) -> Array:
    try:
        image = formats.read(path)[0].images[0]
    except ReadError as error:
        raise DataError(f"{path} cannot be learnt from: {error}") from error
    if not isinstance(image, Image):
        raise DataError(f"{path} is a volume; the mask of a film was expected.")
    return image.pixels if image.pixels.ndim == 2 else image.pixels[..., 0]


def _ratio(mask: Array) -> float:
    """Area on the patient's right (the picture's left) over that on the left, cut in the middle of the mask's extent."""
    columns = (mask == LUNG).sum(axis=0)
    (inside,) = np.nonzero(columns)
    if not len(inside):
        return 1.0
    middle = (int(inside[0]) + int(inside[-1]) + 1) // 2
    return float(columns[:middle].sum() / max(1, columns[middle:].sum()))


def talk(item: Item, source: Source, rng: Random) -> list[Branch]:
    words, ratio = asked.wording("film"), float(item.facts["ratio"])
    larger = "right" if ratio >= LARGER else "left" if 1 / ratio >= LARGER else ""
    equal = "about equal" if 1 / EQUAL <= ratio <= EQUAL else ""
    branches = []
    if larger or equal:
        options = asked.shuffled(("left", "right", "about equal"), rng)
        branches.append(asked.ask("location", rng.choice(words["larger"]), larger or equal, options, film.CHEST))
    share = next(name for end, name in _SHARES if item.facts["share"] < end)
    options = asked.shuffled((name for _, name in _SHARES), rng)
    branches.append(asked.ask("location", rng.choice(words["lung_share"]), share, options, film.CHEST))
    return branches


def describe(item: Item, source: Source, rng: Random) -> Branch | None:
    return None
