"""Writes docs/cards.md: the card of every member that consilium brings along, as the registry reads it.

python benchmarks/write_cards.py
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from consilium import registry
from consilium.protocols import Card
from consilium.types import Score

PAGE = Path(__file__).parents[1] / "docs/cards.md"
HEAD = """# Cards

What every member of the council is, may see and has been measured to do. This page is written by
`python benchmarks/write_cards.py` from the cards themselves; `consilium members` prints them, those of members trained on
this machine included. What a card holds: [concepts](concepts.md#card). None of the members is a medical device."""
ORIGINS = ("built in", "shipped")


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The whole page: a chapter a kind, a section a member."""
    parts = [HEAD]
    for kind in registry.KINDS:
        cards = [member.card for member in registry.find(kind).values() if member.origin in ORIGINS]
        parts += [f"## {kind.capitalize()}", *(section(card) for card in cards)]
    return "\n\n".join(parts) + "\n"


def section(card: Card) -> str:
    """One member: its summary, then what its card says, without what it leaves open."""
    facts = [f"- {name}: {words}" for name, words in _facts(card) if words]
    return "\n\n".join(filter(None, (f"### {card.name}", card.summary, "\n".join(facts), _table(card.scores))))


def _facts(card: Card) -> Iterator[tuple[str, str]]:
    yield "version", f"`{card.version}`"
    yield "sees", f"{', '.join(card.modalities)}{_of(card.body_parts)}"
    yield "names", ", ".join(concept.meaning for concept in card.concepts)
    yield "sums", "; ".join(f"{group} = {' + '.join(members)}" for group, members in card.groups.items())
    yield "takes", _pairs(card.arguments)
    yield "trained on", _pairs(card.trained_on)
    yield "licence", card.licence
    yield "evidence", card.evidence
    yield "not for", "; ".join(card.not_for)


def _of(body_parts: Sequence[str]) -> str:
    return f" of {', '.join(body_parts)}" if body_parts else ""


def _pairs(pairs: Mapping[str, str]) -> str:
    return "; ".join(f"{name} ({words})" for name, words in pairs.items())


def _table(scores: Sequence[Score]) -> str:
    if not scores:
        return ""
    lines = [f"| {s.metric} | {_number(s.value)} [{_number(s.low)}, {_number(s.high)}] | {s.n} |" for s in scores]
    return "\n".join(["| measured on unseen cases | value [95 % interval] | n |", "|---|---|---|", *lines])


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


if __name__ == "__main__":
    main()
