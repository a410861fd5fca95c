"""triggered: the generalist calls experts by name, mid-answer, and is shown what they returned (VILA-M3's idea, with a gate by
card, checked arguments, several experts and rounds). Who is not called does not speak, but for those whose card is for just this
question. A closed question is then weighed by measured evidence where it is known what the generalist learnt (decision 0016)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from consilium.consult import returns
from consilium.consult.admit import Request, admitted
from consilium.consult.arbitrate import arbitrate, counts, learnt, own_reading
from consilium.consult.calls import find
from consilium.consult.cards_prompt import offered as offer
from consilium.consult.choose import choose, key, knows_all, shortlist
from consilium.consult.prompt import Evidence, images_of
from consilium.consult.route import demand_modality
from consilium.consult.table import Table
from consilium.consult.vote import votes
from consilium.errors import UsageError
from consilium.protocols import Card
from consilium.types import Answer, Message, Opinion

ROUNDS, CALLS = 4, 6


def decide(table: Table) -> Answer:
    demand_modality(table.case)
    fitting = admitted(table.panel.specialists, table.case)
    if not fitting:
        table.notes.append("no expert's card admits the picture: none was offered")
        return table.weigh()
    cards = shortlist(fitting, table.case)
    if len(cards) < len(fitting):
        left_out = ", ".join(card.name for card in fitting if card not in cards)
        table.notes.append(f"not offered, since others know more of what is asked: {left_out}")
    messages, heard = _consulted(table, cards)
    uncalled = _uncalled(table, fitting, heard)
    if _weighs(table) and votes((*heard, *uncalled), table.case.options, table.case.question):
        return _weighed(table, messages, heard, uncalled)
    if heard:
        return _answer(table, messages, heard)
    if uncalled:
        return table.weigh(uncalled)
    table.notes.append(f"nobody was called; by their cards there fit {', '.join(card.name for card in cards)}")
    return table.weigh()


def _uncalled(table: Table, fitting: Sequence[Card], heard: Sequence[Opinion]) -> list[Opinion]:
    """What those say whom nobody called though by their card they are for just this: of an open question, who outline and measure
    such a picture or write its report; of a closed one, whose classes are the options. An answer should not lack them because a
    small generalist forgot to ask."""
    options, spoke = table.case.options, {opinion.specialist for opinion in heard}
    wanted = [c for c in fitting if (knows_all(c, options) and _weighs(table) if options else c.open_only)]
    left = [card.name for card in wanted if not card.on_call and card.name not in spoke]
    if left:
        table.notes.append(f"asked by its card, though the generalist did not call it: {', '.join(left)}")
    return [table.hear(name, {}) for name in left]


def _weighs(table: Table) -> bool:
    """Whether measured evidence decides: a closed question, and a generalist that sees and whose card says what it learnt."""
    asked = bool(table.case.options) and not table.case.multiple and table.profile == "measured"
    return asked and table.panel.generalist.sees_images and bool(table.panel.generalist_card.trained_on)


def _weighed(
    table: Table, messages: Sequence[Message], heard: Sequence[Opinion], uncalled: Sequence[Opinion]
) -> Answer:
    """Those who spoke and what the generalist made of it, weighed; its own reading where it called nobody. The weights were
    fitted on readings without evidence: one made after it heard the experts counts them twice: not calibrated."""
    spoke, own = (*heard, *uncalled), Answer("")
    if counts(table, spoke):
        own = table.answer(messages) if heard else replace(own, probabilities=own_reading(table) or {})
    weighed = arbitrate(table, Evidence(spoke, learnt=learnt(table, spoke)), own.probabilities or None)
    twice = bool(heard and own.probabilities)
    return replace(weighed, findings=own.findings, calibrated=weighed.calibrated and not twice)


def _consulted(table: Table, cards: Sequence[Card]) -> tuple[list[Message], list[Opinion]]:
    """The conversation up to where the generalist calls nobody more, and what it heard."""
    case, sees = table.case, table.panel.generalist.sees_images
    plain = table.compose(profile="measured")
    messages = [plain[0], Message("user", (*images_of(plain), offer(case, cards)))]
    heard: list[Opinion] = []
    done: set[tuple[str, str]] = set()
    for _ in range(ROUNDS):
        requests = choose(table, messages, cards, done)
        if not requests:
            return messages, heard
        room = CALLS - len(done)
        opinions, problems = _carried_out(table, requests[:room])
        problems += [f"no more than {CALLS} calls may be made" for _ in requests[room:]][:1]
        done |= {key(request) for request in requests[:room]}
        heard += opinions
        messages += [table.exchange[-1], returns.turn(case, opinions, problems, sees)]
        if len(done) >= CALLS:
            break
    table.notes.append(f"no more calls were taken after {len(done)} in at most {ROUNDS} rounds")
    return messages, heard


def _carried_out(table: Table, requests: Sequence[Request]) -> tuple[list[Opinion], list[str]]:
    """What the experts said, and why the other calls were not carried out."""
    opinions, problems = [], []
    for request in requests:
        if request.problem:
            problems.append(request.problem)
            continue
        try:
            opinions.append(table.hear(request.name, request.arguments))
        except UsageError as error:
            if not request.arguments:
                raise
            # The arguments are the model's words: what the expert cannot use is answered to the model.
            problems.append(f"{request.name} cannot use these arguments: {str(error).rstrip('.')}")
            table.notes.append(f"a call was refused: {problems[-1]}")
    return opinions, problems


def _answer(table: Table, messages: Sequence[Message], heard: Sequence[Opinion]) -> Answer:
    """A generalist that sees answers at the end of the conversation; one that does not weighs the evidence as under moed."""
    if not table.panel.generalist.sees_images and not any(f.quantity is not None for o in heard for f in o.findings):
        return table.weigh(heard)
    # Its last words called nobody more: they are its answer, unless the calls before them were the last that are taken.
    drafted = table.exchange[-1].text if len(table.exchange) > len(messages) else ""
    answer = table.answer(messages, drafted)
    if not table.case.options and find(answer.text, table.panel.specialists):
        table.notes.append(
            "the generalist's last words were another call: it was asked without the cards what it makes of it"
        )
        answer = table.weigh(heard)
        if find(answer.text, table.panel.specialists):
            return replace(answer, text="", abstained="the generalist's last words are another call, not an answer")
    return replace(answer, caution=table.conflict(answer, heard))
