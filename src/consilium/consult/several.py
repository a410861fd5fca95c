"""Questions of which any number of options may hold (the labels of a chest X-ray): each option has a probability of its own, and
"No finding" is the answer only where none of them holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from consilium.consult.parse import normalise
from consilium.consult.prompt import NO_FINDING, Evidence
from consilium.consult.vote import votes
from consilium.types import Answer, Case, Opinion, Precedent

YES_NO = ("yes", "no")


def holding(probabilities: Mapping[str, float]) -> tuple[str, ...]:
    """The options of at least one half, else "No finding" alone."""
    return tuple(option for option, p in probabilities.items() if p >= 0.5) or (NO_FINDING,)


def rated(likelihoods: Sequence[float], options: Sequence[str]) -> dict[str, float]:
    """Option -> how likely it is as the reply against "No finding"; `likelihoods` (options + 1,), that of "No finding" last."""
    return {o: 1 / (1 + math.exp(min(likelihoods[-1] - ll, 60))) for o, ll in zip(options, likelihoods, strict=False)}


def voted(opinions: Sequence[Opinion], options: Sequence[str]) -> dict[str, dict[str, float]]:
    """Option -> specialist -> its probability, of every specialist who spoke and knows that option."""
    found = {option: votes(opinions, YES_NO, _question(option)) for option in options}
    return {option: {name: vote["yes"] for name, vote in cast.items()} for option, cast in found.items() if cast}


def about(option: str, case: Case, evidence: Evidence) -> tuple[Case, Evidence]:
    """The yes-or-no question of one option, and the evidence put in its terms."""
    told = tuple(_relabelled(precedent, option) for precedent in evidence.precedents)
    asked = replace(case, question=_question(option), options=YES_NO, multiple=False)
    return asked, replace(evidence, precedents=told)


def _question(option: str) -> str:
    return f"Does it show {option}?"


def _relabelled(precedent: Precedent, option: str) -> Precedent:
    """A known case that does not list the finding counts against it, no more than its similarity says."""
    named = {normalise(label) for label in precedent.label.split(", ")}
    return replace(precedent, label="yes" if normalise(option) in named else "no")


def disagreement(answer: Answer, voted: dict[str, dict[str, float]]) -> str:
    """Where the specialists' vote on single options is against the answer."""
    mean = {option: sum(cast.values()) / len(cast) for option, cast in voted.items()}
    against = [f"{o} {100 * p:.0f} %" for o, p in mean.items() if (p >= 0.5) != (o in answer.choices)]
    return f"the specialists disagree on {', '.join(against)}" if against and answer.choices else ""
