"""What is told of how a folder was read: only what it does not say itself, and what was passed over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from consilium.datasets.index_table import Table, cell

if TYPE_CHECKING:
    from consilium.datasets.folder import FolderDataset

# Columns that something else reads: the index of known cases keeps them.
_READ_TOO = {"report", "licence"}
_NAMED = 12


def told(table: Table, data: FolderDataset, label_columns: Sequence[str], where: Mapping[str, str]) -> tuple[str, ...]:
    """The notes on `data` as read from `table`, with the columns of labels and the choice of rows that were asked for."""
    unused = _unused(table, data, (*label_columns, *where))
    notes = (*_reading(table, data, label_columns, unused), *_patients(table, data, unused), *_found(data))
    return (*table.notes, *notes, *_labels(data, label_columns))


def _unused(table: Table, data: FolderDataset, asked: Iterable[str]) -> str:
    """ ", " between the columns that nothing reads; those beyond a dozen are counted."""
    label = () if data.label_columns else ("labels",) if "labels" in table.called else ("label",)
    roles = ("path", *label, "split", data.patient_column)
    read = {*asked, *_READ_TOO, *(table.called[role] for role in roles if role in table.called)}
    names = [name for name in table.columns if name and name not in read]
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _reading(table: Table, data: FolderDataset, label_columns: Sequence[str], unused: str) -> Iterator[str]:
    drawn = "drawn" in data.split_source
    if table.plain:
        if drawn and "as given" in data.split_source:
            yield f"split: {data.split_source}"
        return
    roles = [("path", "path"), ("split", "split"), (data.patient_column, "patients")]
    roles[1:1] = [] if label_columns else [("labels", "labels"), ("label", "label")]
    named = [(what, table.called.get(role, "")) for role, what in roles if role]
    parts = [f"{what} from {own!r}" for what, own in named if own]
    if drawn or "split" not in table.called:
        parts = [part for part in parts if not part.startswith("split ") or "as given" in data.split_source]
        parts.append(f"split {data.split_source}" if drawn else f"split from {data.split_source}")
    yield f"{table.file.name}: {', '.join(parts)}" + (f"; not used: {unused}" if unused else "")


def _patients(table: Table, data: FolderDataset, unused: str) -> Iterator[str]:
    if not data.patient_column:
        beside = f" (columns not used: {unused})" if unused and table.plain else ""
        yield (
            "no patients are known: each picture counts as its own, so that pictures of one person may lie in train and "
            f"test{beside}"
        )


def _found(data: FolderDataset) -> Iterator[str]:
    moved = [r for r in data.records if r.path != data.folder / r.row["path"]]
    if moved:
        place = moved[0].path.relative_to(data.folder)
        yield f"pictures found by their name: {len(moved)}, the first, {moved[0].row['path']}, at {place}"


def _labels(data: FolderDataset, label_columns: Sequence[str]) -> Iterator[str]:
    if label_columns and data.exclusive:
        gone = [column for column in label_columns if column not in data.classes]
        left = f"; left out, since no picture has it: {', '.join(gone)}" if gone else ""
        yield f"every picture has exactly one of the labels, so they are read as classes that exclude each other{left}"
    if label_columns:
        return
    said = [] if data.exclusive else [cell(record.row, "labels") for record in data.records]
    if any(";" in text for text in said) and not any("|" in text for text in said):
        yield "labels are parted at ';'"
    blank = sum(not record.labels for record in data.records)
    if blank:
        more = "" if data.exclusive else "; where none holds, write No Finding"
        yield f"{blank} of {len(data.records)} pictures are not labelled, so neither learnt nor scored{more}"
