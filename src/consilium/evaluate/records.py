"""Records: every answer as a line of a JSONL file, one file a policy, whose first line says what all of it hangs on.

    OUT/gsco.jsonl                  the header, then a record a question, in the dataset's order
    OUT/gsco.part-4711.jsonl        what a process that is under way (or was killed) has answered
    OUT/gsco.aside-0123456789ab.jsonl   records of another model, wording or dataset: kept, never mixed

Whoever reads takes the parts too. A line that a kill left unfinished is no record. Records that were set aside are taken up
again by a run with their header.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from consilium.errors import DamagedFileError, UsageError

FORMAT = "consilium.evaluation/1"
Row = dict[str, Any]
Key = tuple[int, str]
_POLICY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Header:
    """made_with  all that an answer hangs on: another value is another experiment.
    about         what a reader may want to know besides."""

    made_with: Mapping[str, Any]
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return hashlib.sha256(_line(dict(self.made_with)).encode()).hexdigest()[:12]

    @property
    def line(self) -> str:
        return _line({"format": FORMAT, "made_with": dict(self.made_with), "about": dict(self.about)})


@dataclass(frozen=True)
class Run:
    """One policy's records, as they were read, in the dataset's order."""

    header: Header
    rows: tuple[Row, ...]
    path: Path


def key_of(row: Row) -> Key:
    return int(row["row"]), str(row["asked"])


def read_run(path: Path) -> Run:
    """The records in `path` and in its parts; UsageError where there are none, DamagedFileError where they are not ours."""
    header, rows = _read(path) if path.is_file() else (None, [])
    for part in _parts(path):
        found, more = _read(part)
        header = header or found
        if found is not None and header is not None and found.digest == header.digest:
            rows += more
    if header is None:
        raise UsageError(f"{path} holds no records yet. Make some: consilium evaluate run FOLDER --out {path.parent}.")
    return Run(header, tuple(_latest(rows)), path)


def find_runs(places: Sequence[Path]) -> list[Path]:
    """The records files that are named, or lie in the named folders or below; UsageError where a place has none."""
    found: list[Path] = []
    for place in places:
        files = _files(place) if place.is_dir() else [place] if place.is_file() else []
        if not files:
            raise UsageError(f"{place} holds no records. Make some: consilium evaluate run FOLDER --out {place}.")
        found += files
    return list(dict.fromkeys(found))


def take_up(path: Path, header: Header) -> list[Row]:
    """The records made with `header` that are kept beside `path`, moved into `path` alone; others are set aside."""
    rows: list[Row] = []
    taken = []
    for file in (_aside(path, header.digest), path, *_parts(path)):
        found, more = _read(file) if file.is_file() else (None, [])
        if found is not None and found.digest != header.digest:
            _append(_aside(path, found.digest), found, more)
        rows += more if found is not None and found.digest == header.digest else []
        taken += [file] if file.is_file() and file != path else []
    rows = _latest(rows)
    write(path, header, rows)
    for file in taken:
        file.unlink()
    return rows


def write(path: Path, header: Header, rows: Iterable[Row]) -> None:
    """Writes the whole file at once: whoever reads meanwhile sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in (header.line, *map(_line, rows))))
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


class Part:
    """What one process answers, line by line, beside `path`. Used as a context manager."""

    def __init__(self, path: Path, header: Header) -> None:
        self.path = path.with_name(f"{path.stem}.part-{os.getpid()}.jsonl")
        new = not self.path.exists()
        self._file = self.path.open("a", encoding="utf-8")
        if new:
            self._file.write(header.line + "\n")

    def add(self, row: Mapping[str, Any]) -> None:
        self._file.write(_line(dict(row)) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=True, allow_nan=False, sort_keys=False)


def _read(path: Path) -> tuple[Header | None, list[Row]]:
    """Header and records; (None, []) where not even the header was finished."""
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DamagedFileError(f"{path} cannot be read as records: {error}. Remove it, and run again.") from error
    lines = text[: text.rfind("\n") + 1].splitlines()
    if not lines:
        return None, []
    first, *rest = [_parsed(path, number, line) for number, line in enumerate(lines, 1)]
    if first.get("format") != FORMAT or not isinstance(first.get("made_with"), dict):
        raise DamagedFileError(f"{path} does not begin with a header of {FORMAT}; it holds no records of evaluations.")
    for number, row in enumerate(rest, 2):
        if not {"row", "asked", "case", "group"} <= row.keys():
            raise DamagedFileError(
                f"{path}, line {number}: no record of an evaluation. Remove the line, and run again."
            )
    return Header(first["made_with"], first.get("about", {})), rest


def _parsed(path: Path, number: int, line: str) -> Row:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise DamagedFileError(f"{path}, line {number}: {error}. Remove the line, and run again.") from error
    if not isinstance(value, dict):
        raise DamagedFileError(f"{path}, line {number}: a JSON object was expected. Remove the line, and run again.")
    return value


def _latest(rows: Iterable[Row]) -> list[Row]:
    """One record a question, in the dataset's order: an answer before a skip, else the later one."""
    kept: dict[Key, Row] = {}
    for row in rows:
        if "skipped" not in row or "skipped" in kept.get(key_of(row), row):
            kept[key_of(row)] = row
    return [kept[key] for key in sorted(kept)]


def _files(folder: Path) -> list[Path]:
    """Of a folder: finished files, and those of which only parts are there."""
    names = {
        p.with_name(f"{p.name.partition('.')[0]}.jsonl") for p in folder.rglob("*.jsonl") if ".aside-" not in p.name
    }
    return sorted(path for path in names if _POLICY.fullmatch(path.stem))


def _parts(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.stem}.part-*.jsonl"))


def _aside(path: Path, digest: str) -> Path:
    return path.with_name(f"{path.stem}.aside-{digest}.jsonl")


def _append(path: Path, header: Header, rows: list[Row]) -> None:
    before = _read(path)[1] if path.is_file() else []
    write(path, header, _latest([*before, *rows]))
