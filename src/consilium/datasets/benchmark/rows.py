"""Tables as publishers write them (CSV, TSV, JSON, JSON lines, "name value value" lists) as rows, and what is made of a row."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from consilium.datasets.class_folders import PICTURES
from consilium.errors import DataError

Row = dict[str, Any]
SPLITS = ("train", "val", "test")
# {column}, {column/2}: the third part of a path, {column:2}: the first two characters
_HOLE = re.compile(r"\{([^{}:/]+)(?:/(\d+))?(?::(\d+))?\}")


def tables(place: Path, specs: Iterable[Mapping[str, Any]]) -> list[Row]:
    """The rows of all `specs`, each with "_file" (whence) and "_split" ("" where the spec names none).

    A spec: file (a path, a glob, or several of which the first that is there counts); split; optional; columns (of a file without
    header); delimiter; format = "list" (lines of a name and its values); keys (of a JSON object with one list a split).
    """
    rows: list[Row] = []
    for spec in specs:
        for path in _files(place, spec):
            split = spec.get("split", "")
            rows += [{"_split": split, **row, "_file": path} for row in _read(path, spec)]
    return rows


def _files(place: Path, spec: Mapping[str, Any]) -> list[Path]:
    wanted = [spec["file"]] if isinstance(spec["file"], str) else spec["file"]
    for name in wanted:
        found = (
            sorted(place.glob(name))
            if "*" in name
            else [p for p in (place / name, place / f"{name}.gz") if p.is_file()][:1]
        )
        if found:
            return found
    if spec.get("optional"):
        return []
    raise DataError(f"{place} has no {' or '.join(wanted)}. Put the published file there, under that name.")


def _read(path: Path, spec: Mapping[str, Any]) -> list[Row]:
    kind = spec.get("format") or {".json": "json", ".jsonl": "jsonl"}.get(path.suffix, "csv")
    columns = tuple(spec.get("columns", ()))
    try:
        text = _text(path)
        if kind == "json":
            return _objects(json.loads(text), spec.get("keys", ()))
        if kind == "jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        if kind == "list":
            return [_listed(line, columns) for line in text.splitlines() if line.strip()]
        delimiter = spec.get("delimiter") or ("\t" if path.suffix == ".tsv" else ",")
        return _separated(text, columns, delimiter)
    except (OSError, EOFError, ValueError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as {kind}: {error}. Download it again.") from error


def _text(path: Path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")


def _objects(found: Any, keys: Sequence[str]) -> list[Row]:
    if keys:
        return [{"_split": key, **row} for key in keys for row in found.get(key, ())]
    if not isinstance(found, list):
        raise ValueError("a JSON list of objects was expected")
    return found


def _listed(line: str, columns: Sequence[str]) -> Row:
    """'a b.png 0 1' or 'a b.png 0,1': a name, which may hold blanks, and one digit for each further column."""
    count = len(columns) - 1
    match = re.fullmatch(rf"(.*\S)\s+(\d(?:[ ,]\d){{{count - 1}}})", line.strip())
    if match is None:
        raise ValueError(f"a line of a name and {count} values was expected, not {line[:80]!r}")
    return dict(zip(columns, (match[1], *re.split("[ ,]", match[2])), strict=True))


def _separated(text: str, columns: Sequence[str], delimiter: str) -> list[Row]:
    if not columns:
        return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))
    cells = (line.split(delimiter, len(columns) - 1) for line in text.splitlines() if line.strip())
    return [dict(zip(columns, map(str.strip, row), strict=True)) for row in cells]


def joined(place: Path, rows: Sequence[Row], specs: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Each row with the columns of the first row of the joined table that agrees in the columns `on`."""
    for spec in specs:
        on = spec["on"]
        other = {tuple(column(row, name) for name in on): row for row in reversed(tables(place, [spec]))}
        empty: Row = dict.fromkeys(next(iter(other.values()), {}), "")
        rows = [{**other.get(tuple(column(row, name) for name in on), empty), **row} for row in rows]
    return list(rows)


def chosen(rows: Iterable[Row], where: Mapping[str, str]) -> list[Row]:
    """The rows that have these values in these columns."""
    return [row for row in rows if all(column(row, name) == value for name, value in where.items())]


def column(row: Row, name: str) -> str:
    """The cell as text, blanks around it removed; DataError names the file and the columns it has."""
    if name not in row:
        found = ", ".join(key for key in row if not key.startswith("_"))
        raise DataError(f"{row['_file']} has no column {name!r}, only {found}. Is it another version of the dataset?")
    value = row[name]
    return "" if value is None else str(value).strip()


def filled(template: str, row: Row) -> str:
    """The template with its holes filled from the row: "files/p{subject_id:2}/{image_path/1}.jpg"."""

    def cell(hole: re.Match[str]) -> str:
        text = column(row, hole[1])
        if hole[2] is not None:
            parts = text.split("/")
            text = parts[int(hole[2])].strip() if int(hole[2]) < len(parts) else ""
        return text[: int(hole[3])] if hole[3] is not None else text

    return _HOLE.sub(cell, template)


def picture(place: Path, templates: Sequence[str], row: Row) -> Path:
    """Where the picture of `row` lies: the first template whose file is there, else the first template's place.

    A template that ends in "/*" means the only picture under that folder. DataError where a row points outside the dataset.
    """
    paths = [_inside(place, filled(template, row), row) for template in templates]
    for path in paths:
        if path.name != "*" and path.is_file():
            return path
        if path.name == "*" and path.parent.is_dir():
            return _only_picture(path.parent)
    return paths[0].parent if paths[0].name == "*" else paths[0]


def _inside(place: Path, relative: str, row: Row) -> Path:
    path = Path(relative)
    if path.is_absolute() or ".." in path.parts:
        raise DataError(f"{row['_file']} names a picture outside the dataset ({relative}); correct the row.")
    return place / path


def _only_picture(folder: Path) -> Path:
    found = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix.lower() in PICTURES]
    if len(found) != 1:
        raise DataError(
            f"{folder} holds {len(found)} pictures where exactly one was expected. Download this series again."
        )
    return found[0]
