"""Pictures with labels in files of their own: a table with a class column or label columns, or one sub-folder per class.

Settings of a "table" layout (templates: rows.filled):
    tables    what to read (rows.tables); join: tables to add columns from; where: rows to keep
    picture   templates of the picture's path
    label     template of the class; without it, each key of the description's labels is a 0/1 column
    drop      classes to leave out
    ranked    classes, gravest first: what a picture with several rows counts as; without it, several labels add up
    patient   template of whom the picture belongs to; patient_pattern: a regular expression whose first group says it
    split     {column, words}, or {files, number}; without it, the table's
Settings of a "folders" layout: splits (folder of each split -> split), or none where the classes lie at the top.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from consilium.datasets.benchmark import rows as table
from consilium.datasets.benchmark.description import Description, Layout
from consilium.datasets.benchmark.rows import Row
from consilium.datasets.benchmark.splits import known, numbered, settled, split_of
from consilium.datasets.class_folders import PICTURES
from consilium.datasets.folder import FolderDataset, Record
from consilium.errors import DataError


def from_table(description: Description, layout: Layout, place: Path, split: str | None) -> FolderDataset:
    """Reads a "table" layout."""
    known(split)
    settings = layout.settings
    rows = table.joined(place, table.tables(place, settings["tables"]), settings.get("join", ()))
    if "files" in settings.get("split", {}):
        rows = numbered(place, rows, settings["split"])
    rows = table.chosen(rows, settings.get("where", {}))
    reader = _Reader(description, layout, place)
    merged: dict[Path, Record] = {}
    for row in rows:
        record = reader.record(row)
        if record is not None:
            before = merged.get(record.path)
            merged[record.path] = record if before is None else reader.merged(before, record)
    patient = settings.get("patient") or settings.get("patient_pattern", "")
    return settled(description, place, tuple(merged.values()), split, spread="label" not in settings, patient=patient)


@dataclass(frozen=True)
class _Reader:
    description: Description
    layout: Layout
    place: Path

    def record(self, row: Row) -> Record | None:
        """The record of a row; None where its class is left out by the description."""
        settings = self.layout.settings
        found = self._labels(row)
        if found is None:
            return None
        labels, cells = found
        path = table.picture(self.place, settings["picture"], row)
        split = split_of(row, {} if "files" in settings.get("split", {}) else settings.get("split", {}))
        plain = {key: "" if value is None else str(value) for key, value in row.items() if not key.startswith("_")}
        return Record(path, labels, split, self._patient(row, path), {**plain, **cells})

    def _labels(self, row: Row) -> tuple[tuple[str, ...], dict[str, str]] | None:
        settings, description = self.layout.settings, self.description
        if "label" in settings:
            word = table.filled(settings["label"], row)
            if word in settings.get("drop", ()):
                return None
            label = description.label_of(word, row["_file"])
            return (() if label == description.no_finding else (label,)), {}
        cells = {
            shown: table.column(row, raw) for raw, shown in description.labels.items() if shown in description.classes
        }
        for shown, cell in cells.items():
            if cell not in {"", "0", "1", "0.0", "1.0"}:
                raise DataError(
                    f"{row['_file']} holds {cell!r} for {shown}; 0, 1 or blank (not labelled) was expected."
                )
        return tuple(shown for shown, cell in cells.items() if cell in {"1", "1.0"}), cells

    def _patient(self, row: Row, path: Path) -> str:
        settings = self.layout.settings
        if "patient_pattern" in settings:
            match = re.search(settings["patient_pattern"], path.name)
            return match[1] if match else path.name
        found = table.filled(settings["patient"], row) if "patient" in settings else ""
        return found or str(path.relative_to(self.place))

    def merged(self, a: Record, b: Record) -> Record:
        """Two rows of one picture: the graver class, or all labels; DataError where they contradict each other."""
        ranked = self.layout.settings.get("ranked", ())
        if a.split != b.split:
            raise DataError(f"{a.path} is in the splits {a.split} and {b.split}. Keep the row of one.")
        if "label" not in self.layout.settings and a.labels != b.labels:
            raise DataError(f"{a.path} has two rows that disagree. Keep the right row.")
        labels = tuple(dict.fromkeys((*a.labels, *b.labels)))
        if ranked:
            labels = (min(labels, key=ranked.index),)
        if self.description.exclusive and len(labels) > 1:
            raise DataError(f"{a.path} is labelled {' and '.join(labels)}. Keep the right row.")
        return replace(a, labels=labels)


def from_folders(description: Description, layout: Layout, place: Path, split: str | None) -> FolderDataset:
    """Reads a "folders" layout: [split/]class/picture."""
    records = []
    for top, part in layout.settings.get("splits", {"": ""}).items():
        for folder in _class_folders(place / top):
            label = description.label_of(folder.name, place / top)
            records += [Record(path, (label,), part, str(path.relative_to(place)), {}) for path in _pictures(folder)]
    return settled(description, place, records, split)


def _class_folders(top: Path) -> list[Path]:
    found = top.iterdir() if top.is_dir() else ()
    return sorted(path for path in found if path.is_dir() and not path.name.startswith((".", "__")))


def _pictures(folder: Path) -> Iterator[Path]:
    return (
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix.lower() in PICTURES and not path.name.startswith(".")
    )
