"""panel_vote: the specialists alone. The mean of the calibrated probabilities of those who know the options."""

from __future__ import annotations

from consilium.consult.parse import normalise
from consilium.consult.table import Table
from consilium.types import Answer, Opinion


def decide(table: Table) -> Answer:
    speaking = [opinion for opinion in table.opinions() if not opinion.abstained]
    if not speaking:
        return Answer("", abstained="every specialist abstained")
    options = table.case.options or _labels(speaking[0], table)
    votes = {opinion.specialist: vote for opinion in speaking if (vote := _vote(opinion, options))}
    if not votes:
        return Answer("", abstained=f"no specialist who spoke knows all of the options {', '.join(options)}")
    probabilities = {o: sum(vote[o] for vote in votes.values()) / len(votes) for o in options}
    chosen = max(probabilities, key=lambda option: probabilities[option])
    return Answer(chosen, chosen, probabilities, calibrated=len(votes) == 1, citations=tuple(votes))


def _labels(opinion: Opinion, table: Table) -> tuple[str, ...]:
    return tuple(concept.meaning for concept in table.panel.specialists[opinion.specialist].concepts)


def _vote(opinion: Opinion, options: tuple[str, ...]) -> dict[str, float] | None:
    """Probabilities over the options, renormalised; None unless the specialist knows every one of them."""
    known = {normalise(f.concept.meaning): f.probability or 0.0 for f in opinion.findings}
    wanted = [normalise(option) for option in options]
    if not all(option in known for option in wanted):
        return None
    total = sum(known[option] for option in wanted)
    if total <= 0:
        return None
    return {option: known[name] / total for option, name in zip(options, wanted, strict=True)}
