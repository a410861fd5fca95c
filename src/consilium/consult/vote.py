"""The specialists' vote on a closed question: the mean of the calibrated probabilities of those who know the options, or, where
the options are yes and no, the concept that the question asks for."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from consilium.consult.parse import normalise
from consilium.types import Opinion

# A question with one of these may ask for the opposite of what it names, or for what became of it.
_OTHERWISE = re.compile(
    r"\b(?:no|not|none|nor|neither|never|without|(?:free|clear|cleared) (?:of|from)|absen\w+|exclu\w+|rul\w+ out|lack\w*|"
    r"negative\w*|unlikely|improbable|resol\w+|disappear\w*|gone|healed|improv\w+|better|worse\w*|increas\w+|decreas\w+|"
    r"progress\w*|regress\w*|stable|unchanged|changed|previous\w*|history|\w+n't)\b",
    re.I,
)


def votes(opinions: Sequence[Opinion], options: Sequence[str], question: str = "") -> dict[str, dict[str, float]]:
    """Specialist -> probabilities over the options, renormalised, of everyone who spoke and knows all of them."""
    return {
        opinion.specialist: vote
        for opinion in opinions
        if opinion.abstained is None and (vote := _vote(opinion, options, question))
    }


def tally(votes: dict[str, dict[str, float]], options: Sequence[str]) -> dict[str, float]:
    """The mean over the voters of each option's probability; {} without voters."""
    return {o: sum(vote[o] for vote in votes.values()) / len(votes) for o in options} if votes else {}


def stated(opinion: Opinion, option: str) -> float | None:
    """The probability that the opinion gives the concept of this very name; None where it has none or gives none."""
    return _known(opinion).get(normalise(option))


def _vote(opinion: Opinion, options: Sequence[str], question: str) -> dict[str, float] | None:
    known = _known(opinion)
    wanted = [normalise(option) for option in options]
    if all(option in known for option in wanted):
        total = sum(known[option] for option in wanted)
        return {o: known[name] / total for o, name in zip(options, wanted, strict=True)} if total > 0 else None
    asked = _asked_for(known, question) if sorted(wanted) == ["no", "yes"] else None
    return (
        None if asked is None else {o: asked if w == "yes" else 1 - asked for o, w in zip(options, wanted, strict=True)}
    )


def _known(opinion: Opinion) -> dict[str, float]:
    """Concept -> probability, of those that have one."""
    judged = ((normalise(f.concept.meaning), f.probability) for f in opinion.findings if f.quantity is None)
    return {name: p for name, p in judged if p is not None and math.isfinite(p)}


def _asked_for(known: Mapping[str, float], question: str) -> float | None:
    """The probability of the one concept that the question names; None where it names none or several, or may negate it.
    Of concepts within one another (pneumonia, viral pneumonia) the longest counts."""
    if _OTHERWISE.search(question):
        return None
    text = f" {re.sub(r'[^a-z0-9]+', ' ', normalise(question))} "
    named = [name for name in known if f" {re.sub(r'[^a-z0-9]+', ' ', name)} " in text]
    longest = [name for name in named if not any(name != other and name in other for other in named)]
    return known[longest[0]] if len(longest) == 1 else None
