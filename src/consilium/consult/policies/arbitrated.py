"""arbitrated: measured evidence decides whom to ask, how much each of them counts, and when nobody can say (ours).

The specialists and precedents decide where they are sure; else the generalist reads the case for itself and is weighed with
them. An open question, which has no options to weigh, is answered as under gsco.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from consilium.consult.arbiter import GENERALIST, PRECEDENTS, Piece, doubtful, weighable
from consilium.consult.prompt import Evidence
from consilium.consult.several import about, voted
from consilium.consult.table import Table
from consilium.consult.vote import votes
from consilium.errors import CannotScoreError
from consilium.types import Answer, Opinion

_TOLD = 2


def decide(table: Table) -> Answer:
    opinions, precedents, options = table.opinions(), table.precedents(), table.case.options
    if not options:
        return table.weigh(opinions, precedents)
    if table.case.multiple:
        return _several(table, Evidence(opinions, precedents, learnt=_learnt(table, opinions)))
    if not votes(opinions, options, table.case.question):
        return Answer("", abstained=_why_nobody(opinions, options))
    arbiter = table.panel.arbiter
    evidence = Evidence(opinions, precedents, table.broader(), learnt=_learnt(table, opinions))
    pieces, afar = weighable(table.case, evidence)
    most = float(arbiter.probabilities(pieces, asked=False).max())
    read = _own_reading(table) if doubtful(arbiter.sure, most, afar) else None
    asked = read is not None
    if asked:
        pieces, _ = weighable(table.case, evidence, read)
    found = arbiter.probabilities(pieces, asked)
    chosen, most = options[int(found.argmax())], float(found.max())
    told = "; ".join(_told(piece, lead) for piece, lead in arbiter.influence(pieces, asked)[:_TOLD])
    answer = Answer(
        chosen,
        chosen,
        {option: float(p) for option, p in zip(options, found, strict=True)},
        calibrated=not afar,
        sections={"relied on": told},
        citations=(
            *(p.name for p in pieces if p.name not in (PRECEDENTS, GENERALIST)),
            *(p.case_id for p in precedents),
        ),
    )
    if most < arbiter.floor:
        reason = (
            f"no option is likely enough: {chosen} {100 * most:.0f} %, and {100 * arbiter.floor:.0f} % are asked for"
        )
        return replace(answer, text="", choice=None, abstained=reason)
    return replace(answer, caution=table.conflict(answer, opinions))


def _several(table: Table, evidence: Evidence) -> Answer:
    """Each option is weighed as a question of its own; the generalist is asked once, where one of them is not sure and the
    weights were fitted on such questions."""
    arbiter, case = table.panel.arbiter, table.case
    unknown = [option for option in case.options if option not in voted(evidence.opinions, case.options)]
    if unknown:
        return Answer("", abstained=f"no specialist who spoke knows {', '.join(unknown)}")
    asked_of = {option: about(option, case, evidence) for option in case.options}
    weighed = {option: weighable(*asked) for option, asked in asked_of.items()}
    found = {option: arbiter.probabilities(pieces, False) for option, (pieces, _) in weighed.items()}
    afar = max(far for _, far in weighed.values())
    least_sure = min(float(p.max()) for p in found.values())
    read = _own_reading(table) if arbiter.several and doubtful(arbiter.sure, least_sure, afar) else None
    if read is not None:
        for option, asked in asked_of.items():
            pieces, _ = weighable(*asked, {"yes": read[option], "no": 1 - read[option]})
            found[option] = arbiter.probabilities(pieces, True)
    answer = table.holding({option: float(p[0]) for option, p in found.items()}, calibrated=not afar)
    return replace(answer, caution=table.conflict(answer, evidence.opinions))


def _learnt(table: Table, opinions: Sequence[Opinion]) -> frozenset[str]:
    """The sets that those who spoke were trained on."""
    cards = table.panel.specialists
    return frozenset(name for o in opinions if o.abstained is None for name in cards[o.specialist].trained_on)


def _own_reading(table: Table) -> dict[str, float] | None:
    """What the generalist makes of the case alone; None where it sees no images, and would say its prior again, or cannot
    rate options."""
    generalist = table.panel.generalist
    if unread := table.unread():
        table.notes.append(f"{unread} ({generalist.card.name}): it was not asked")
        return None
    try:
        return table.rate(table.compose(profile="measured"))
    except CannotScoreError as reason:
        table.notes.append(f"{reason} It was not asked.")
        return None


def _why_nobody(opinions: Sequence[Opinion], options: Sequence[str]) -> str:
    if any(not opinion.abstained for opinion in opinions):
        return f"no specialist who spoke knows all of the options {', '.join(options)}"
    reasons = [f"{opinion.specialist}: {opinion.abstained}" for opinion in opinions]
    admitted = [f"{o.specialist}: {o.abstained}" for o in opinions if o.foreignness is not None]
    return f"every specialist abstained ({(admitted or reasons or ['there is none'])[0]})"


def _told(piece: Piece, lead: float) -> str:
    return f"{piece.words} ({'for' if lead >= 0 else 'against'} this answer)"
