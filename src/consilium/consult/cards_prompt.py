"""How experts are offered to a generalist that may call one by name: a card a line, with VILA-M3's slots (name, modality, task,
overview, accuracy, valid arguments; arXiv 2411.12915), and what it is shown once the expert has answered."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from consilium.consult.prompt import MODALITY_WORDS, Evidence, compose
from consilium.protocols import Card
from consilium.types import Case, Opinion

INVITATION = (
    "Experts that you may ask. If one fits the picture, answer with its call alone; if none does, answer the question."
)
# A card with more concepts names so many and counts the rest: the prompt is read by small models.
_NAMED = 6


def call(card: Card, arguments: Mapping[str, Any] | None = None) -> str:
    """The words that call the expert: "<CXR_PNEUMONIA()>", '<ORGANS(organ="left kidney", box=[1, 2, 3, 4])>'."""
    written = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in (arguments or {}).items())
    return f"<{card.name.upper()}({written})>"


def calls(cards: Sequence[Card]) -> str:
    """The block that offers the experts, one a line, in the order given; "" where there is none."""
    return "\n".join([INVITATION, *(_line(card) for card in cards)]) if cards else ""


def offered(case: Case, cards: Sequence[Card]) -> str:
    """The user's text for a case whose generalist may call one of these experts."""
    return "\n".join(part for part in (calls(cards), compose(case)[-1].text) if part)


def returned(case: Case, opinion: Opinion) -> str:
    """The user's next turn: what the expert that was called says, and the question again; an abstention with its reason."""
    lines = compose(case, Evidence((opinion,)))[-1].text.splitlines()
    said = [f"Specialist {opinion.specialist} abstains: {opinion.abstained}."] if opinion.abstained else []
    return "\n".join([*said, *(line for line in lines if not line.startswith("Image: "))])


def _line(card: Card) -> str:
    words = dict.fromkeys(MODALITY_WORDS.get(modality, modality) for modality in card.modalities)
    seen = " ".join([*(part.lower() for part in card.body_parts), " or ".join(words)])
    seen = seen.strip() or ("any picture" if card.modalities else "genome")
    concepts = [code.meaning for code in card.concepts]
    more = f" and {len(concepts) - _NAMED} more" if len(concepts) > _NAMED else ""
    # What a meaning says first is enough to fill it in; the rest would cost a small model's attention.
    valid = ", ".join(f"{name} ({re.split('[:;.]', meaning)[0]})" for name, meaning in card.arguments.items())
    return (
        f"{call(card)} modality: {seen}; task: {', '.join(concepts[:_NAMED])}{more}; overview: {card.summary.rstrip('.')}; "
        f"accuracy: {_accuracy(card)}; valid arguments: {valid or 'none'}."
    )


def _accuracy(card: Card) -> str:
    """AUROC where it has one, else its first figure."""
    by_metric = {score.metric: score for score in reversed(card.scores)}
    score = by_metric.get("AUROC") or next(iter(card.scores), None)
    return "not measured" if score is None else f"{score.metric} {score.value:.2f} on {score.n} unseen cases"
