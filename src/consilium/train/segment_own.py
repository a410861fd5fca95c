"""A segmenter from one's own folder of pictures or volumes and masks, in one go: pack, train, install."""

from __future__ import annotations

import csv
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from consilium import formats
from consilium.datasets.index_table import PATIENT_COLUMNS
from consilium.errors import DataError
from consilium.protocols import Card, Encoder
from consilium.train.segment import Tell, train
from consilium.train.segment_canvas import turned_shape
from consilium.train.segment_data import pack
from consilium.train.segment_install import install, read_run
from consilium.train.segment_run import task_of, write
from consilium.types import Volume

_SIDE = 256
_LEVELS_2D, _LEVELS_3D = (16, 32, 64, 96, 128), (16, 32, 64, 96)
_COARSEST_MM = 3.0


@dataclass(frozen=True)
class Own:
    """What the folder cannot say. `labels`: what the values 1, 2 ... of the masks stand for; `mirrored`: which label each becomes
    in a left-right mirror image (background first), itself by default."""

    name: str
    labels: tuple[str, ...]
    modality: str
    body_part: str = ""
    mirrored: tuple[int, ...] = ()
    always: bool = False
    licence: str = ""
    data_licence: str = ""
    summary: str = ""


def train_own(folder: Path, own: Own, room: Path, how: tuple[float, str, Encoder | None], tell: Tell) -> Card:
    """Trains on `folder` and writes `room`/<name>. `how`: minutes, device ("cpu", "cuda"), and the encoder that tells foreign
    pictures, or None.

    The folder's index.csv has the columns path, mask_path (empty: nothing is there), split (train, val, test) and a patient's
    (patient_id, lesion_id, case_id ...); masks hold the labels as values, or white (255) for a single one. DataError otherwise.
    """
    minutes, device, encoder = how
    table = table_of(folder, own)
    _demand_apart(folder)
    data = folder.parent
    packed = pack(table, data)
    if not {"train", "val"} <= set(packed.split.tolist()):
        raise DataError(f"{folder} has no rows to learn from: `split` must say train and val of some.")
    tell(f"{len(packed.images)} canvases of {packed.images.shape[2:]}")
    trained = train(packed, task_of(table), 60 * minutes, device, tell)
    with tempfile.TemporaryDirectory() as place:
        write(trained, task_of(table), Path(place), {"device": device, "seconds": 60 * minutes})
        return install(read_run(Path(place), own.name), table, data, encoder, room)


def _demand_apart(folder: Path) -> None:
    """DataError where a patient lies in more than one split: what is measured would flatter."""
    lines = _lines(folder)
    column = next((column for column in PATIENT_COLUMNS if column in lines[0]), None)
    splits: dict[str, set[str]] = {}
    for line in lines if column else ():
        if line[column or ""].strip():
            splits.setdefault(line[column or ""].strip(), set()).add(line["split"])
    torn = sum(len(parts) > 1 for parts in splits.values())
    if torn:
        raise DataError(
            f"{torn} patients of {folder} are in more than one split, so a test would flatter. Split by patient."
        )


def table_of(folder: Path, own: Own) -> dict[str, Any]:
    """What a config would say of this folder: pictures or volumes, colour, the canvas that holds them, the network."""
    lines = _lines(folder)
    patient = next((column for column in PATIENT_COLUMNS if column in lines[0]), "path")
    canvas, network = _seen(folder, [line for line in lines if line["split"] in ("train", "val")], len(own.labels))
    return {
        "name": own.name,
        "open": False,
        "summary": own.summary or f"Outlines {', '.join(own.labels)}.",
        "licence": own.licence or "as the data's",
        "modalities": [own.modality],
        "body_parts": [own.body_part] if own.body_part else [],
        "labels": list(own.labels),
        "swap": list(own.mirrored or range(len(own.labels) + 1)),
        "always": own.always,
        "batch": 2 if canvas["dims"] == 3 else 8,
        "network": network,
        "canvas": canvas,
        "sources": [
            {
                "folder": folder.name,
                "licence": own.data_licence or "not stated",
                "patient": patient,
                "image": "{path}",
                "masks": {"1": "{mask_path}"},
                "kind": "white" if len(own.labels) == 1 else "values",
            }
        ],
    }


def _lines(folder: Path) -> list[dict[str, str]]:
    try:
        with (folder / "index.csv").open(encoding="utf-8", newline="") as stream:
            lines = list(csv.DictReader(stream))
    except OSError as error:
        raise DataError(
            f"{folder / 'index.csv'} cannot be read: {error.strerror}. Write one: path,mask_path,split,patient_id."
        ) from error
    missing = [column for column in ("path", "mask_path", "split") if not lines or column not in lines[0]]
    if missing:
        raise DataError(f"{folder / 'index.csv'} has no column {', '.join(missing)}, or no rows; segmenters need them.")
    return lines


def _seen(folder: Path, lines: Sequence[Mapping[str, str]], labels: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """(canvas, network). Pictures fit a square. Volumes get the median spacing and a canvas that holds the largest of them."""
    if not lines:
        raise DataError(f"{folder} has no rows to learn from: `split` must say train and val of some.")
    items = [item for line in lines[:200] for study in formats.read(folder / line["path"]) for item in study.images[:1]]
    volumes = [item for item in items if isinstance(item, Volume)]
    if volumes and len(volumes) < len(items):
        raise DataError(f"{folder} mixes pictures and volumes; train a segmenter on each kind.")
    if not volumes:
        channels = 3 if any(not isinstance(item, Volume) and item.pixels.ndim == 3 for item in items) else 1
        network = {"dims": 2, "inputs": channels, "filters": list(_LEVELS_2D)}
        return {"dims": 2, "side": _SIDE, "channels": channels}, _network(network, labels)
    shapes, spacings = zip(*(turned_shape(volume) for volume in volumes), strict=True)
    spacing = np.minimum(np.median(spacings, axis=0), _COARSEST_MM)
    largest = np.max(
        [np.ceil(np.array(shape) * own / spacing) for shape, own in zip(shapes, spacings, strict=True)], axis=0
    )
    step = 2 ** (len(_LEVELS_3D) - 1)
    canvas = {"dims": 3, "size": [step * math.ceil(side / step) for side in largest], "spacing_mm": spacing.tolist()}
    return canvas, _network({"dims": 3, "inputs": 1, "filters": list(_LEVELS_3D)}, labels)


def _network(given: dict[str, Any], labels: int) -> dict[str, Any]:
    return {"kind": "dynunet", "outputs": labels + 1, "deep": True, **given}
