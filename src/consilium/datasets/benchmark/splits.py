"""Splits: the publisher's where there is one, else drawn by patient; nobody in two of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from consilium.datasets.benchmark.description import Description
from consilium.datasets.benchmark.rows import SPLITS, Row, column, tables
from consilium.datasets.folder import FolderDataset, Record, draw_split
from consilium.errors import DataError, UsageError


def split_of(row: Row, rule: Mapping[str, Any]) -> str:
    """The split that the publisher put the row in, "" where he left it open: by his word in a column, or by the file."""
    if "column" not in rule:
        return str(row["_split"])
    word = column(row, rule["column"])
    found = {**{split: split for split in SPLITS}, **rule.get("words", {})}.get(word)
    if found is None:
        known = ", ".join(rule.get("words", SPLITS))
        raise DataError(f"{row['_file']} says the split {word!r} in {rule['column']}; {known} were expected.")
    return str(found)


def numbered(place: Path, rows: Sequence[Row], rule: Mapping[str, Any]) -> list[Row]:
    """Rows whose splits are files of row numbers (`files`: split -> table with the column `number`)."""
    split_at: dict[int, str] = {}
    for split, file in rule["files"].items():
        for row in tables(place, [{"file": file}]):
            word = column(row, rule["number"])
            number = int(word) if word.isdecimal() else -1
            if not 0 <= number < len(rows) or split_at.setdefault(number, split) != split:
                raise DataError(
                    f"{place / file} names the row {word!r}, which is not there, or in another split too. Download it again."
                )
    return [{**row, "_split": split_at[i]} for i, row in enumerate(rows) if i in split_at]


def settled(
    description: Description, place: Path, records: Sequence[Record], split: str | None, **facts: Any
) -> FolderDataset:
    """The FolderDataset of these records: open splits drawn, patients checked, one split kept if asked, its pictures there."""
    kept = tuple(records)
    if not kept:
        raise DataError(f"{place} has no picture with a label of {description.name}. Look at its tables.")
    given, source = {record.split for record in kept}, "as published"
    if given == {"", "test"}:  # the test pictures came in a table of their own
        kept, given = tuple(replace(record, split=record.split or "train") for record in kept), {"train", "test"}
    if given in ({""}, {"train", "test"}):
        kept, source = draw_split(place, kept)
    nobody_twice(place, ((record.patient, record.split) for record in kept), description)
    kept = of_split(description, place, kept, split)
    there([record.path for record in kept], place)
    classes = tuple(sorted(description.classes))
    return FolderDataset(
        description.name,
        place,
        kept,
        classes,
        description.exclusive,
        split_source=source,
        blank_is_none=True,
        **_columns(classes, facts),
    )


def _columns(classes: tuple[str, ...], facts: Mapping[str, Any]) -> dict[str, Any]:
    spread = facts.get("spread", False)
    return {"label_columns": classes if spread else (), "patient_column": facts.get("patient", "")}


def of_split(description: Description, place: Path, records: Sequence[Any], split: str | None) -> tuple[Any, ...]:
    """The records of one split (all for None); DataError where the dataset has none of that name."""
    known(split)
    kept = tuple(record for record in records if split in {None, record.split})
    if not kept:
        has = ", ".join(sorted({record.split for record in records}))
        raise DataError(f"{description.name} under {place} has no {split} split, only {has}. Ask for one of these.")
    return kept


def known(split: str | None) -> None:
    if split is not None and split not in SPLITS:
        raise UsageError(f"{split!r} is no split; there are: {', '.join(SPLITS)}.")


def nobody_twice(
    place: Path, pairs: Iterable[tuple[str, str]], description: Description, who: str = "patients"
) -> None:
    """DataError where a patient (or picture) of (patient, split) is in two splits and the description knows of no leak."""
    splits: dict[str, set[str]] = {}
    for patient, split in pairs:
        splits.setdefault(patient, set()).add(split)
    torn = sum(len(parts) > 1 for parts in splits.values())
    if torn and not description.leak:
        raise DataError(
            f"{torn} {who} of {description.name} under {place} are in more than one split, so a test would flatter. The "
            "published split keeps them apart: download its tables again, or correct the rows you added."
        )


def there(paths: Sequence[Path], place: Path) -> None:
    """DataError where a picture is missing, naming the first."""
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(paths)} pictures under {place} are not there, the first {missing[0]}. Unpack the picture "
            "archives beside the tables, or ask for a split whose pictures you have."
        )
