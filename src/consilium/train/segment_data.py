"""Packs pictures and masks for training: what the network will see, uint8, with splits; no names, no patient ids.

A packed file (.npz) holds images (n, channels, ...), masks (n, ...), split (n,), group (n,): which rows are of one patient
(numbers drawn by a hash), row (n,): which row of index.csv each is, and unlabelled (m, channels, ...).
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from consilium.errors import DataError
from consilium.types import Array

_GROUPS = 1_000_003


@dataclass(frozen=True, eq=False)
class Packed:
    """See the module."""

    images: Array
    masks: Array
    split: Array
    group: Array
    row: Array
    unlabelled: Array


def write_packed(packed: Packed, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **vars(packed))


def read_packed(path: Path) -> Packed:
    """A packed file; DataError where it is not one."""
    try:
        with np.load(path, allow_pickle=False) as found:
            return Packed(*(found[name] for name in ("images", "masks", "split", "group", "row", "unlabelled")))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} is not packed training data: {error}. Pack it again.") from error


@dataclass(frozen=True)
class Row:
    """One picture with the masks of its parts. `parts`: label -> files whose white is that label; `kind`: "white" (the above),
    "values" (the one file's values are the labels) or "sides" (the one file's white holds both: its left part is 1, its right
    part 2)."""

    image: Path
    parts: Mapping[int, tuple[Path, ...]]
    split: str
    patient: str
    number: int = 0
    kind: str = "white"


def rows_of(source: Mapping[str, Any], data: Path) -> list[Row]:
    """The rows of one source of a config: its folder's index.csv, filtered by `where`.

    `image` and `masks` are templates of columns ("{path}", "masks/{stem}__left_lung.png"; {stem} is the picture's name without
    its ending); an empty one is no mask. `root` is where pictures lie if not in the folder; `kind` as in Row.
    """
    folder = data / source["folder"]
    root = data / source.get("root", source["folder"])
    found = []
    with (folder / "index.csv").open(encoding="utf-8", newline="") as stream:
        for number, line in enumerate(csv.DictReader(stream)):
            if any(line[column] not in _list(value) for column, value in source.get("where", {}).items()):
                continue
            image = source["image"].format(**line)
            line["stem"] = Path(image).name.split(".")[0]
            parts = {
                int(label): tuple(folder / name for t in _list(templates) if (name := t.format(**line)))
                for label, templates in source["masks"].items()
            }
            patient = f"{source.get('patients', source['folder'])}/{line[source.get('patient', 'patient_id')]}"
            found.append(Row(root / image, parts, line["split"], patient, number, source.get("kind", "white")))
    return found


def _list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def pack(table: Mapping[str, Any], data: Path, splits: Sequence[str] = ("train", "val")) -> Packed:
    """Everything that one task of a config learns from. `most` rows of a split are drawn evenly where it says so."""
    from consilium.train.segment_canvas import canvas_of, mask_of

    canvas = table["canvas"]
    rows = [row for source in table["sources"] for row in rows_of(source, data) if row.split in splits]
    rows = _thinned(rows, table.get("most", {}))
    images, masks = [], []
    for row in rows:
        images.append(canvas_of(row.image, canvas))
        masks.append(mask_of(row, canvas))
    more = [canvas_of(path, canvas) for path in unlabelled_of(table, data)]
    return Packed(
        np.stack(images),
        np.stack(masks),
        np.array([row.split for row in rows]),
        np.array([_group(row.patient) for row in rows]),
        np.array([row.number for row in rows]),
        np.stack(more) if more else np.zeros((0, *images[0].shape), np.uint8),
    )


def _group(patient: str) -> int:
    return int(hashlib.sha256(patient.encode()).hexdigest()[:12], 16) % _GROUPS


def _thinned(rows: list[Row], most: Mapping[str, int]) -> list[Row]:
    kept = []
    for split in ("train", "val", "test"):
        own = [row for row in rows if row.split == split]
        wanted = min(len(own), most.get(split, len(own)))
        kept += [own[i] for i in np.linspace(0, len(own) - 1, wanted).astype(int)] if wanted else []
    return kept


def unlabelled_of(table: Mapping[str, Any], data: Path) -> list[Path]:
    """Pictures that nobody outlined: `most` of the train split of each source, drawn evenly."""
    return [path for source in table.get("unlabelled", ()) for path in _unlabelled(source, data)]


def _unlabelled(source: Mapping[str, Any], data: Path) -> list[Path]:
    folder = data / source["folder"]
    with (folder / "index.csv").open(encoding="utf-8", newline="") as stream:
        lines = [
            line
            for line in csv.DictReader(stream)
            if line["split"] == "train"
            and all(line[column] in _list(value) for column, value in source.get("where", {}).items())
        ]
    take = np.linspace(0, len(lines) - 1, min(len(lines), source["most"])).astype(int)
    return [folder / lines[i]["path"] for i in take]
