"""What several commands share: option lists, JSON output, progress bars."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from consilium.errors import UsageError


def split(text: str | None) -> tuple[str, ...]:
    """'a, b,c' -> ('a', 'b', 'c')."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    """['a=b'] -> {'a': 'b'}."""
    found = {}
    for text in texts or []:
        name, separator, value = text.partition("=")
        if not separator or not name or not value:
            raise UsageError(f"{option} takes NAME=VALUE, not {text!r}.")
        found[name.strip()] = value.strip()
    return found


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
