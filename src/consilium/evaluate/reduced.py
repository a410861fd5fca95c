"""A Consultation as a record: what is needed to score it, and nothing that names the patient or the file."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from consilium.consult.parse import normalise
from consilium.consult.prompt import Evidence
from consilium.consult.several import about
from consilium.consult.vote import tally, votes
from consilium.evaluate.plan import NO, YES, Ask
from consilium.types import Answer, Consultation, Opinion, Precedent, Study

_DIGITS = 6


def case_id(studies: Sequence[Study]) -> str:
    """The digest of the pictures, so that the same case is found in the records of another question or model."""
    digest = hashlib.sha256("".join(item.digest for study in studies for item in study.images).encode())
    return f"case-{digest.hexdigest()[:16]}"


def group_id(dataset: str, patient: str) -> str:
    """Whom a record belongs to, for intervals: 16 hex digits of SHA-256 of dataset and patient."""
    return hashlib.sha256(f"{dataset}\0{patient}".encode()).hexdigest()[:16]


def reduced(held: Consultation, ask: Ask, left_out: int, words: Mapping[str, str]) -> dict[str, Any]:
    """The part of a record that a consultation gives. `words`: label -> option, for the precedents' labels. Where several options
    may hold, what it gives of the label `ask.asked`, which is offered as `ask.words`."""
    answer, precedents = held.answer, held.precedents
    if held.case.multiple:
        answer = _of_label(answer, ask)
        precedents = tuple(about(ask.words, held.case, Evidence((), precedents))[1].precedents)
    return {
        **answered(answer),
        "calibrated": held.answer.calibrated,
        "caution": held.answer.caution,
        "opinions": [_opinion(opinion, ask) for opinion in held.opinions],
        "precedents": [_precedent(precedent, ask, words) for precedent in precedents],
        "left_out": left_out,
        "seconds": {name: round(value, 4) for name, value in held.timings_s.items()},
        "versions": dict(held.versions),
    }


def answered(answer: Answer) -> dict[str, Any]:
    """Choice, probabilities, the reason of an abstention; the words where they are no option."""
    return {
        "choice": answer.choice,
        "text": answer.text if answer.choice is None else "",
        "probabilities": {option: number(p) for option, p in answer.probabilities.items()},
        "abstained": answer.abstained,
    }


def _of_label(answer: Answer, ask: Ask) -> Answer:
    """Yes or no to one of several options that may hold; an abstention is one on each of them."""
    p = answer.probabilities.get(ask.words)
    choice = None if answer.abstained is not None else YES if ask.words in answer.choices else NO
    return replace(answer, choice=choice, probabilities={} if p is None else {YES: p, NO: 1 - p})


def spoken(opinion: Opinion, ask: Ask) -> dict[str, float]:
    """What a specialist's findings say of the options; {} where it abstained or does not know them. A yes-or-no question is
    answered by the probability of the label that it is about."""
    known = votes([opinion], ask.options).get(opinion.specialist)
    if known or not ask.asked or opinion.abstained is not None:
        return known or {}
    names = {normalise(ask.asked), normalise(ask.words)}
    found = next((f.probability for f in opinion.findings if normalise(f.concept.meaning) in names), None)
    return {} if found is None else {YES: found, NO: 1 - found}


def vote_of(opinions: Mapping[str, Mapping[str, float]], options: Sequence[str]) -> str | None:
    """The option with the largest mean probability over those who speak of all options; None where nobody does."""
    shares = tally({name: dict(said) for name, said in opinions.items() if said}, options)
    return max(shares, key=lambda option: shares[option]) if shares else None


def number(value: float | None) -> float | None:
    """Six digits after the point; None for what is no number."""
    return None if value is None or not math.isfinite(value) else round(float(value), _DIGITS)


def _opinion(opinion: Opinion, ask: Ask) -> dict[str, Any]:
    local = next((score for score in opinion.reliability if score.metric == "local accuracy"), None)
    return {
        "specialist": opinion.specialist,
        "version": opinion.version,
        "abstained": opinion.abstained,
        "caution": opinion.caution,
        "foreignness": number(opinion.foreignness),
        "weight": number(opinion.weight),
        "probabilities": {option: number(p) for option, p in spoken(opinion, ask).items()},
        "local_accuracy": None if local is None else number(local.value),
    }


def _precedent(precedent: Precedent, ask: Ask, words: Mapping[str, str]) -> dict[str, Any]:
    """Its label in the options' words; a label that is none of them is of no use to a score and may be free text."""
    by_name = {normalise(option): option for option in ask.options}
    by_name |= {normalise(label): option for label, option in words.items() if option in ask.options}
    return {"label": by_name.get(normalise(precedent.label)), "similarity": number(precedent.similarity)}
