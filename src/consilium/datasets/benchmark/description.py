"""What is known of a benchmark dataset: a frozen value read from NAME.toml beside this file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from consilium.errors import DataError, UsageError

_ROOM = Path(__file__).parent
TASKS = ("diagnosis", "multilabel", "vqa", "report")

# The wordings that the GSCo code asks with, retrieval and specialists left out; its {} are filled from the description.
_OPENING = "You are a helpful medical assistant."
_PROMPTS = {
    "diagnosis": "Your task is disease diagnosis. You are given a {seen}. The possible diagnoses are: {quoted}. "
    "The response should only contain one option.",
    "multilabel": "Your task is disease diagnosis. You are given a {seen}. The possible options are: {listed}. "
    "The response should only contain one or more options.",
    "vqa": "You are required to answer the question based on the medical image. The question is {{question}}",
    "report": "Your task is report generation. You are given a {seen} and you are required to generate a summary report "
    "about the image.",
}
_ONLY_IF_NOTHING = " Only if no other options are available, you can choose '{no_finding}'."


@dataclass(frozen=True)
class Layout:
    """One way in which the dataset is published: which reader (`kind`), what must be there, and the reader's settings.

    requires   paths relative to the folder; "a|b": either, "*": a glob.
    """

    kind: str
    requires: tuple[str, ...]
    settings: Mapping[str, Any]
    about: str = ""


@dataclass(frozen=True)
class Description:
    """A benchmark dataset.

    gsco       "in training": GSCo's generalist was trained on it; "not in training"; "cross-domain": partner of another set.
    labels     the publisher's word or column -> the class it stands for, in the order of the options.
    no_finding the option that says that none of the classes holds; "" where there is none.
    leak       what the published split shares between its parts; "" where nothing is known.
    basis      which of these facts were read where, and which are from memory.
    layouts    the first whose files are there is read.
    """

    name: str
    title: str
    task: str
    modality: tuple[str, ...]
    body_part: tuple[str, ...]
    gsco: str
    home: str
    access: str
    licence: str
    download: str
    tree: str
    metrics: tuple[str, ...]
    layouts: tuple[Layout, ...]
    seen: str = "medical image"
    question: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    no_finding: str = ""
    leak: str = ""
    notes: str = ""
    basis: str = ""

    @property
    def classes(self) -> tuple[str, ...]:
        """What is told apart, in published order, without `no_finding`."""
        return tuple(dict.fromkeys(label for label in self.labels.values() if label != self.no_finding))

    @property
    def options(self) -> tuple[str, ...]:
        """The closed answers to `question`, `no_finding` included; () for vqa and report."""
        return tuple(dict.fromkeys(self.labels.values()))

    @property
    def prompt(self) -> str:
        """GSCo's published wording for the generalist alone; "{question}" stands for the question of a vqa item."""
        words = {
            "seen": self.seen,
            "quoted": ", ".join(map(repr, self.options)),
            "listed": ", ".join(self.options),
            "no_finding": self.no_finding,
        }
        end = _ONLY_IF_NOTHING if self.task == "multilabel" and self.no_finding else ""
        return f"{_OPENING} {(_PROMPTS[self.task] + end).format(**words)}"

    @property
    def exclusive(self) -> bool:
        """Exactly one class a picture."""
        return self.task == "diagnosis"

    def label_of(self, word: str, where: Path) -> str:
        """The class that the publisher's `word` stands for, letter case aside; DataError names the file `where`."""
        found = self.labels.get(word) or {k.casefold(): v for k, v in self.labels.items()}.get(word.casefold())
        if found is None:
            raise DataError(
                f"{where} has a label {word!r} that {self.name} does not know; it knows {', '.join(self.labels)}. Is this "
                f"another version of the dataset? `consilium datasets {self.name}` shows the one expected."
            )
        return found


def names() -> tuple[str, ...]:
    """The names of all benchmark datasets, sorted."""
    return tuple(sorted(path.stem for path in _ROOM.glob("*.toml")))


@cache
def describe(name: str) -> Description:
    """The description of the dataset `name`; UsageError lists those there are."""
    if name not in names():
        raise UsageError(f"no benchmark dataset is called {name!r}; there are: {', '.join(names())}.")
    facts: dict[str, Any] = tomllib.loads((_ROOM / f"{name}.toml").read_text(encoding="utf-8"))
    layouts = tuple(_layout(settings) for settings in facts.pop("layout"))
    facts |= {key: tuple(facts.pop(key)) for key in ("modality", "body_part", "metrics")}
    return Description(name=name, layouts=layouts, **facts)


def _layout(settings: dict[str, Any]) -> Layout:
    kind, requires, about = settings.pop("kind"), tuple(settings.pop("requires")), settings.pop("about", "")
    return Layout(kind, requires, settings, about)
