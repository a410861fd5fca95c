"""The specialists' vote on a closed question: the mean of the calibrated probabilities of those who know the options."""

from __future__ import annotations

from collections.abc import Sequence

from consilium.consult.parse import normalise
from consilium.types import Opinion


def votes(opinions: Sequence[Opinion], options: Sequence[str]) -> dict[str, dict[str, float]]:
    """Specialist -> probabilities over the options, renormalised, of everyone who spoke and knows all of them."""
    return {
        opinion.specialist: vote
        for opinion in opinions
        if opinion.abstained is None and (vote := _vote(opinion, options))
    }


def tally(votes: dict[str, dict[str, float]], options: Sequence[str]) -> dict[str, float]:
    """The mean over the voters of each option's probability; {} without voters."""
    return {o: sum(vote[o] for vote in votes.values()) / len(votes) for o in options} if votes else {}


def _vote(opinion: Opinion, options: Sequence[str]) -> dict[str, float] | None:
    known = {normalise(f.concept.meaning): f.probability or 0.0 for f in opinion.findings}
    wanted = [normalise(option) for option in options]
    if not all(option in known for option in wanted):
        return None
    total = sum(known[option] for option in wanted)
    if total <= 0:
        return None
    return {option: known[name] / total for option, name in zip(options, wanted, strict=True)}
