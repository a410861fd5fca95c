"""What is asked of a dataset: the question, its options, which pictures, and the truth of each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from consilium.datasets.folder import FolderDataset, Record
from consilium.datasets.index_table import SPLITS
from consilium.errors import DataError, UsageError
from consilium.types import Array

QUESTION = "What does the picture show?"
LABEL = "{label}"
YES_NO_QUESTION = f"Does the picture show {LABEL}?"
YES, NO = "yes", "no"


@dataclass(frozen=True)
class Ask:
    """One question on one picture. `asked`: the label that a yes-or-no question is about, "" where the classes are the
    options; `words`: that label as the question, or its list of options, puts it."""

    asked: str
    words: str
    question: str
    options: tuple[str, ...]
    truth: str


@dataclass(frozen=True)
class Item:
    """A picture with its questions; `row`: its place in the dataset, by which its records are found again."""

    row: int
    record: Record
    asks: tuple[Ask, ...]


@dataclass(frozen=True)
class Task:
    """words   label -> the option that stands for it (several labels may share one); where labels do not exclude each other,
            label -> what the question calls it, and of each label the answer is yes or no: to a question of its own, or, where
            the question does not hold {label}, to one question of which any number of the labels may hold.
    cases      so many pictures, spread evenly over the split; None for all.
    normal     the label that means no disease, for figures of what is still found.
    """

    data: FolderDataset
    question: str
    words: Mapping[str, str]
    modality: str | None = None
    body_part: str | None = None
    split: str = "test"
    cases: int | None = None
    normal: str | None = None

    @property
    def options(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.words.values())) if self.data.exclusive else (YES, NO)

    @property
    def together(self) -> bool:
        """Whether one question is about all labels of a picture, any number of which may hold."""
        return not self.data.exclusive and LABEL not in self.question

    @property
    def offered(self) -> tuple[str, ...]:
        """The options that the council is given."""
        return tuple(self.words.values()) if self.together else self.options

    def rounds(self, item: Item) -> tuple[tuple[Ask, ...], ...]:
        """The questions of a picture, those side by side that one consultation answers."""
        return (item.asks,) if self.together else tuple((ask,) for ask in item.asks)

    @property
    def normal_option(self) -> str | None:
        """The option that means no disease; a yes-or-no question on a finding has one always."""
        if not self.data.exclusive:
            return NO
        return None if self.normal is None else self.words[self.normal]

    def items(self) -> tuple[Item, ...]:
        """The pictures to ask about, in the dataset's order; those without a label are left out, see `unlabelled`."""
        made = [Item(row, record, asks) for row, record in self._records() if (asks := self._asks(record))]
        return tuple(thin(made, self.cases))

    @property
    def unlabelled(self) -> int:
        """How many pictures of the split say nothing about what is asked."""
        return sum(not self._asks(record) for _, record in self._records())

    def facts(self) -> dict[str, Any]:
        """What the answers hang on."""
        return {
            "question": self.question,
            "words": dict(self.words),
            "options": list(self.options),
            "modality": self.modality,
            "body_part": self.body_part,
        }

    def fingerprint(self) -> str:
        """A digest of the split: every picture's place, labels, patient and size in bytes. Not its content: where one file is
        mended, the others are not asked about again."""
        digest = hashlib.sha256()
        columns = self.data.label_columns
        for row, record in self._records():
            labels = [record.row.get(column, "") for column in columns] if columns else list(record.labels)
            facts = [row, record.row["path"], labels, record.patient, record.path.stat().st_size]
            digest.update(json.dumps(facts).encode())
        return digest.hexdigest()[:16]

    def _records(self) -> list[tuple[int, Record]]:
        return [(row, r) for row, r in enumerate(self.data.records) if r.split == self.split]

    def _asks(self, record: Record) -> tuple[Ask, ...]:
        if self.data.exclusive:
            if not record.labels:
                return ()
            return (Ask("", "", self.question, self.options, self.words[record.labels[0]]),)
        targets = dict(zip(self.data.classes, self._targets(record), strict=True))
        return tuple(
            Ask(label, words, self.question.format(label=words), (YES, NO), YES if targets[label] == 1 else NO)
            for label, words in self.words.items()
            if not np.isnan(targets[label])
        )

    def _targets(self, record: Record) -> Array:
        return self.data.targets([record])[0]


@dataclass(frozen=True)
class Wishes:
    """What a user may say of a task; every one has a default."""

    question: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    asked: Sequence[str] = ()
    modality: str | None = None
    body_part: str | None = None
    split: str = "test"
    cases: int | None = None
    normal: str | None = None


def plan(data: FolderDataset, wishes: Wishes) -> Task:
    """The task that is wished for.

    Raises UsageError where a label is named that the dataset lacks or the question does not fit, DataError where the split
    holds no picture.
    """
    _known(data, [*wishes.options, *wishes.asked, *filter(None, [wishes.normal])])
    if wishes.split not in SPLITS or not data.of(wishes.split):
        there = ", ".join(f"{split} ({len(data.of(split))})" for split in SPLITS)
        raise DataError(f"{data.name} has no pictures in the split {wishes.split!r}; there are: {there}.")
    if wishes.cases is not None and wishes.cases < 1:
        raise UsageError(f"{wishes.cases} cases were asked for; ask for 1 or more, or leave it out for all.")
    question = wishes.question or (QUESTION if data.exclusive else YES_NO_QUESTION)
    _check_question(data, question, wishes)
    labels = dict.fromkeys([*wishes.options, *data.classes]) if data.exclusive else (wishes.asked or data.classes)
    words = {label: wishes.options.get(label, label.replace("_", " ")) for label in labels}
    given = (wishes.modality, wishes.body_part, wishes.split, wishes.cases, wishes.normal)
    task = Task(data, question, words, *given)
    if len(task.options) < 2:
        raise UsageError(f"every label has the option {task.options[0]!r}; give two or more that differ: --option.")
    if not task.items():
        raise DataError(f"no picture of the split {task.split} of {data.name} is labelled with what is asked.")
    return task


def thin(items: Sequence[Any], count: int | None) -> list[Any]:
    """`count` of the items, evenly spread; all of them without a count."""
    if count is None or count >= len(items):
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]


def _known(data: FolderDataset, labels: Sequence[str]) -> None:
    unknown = sorted(set(labels) - set(data.classes))
    if unknown:
        raise UsageError(f"{data.name} has no label {', '.join(unknown)}; its labels are {', '.join(data.classes)}.")


def _check_question(data: FolderDataset, question: str, wishes: Wishes) -> None:
    if data.exclusive:
        if wishes.asked:
            raise UsageError(f"--labels-asked is for sets with several labels a picture; {data.name} has one.")
        return
    if wishes.normal:
        raise UsageError(
            f"--normal is for sets with one label a picture; on {data.name} each label is answered yes or no."
        )
    try:
        fits = question.format(label="\0").count("\0") <= 1
    except (KeyError, IndexError, ValueError):
        fits = False
    if not fits:
        raise UsageError(
            f"a picture of {data.name} may have several labels; write {LABEL} once into {question!r} to ask about each, or leave "
            "it out to ask about all at once."
        )
