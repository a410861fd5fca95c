"""A dataset in a folder: a table with a column of paths (index.csv), or one sub-folder per class (ImageFolder).

index.csv columns, by their first fitting name (others' names for them, and other tables: see datasets/index_table.py):
    path                                         relative to the folder; required
    label | labels                               one class, or several joined by "|" (then the set is multi-label)
    split                                        train, val, test; where it is absent a split by patient is drawn
    patient_id | lesion_id | case_id | subject_id | group | clip_id   whom the picture belongs to; absent: each picture its own
Multi-label sets may instead have one 0/1 column per label (`label_columns`). A blank is "not labelled", never negative.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from consilium.datasets.class_folders import class_folders, located
from consilium.datasets.folder_notes import told
from consilium.datasets.index_table import PATIENT_COLUMNS, SPLIT_WORDS, SPLITS, Table, cell, find_table, unread
from consilium.errors import DataError
from consilium.types import Array

_BITS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}


@dataclass(frozen=True)
class Record:
    """One picture: where it lies, its labels (None: not labelled with that concept), split, patient, the index's row."""

    path: Path
    labels: tuple[str, ...]
    split: str
    patient: str
    row: Mapping[str, str]


@dataclass(frozen=True)
class FolderDataset:
    """`classes` sorted; `exclusive`: exactly one class a picture; `targets(records)` is (n, classes) float32 with NaN.

    notes          how the folder was read, where it does not say so itself, and what was passed over
    blank_is_none  of a multi-label set: a record without a label has none of them; else it is not labelled
    """

    name: str
    folder: Path
    records: tuple[Record, ...]
    classes: tuple[str, ...]
    exclusive: bool
    label_columns: tuple[str, ...] = ()
    patient_column: str = ""
    split_source: str = "index.csv"
    notes: tuple[str, ...] = ()
    blank_is_none: bool = False

    def of(self, split: str) -> tuple[Record, ...]:
        return tuple(record for record in self.records if record.split == split)

    def targets(self, records: Sequence[Record]) -> Array:
        """(n, classes) float32: 1 labelled so, 0 labelled otherwise, NaN not labelled."""
        if self.label_columns:
            return np.array([[_number(r.row.get(c, "")) for c in self.classes] for r in records], np.float32)
        blank = [not r.labels and (self.exclusive or not self.blank_is_none) for r in records]
        return np.array(
            [
                [float("nan") if none else float(c in r.labels) for c in self.classes]
                for r, none in zip(records, blank, strict=True)
            ],
            np.float32,
        )


