"""A dataset in a folder: index.csv with a `path` column, or one sub-folder per class (ImageFolder).

index.csv columns, by their first fitting name:
    path                                         relative to the folder; required
    label | labels                               one class, or several joined by "|" (then the set is multi-label)
    split                                        train, val, test; where it is absent a split by patient is drawn
    patient_id | lesion_id | case_id | group | clip_id   whom the picture belongs to; absent: each picture its own
Multi-label sets may instead have one 0/1 column per label (`label_columns`); a blank is "not labelled", never negative.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from consilium.errors import DataError, ReadError
from consilium.formats.sniff import HEAD_BYTES, sniff
from consilium.types import Array

PATIENT_COLUMNS = ("patient_id", "lesion_id", "case_id", "subject_id", "group", "clip_id")
SPLITS = ("train", "val", "test")
_KNOWN = {"path", "label", "labels", "split", *PATIENT_COLUMNS}
_SPLIT_WORDS = {
    **{split: split for split in SPLITS},
    "training": "train",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "testing": "test",
}
PICTURES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".nii", ".gz", ".nrrd"}


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
    """`classes` sorted; `exclusive`: exactly one class a picture; `targets(records)` is (n, classes) float32 with NaN."""

    name: str
    folder: Path
    records: tuple[Record, ...]
    classes: tuple[str, ...]
    exclusive: bool
    label_columns: tuple[str, ...] = ()
    patient_column: str = ""
    split_source: str = "index.csv"

    def of(self, split: str) -> tuple[Record, ...]:
        return tuple(record for record in self.records if record.split == split)

    def targets(self, records: Sequence[Record]) -> Array:
        """(n, classes) float32: 1 labelled so, 0 labelled otherwise, NaN not labelled."""
        if self.label_columns:
            return np.array([[_number(r.row.get(c, "")) for c in self.classes] for r in records], np.float32)
        blank = [self.exclusive and not r.labels for r in records]
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

    label_columns  0/1 columns to learn, where the labels are spread over columns.
    where          keep only rows with these values in these columns ({"licence_class": "open"}).
    no_finding     the label that says that none of the others holds; it is not a concept of its own in a multi-label set.

    Raises DataError where there is no index and no class folder, a file is missing, a patient is in two splits, or fewer
    than two classes remain.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder. Give one with index.csv, or with one sub-folder per class.")
    index = folder / "index.csv"
    rows = _rows(index) if index.is_file() else _class_folders(folder)
    if not rows:
        raise DataError(
            f"{folder} has no index.csv, and no sub-folder with pictures for each class. Give it one or the other."
        )
    absent = [c for c in (*(where or {}), *label_columns) if c not in rows[0]]
    if absent:
        raise DataError(f"{index} has no column {', '.join(absent)}; there are: {', '.join(rows[0])}.")
    if len(set(label_columns)) < len(label_columns):
        raise DataError(f"the labels name a column twice: {', '.join(label_columns)}.")
    rows = [row for row in rows if all(row.get(column) == value for column, value in (where or {}).items())]
    if not rows:
        raise DataError(f"no row of {index} has {' and '.join(f'{c}={v}' for c, v in (where or {}).items())}.")
    multiple = "labels" in rows[0]
    if not multiple and not label_columns and "label" not in rows[0]:
        raise DataError(f"{index} has no column 'label' or 'labels', only {', '.join(rows[0])}; name label columns.")
    patient_column = next((c for c in PATIENT_COLUMNS if any(_cell(row, c) for row in rows)), "")
    records = tuple(_record(folder, row, multiple, patient_column) for row in rows)
    split_source = "index.csv"
    if {record.split for record in records} != set(SPLITS):
        records, split_source = draw_split(folder, records)
    _check(folder, records)
    classes = tuple(label_columns) or _classes(records, no_finding if multiple else "")
    if len(classes) < (1 if label_columns or multiple else 2):
        raise DataError(
            f"{folder} has {len(classes)} class: {', '.join(classes)}. At least two are needed to tell apart."
        )
    return FolderDataset(
        folder.resolve().name,
        folder,
        records,
        classes,
        not multiple and not label_columns,
        tuple(label_columns),
        patient_column,
        split_source,
    )


def _rows(index: Path) -> list[dict[str, str]]:
    """The rows of a table separated by commas, semicolons or tabs, as spreadsheets write it; known columns in any case."""
    try:
        data = index.read_bytes()
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{index} cannot be read as text in UTF-8. Save it as CSV in UTF-8.") from error
    head = text.split("\n", 1)[0].rstrip("\r")
    cut = next((sign for sign in ",;\t" if "path" in map(_name, next(csv.reader([head], delimiter=sign), []))), None)
    if cut is None:
        raise DataError(f"{index} needs a header with a column 'path', and has: {head[:200] or 'nothing'}.")
    try:
        table = list(csv.reader(io.StringIO(text, newline=""), delimiter=cut))
    except csv.Error as error:
        raise DataError(f"{index} cannot be read as a table: {error}.") from error
    names = [_name(cell) for cell in table[0]]
    rows = []
    for number, cells in enumerate(table[1:], 2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(names) and any(cell.strip() for cell in cells[len(names) :]):
            raise DataError(
                f"{index}, row {number}: more cells than the header has. Put a cell with a {cut!r} in quotes."
            )
        row = dict(zip(names, [*cells, *[""] * (len(names) - len(cells))], strict=False))
        if not row["path"].strip():
            raise DataError(f"{index}, row {number}: no path. Add it, or take the row out.")
        rows.append(row | {"path": row["path"].strip()})
    if not rows:
        raise DataError(f"{index} has a header and no rows. Add one for each picture.")
    return rows


def _name(cell: str) -> str:
    """A column's name; those that are known in lower case."""
    name = cell.strip()
    return name.lower() if name.lower() in _KNOWN else name


