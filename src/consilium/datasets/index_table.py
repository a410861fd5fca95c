"""The table of a dataset: which file of the folder it is, which of its columns say what, and its rows.

index.csv is read where there is one; else the one top-level table with a column of paths and one of labels, or several that are
called by their split (train.csv, val.csv, test.csv). A column is known by our name in any case, else by what others call it
(`Image Index`, `Finding Labels`): without regard to case, blanks, "_" and "-".
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from consilium.errors import DataError

PATIENT_COLUMNS = ("patient_id", "lesion_id", "case_id", "subject_id", "group", "clip_id")
SPLITS = ("train", "val", "test")
SPLIT_WORDS = {
    **{split: split for split in SPLITS},
    "training": "train",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "testing": "test",
}
# Our name -> what else it is called, in lower case and without blanks, "_" and "-".
_CALLED = {
    "path": "path filepath filename file image imagepath imagefile imagename imageid imageindex img imgpath picture",
    "label": "label class classname diagnosis category dx",
    "labels": "labels findinglabels",
    "split": "split set subset partition phase",
    "patient_id": "patientid patient pid participant participantid",
    "lesion_id": "lesionid",
    "case_id": "caseid",
    "subject_id": "subjectid subject",
    "group": "group",
    "clip_id": "clipid",
}
_HEAD_BYTES = 65536


@dataclass(frozen=True)
class Table:
    """`rows` hold the file's own columns and, where a column is called otherwise, its value under our name too.

    file      for messages: the table, or the folder that stands for one
    columns   as the file calls them
    called    our name -> the file's, of the columns that are understood
    source    where a split that is given comes from
    """

    file: Path
    rows: tuple[dict[str, str], ...]
    columns: tuple[str, ...]
    called: Mapping[str, str]
    source: str = "index.csv"
    notes: tuple[str, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether it is index.csv, or folders, with our names for the columns."""
        usual = self.file.name == "index.csv" or self.file.is_dir()
        return usual and all(own.lower() == name for name, own in self.called.items())


def cell(row: Mapping[str, str], column: str) -> str:
    """What the row holds in that column, without blanks around it; "" where there is no such column."""
    return (row.get(column) or "").strip()


def find_table(folder: Path, label_columns: Sequence[str] = ()) -> Table | None:
    """The table of `folder`, with `label_columns` if these are asked for; None where it has none that fits.

    Raises DataError where several fit, or the table cannot be read or understood.
    """
    index = folder / "index.csv"
    if index.is_file():
        return _read(index, label_columns)
    there = tables(folder)
    fitting = [file for file in there if _fits(file, label_columns)]
    if not fitting:
        return None
    beside = ", ".join(file.name for file in there if file not in fitting)
    notes = (f"not read, for want of a column path or of labels: {beside}",) if beside else ()
    if len(fitting) == 1:
        found = _read(fitting[0], label_columns)
        return replace(found, source=found.file.name, notes=notes)
    if all(file.stem.lower() in SPLIT_WORDS for file in fitting):
        return replace(_joined([_read(file, label_columns) for file in fitting]), notes=notes)
    raise DataError(
        f"{folder} has no index.csv, but several tables that could be it: {', '.join(f.name for f in fitting)}. Rename the "
        "right one to index.csv."
    )


def unread(folder: Path) -> str:
    """A sentence, with a blank before it, on the tables of a folder of which none is an index; "" where there are none."""
    names = ", ".join(file.name for file in tables(folder))
    return f" Not read, for want of a column path or of labels: {names}." if names else ""


def tables(folder: Path) -> list[Path]:
    """The tables that lie in the folder itself, by name."""
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in {".csv", ".tsv"} and not file.name.startswith((".", "_")) and file.is_file()
    )


def _fits(file: Path, label_columns: Sequence[str]) -> bool:
    """Whether the header has a column of paths, and one of labels or all those asked for. Only the header is read."""
    with file.open("rb") as stream:
        head = _decoded(stream.read(_HEAD_BYTES), "replace").split("\n", 1)[0].rstrip("\r")
    names = _names(head, _cut(head) or ",")
    known = {_normal(name) for name in names}
    labelled = set(label_columns) <= set(names) if label_columns else known & _others("label", "labels")
    return bool(known & _others("path") and labelled)


