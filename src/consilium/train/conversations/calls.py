"""Conversations in which an expert is called by its card: the cards and the question, the call, what it returned, the answer."""

from __future__ import annotations

from random import Random

from consilium.consult import cards_prompt
from consilium.protocols import Card
from consilium.train.conversations import asked, diagnosis
from consilium.train.conversations.bench import Bench
from consilium.train.conversations.group import Branch
from consilium.train.conversations.trust import Shown, show
from consilium.types import Case


def conversation(bench: Bench, row: int, cards: tuple[Card, ...], shares: dict[str, float], rng: Random) -> Branch:
    """One conversation on picture `row`.

    cards   every expert there is; two to four are offered, the fitting one among them but for `shares["unfitting"]`.
    shares  "unfitting": no expert offered fits, so the question is answered at once; "adversarial": what it returns is wrong.
    """
    label, fitting = bench.records[row].labels[0], bench.judged.card
    words = asked.wording("sets")[bench.source.name]
    options = diagnosis.spelled(tuple(words["labels"]), words, rng)
    text, right = diagnosis.question(words, rng), options[label]
    shown = asked.shuffled(options.values(), rng)
    if rng.random() < 0.4:
        text, right, shown = diagnosis.grouping(label, words, rng)
    case = asked.case(text, shown, (bench.source.modality, bench.source.body_part))
    fits = rng.random() >= shares["unfitting"]
    offered = _offered(cards, fitting, bench, fits, rng)
    first = ("user", cards_prompt.offered(case, offered))
    if not fits:
        extra = {"condition": "call_unfitting", "opinion_right": None}
        return Branch("call", (first, ("assistant", right)), False, extra)
    condition = "adversarial" if rng.random() < shares["adversarial"] else "as_is"
    return _called(bench, row, case, (first, ("assistant", right)), show(condition, bench, row, False, rng))


def _called(bench: Bench, row: int, case: Case, ends: tuple[tuple[str, str], ...], evidence: Shown) -> Branch:
    opinion, said = evidence.opinions[0], evidence.said
    labels = [code.meaning for code in bench.judged.card.concepts]
    right = None if said is None else labels[int(said.argmax())] == bench.records[row].labels[0]
    turns = (
        ends[0],
        ("assistant", cards_prompt.call(bench.judged.card)),
        ("user", cards_prompt.returned(case, opinion)),
        ends[1],
    )
    return Branch("call", turns, False, {"condition": f"call_{evidence.condition}", "opinion_right": right})


def _offered(cards: tuple[Card, ...], fitting: Card, bench: Bench, fits: bool, rng: Random) -> tuple[Card, ...]:
    admitted = {fitting.name, *(judged.card.name for judged in bench.bystanders)}
    others = [card for card in cards if card.name not in admitted]
    chosen = rng.sample(others, min(len(others), rng.randint(1, 3) if fits else rng.randint(2, 3)))
    return asked.shuffled([*chosen, *([fitting] if fits else [])], rng)