def read_folder(
    folder: Path,
    *,
    label_columns: Sequence[str] = (),
    where: Mapping[str, str] | None = None,
    no_finding: str = "No Finding",
) -> FolderDataset:
    """Reads the index of `folder`.

    label_columns  0/1 columns to learn, where the labels are spread over columns. Where there are two or more and every row has
                   exactly one 1, or is blank in all of them, they are classes that exclude each other.
    where          keep only rows with these values in these columns ({"licence_class": "open"}).
    no_finding     the label that says that none of the others holds; it is not a concept of its own in a multi-label set.

    Raises DataError where there is no index and no class folder, a file is missing, a patient is in two splits, or fewer
    than two classes remain.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder. Give one with index.csv, or with one sub-folder per class.")
    table = find_table(folder, label_columns) or class_folders(folder)
    if not table.rows:
        raise DataError(
            f"{folder} has no index.csv, and no sub-folder with pictures for each class.{unread(folder)} Give it one "
            "or the other."
        )
    rows = _chosen(table, label_columns, where or {})
    records, patient_column, one_hot = _records(folder, table, rows, label_columns)
    split_source = table.source
    if {record.split for record in records} != set(SPLITS):
        records, split_source = draw_split(folder, records, bool(patient_column))
    spread = () if one_hot else tuple(label_columns)
    exclusive = one_hot or not ("labels" in table.called or spread)
    _check(folder, records, spread, "" if exclusive or spread else no_finding)
    classes = spread or _classes(folder, records, "" if exclusive else no_finding)
    if len(classes) < (2 if exclusive else 1):
        raise DataError(
            f"{folder} has {len(classes)} class: {', '.join(classes)}. At least two are needed to tell apart."
            f"{unread(folder) if table.file == folder else ''}"
        )
    about = (exclusive, spread, patient_column, split_source)
    data = FolderDataset(folder.resolve().name, folder, records, classes, *about)
    return replace(data, notes=told(table, data, label_columns, where or {}))


def _chosen(table: Table, label_columns: Sequence[str], where: Mapping[str, str]) -> list[dict[str, str]]:
    """The rows that are asked for; DataError where a column is not there, or none holds the labels."""
    absent = [c for c in (*where, *label_columns) if c not in (*table.columns, *table.called)]
    if absent:
        beside = unread(table.file) if table.file.is_dir() else ""
        raise DataError(
            f"{table.file} has no column {', '.join(absent)}; there are: {', '.join(table.columns)}.{beside}"
        )
    if len(set(label_columns)) < len(label_columns):
        raise DataError(f"the labels name a column twice: {', '.join(label_columns)}.")
    if not {"label", "labels"} & set(table.called) and not label_columns:
        raise DataError(
            f"{table.file} has no column 'label' or 'labels', only {', '.join(table.columns)}; name label columns."
        )
    rows = [row for row in table.rows if all(cell(row, c) == value.strip() for c, value in where.items())]
    if not rows:
        raise DataError(f"no row of {table.file} has {' and '.join(f'{c}={v}' for c, v in where.items())}.")
    return rows


def _records(
    folder: Path, table: Table, rows: Sequence[dict[str, str]], label_columns: Sequence[str]
) -> tuple[tuple[Record, ...], str, bool]:
    """The records, the column of their patients, and whether the columns of labels exclude each other."""
    patient_column = next((c for c in PATIENT_COLUMNS if any(cell(row, c) for row in rows)), "")
    places = located(folder, dict.fromkeys(row["path"] for row in rows))
    labels, one_hot = _one_hot(rows, label_columns), True
    if not labels:
        labels, one_hot = _labels(rows, "labels" in table.called), False
    split = [cell(row, "split").lower() for row in rows]
    records = (
        Record(places[row["path"]], own, SPLIT_WORDS.get(part, part), cell(row, patient_column) or row["path"], row)
        for row, own, part in zip(rows, labels, split, strict=True)
    )
    return tuple(records), patient_column, one_hot


def _one_hot(rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> list[tuple[str, ...]]:
    """The label of each row, where every row that is not blank has exactly one 1 and else 0 in two or more columns; else
    nothing."""
    found: list[tuple[str, ...]] = []
    for row in rows if len(columns) > 1 else ():
        said = [cell(row, column) for column in columns]
        bits = [_BITS.get(text, 2) for text in said]
        if any(said) and (max(bits) != 1 or sum(bits) != 1):
            return []
        found.append((columns[bits.index(1)],) if any(said) else ())
    return found if len(set(found) - {()}) > 1 else []


def _labels(rows: Sequence[Mapping[str, str]], multiple: bool) -> list[tuple[str, ...]]:
    """What `label` says of each row, or `labels`, joined by "|"; by ";" where no row has a "|"."""
    if not multiple:
        return [(cell(row, "label"),) if cell(row, "label") else () for row in rows]
    said = [cell(row, "labels") for row in rows]
    apart = "|" if any("|" in text for text in said) else ";"
    return [tuple(filter(None, map(str.strip, text.split(apart)))) for text in said]


def draw_split(folder: Path, records: Sequence[Record], patients_known: bool = True) -> tuple[tuple[Record, ...], str]:
    """What the index leaves open, by a hash of the patient, so that each falls in the same part on every machine: all three
    parts, or out of train the one of val and test that is not given. DataError where other parts are given."""
    given, by = {record.split for record in records}, "patient" if patients_known else "picture"
    for there, drawn, share in (("test", "val", 0.15), ("val", "test", 0.2)):
        if given == {"train", there}:
            cut = ((share, drawn), (1.0, "train"))
            made = (r if r.split == there else replace(r, split=_part(r.patient, cut)) for r in records)
            return tuple(made), f"train and {there} as given, {drawn} drawn from train by {by}"
    if given != {""}:
        raise DataError(
            f"the splits of {folder} are {', '.join(sorted(repr(s) for s in given))}; train, val and test, train and one of "
            "them, or no split at all were expected."
        )
    bounds = ((0.7, "train"), (0.8, "val"), (1.0, "test"))
    return tuple(replace(r, split=_part(r.patient, bounds)) for r in records), f"drawn by {by}, 70/10/20"


def _part(patient: str, bounds: Sequence[tuple[float, str]]) -> str:
    place = int(hashlib.sha256(f"20240 {patient}".encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
    return next(part for bound, part in bounds if place <= bound)


def _check(folder: Path, records: Sequence[Record], label_columns: Sequence[str], no_finding: str) -> None:
    whole = folder.resolve()
    for record in records:
        if len(record.labels) > 1 and no_finding.casefold() in map(str.casefold, record.labels):
            raise DataError(
                f"{record.path} is labelled {' and '.join(record.labels)}, which cannot both hold. Mend its row."
            )
    outside = [r.path for r in records if not r.path.resolve().is_relative_to(whole)]
    if outside:
        raise DataError(f"the index of {folder} points outside the folder ({outside[0]}); correct the path.")
    said: dict[tuple[Path, str], object] = {}
    for record in records:
        if said.setdefault((record.path, ""), record.labels) != record.labels:
            raise DataError(
                f"{record.path} is in the index twice, with different labels. Keep one row, or join the labels by |."
            )
        for column in label_columns:
            value = cell(record.row, column)
            bit = _BITS.get(value, value)
            if value and said.setdefault((record.path, column), bit) != bit:
                raise DataError(
                    f"{record.path} is in the index twice, with different values of {column}. Keep the right row."
                )
    splits: dict[str, set[str]] = {}
    for record in records:
        splits.setdefault(record.patient, set()).add(record.split)
    torn = sum(len(parts) > 1 for parts in splits.values())
    if torn:
        raise DataError(
            f"{torn} patients of {folder} are in more than one split, so a test would flatter. Split by patient, or "
            "remove the split column and one is drawn."
        )


def _classes(folder: Path, records: Sequence[Record], no_finding: str) -> tuple[str, ...]:
    """Every label but `no_finding`; DataError where two differ only in case."""
    found = sorted({label for record in records for label in record.labels})
    alike: dict[str, str] = {}
    for label in found:
        if alike.setdefault(label.casefold(), label) != label:
            raise DataError(
                f"{folder} has the labels {alike[label.casefold()]} and {label}, which differ only in case. Write both alike."
            )
    return tuple(label for label in found if label.casefold() != no_finding.casefold())


def _number(text: str) -> float:
    """0, 1 or NaN."""
    said = (text or "").strip().lower()
    if said in {"", "nan"}:
        return float("nan")
    if said in {"0", "1", "0.0", "1.0"}:
        return float(said)
    more = " -1, uncertain, is neither: make it blank, or decide what it is." if said in {"-1", "-1.0"} else ""
    raise DataError(f"a label column holds {text!r}; 0, 1 or blank (not labelled) was expected.{more}")
