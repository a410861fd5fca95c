"""arbitrated: measured evidence decides whom to ask, how much each of them counts, and when nobody can say (ours).

The specialists and precedents decide where they are sure; else the generalist reads the case for itself and is weighed with
them. An open question, which has no options to weigh, is answered as under gsco.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from consilium.consult.arbiter import doubtful, weighable
from consilium.consult.arbitrate import arbitrate, counts, learnt, own_reading
from consilium.consult.prompt import Evidence
from consilium.consult.several import about, voted
from consilium.consult.table import Table
from consilium.consult.vote import votes
from consilium.types import Answer, Opinion


def decide(table: Table) -> Answer:
    opinions, precedents, options = table.opinions(), table.precedents(), table.case.options
    if not options:
        return table.weigh(opinions, precedents)
    if table.case.multiple:
        return _several(table, Evidence(opinions, precedents, table.broader(), learnt=learnt(table, opinions)))
    if not votes(opinions, options, table.case.question):
        return Answer("", abstained=_why_nobody(opinions, options))
    evidence = Evidence(opinions, precedents, table.broader(), learnt=learnt(table, opinions))
    pieces, afar = weighable(table.case, evidence)
    most = float(table.panel.arbiter.probabilities(pieces, asked=False).max())
    return arbitrate(table, evidence, _read(table, opinions, most, afar))


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
    read = _read(table, evidence.opinions, least_sure, afar) if arbiter.several else None
    if read is not None:
        for option, asked in asked_of.items():
            pieces, _ = weighable(*asked, {"yes": read[option], "no": 1 - read[option]})
            found[option] = arbiter.probabilities(pieces, True)
    answer = table.holding({option: float(p[0]) for option, p in found.items()}, calibrated=not afar)
    return replace(answer, caution=table.conflict(answer, evidence.opinions))


def _read(table: Table, opinions: Sequence[Opinion], most: float, afar: float) -> dict[str, float] | None:
    """The generalist's own reading, where the others are in doubt and it counts."""
    asked = doubtful(table.panel.arbiter.sure, most, afar) and counts(table, opinions)
    return own_reading(table) if asked else None


def _why_nobody(opinions: Sequence[Opinion], options: Sequence[str]) -> str:
    if any(not opinion.abstained for opinion in opinions):
        return f"no specialist who spoke knows all of the options {', '.join(options)}"
    reasons = [f"{opinion.specialist}: {opinion.abstained}" for opinion in opinions]
    admitted = [f"{o.specialist}: {o.abstained}" for o in opinions if o.foreignness is not None]
    return f"every specialist abstained ({(admitted or reasons or ['there is none'])[0]})"
