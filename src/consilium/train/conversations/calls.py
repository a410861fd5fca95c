"""Conversations in which an expert is called by its card: the cards and the question, the call, what it returned, the answer.

called     the set's own expert fits; what it returns is right, wrong or an abstention; the answer is the label
unfitting  none of the cards fits; the question is answered at once
needless   an expert fits the picture, but the question asks for nothing that it knows; it is answered at once
other      another expert fits the question (made up, or real without a truth here): told up to its call, arguments filled in
twice      two experts fit; the first abstains, the second is called
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from consilium.consult import cards_prompt
from consilium.protocols import Card
from consilium.train.conversations import asked, diagnosis
from consilium.train.conversations import cards as made_up
from consilium.train.conversations.bench import Bench
from consilium.train.conversations.group import Branch
from consilium.train.conversations.out_of_fold import stated
from consilium.train.conversations.trust import show
from consilium.types import Case, Opinion

_KINDS = ("needless", "other", "twice")
# How many cards are offered in all, and how often.
_OFFERS, _OFTEN = (2, 3, 4, 5, 6, 7, 8), (4, 4, 3, 2, 2, 1, 1)
# How often the other expert is a real one.
_REAL = 0.15
_OPEN, _YES_NO = 0.25, 0.25
_SILENT = "unlike the pictures it was trained on"


def conversation(bench: Bench, row: int, cards: tuple[Card, ...], shares: Mapping[str, float], rng: Random) -> Branch:
    """One conversation on picture `row`.

    cards   every real expert there is.
    shares  "needless", "other", "twice": of all conversations; of the others "unfitting", and of those that call "adversarial"
            (what it returns is wrong) and "silent" (it abstains). "made_up": how often made-up cards stand beside the real ones.
    """
    kind = _kind(shares, rng)
    if kind == "other":
        return _other(bench, cards, rng)
    if kind == "needless":
        return _needless(bench, cards, rng)
    case, right = _asked(bench, row, "made_up" in shares, rng)
    fits = kind == "twice" or rng.random() >= shares["unfitting"]
    crowd = "made_up" in shares and rng.random() < shares["made_up"]
    own = made_up.renamed(bench.judged.card, rng) if crowd else bench.judged.card
    if not fits:
        return _ended(case, _offered(cards, None, bench, crowd, rng), right, "unfitting")
    if kind == "twice" and own.name != bench.judged.card.name:
        return _twice(bench, row, (case, right), (own, cards), rng)
    offered = _offered(cards, own, bench, crowd, rng)
    condition = _condition(shares, rng)
    said = show(condition, bench, row, False, rng)
    opinion = replace(said.opinions[0], specialist=own.name)
    labels = [code.meaning for code in bench.judged.card.concepts]
    knew = None if said.said is None else labels[int(said.said.argmax())] == bench.records[row].labels[0]
    return _called(case, offered, [(own, opinion)], right, {"condition": f"call_{condition}", "opinion_right": knew})


def _kind(shares: Mapping[str, float], rng: Random) -> str:
    wanted = [shares.get(kind, 0.0) for kind in _KINDS]
    return rng.choices([*_KINDS, "diagnosis"], [*wanted, 1 - sum(wanted)])[0] if any(wanted) else "diagnosis"


def _condition(shares: Mapping[str, float], rng: Random) -> str:
    draw = rng.random()
    if draw < shares["adversarial"]:
        return "adversarial"
    return "missing" if draw < shares["adversarial"] + shares.get("silent", 0) else "as_is"


def _asked(bench: Bench, row: int, varied: bool, rng: Random) -> tuple[Case, str]:
    """A question of the set's own kind on this picture, and its right option; `varied`: now and then to be answered by yes or
    no, or without options, so that neither tells whether an expert is to be called."""
    label, words = bench.records[row].labels[0], asked.wording("sets")[bench.source.name]
    seen = (bench.source.modality, bench.source.body_part)
    draw = rng.random() if varied else 1.0
    if draw < _OPEN:
        text = rng.choice([*asked.wording("diagnosis")["open"], *words.get("closed", ())]).format(
            picture=words["picture"]
        )
        return asked.case(text, (), seen), words["labels"][label]["plain"][0]
    if draw < _OPEN + _YES_NO:
        return _yes_no(label, words, seen, rng)
    options = diagnosis.spelled(tuple(words["labels"]), words, rng)
    text, right = diagnosis.question(words, rng), options[label]
    shown = asked.shuffled(options.values(), rng)
    if rng.random() < 0.4:
        text, right, shown = diagnosis.grouping(label, words, rng)
    return asked.case(text, shown, seen), right


def _yes_no(label: str, words: Mapping[str, Any], seen: asked.Seen, rng: Random) -> tuple[Case, str]:
    yes = rng.random() < 0.5
    concept = rng.choice([c for c in words["concepts"] if (label in c["labels"]) == yes])
    ways = concept.get("questions") or asked.wording("diagnosis")["yes_no"]
    text = rng.choice(ways).format(picture=words["picture"], thing=concept.get("thing", ""))
    options = asked.shuffled(("yes", "no"), rng) if rng.random() < 0.5 else ()
    return asked.case(text, options, seen), "yes" if yes else "no"


def _called(
    case: Case, offered: Sequence[Card], heard: Sequence[tuple[Card, Opinion]], right: str, extra: Mapping[str, Any]
) -> Branch:
    """The calls with what each returned, in their order, then the answer."""
    turns = [("user", cards_prompt.offered(case, offered))]
    for card, opinion in heard:
        turns += [("assistant", cards_prompt.call(card)), ("user", cards_prompt.returned(case, opinion))]
    return Branch("call", (*turns, ("assistant", right)), False, extra)


def _ended(case: Case, offered: Sequence[Card], said: str, condition: str) -> Branch:
    """One turn each: the answer at once, or a call whose return is not told."""
    turns = (("user", cards_prompt.offered(case, offered)), ("assistant", said))
    return Branch("call", turns, False, {"condition": f"call_{condition}", "opinion_right": None})


def _needless(bench: Bench, cards: tuple[Card, ...], rng: Random) -> Branch:
    """What kind of picture, which part of the body: the picture tells, and no expert is for that."""
    seen = (bench.source.modality, bench.source.body_part)
    told = asked.modality(seen[0], rng) if rng.random() < 0.5 or not seen[1] else asked.body_part(seen, rng)
    own = made_up.renamed(bench.judged.card, rng)
    block = cards_prompt.calls(_offered(cards, own, bench, True, rng))
    image, _, question = told.messages[0][1].partition("\n")
    if rng.random() < 0.5:  # as served, where the file tells it anyway
        image = asked.ask("", "", "", (), seen).messages[0][1].partition("\n")[0]
    turns = (("user", f"{block}\n{image}\n{question}"), told.messages[1])
    return Branch("call", turns, False, {"condition": "call_needless", "opinion_right": None})


def _other(bench: Bench, cards: tuple[Card, ...], rng: Random) -> Branch:
    """The Image line tells the kind of picture that the fitting expert is for, as a file's header does; that may be another
    than the picture shows: cards are chosen by what is told, and pictures of every kind are not at hand."""
    kind = (bench.source.modality or "", bench.source.body_part)
    real = [card for card in cards if made_up.questions(card.name)]
    if real and rng.random() < _REAL:
        return _real(rng.choice(real), cards, rng)
    near = [task for task in made_up.tasks() if (task.modality, task.part) == kind]
    task = rng.choice(near) if near and rng.random() < 0.6 else rng.choice(made_up.tasks())
    case, filled = task.question(rng)
    card = task.card(rng)
    others = made_up.distractors(_count(rng) - 1, (task.modality, task.part), [task], rng)
    beside = [made_up.renamed(other, rng) for other in rng.sample(cards, min(len(cards), rng.randint(0, 2)))]
    return _ended(case, _distinct([card, *others, *beside], rng), cards_prompt.call(card, filled), "other")


def _real(chosen: Card, cards: tuple[Card, ...], rng: Random) -> Branch:
    told, own = (chosen.modalities[0], chosen.body_parts[0]), made_up.renamed(chosen, rng)
    case = asked.case(rng.choice(made_up.questions(chosen.name)), (), told)
    beside = [card for card in cards if card.name != chosen.name]
    others = [
        *made_up.distractors(_count(rng) - 1, told, (), rng),
        *rng.sample(beside, min(len(beside), rng.randint(0, 2))),
    ]
    return _ended(case, _distinct([own, *others], rng), cards_prompt.call(own), "other")


def _twice(
    bench: Bench, row: int, asks: tuple[Case, str], offers: tuple[Card, tuple[Card, ...]], rng: Random
) -> Branch:
    """The one offered first is called first; it abstains."""
    (case, right), (twin, cards), own = asks, offers, bench.judged.card
    others = [card for card in _offered(cards, None, bench, True, rng) if card.name not in (own.name, twin.name)]
    first, second = asked.shuffled((twin, own), rng)
    offered = list(asked.shuffled([*others, first, second], rng))
    places = sorted(offered.index(card) for card in (first, second))
    offered[places[0]], offered[places[1]] = first, second
    silent = stated(first, None, bench.judged.exclusive, abstained=_SILENT)
    said = show("as_is", bench, row, False, rng).opinions[0]
    heard = [(first, silent), (second, replace(said, specialist=second.name))]
    return _called(case, offered, heard, right, {"condition": "call_twice", "opinion_right": None})


def _offered(cards: tuple[Card, ...], fitting: Card | None, bench: Bench, crowd: bool, rng: Random) -> tuple[Card, ...]:
    """The fitting card, if any, among others that do not fit: real ones of other pictures and, in a crowd, made-up ones."""
    admitted = {bench.judged.card.name, *(judged.card.name for judged in bench.bystanders)}
    others = [card for card in cards if card.name not in admitted]
    if crowd:
        count = _count(rng) - (fitting is not None)
        real = [made_up.renamed(card, rng) for card in rng.sample(others, min(len(others), count, rng.randint(0, 2)))]
        # Bystanders know some of the words but not all of the options, so they fit less.
        real += [judged.card for judged in bench.bystanders if fitting and rng.random() < 0.5]
        alike = [task for task in made_up.tasks() if admitted & set(task.beside)]
        kind = (bench.source.modality or "", bench.source.body_part)
        chosen = [*real, *made_up.distractors(max(0, count - len(real)), kind, alike, rng)]
    else:
        chosen = rng.sample(others, min(len(others), rng.randint(1, 3) if fitting else rng.randint(2, 3)))
    return _distinct([*([fitting] if fitting else []), *chosen], rng)


def _distinct(cards: Sequence[Card], rng: Random) -> tuple[Card, ...]:
    """Shuffled, the first of each name."""
    return asked.shuffled({card.name: card for card in reversed(cards)}.values(), rng)


def _count(rng: Random) -> int:
    return rng.choices(_OFFERS, _OFTEN)[0]