def _read(file: Path, label_columns: Sequence[str]) -> Table:
    """A table separated by commas, semicolons or tabs, as spreadsheets write it."""
    try:
        text = _decoded(file.read_bytes(), "strict")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read as text in UTF-8. Save it as CSV in UTF-8.") from error
    head = text.split("\n", 1)[0].rstrip("\r")
    cut = _cut(head)
    if cut is None:
        raise DataError(f"{file} needs a header with a column 'path', and has: {head[:200] or 'nothing'}.")
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=cut))
    except csv.Error as error:
        raise DataError(f"{file} cannot be read as a table: {error}.") from error
    names = [name.strip() for name in lines[0]]
    numbered = [(number, cells) for number, cells in enumerate(lines[1:], 2) if any(map(str.strip, cells))]
    if not numbered:
        raise DataError(f"{file} has a header and no rows. Add one for each picture.")
    rows = [_row(file, number, names, cells, cut) for number, cells in numbered]
    called = _understood(file, names, rows, bool(label_columns))
    for (number, _), row in zip(numbered, rows, strict=True):
        row |= {name: row[own] for name, own in called.items()}
        row["path"] = row["path"].strip().replace("\\", "/")
        if not row["path"]:
            raise DataError(f"{file}, row {number}: no path. Add it, or take the row out.")
    return Table(file, tuple(rows), tuple(dict.fromkeys(names)), called)


def _decoded(data: bytes, errors: str) -> str:
    return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", errors)


def _row(file: Path, number: int, names: Sequence[str], cells: Sequence[str], cut: str) -> dict[str, str]:
    if any(map(str.strip, cells[len(names) :])):
        raise DataError(f"{file}, row {number}: more cells than the header has. Put a cell with a {cut!r} in quotes.")
    return dict(zip(names, [*cells, *[""] * (len(names) - len(cells))], strict=False))


def _cut(head: str) -> str | None:
    """What separates the cells of a header with a column of paths; None where it has none."""
    return next((sign for sign in ",;\t" if any(_normal(n) in _others("path") for n in _names(head, sign))), None)


def _names(head: str, cut: str) -> list[str]:
    return [name.strip() for name in next(csv.reader([head], delimiter=cut), [])]


def _normal(name: str) -> str:
    return re.sub(r"[\s_-]", "", name.lower())


def _others(*names: str) -> set[str]:
    return {other for name in names for other in _CALLED[name].split(" ")}


def _understood(file: Path, names: Sequence[str], rows: Sequence[Mapping[str, str]], columns: bool) -> dict[str, str]:
    """Our name -> the file's. Of labels only our own names count where `columns` of labels are asked for."""
    found = _named(file, names, ("path",)) | _named(file, names, ("labels", "label"), aliases=not columns)
    may = [n for n in names if _normal(n) in _others("split")]
    words = [n for n in may if n.lower() == "split" or _all_splits(cell(row, n) for row in rows)]
    for one in (("split",), *((column,) for column in PATIENT_COLUMNS)):
        found |= _named(file, words if one == ("split",) else names, one)
    return found


def _all_splits(cells: Iterable[str]) -> bool:
    filled = {text.lower() for text in cells if text}
    return bool(filled) and filled <= set(SPLIT_WORDS)


def _named(file: Path, names: Sequence[str], ours: Sequence[str], aliases: bool = True) -> dict[str, str]:
    """Our names, of which one is enough, -> the file's: those so called, in this very case before any; else the one alias."""
    for fold in (str, str.lower):
        exact = {our: [n for n in dict.fromkeys(names) if fold(n) == our] for our in ours}
        if any(exact.values()):
            return {our: _only(file, ours, own) for our, own in exact.items() if own}
    others = [(our, n) for our in ours for n in dict.fromkeys(names) if aliases and _normal(n) in _others(our)]
    if not others:
        return {}
    own = _only(file, ours, [name for _, name in others])
    return {next(our for our, name in others if name == own): own}


def _only(file: Path, ours: Sequence[str], found: Sequence[str]) -> str:
    if len(found) > 1:
        raise DataError(
            f"{file} has several columns that could be {' or '.join(map(repr, ours))}: {', '.join(found)}. Rename the right "
            f"one to {' or '.join(ours)}."
        )
    return found[0]


def _joined(parts: Sequence[Table]) -> Table:
    """Tables that are called by their split, as one; a split column of their own goes before the name."""
    first, files = parts[0], ", ".join(part.file.name for part in parts)
    kinds = {tuple(name for name in ("labels", "label") if name in part.called) for part in parts}
    if len(kinds) > 1:
        raise DataError(
            f"{files} call their labels by different columns. Give the column one name, label or labels, in all of them."
        )
    rows = [
        row | {"split": cell(row, "split") or SPLIT_WORDS[part.file.stem.lower()]}
        for part in parts
        for row in part.rows
    ]
    columns = tuple(dict.fromkeys(column for part in parts for column in part.columns))
    called = {name: own for part in reversed(parts) for name, own in part.called.items()}
    return Table(first.file.parent / files, tuple(rows), columns, called, f"the names of {files}")
