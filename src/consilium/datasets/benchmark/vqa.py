"""Questions about pictures.

Settings of a "vqa" layout:
    tables     what to read (rows.tables), or parquet files whose `image` column holds the pictures; where: rows to keep
    split      {column, words} where one file holds all splits
    picture    templates of the picture's path; of a parquet, the column that holds it
    question, answer   columns; apart: the sign between several accepted answers
    type       column that says OPEN or CLOSED; without it a question is closed if it has options or a yes or no for an answer
    options    columns of the options; lettered: the answer is the letter of one of them
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from consilium.datasets.benchmark import rows as table
from consilium.datasets.benchmark.cache import made_once
from consilium.datasets.benchmark.description import Description, Layout
from consilium.datasets.benchmark.rows import Row
from consilium.datasets.benchmark.splits import known, nobody_twice, of_split, split_of, there
from consilium.errors import DataError

_LETTERED = re.compile(r"^\s*[A-Ea-e]\s*[:.)]\s*")
_LETTERS = "ABCDE"


@dataclass(frozen=True)
class Question:
    """One question. `answer` is the reference, `accepted` all texts that count as right (it is the first of them); `closed`:
    one of `options`, or yes or no."""

    id: str
    picture: Path
    question: str
    answer: str
    accepted: tuple[str, ...]
    closed: bool
    options: tuple[str, ...]
    split: str
    row: Mapping[str, str]


def from_files(description: Description, layout: Layout, place: Path, split: str) -> tuple[Question, ...]:
    """Reads the questions of one split of a "vqa" layout."""
    known(split)
    settings = layout.settings
    if settings.get("parquet"):
        rows = [
            row for spec in settings["tables"] if spec["split"] == split for row in _unpacked(description, place, spec)
        ]
    else:
        rows = table.tables(place, settings["tables"])
    found = [_question(layout, place, row, i) for i, row in enumerate(table.chosen(rows, settings.get("where", {})))]
    nobody_twice(place, ((str(q.picture), q.split) for q in found), description, "pictures")
    kept: tuple[Question, ...] = of_split(description, place, found, split)
    there([q.picture for q in kept], place)
    return kept


def _question(layout: Layout, place: Path, row: Row, number: int) -> Question:
    settings = layout.settings
    answer = table.column(row, settings["answer"])
    cells = tuple(filter(None, (_cell(row, name).strip() for name in settings.get("options", ()))))
    options = tuple(_LETTERED.sub("", cell) for cell in cells) if _lettered(cells) else cells
    if options and settings.get("lettered"):
        answer = _by_letter(answer, options, row)
    accepted = (
        tuple(filter(None, map(str.strip, answer.split(settings["apart"])))) if "apart" in settings else (answer,)
    )
    picture = Path(row["_picture"]) if "_picture" in row else table.picture(place, settings["picture"], row)
    return Question(
        id=_cell(row, settings.get("id", "")) or str(number),
        picture=picture,
        question=table.column(row, settings["question"]),
        answer=accepted[0] if accepted else "",
        accepted=accepted,
        closed=_closed(row, settings, answer, options),
        options=options,
        split=split_of(row, settings.get("split", {})),
        row={key: str(value) for key, value in row.items() if not key.startswith("_")},
    )


def _cell(row: Row, name: str) -> str:
    return table.column(row, name) if name in row else ""


def _closed(row: Row, settings: Mapping[str, Any], answer: str, options: tuple[str, ...]) -> bool:
    if "type" in settings:
        word = table.column(row, settings["type"]).upper()
        if word not in {"OPEN", "CLOSED"}:
            raise DataError(f"{row['_file']} calls a question {word!r}; OPEN or CLOSED was expected.")
        return word == "CLOSED"
    return bool(options) or answer.lower() in {"yes", "no"}


def _by_letter(answer: str, options: tuple[str, ...], row: Row) -> str:
    place = _LETTERS.find(answer.upper()) if len(answer) == 1 else -1
    if 0 <= place < len(options):
        return options[place]
    for said in (answer.strip(), _LETTERED.sub("", answer)):
        if said in options:
            return said
    raise DataError(
        f"{row['_file']} answers {answer!r}, which is none of {', '.join(options)}. Correct or drop the row."
    )


def _lettered(cells: Sequence[str]) -> bool:
    """Whether each option bears its own letter: that of "E. coli" is part of it."""
    return all(
        _LETTERED.match(cell) and cell[0].upper() == letter for cell, letter in zip(cells, _LETTERS, strict=False)
    )


def _unpacked(description: Description, place: Path, spec: Mapping[str, Any]) -> Iterator[Row]:
    """The rows of parquet files, their pictures written out once, each under the hash of its bytes."""
    found = sorted(place.glob(spec["file"]))
    if not found:
        raise DataError(f"{place} has no {spec['file']}. Put the published files there, under that name.")
    for source in found:
        folder = made_once(description.name, source, spec["split"], partial(_write, source))
        for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            yield {**row, "_picture": str(folder / row["_picture"]), "_file": source, "_split": spec["split"]}


def _write(source: Path, folder: Path) -> None:
    import hashlib

    import pyarrow
    import pyarrow.parquet

    try:
        with (folder / "rows.jsonl").open("w", encoding="utf-8") as out:
            for batch in pyarrow.parquet.ParquetFile(source).iter_batches(batch_size=64):
                for row in batch.to_pylist():
                    data = row.pop("image")["bytes"]
                    name = f"{hashlib.sha256(data).hexdigest()[:20]}.{'png' if data[1:4] == b'PNG' else 'jpg'}"
                    (folder / name).write_bytes(data)
                    out.write(json.dumps({**row, "_picture": name}, ensure_ascii=False) + "\n")
    except (KeyError, TypeError, pyarrow.ArrowException) as error:
        raise DataError(f"{source} is not a parquet of pictures and questions: {error}. Download it again.") from error
