"""Made-up experts (cards.toml) beside which the real ones are offered, so that a card is read before it is called: other tasks on
the same kind of picture, other kinds, names that were never seen, arguments to fill in."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from consilium.protocols import Card
from consilium.train.conversations import asked
from consilium.types import Case, Code, Score

CARDS = Path(__file__).parent / "cards.toml"
_SUFFIXES = ("", "", "", "", "_ai", "_net", "_v2", "_2", "_plus", "_model")
_RANGES = {"AUROC": (0.6, 0.99), "Dice": (0.55, 0.96), "MAE": (0.5, 9.0)}
_UNMEASURED = 0.1


@dataclass(frozen=True)
class Task:
    """One kind of expert that does not exist: how its card may read, and questions that it fits.

    arguments  name -> meaning, at most one; `values` are those that stand in a question at {value}, () for any box or number.
    metric     what its accuracy is told in.
    beside     real experts that could answer these questions too.
    """

    modality: str
    part: str
    names: tuple[str, ...]
    concepts: tuple[str, ...]
    overviews: tuple[str, ...]
    questions: tuple[str, ...]
    options: tuple[str, ...] = ()
    arguments: Mapping[str, str] = field(default_factory=dict)
    values: tuple[str, ...] = ()
    metric: str = "AUROC"
    beside: tuple[str, ...] = ()

    def card(self, rng: Random) -> Card:
        """A card as a member of that kind might write it."""
        low, high = _RANGES[self.metric]
        value, n = round(rng.uniform(low, high), 2), rng.randint(40, 2000)
        return Card(
            kind="specialist",
            name=rng.choice(self.names) + rng.choice(_SUFFIXES),
            version="1",
            summary=rng.choice(self.overviews),
            modalities=("CR", "DX") if self.modality == "CR" else (self.modality,),
            body_parts=(self.part,),
            concepts=tuple(Code.local(concept) for concept in self.concepts),
            arguments=self.arguments,
            scores=() if rng.random() < _UNMEASURED else (Score(self.metric, value, value, value, n),),
        )

    def question(self, rng: Random) -> tuple[Case, dict[str, Any]]:
        """(a case that this expert fits, the arguments that the question asks for)."""
        text = rng.choice(self.questions)
        asks = "{value}" in text
        filled = {name: self._value(meaning, rng) for name, meaning in self.arguments.items()} if asks else {}
        text = text.format(value=next(iter(filled.values()), ""))
        options = asked.shuffled(self.options, rng) if self.options and rng.random() < 0.7 else ()
        return asked.case(text, options, (self.modality, self.part)), filled

    def _value(self, meaning: str, rng: Random) -> Any:
        if self.values:
            return rng.choice(self.values)
        if meaning.startswith("["):
            left, top = rng.randint(0, 300), rng.randint(0, 300)
            return [left, top, left + rng.randint(10, 200), top + rng.randint(10, 200)]
        return rng.randint(1, 300)


@cache
def _read(path: Path = CARDS) -> Mapping[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


@cache
def tasks(path: Path = CARDS) -> tuple[Task, ...]:
    """Every task of a file of made-up experts."""
    return tuple(_task(entry) for entry in _read(path)["tasks"])


def _task(entry: Mapping[str, Any]) -> Task:
    fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in entry.items()}
    return Task(**fields)


def questions(name: str) -> tuple[str, ...]:
    """Questions that the real expert `name` fits and whose answer the sets do not know; () where there are none."""
    return tuple(_read()["questions"].get(name, ()))


def needless(about: str) -> tuple[str, ...]:
    """Questions about the "modality" or the "body_part" of a picture, for which no expert is needed."""
    return tuple(_read()["needless"][about])


def renamed(card: Card, rng: Random) -> Card:
    """The card of a real expert as it is, or, half the time, under another name and with its concepts in another order."""
    return card if rng.random() < 0.5 else another_name(card, rng)


def another_name(card: Card, rng: Random) -> Card:
    """The card of a real expert under another name; as it is where there is none for it."""
    others = _read()["aliases"].get(card.name, ())
    if not others:
        return card
    return replace(card, name=rng.choice(others) + rng.choice(_SUFFIXES), concepts=asked.shuffled(card.concepts, rng))


def distractors(count: int, kind: tuple[str, str], unlike: Sequence[Task], rng: Random) -> list[Card]:
    """Cards of `count` different tasks, none of `unlike`; about half of them of this (modality, body part)."""
    return [card for _, card in beside(count, kind, unlike, rng)]


def beside(
    count: int, kind: tuple[str, str], unlike: Sequence[Task], rng: Random, near: float = 0.5
) -> list[tuple[Task, Card]]:
    """`count` different tasks with a card of each, none of `unlike`; a share `near` of this (modality, body part), at 1 those
    alone that there are."""
    free = [task for task in tasks() if task not in unlike]
    same = [task for task in free if (task.modality, task.part) == kind]
    far = [task for task in free if task not in same]
    some = min(len(same), sum(rng.random() < near for _ in range(count)))
    more = count - some if near < 1 else 0
    return [(task, task.card(rng)) for task in [*rng.sample(same, some), *rng.sample(far, more)]]
