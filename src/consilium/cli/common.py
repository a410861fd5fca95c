"""What several commands share: option lists, JSON output, progress bars."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from consilium.errors import UsageError

if TYPE_CHECKING:
    from consilium.datasets.folder import FolderDataset

# What the folders of pictures hold that commands are given.
FOLDER = (
    "A folder with index.csv: path, label (or labels, parted by |), split, patient_id. Or with another such table (NIH's "
    "Data_Entry csv, train.csv with val.csv and test.csv), or a sub-folder per class, also within train, val and test."
)


def split(text: str | None) -> tuple[str, ...]:
    """'a, b,c' -> ('a', 'b', 'c')."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


# What people say for some of DICOM's terms.
_SAID = {"MRI": "MR", "MRT": "MR", "XRAY": "CR", "X-RAY": "CR", "RADIOGRAPH": "CR", "ULTRASOUND": "US", "PET": "PT"}
_SAID |= {"CAT": "CT", "DERMATOSCOPY": "DMS", "DERMOSCOPY": "DMS", "PATHOLOGY": "SM", "HISTOLOGY": "SM", "FUNDUS": "OP"}
_SAID |= {"MAMMOGRAPHY": "MG", "ENDOSCOPY": "ES"}


def modality_named(text: str | None) -> str | None:
    """DICOM's term of what a user says ("mri" -> "MR"); None for nothing. UsageError where there is no such modality."""
    from consilium.formats.anatomy import MODALITIES

    said = (text or "").strip().upper()
    found = _SAID.get(said, said)
    if said and found not in MODALITIES:
        raise UsageError(
            f"{text!r} is no modality of DICOM. Say CR or DX (X-ray), CT, MR, US, MG, DMS (dermatoscopy), SM (slide), OP, ES ..."
        )
    return found or None


def modalities_named(text: str | None) -> tuple[str, ...]:
    """Several, separated by commas."""
    return tuple(term for part in split(text) if (term := modality_named(part)))


def pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    """['a=b'] -> {'a': 'b'}."""
    found = {}
    for text in texts or []:
        name, separator, value = text.partition("=")
        if not separator or not name or not value:
            raise UsageError(f"{option} takes NAME=VALUE, not {text!r}.")
        found[name.strip()] = value.strip()
    return found


def read_dataset(folder: Path, labels: str | None, where: list[str] | None) -> FolderDataset:
    """The dataset in a folder, by the options --labels and --where; how it was read is told on stderr."""
    from consilium.datasets.folder import read_folder

    data = read_folder(folder, label_columns=split(labels), where=pairs(where, "--where"))
    for note in data.notes:
        tell_note(note)
    return data


def tell_note(note: str) -> None:
    """On stderr, so that JSON on stdout stays whole."""
    typer.echo(f"note: {note}", err=True)


def counted(number: int, noun: str) -> str:
    """1 picture, 2 pictures."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def emit(value: Any) -> None:
    """Prints a value as JSON."""
    typer.echo(json.dumps(value, indent=1, default=_plain, ensure_ascii=False))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return str(value)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around work that writes to `path`, which the user chose: UsageError where the disk refuses."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}. Choose another place.") from error


@contextmanager
def counting(what: str, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr for work that counts items: call it with (done, total)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def staging(quiet: bool = False) -> Iterator[Callable[[str, float], None]]:
    """A progress bar on stderr for work in named stages: call it with (stage, fraction done)."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda stage, fraction: bar.update(task, description=stage, completed=fraction)
