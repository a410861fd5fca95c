"""Calls of experts written as JSON: {"name": ..., "arguments": {...}} in the text, bare, fenced or in <tool_call> tags, as chat
models are taught, and the `tools` that an endpoint is given so that it writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from consilium.protocols import Card

Place = tuple[int, int]
_DEEPEST = 6
_NAMES, _ARGUMENTS = {"name", "tool", "id", "type"}, {"arguments", "parameters"}
# How a meaning lists its values; admit and the endpoint's schema read it alike.
_ONE_OF = re.compile(r"\W*one of:?\s+(?P<values>.+)", re.I | re.S)


def find(text: str, known: frozenset[str]) -> Iterator[tuple[Place, str, Mapping[str, Any], str]]:
    """(where, name, arguments, what is wrong with it) of every JSON object that is a call, wherever it stands in the text."""
    decoder, place = json.JSONDecoder(parse_constant=_refuse), 0
    while (start := text.find("{", place)) >= 0:
        try:
            value, place = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            place = start + 1
            continue
        for name, arguments, problem in _calls(value, known, 0):
            yield (start, place), name, arguments, problem


def tools(cards: Sequence[Card]) -> list[dict[str, Any]]:
    """The experts as an endpoint's `tools`."""
    return [{"type": "function", "function": _function(card)} for card in cards]


def values(meaning: str) -> tuple[str, ...]:
    """The values that an argument's meaning lists ("one of left lung, right lung or heart"); () where it lists none."""
    listed = _ONE_OF.fullmatch(meaning.strip())
    if listed is None:
        return ()
    text = re.split(r"[.;(]", listed["values"], maxsplit=1)[0]
    parts = [part.strip().strip("'\"") for part in re.split(r",\s*(?:or\s+)?|\s+or\s+", text)]
    return tuple(dict.fromkeys(part for part in parts if part))


def _calls(value: Any, known: frozenset[str], depth: int) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Calls in a decoded value: itself, or those within ({"tool_calls": [{"function": {...}}]})."""
    if depth > _DEEPEST:
        return
    if isinstance(value, list):
        for item in value:
            yield from _calls(item, known, depth + 1)
    if not isinstance(value, dict):
        return
    name = value.get("name", value.get("tool"))
    arguments = value.get("arguments", value.get("parameters"))
    if isinstance(arguments, str):
        arguments = _decoded(arguments)
    if isinstance(name, str) and 0 < len(name) <= 64 and (isinstance(arguments, dict) or name.lower() in known):
        own = {str(k): v for k, v in arguments.items()} if isinstance(arguments, dict) else {}
        given = value.keys() - _NAMES if arguments is None and not _ARGUMENTS & value.keys() else set()
        damaged = arguments is None and any(value.get(key) not in (None, "") for key in _ARGUMENTS)
        wrong = damaged or bool(given) or not (arguments is None or isinstance(arguments, dict))
        yield name, own, 'its arguments are no object: {"name": value}' if wrong else ""
        return
    for item in value.values():
        yield from _calls(item, known, depth + 1)


def _decoded(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no value")


def _function(card: Card) -> dict[str, Any]:
    properties = {name: _schema(meaning) for name, meaning in card.arguments.items()}
    parameters = {"type": "object", "properties": properties, "additionalProperties": False}
    return {"name": card.name, "description": card.summary, "parameters": parameters}


def _schema(meaning: str) -> dict[str, Any]:
    listed = values(meaning)
    if listed:
        return {"type": "string", "enum": list(listed), "description": meaning}
    if meaning.startswith("["):
        return {"type": "array", "items": {"type": "number"}, "description": meaning}
    return {"description": meaning}
