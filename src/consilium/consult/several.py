"""Questions of which any number of options may hold (the labels of a chest X-ray): each option has a probability of its own, and
"No finding" is the answer only where none of them holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from consilium.consult.parse import normalise
from consilium.consult.prompt import NO_FINDING, Evidence
from consilium.consult.vote import stated
from consilium.types import Answer, Case, Code, Finding, Opinion, Precedent

YES_NO = ("yes", "no")
# What stands in an index where nobody noted what a known case shows.
NOT_LABELLED = "not labelled"


def holding(probabilities: Mapping[str, float]) -> tuple[str, ...]:
    """The options of at least one half, else "No finding" alone."""
    return tuple(option for option, p in probabilities.items() if p >= 0.5) or (NO_FINDING,)


def rated(likelihoods: Sequence[float], options: Sequence[str]) -> dict[str, float]:
    """Option -> how likely it is as the reply against "No finding"; `likelihoods` (options + 1,), that of "No finding" last."""
    return {o: 1 / (1 + math.exp(min(likelihoods[-1] - ll, 60))) for o, ll in zip(options, likelihoods, strict=False)}


def voted(opinions: Sequence[Opinion], options: Sequence[str]) -> dict[str, dict[str, float]]:
    """Option -> specialist -> its probability, of every specialist who spoke and knows that option by this very name: whoever
    knows pneumonia alone says nothing of viral pneumonia."""
    spoke = [opinion for opinion in opinions if opinion.abstained is None]
    found = {o: {s.specialist: p for s in spoke if (p := stated(s, o)) is not None} for o in options}
    return {option: cast for option, cast in found.items() if cast}


def about(option: str, case: Case, evidence: Evidence) -> tuple[Case, Evidence]:
    """The yes-or-no question of one option, and the evidence put in its terms: who knows the option says yes or no, and a known
    case whose labels nobody noted says nothing."""
    told = tuple(
        _relabelled(p, option, evidence.broader) for p in evidence.precedents if p.label not in ("", NOT_LABELLED)
    )
    said = tuple(
        _of_one(o, p) for o in evidence.opinions if o.abstained is None and (p := stated(o, option)) is not None
    )
    asked = replace(case, question=f"Does it show {option}?", options=YES_NO, multiple=False)
    return asked, replace(evidence, opinions=said, precedents=told)


def _of_one(opinion: Opinion, p: float) -> Opinion:
    findings = (
        Finding(Code.local("yes"), p, source=opinion.specialist),
        Finding(Code.local("no"), 1 - p, source=opinion.specialist),
    )
    return replace(opinion, findings=findings)


def _relabelled(precedent: Precedent, option: str, broader: Mapping[str, str]) -> Precedent:
    """A known case that lists neither the finding nor a part of it counts against it, no more than its similarity says."""
    labels = precedent.label.split(", ")
    named = {normalise(name) for label in labels for name in (label, broader.get(label, ""))}
    return replace(precedent, label="yes" if normalise(option) in named else "no")


def disagreement(answer: Answer, voted: dict[str, dict[str, float]]) -> str:
    """Where the specialists' vote on single options is against the answer."""
    mean = {option: sum(cast.values()) / len(cast) for option, cast in voted.items()}
    against = [f"{o} {100 * p:.0f} %" for o, p in mean.items() if (p >= 0.5) != (o in answer.choices)]
    return f"the specialists disagree on {', '.join(against)}" if against and answer.choices else ""
