"""Calls of experts in a generalist's words, in two dialects: VILA-M3's "<NAME(argument=value)>" (arXiv 2411.12915) and JSON tool
calls (`calls_json`). Text is read, never run; what is no call is left alone, a damaged one says what is wrong with it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from consilium.consult import calls_json

# Longer text is no reply to "answer with its call alone"; longer arguments are no arguments.
LONGEST_TEXT, LONGEST_ARGUMENTS, _DEEPEST = 20_000, 2_000, 4
_TAIL = re.compile(r"\s*/?>")
_HEAD = re.compile(r"(?<![\w<])<\s*(?P<name>[A-Za-z][\w.-]{0,63})\s*(?P<open>\()?")
_KEY = re.compile(r"\s*(?P<key>[A-Za-z_]\w{0,63})\s*=(?!=)\s*")
_NUMBER = re.compile(r"[+-]?(?:\d{1,15}(?:\.\d{0,15})?|\.\d{1,15})(?:[eE][+-]?\d{1,2})?")
_WORDS: Mapping[str, Any] = {"true": True, "false": False, "none": None, "null": None}
_PAIRS = {"(": ")", "[": "]", "{": "}"}
# A card that is repeated is no call: "<CXR()> modality: chest X-ray; ...".
_QUOTED = re.compile(r">\s*modality:", re.I)


@dataclass(frozen=True)
class Call:
    """One call as it was written. `unnamed`: values without a name, as VILA-M3 writes its one argument; `problem`: what is wrong
    with how it is written, "" where nothing is."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    unnamed: tuple[Any, ...] = ()
    problem: str = ""


def find(text: str, known: Collection[str] = ()) -> tuple[Call, ...]:
    """The calls in `text`, in their order, each once.

    known  names of experts; "<NAME>" and a JSON object without arguments are calls of these alone, in any case of letters.
    """
    text, names = text[:LONGEST_TEXT], frozenset(name.lower() for name in known)
    written = ((place, Call(name, args, problem=why)) for place, name, args, why in calls_json.find(text, names))
    placed = [*_angled(text, names), *written]
    ends = 0
    found: list[Call] = []
    for (start, stop), call in sorted(placed, key=lambda entry: (entry[0][0], -entry[0][1])):
        if start >= ends and call not in found:
            found.append(call)
        ends = max(ends, stop)
    return tuple(found)


def _angled(text: str, known: frozenset[str]) -> Iterator[tuple[tuple[int, int], Call]]:
    place = 0
    while head := _HEAD.search(text, place):
        place, name = head.end(), head["name"]
        if head["open"] is None:
            closed = _TAIL.match(text, place)
            if closed and name.lower() in known and not _QUOTED.match(text, closed.end() - 1):
                yield (head.start(), closed.end()), Call(name)
            continue
        inside = _enclosed(text, place)
        end = None if inside is None else _TAIL.match(text, inside)
        if inside is None or end is None:
            if name.lower() in known:
                yield (head.start(), place), Call(name, problem="it does not end with ')>'")
            continue
        if not _QUOTED.match(text, end.end() - 1):
            yield (head.start(), end.end()), _read(name, text[place : inside - 1])
        place = end.end()


def _enclosed(text: str, start: int) -> int | None:
    """The place behind the bracket that closes the one before `start`; None where none does, or too far away."""
    depth, quote, place = [")"], "", start
    for place in range(start, min(len(text), start + LONGEST_ARGUMENTS)):
        sign = text[place]
        if quote:
            quote = "" if sign == quote and text[place - 1] != "\\" else quote
        elif sign == '"' or (sign == "'" and not text[place - 1].isalnum()):
            quote = sign
        elif sign in _PAIRS:
            depth.append(_PAIRS[sign])
        elif sign == depth[-1]:
            depth.pop()
            if not depth:
                return place + 1
    return None


def _read(name: str, inside: str) -> Call:
    arguments: dict[str, Any] = {}
    unnamed: list[Any] = []
    try:
        for part in _split(inside):
            key = _KEY.match(part)
            if key is None:
                unnamed.append(_value(part))
            elif key["key"] in arguments:
                return Call(name, problem=f"it gives {key['key']} twice")
            else:
                arguments[key["key"]] = _value(part[key.end() :])
    except ValueError as error:
        return Call(name, problem=str(error))
    return Call(name, arguments, tuple(unnamed))


def _split(text: str) -> list[str]:
    """The parts between commas that stand in no bracket and no quotes; an empty text has none."""
    parts, quote, depth = [""], "", 0
    for place, sign in enumerate(text):
        if quote:
            quote = "" if sign == quote and text[place - 1] != "\\" else quote
        elif sign == '"' or (sign == "'" and (place == 0 or not text[place - 1].isalnum())):
            quote = sign
        elif sign in "([{":
            depth += 1
        elif sign in ")]}":
            depth -= 1
        if sign == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += sign
    return [part for part in parts if part.strip()]


def _value(text: str, depth: int = 0) -> Any:
    """A string, number, truth value, nothing, or a list of these; bare words are a string. ValueError where it is none."""
    text = text.strip()
    if text[:1] == "[" and text[-1:] == "]":
        if depth >= _DEEPEST:
            raise ValueError("its lists lie too deep in one another")
        return [_value(part, depth + 1) for part in _split(text[1:-1])]
    if text[:1] == "(" and text[-1:] == ")":
        return _value(f"[{text[1:-1]}]", depth)
    if text[:1] in ('"', "'"):
        return _unquoted(text)
    if _NUMBER.fullmatch(text):
        return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if any(sign in text for sign in '[]{}()"<>'):
        raise ValueError("its arguments cannot be read")
    return text


def _unquoted(text: str) -> str:
    if len(text) < 2 or text[-1] != text[0]:
        raise ValueError("a quoted value does not end")
    try:
        read = json.loads(text if text[0] == '"' else '"' + text[1:-1].replace('\\"', '"').replace('"', '\\"') + '"')
    except ValueError:
        return text[1:-1]
    return read if isinstance(read, str) else text[1:-1]


def finite(value: Any) -> bool:
    """Whether a value holds neither infinity nor a missing number."""
    if isinstance(value, Mapping):
        return all(map(finite, value.values()))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return all(map(finite, value))
    return not isinstance(value, float) or math.isfinite(value)
