"""panel_vote: the specialists alone. The mean of the calibrated probabilities of those who know the options."""

from __future__ import annotations

from consilium.consult.several import voted as voted_on
from consilium.consult.table import Table
from consilium.consult.vote import tally, votes
from consilium.types import Answer, Opinion


def decide(table: Table) -> Answer:
    speaking = {opinion.specialist: opinion for opinion in table.opinions() if opinion.abstained is None}
    if not speaking:
        return Answer("", abstained="every specialist abstained")
    if table.case.multiple:
        voted = voted_on(list(speaking.values()), table.case.options)
        missing = [option for option in table.case.options if option not in voted]
        if missing:
            return Answer("", abstained=f"no specialist who spoke knows {', '.join(missing)}")
        return table.holding({option: sum(cast.values()) / len(cast) for option, cast in voted.items()})
    options = table.case.options or _classes(table, list(speaking.values()))
    cast = votes(list(speaking.values()), options, table.case.question)
    if not cast:
        return Answer(
            "", abstained=f"no specialist who spoke knows all of the options {', '.join(options) or '(none given)'}"
        )
    probabilities = tally(cast, options)
    chosen = max(probabilities, key=lambda option: probabilities[option])
    alone = speaking[next(iter(cast))] if len(cast) == 1 else None
    calibrated = alone is not None and alone.exclusive and not alone.caution
    return Answer(chosen, chosen, probabilities, calibrated=calibrated, citations=tuple(cast))


def _classes(table: Table, speaking: list[Opinion]) -> tuple[str, ...]:
    """Without options, the classes of the first specialist whose classes exclude each other."""
    name = next((opinion.specialist for opinion in speaking if opinion.exclusive), None)
    return tuple(concept.meaning for concept in table.panel.specialists[name].concepts) if name else ()