def _class_folders(folder: Path) -> list[dict[str, str]]:
    """ImageFolder: folder/class/picture, or folder/split/class/picture. Pictures are known by their content."""
    top = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith((".", "_")))
    split_of = {p: _SPLIT_WORDS[p.name.lower()] for p in top if p.name.lower() in _SPLIT_WORDS}
    class_folders = [(c, split_of[p]) for p in split_of for c in sorted(p.iterdir()) if c.is_dir()] or [
        (c, "") for c in top
    ]
    beside = [p.name for p in top if split_of and p not in split_of and any(map(_is_picture, p.rglob("*")))]
    if beside:
        raise DataError(
            f"{folder} has folders for splits, and pictures in {', '.join(beside)} too. Call it train, val or test, or move it."
        )
    return [
        {"path": str(file.relative_to(folder)), "label": class_folder.name, "split": split}
        for class_folder, split in class_folders
        for file in sorted(class_folder.rglob("*"))
        if _is_picture(file)
    ]


def _is_picture(file: Path) -> bool:
    if file.name.startswith(".") or not file.is_file():
        return False
    if file.suffix.lower() in PICTURES:
        return True
    with file.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    try:
        return sniff(head) not in {"ZIP", "gzip"}
    except ReadError:
        return False


def _record(folder: Path, row: dict[str, str], multiple: bool, patient_column: str) -> Record:
    said = (row["labels"] or "").split("|") if multiple else [row.get("label") or ""]
    labels = tuple(filter(None, map(str.strip, said)))
    path = folder / row["path"]
    patient = _cell(row, patient_column) or row["path"]
    split = _cell(row, "split").lower()
    return Record(path, labels, _SPLIT_WORDS.get(split, split), patient, row)


def _cell(row: Mapping[str, str], column: str) -> str:
    return (row.get(column) or "").strip()


def draw_split(folder: Path, records: Sequence[Record]) -> tuple[tuple[Record, ...], str]:
    """What the index leaves open, by a hash of the patient, so that each falls in the same part on every machine: all three
    parts, or a val out of train where only train and test are given."""
    given = {record.split for record in records}
    if given == {"train", "test"}:
        cut = ((0.15, "val"), (1.0, "train"))
        drawn = (r if r.split == "test" else replace(r, split=_part(r.patient, cut)) for r in records)
        return tuple(drawn), "train and test as given, val drawn from train by patient"
    if given != {""}:
        raise DataError(
            f"the splits of {folder} are {', '.join(sorted(repr(s) for s in given))}; train, val and test, train and test, "
            "or no split at all were expected."
        )
    bounds = ((0.7, "train"), (0.8, "val"), (1.0, "test"))
    return tuple(replace(r, split=_part(r.patient, bounds)) for r in records), "drawn by patient, 70/10/20"


def _part(patient: str, bounds: Sequence[tuple[float, str]]) -> str:
    place = int(hashlib.sha256(f"20240 {patient}".encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
    return next(part for bound, part in bounds if place <= bound)


def _check(folder: Path, records: Sequence[Record]) -> None:
    missing = [record.path for record in records if not record.path.is_file()]
    if missing:
        raise DataError(f"{len(missing)} of {len(records)} pictures of {folder} are not there, the first {missing[0]}.")
    outside = [r.path for r in records if not r.path.resolve().is_relative_to(folder.resolve())]
    if outside:
        raise DataError(f"the index of {folder} points outside the folder ({outside[0]}); correct the path.")
    said: dict[Path, Record] = {}
    for record in records:
        if said.setdefault(record.path, record).labels != record.labels:
            raise DataError(
                f"{record.path} is in the index twice, with different labels. Keep one row, or join the labels by |."
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


def _classes(records: Sequence[Record], no_finding: str) -> tuple[str, ...]:
    return tuple(sorted({label for record in records for label in record.labels} - {no_finding}))


def _number(text: str) -> float:
    """0, 1 or NaN."""
    said = (text or "").strip().lower()
    if said in {"", "nan"}:
        return float("nan")
    if said in {"0", "1", "0.0", "1.0"}:
        return float(said)
    more = " -1, uncertain, is neither: make it blank, or decide what it is." if said in {"-1", "-1.0"} else ""
    raise DataError(f"a label column holds {text!r}; 0, 1 or blank (not labelled) was expected.{more}")
