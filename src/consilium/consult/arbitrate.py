"""A closed question weighed by measured evidence, for the policies that do: what the arbiter makes of experts, known cases and
the generalist's reading, and whether that reading counts (decision 0016)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from consilium.consult.arbiter import GENERALIST, PRECEDENTS, Piece, weighable
from consilium.consult.prompt import Evidence
from consilium.consult.several import voted
from consilium.consult.table import Table
from consilium.consult.vote import votes
from consilium.errors import CannotScoreError
from consilium.types import Answer, Opinion

_TOLD = 2


def arbitrate(table: Table, evidence: Evidence, read: Mapping[str, float] | None = None) -> Answer:
    """The likeliest option by the arbiter's weights, calibrated where nobody is far afield, with what decided in words; an
    abstention where none is likely enough. read: option -> probability that the generalist gives it, None without it."""
    arbiter, options, asked = table.panel.arbiter, table.case.options, read is not None
    pieces, afar = weighable(table.case, evidence, read)
    found = arbiter.probabilities(pieces, asked)
    chosen, most = options[int(found.argmax())], float(found.max())
    answer = Answer(
        chosen,
        chosen,
        {option: float(p) for option, p in zip(options, found, strict=True)},
        calibrated=not afar,
        sections={"relied on": "; ".join(_told(p, lead) for p, lead in arbiter.influence(pieces, asked)[:_TOLD])},
        citations=(
            *(p.name for p in pieces if p.name not in (PRECEDENTS, GENERALIST)),
            *(p.case_id for p in evidence.precedents),
        ),
    )
    if most < arbiter.floor:
        reason = (
            f"no option is likely enough: {chosen} {100 * most:.0f} %, and {100 * arbiter.floor:.0f} % are asked for"
        )
        return replace(answer, text="", choice=None, abstained=reason)
    return replace(answer, caution=table.conflict(answer, evidence.opinions))


def learnt(table: Table, opinions: Sequence[Opinion]) -> frozenset[str]:
    """The sets that those who spoke were trained on."""
    cards = table.panel.specialists
    return frozenset(name for o in opinions if o.abstained is None for name in cards[o.specialist].trained_on)


def counts(table: Table, opinions: Sequence[Opinion]) -> bool:
    """Whether the generalist's reading counts beside the opinions that know the options. What it is worth was measured on sets
    that it learnt: where its card says what it learnt, and that is nothing of what they learnt, it does not. A note says so."""
    if not (why := _stranger(table, opinions)):
        return True
    table.notes.append(f"{why}: its reading does not count")
    return False


def warned(table: Table, answer: Answer, opinions: Sequence[Opinion]) -> Answer:
    """The answer of a generalist that decides by its policy, with a caution where its reading would not count elsewhere."""
    why = _stranger(table, opinions) if table.panel.generalist.sees_images and table.case.options else ""
    if not why or answer.abstained is not None:
        return answer
    said = f"{why}; it decides by this policy all the same, arbitrated and panel_vote leave it to them"
    return replace(answer, caution="; ".join(filter(None, [answer.caution, said])))


def _stranger(table: Table, opinions: Sequence[Opinion]) -> str:
    """That the generalist learnt nothing of what those learnt who know the options; "" where it did, where nobody knows them, or
    where its card does not say what it learnt."""
    case, card = table.case, table.panel.generalist_card
    by_option = (
        voted(opinions, case.options).values() if case.multiple else [votes(opinions, case.options, case.question)]
    )
    knowing = [opinion for opinion in opinions if any(opinion.specialist in cast for cast in by_option)]
    if not card.trained_on or not knowing or learnt(table, knowing) & set(card.trained_on):
        return ""
    return f"generalist {card.name} was trained on nothing that the specialists who know this learnt from"


def own_reading(table: Table) -> dict[str, float] | None:
    """What the generalist makes of the case alone; None where it sees no images, and would say its prior again, or cannot
    rate options."""
    if unread := table.unread():
        table.notes.append(f"{unread} ({table.panel.generalist_card.name}): it was not asked")
        return None
    try:
        return table.rate(table.compose(profile="measured"))
    except CannotScoreError as reason:
        table.notes.append(f"{reason} It was not asked.")
        return None


def _told(piece: Piece, lead: float) -> str:
    return f"{piece.words} ({'for' if lead >= 0 else 'against'} this answer)"
