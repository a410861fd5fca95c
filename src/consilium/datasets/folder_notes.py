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
# Rows that fit no one-hot table, as a share of all, up to which one was probably meant.
_FEW = 0.2


def told(table: Table, data: FolderDataset, label_columns: Sequence[str], where: Mapping[str, str]) -> tuple[str, ...]:
    """The notes on `data` as read from `table`, with the columns of labels and the choice of rows that were asked for."""
    roles = _roles(table, data, label_columns)
    unused = _unused(table, roles, (*label_columns, *where))
    notes = (*_reading(table, data, roles, unused), *_patients(table, data, unused), *_found(data))
    return (*table.notes, *notes, *_labels(data, label_columns))


def _roles(table: Table, data: FolderDataset, label_columns: Sequence[str]) -> dict[str, str]:
    """What is read of the table -> the column that says it, but for columns of labels."""
    labels = "labels" if "labels" in table.called else "label"
    roles = {"path": "path", labels: "" if label_columns else labels, "patients": data.patient_column, "split": "split"}
    return {what: table.called[role] for what, role in roles.items() if role in table.called}


def _unused(table: Table, roles: Mapping[str, str], asked: Iterable[str]) -> str:
    """ ", " between the columns that nothing reads; those beyond a dozen are counted."""
    read = {*asked, *_READ_TOO, *roles.values()}
    names = [name for name in table.columns if name and name not in read]
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _reading(table: Table, data: FolderDataset, roles: Mapping[str, str], unused: str) -> Iterator[str]:
    if table.plain:
        if "as given" in data.split_source:
            yield f"split: {data.split_source}"
        return
    parts = [f"{what} from {own!r}" for what, own in roles.items() if what != "split"]
    if "drawn" in data.split_source:
        parts.append(f"split {data.split_source}")
    else:
        parts.append(f"split from {repr(roles['split']) if 'split' in roles else data.split_source}")
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
    blank = sum(not record.labels for record in data.records)
    if label_columns and data.exclusive:
        gone = [column for column in label_columns if column not in data.classes]
        left = f"; left out, since no picture has it: {', '.join(gone)}" if gone else ""
        yield f"every labelled picture has exactly one of the labels, so they are read as classes that exclude each other{left}"
    elif label_columns:
        ones = [sum(cell(r.row, c) in ("1", "1.0") for c in label_columns) for r in data.records]
        blank = sum(not any(cell(r.row, c) for c in label_columns) for r in data.records)
        several = len(ones) - blank - ones.count(1)
        if len(label_columns) > 1 and several < _FEW * len(ones):
            yield (
                f"{several} of {len(ones)} rows have none or several of the labels, so that each is judged by itself; "
                "where they exclude each other, mend these rows"
            )
    said = [cell(record.row, "labels") for record in data.records] if not (data.exclusive or label_columns) else []
    if any(";" in text for text in said) and not any("|" in text for text in said):
        yield "labels are parted at ';'"
    if blank:
        more = "; where none holds, write No Finding" if said else ""
        yield f"{blank} of {len(data.records)} pictures are not labelled, so neither learnt nor scored{more}"
