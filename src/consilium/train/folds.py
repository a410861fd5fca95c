"""The folds on which heads judge pictures unseen, and which pictures of a folder can be learnt from at all."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from consilium.datasets.folder import FolderDataset, Record
from consilium.errors import DataError
from consilium.types import Array

FOLDS = 5


def folds(records: Sequence[Record], patients_known: bool, seed: int = 0) -> Array:
    """(n,) fold of each record, 0 to FOLDS - 1: all pictures of a patient in one; without patients, neighbouring files of
    one label in one. Another seed draws other folds by the same rule."""
    if patients_known:
        salt = f"{seed} " if seed else ""
        drawn = {r.patient: int(hashlib.sha256((salt + r.patient).encode()).hexdigest()[:8], 16) for r in records}
        if len({number % FOLDS for number in drawn.values()}) < 2:  # of few patients all may fall into one fold
            drawn = {patient: place for place, patient in enumerate(sorted(drawn, key=lambda p: drawn[p]))}
        return np.array([drawn[r.patient] % FOLDS for r in records])
    place: dict[tuple[str, ...], list[int]] = {}
    for i in sorted(range(len(records)), key=lambda i: _natural(records[i].path.name)):
        place.setdefault(records[i].labels, []).append(i)
    found = np.zeros(len(records), int)
    draw = np.random.default_rng(seed)
    for rows in place.values():
        turn = draw.integers(len(rows)) if seed else 0
        found[rows] = (np.arange(len(rows)) + turn) % len(rows) * FOLDS // len(rows)
    return found


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Orders slice_2 before slice_10."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)]


def labelled(data: FolderDataset, rows: Sequence[int]) -> list[int]:
    """Those of the records at `rows` of which any label is known, whether it holds or not."""
    targets = data.targets([data.records[i] for i in rows])
    return [i for i, row in zip(rows, targets, strict=True) if not np.isnan(row).all()]


def checked(data: FolderDataset, rows: Sequence[int]) -> tuple[FolderDataset, list[str]]:
    """As `_learnable`, of the labelled records at `rows`; DataError where these cannot be learnt from and tested on."""
    learnable = _learnable(data, rows)
    records = [data.records[i] for i in rows]
    both, test = ([r for r in records if r.split in splits] for splits in (("train", "val"), ("test",)))
    if not both or not test:
        raise DataError(
            f"{data.folder} has {len(both)} pictures to learn from and {len(test)} to be tested on, split as: "
            f"{data.split_source}. Add pictures, or say the split in a column of index.csv."
        )
    if len(set(folds(both, bool(data.patient_column)))) < 2:
        raise DataError(
            f"the pictures of {data.folder} to learn from are all of one patient, so that none can be judged unseen. Add "
            "pictures of other patients to train and val, or mend the patient column."
        )
    return learnable


def _learnable(data: FolderDataset, kept: Sequence[int]) -> tuple[FolderDataset, list[str]]:
    """The data without the labels that no train picture shows. Among exclusive classes that is an error: a picture of the
    missing class would be called another."""
    records = [data.records[i] for i in kept if data.records[i].split == "train"]
    seen = np.nansum(data.targets(records), axis=0) if records else np.zeros(len(data.classes))
    missing = [label for label, count in zip(data.classes, seen, strict=True) if not count]
    if missing and (data.exclusive or len(missing) == len(data.classes)):
        raise DataError(
            f"{data.folder} has no train picture of {', '.join(missing)}; there is nothing to learn from. Add some, or say the "
            f"split in a column of index.csv (split now: {data.split_source})."
        )
    return replace(data, classes=tuple(c for c in data.classes if c not in missing)), missing
