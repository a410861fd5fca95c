"""The published benchmark by name: GSCo's 28 datasets and its two cross-domain partners, read as they unpack.

A dataset is a description (one TOML file beside this one) over a few shared readers. Nothing is downloaded: `describe` says what
to get, where, under which licence, and how the folder must look; `missing` compares; the readers read it:

    read(name, folder, split)       diagnosis and multilabel: a FolderDataset, as `specialist train` takes one
    questions(name, folder, split)  vqa: pictures with questions, answers and options
    reports(name, folder, split)    report: pictures with findings, impression and indication

Official splits are kept; where none is published one is drawn by patient, lesion or study, and `split_source` says so. A patient
in two splits is a DataError, except where the publisher's own split leaks and the description says so (`leak`).
Pictures that lie inside one large file (.npz, .h5, .parquet) are written once as files under CONSILIUM_CACHE/benchmark.
"""

from __future__ import annotations

from pathlib import Path

from consilium.datasets.benchmark import arrays, pictures, report, vqa
from consilium.datasets.benchmark.description import Description, Layout, describe, names
from consilium.datasets.benchmark.place import lacking, located
from consilium.datasets.benchmark.report import Report
from consilium.datasets.benchmark.vqa import Question
from consilium.datasets.folder import FolderDataset
from consilium.errors import UsageError

__all__ = [
    "Description",
    "Layout",
    "Question",
    "Report",
    "describe",
    "missing",
    "names",
    "questions",
    "read",
    "reports",
]

_READERS = {
    "table": pictures.from_table,
    "folders": pictures.from_folders,
    "npz": arrays.from_npz,
    "h5": arrays.from_h5,
}


def missing(name: str, folder: Path) -> tuple[str, ...]:
    """What `folder` lacks of the layout it comes nearest to: () where the dataset is there."""
    return lacking(describe(name), Path(folder))


def read(name: str, folder: Path, split: str | None = None) -> FolderDataset:
    """The pictures of a diagnosis or multilabel dataset under `folder`: all, or one split (train, val, test).

    Raises UsageError on an unknown name, a dataset of another task or a package that must be installed; DataError, which
    names the file, where something is missing, a label is unknown or a patient is in two splits.
    """
    description = _of_task(name, "read", "diagnosis", "multilabel")
    place, layout = located(description, Path(folder))
    return _READERS[layout.kind](description, layout, place, split)


def questions(name: str, folder: Path, split: str = "test") -> tuple[Question, ...]:
    """The questions of one split of a vqa dataset; errors as for `read`."""
    description = _of_task(name, "questions", "vqa")
    place, layout = located(description, Path(folder))
    return vqa.from_files(description, layout, place, split)


def reports(name: str, folder: Path, split: str = "test") -> tuple[Report, ...]:
    """The reports of one split of a report dataset, one a study; errors as for `read`."""
    description = _of_task(name, "reports", "report")
    place, layout = located(description, Path(folder))
    return report.from_tables(description, layout, place, split)


def _of_task(name: str, function: str, *tasks: str) -> Description:
    description = describe(name)
    if description.task not in tasks:
        fitting = {"vqa": "questions", "report": "reports"}.get(description.task, "read")
        raise UsageError(f"{name} is a dataset for {description.task}: use {fitting}() instead of {function}().")
    return description
