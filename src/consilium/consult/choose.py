"""Which expert a generalist calls next. It writes freely; where it wrote a call and can rate texts, the possible calls are rated
and the likeliest is made, so that a small model's slip of the pen calls nobody who does not exist (decision 0012)."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from consilium.consult import calls, cards_prompt
from consilium.consult.admit import Request, admit, fillings, named
from consilium.consult.parse import normalise
from consilium.consult.table import Table
from consilium.errors import CannotScoreError
from consilium.protocols import Card
from consilium.types import Case, Message

OFFERED, CALL_TOKENS = 8, 128
_AUROC = 0.5  # where none is measured
Key = tuple[str, str]


def shortlist(cards: Sequence[Card], case: Case) -> list[Card]:
    """At most OFFERED of the experts whose card admits the picture: those whose card shares most words with the question, of
    those alike the better measured. They are offered by their measure, the best first: of two that fit, the first is called.
    Where a card names all options as its classes, classifiers of other classes are not offered beside it."""
    knowing = [card for card in cards if knows_all(card, case.options)]
    if knowing:
        cards = [card for card in cards if card in knowing or card.outlines or card.arguments]
    asked = _words(" ".join([case.question, *case.options]))
    chosen = sorted(cards, key=lambda card: (-len(asked & _words(_said(card))), -_measure(card), card.name))[:OFFERED]
    return sorted(chosen, key=lambda card: (-_measure(card), card.name))


def choose(
    table: Table, messages: Sequence[Message], offered: Sequence[Card], done: Collection[Key]
) -> tuple[Request, ...]:
    """The calls of the generalist's next words, () where it calls nobody. The exchange then ends with what it said, or with the
    likeliest call in its place."""
    text = table.ask(messages, CALL_TOKENS, offered).text
    cards = table.panel.specialists
    requests = tuple(admit(call, cards, table.case) for call in calls.find(text, cards))
    for request in requests:
        if request.problem:
            table.notes.append(f"{'gate: ' if request.gated else ''}a call was refused: {request.problem}")
    again = [request for request in requests if not request.problem and key(request) in done]
    if again and len(again) == len(requests):
        return tuple(replace(request, problem=f"{request.name} has answered this already") for request in again)
    fresh = tuple(request for request in requests if request not in again)
    return _likeliest(table, messages, candidates(offered, fresh, table.case, done)) or fresh if fresh else ()


def candidates(
    offered: Sequence[Card], written: Sequence[Request], case: Case, done: Collection[Key]
) -> dict[str, Request]:
    """Text -> request of every call that may be made: of each expert with each filling of its arguments, and those written. Where
    the question names what an argument may be, the expert is called with it: a small model forgets to copy it."""
    asked = {card.name: named(card, case.question) for card in offered}
    possible = [
        Request(card.name, card, filled)
        for card in offered
        for filled in asked[card.name] or fillings(card, case.question)
    ]
    possible += [r for r in written if not r.problem and (r.arguments or not asked.get(r.name))]
    return {cards_prompt.call(r.card, r.arguments): r for r in possible if r.card is not None and key(r) not in done}


def key(request: Request) -> Key:
    """What makes two calls the same."""
    return request.name, json.dumps(request.arguments, sort_keys=True, default=str)


def likeliest(ratings: Sequence[float], possible: Mapping[str, Any]) -> str:
    """The text with the greatest rating, the first of those alike."""
    texts = list(possible)
    return texts[max(range(len(texts)), key=lambda i: ratings[i])]


def _likeliest(table: Table, messages: Sequence[Message], possible: Mapping[str, Request]) -> tuple[Request, ...]:
    """The likeliest of the possible calls; () where there is none, or the generalist rates nothing."""
    if not possible:
        return ()
    try:
        with table.timed("generalist"):
            said = likeliest(table.panel.generalist.score(messages, list(possible)), possible)
    except CannotScoreError:
        return ()
    if table.exchange[-1].text.strip() != said:
        table.notes.append(
            f"it wrote {table.exchange[-1].text.strip()!r}; of {len(possible)} calls the likeliest was made"
        )
        table.exchange[-1] = Message("assistant", (said,))
    return (possible[said],)


def knows_all(card: Card, options: Sequence[str]) -> bool:
    """Whether the options of a closed question are classes of this card; False of an open one."""
    known = {normalise(name) for name in (*(code.meaning for code in card.concepts), *card.groups)}
    return bool(options) and all(normalise(option) in known for option in options)


def _measure(card: Card) -> float:
    return next((score.value for score in card.scores if score.metric == "AUROC"), _AUROC)


def _said(card: Card) -> str:
    return " ".join([card.summary, *(code.meaning for code in card.concepts), *card.groups, *card.arguments.values()])


def _words(text: str) -> set[str]:
    """Words of four letters and more, without their plural."""
    return {word.rstrip("s") for word in re.findall(r"[a-z]{4,}", text.lower())}
