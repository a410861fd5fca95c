"""From a call as it was written to what may be carried out: the expert exists, its card admits the picture, its arguments are
those of its card. What may not is answered to the model as such, and is never told as a finding."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from consilium.consult.calls import Call, finite
from consilium.consult.calls_json import values
from consilium.consult.parse import normalise
from consilium.consult.route import refused
from consilium.protocols import Card
from consilium.types import Case

_LONGEST = 200
_ONE = re.compile(r"\d{1,6}(?:\.\d{1,6})?")
_MANY = re.compile(rf"[\[(]\s*({_ONE.pattern}(?:\s*,\s*{_ONE.pattern}){{1,7}})\s*[\])]")


@dataclass(frozen=True)
class Request:
    """One call after the checks. `problem`: why it is not carried out, "" where it is; `gated`: the card refuses the picture."""

    name: str
    card: Card | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    gated: bool = False


def admitted(cards: Mapping[str, Card], case: Case) -> list[Card]:
    """The experts whose card admits a study of the case, or its genome."""
    return [card for card in cards.values() if refused(card, case) is None]


def admit(call: Call, cards: Mapping[str, Card], case: Case) -> Request:
    """What `call` asks for, by the cards of everyone at the table. Names count in any case of letters."""
    card = next((card for name, card in cards.items() if name.lower() == call.name.lower()), None)
    if card is None:
        fitting = ", ".join(card.name for card in admitted(cards, case)) or "none"
        return Request(call.name, problem=f"no expert is called {call.name}; those for this picture: {fitting}")
    why = refused(card, case)
    if why is not None:
        return Request(card.name, card, problem=f"{card.name} may not see this picture: {why}", gated=True)
    if call.problem:
        return Request(card.name, card, problem=f"the call of {card.name} cannot be read: {call.problem}")
    arguments, problem = _arguments(call, card)
    return Request(card.name, card, arguments, problem)


def fillings(card: Card, question: str) -> tuple[dict[str, Any], ...]:
    """The arguments that a call of this expert may bear for this question: none; each listed value of one argument; the boxes
    and numbers that the question names."""
    found: list[dict[str, Any]] = [{}]
    for name, meaning in card.arguments.items():
        listed: Sequence[Any] = values(meaning)
        if not listed and (numbers := _list_length(meaning)):
            listed = [box for box in _lists(question) if len(box) == numbers]
        elif not listed and _is_number(meaning):
            apart = _MANY.sub(" ", question)  # what stands in a list is no number of its own
            listed = [int(number) for number in re.findall(r"(?<![\w.\[])\d{1,6}(?![\w\]]|\.\d)", apart)]
        found += [{name: value} for value in listed]
    return tuple(found)


def named(card: Card, question: str) -> tuple[dict[str, Any], ...]:
    """Those of the `fillings` that the question itself names: its boxes, a listed value in the question's words (of "liver" and
    "liver tumour" the longer), a number behind the argument's name ("slice 34"). A number that is named goes with each of the
    others: "box [5, 10, 20, 25] on slice 10" is one call."""
    asked = normalise(question)
    found = []
    for filled in fillings(card, question)[1:]:
        ((name, value),) = filled.items()
        words = f"{normalise(name)} {value}" if _is_number(card.arguments[name]) else normalise(str(value))
        spoken = re.search(rf"(?<!\w){re.escape(words)}(?!\w)", asked) is not None
        if _meant(name, value, card, question) if isinstance(value, list) else spoken:
            found.append((words, filled))
    apart = [filled for words, filled in found if not any(words != other and words in other for other, _ in found)]
    numbers = [filled for filled in apart if _is_number(card.arguments[next(iter(filled))])]
    joined = {name: value for filled in numbers for name, value in filled.items()}
    if len(joined) < len(numbers) or len(numbers) == len(apart):  # several for one argument, or nothing beside them
        return tuple(apart)
    return tuple({**filled, **joined} for filled in apart if filled not in numbers)


def _meant(name: str, value: list[Any], card: Card, question: str) -> bool:
    """Whether a list of the question is meant for this argument rather than for another one of as many numbers: for the one
    whose name stands before it, else for the first."""
    alike = [other for other, meaning in card.arguments.items() if _list_length(meaning) == len(value)]
    before = [
        found[1].lower() for found in re.finditer(rf"(\w+)\s*{_MANY.pattern}", question) if _lists(found[0]) == [value]
    ]
    said = [other for other in alike if other.lower() in before]
    return name in said if said else name == alike[0]


def _arguments(call: Call, card: Card) -> tuple[dict[str, Any], str]:
    """(arguments, "") or ({}, what is wrong with them, and what there is)."""
    valid = "; ".join(f"{name}: {meaning}" for name, meaning in card.arguments.items())
    takes = f"{card.name} takes {valid}" if valid else f"{card.name} takes no arguments"
    given = {name.lower(): value for name, value in call.arguments.items()}
    if call.unnamed:
        if len(card.arguments) != 1 or len(call.unnamed) > 1 or given:
            return {}, f"{takes}; each value needs its name"
        given = {next(iter(card.arguments)).lower(): call.unnamed[0]}
    names = {name.lower(): name for name in card.arguments}
    unknown = sorted(set(given) - set(names))
    if unknown:
        return {}, f"{takes}; there is no {', '.join(unknown)}"
    found = {}
    for name, value in given.items():
        checked, problem = _checked(value, card.arguments[names[name]])
        if problem:
            return {}, f"{takes}; {names[name]} {problem}"
        found[names[name]] = checked
    return found, ""


def _checked(value: Any, meaning: str) -> tuple[Any, str]:
    """(the value as the card spells it, "") or (None, what is wrong with it)."""
    if not finite(value) or len(repr(value)) > _LONGEST:
        return None, "is too long, or holds what is no number"
    if listed := values(meaning):
        by_word = {normalise(item): item for item in listed}
        if isinstance(value, str) and normalise(value) in by_word:
            return by_word[normalise(value)], ""
        return None, f"cannot be {value!r}"
    if numbers := _list_length(meaning):
        if isinstance(value, str):
            told = _lists(f"[{value}]")
            value = told[0] if len(told) == 1 else told or value
        fits = _plain(value, numbers) or (
            bool(value) and "several" in meaning and isinstance(value, list) and all(_plain(v, numbers) for v in value)
        )
        return (value, "") if isinstance(value, list) and fits else (None, f"needs {numbers} numbers in a list")
    if _is_number(meaning) and not _plain([value], 1):
        return None, "needs a number"
    return value, ""


def _plain(value: Any, length: int) -> bool:
    """Whether a value is a list of so many numbers."""
    numbers = isinstance(value, list) and all(isinstance(n, int | float) and not isinstance(n, bool) for n in value)
    return numbers and len(value) == length


def _list_length(meaning: str) -> int:
    """How many numbers a meaning such as "[x0, y0, x1, y1] in pixels" asks for; 0 where it asks for no list."""
    listed = re.match(r"\[([\w\s,]+)\]", meaning)
    return len(listed[1].split(",")) if listed else 0


def _is_number(meaning: str) -> bool:
    return meaning.lower().startswith(("number", "a number", "integer", "index"))


def _lists(text: str) -> list[list[int | float]]:
    """The lists of numbers in a text: "[12, 40, 88, 120]"."""
    return [
        [float(number) if "." in number else int(number) for number in _ONE.findall(inside)]
        for inside in _MANY.findall(text)
    ]
