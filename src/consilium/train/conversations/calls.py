"""Conversations in which an expert is called by its card. Several stand under one block of cards, which is read once for all:

called     the set's own expert fits; what it returns is right, wrong or an abstention; the answer is the label
asked      the same, told up to the call
other      another of the experts fits the question (made up, or real without a truth here): told up to its call with arguments
unfitting  none of the cards fits; the question is answered at once
absent     the question is for an expert that is not offered, and nothing here knows its answer: that is said
needless   an expert fits the picture, but the question asks for nothing that it knows; it is answered at once
twice      two experts fit; the first abstains, the second is called (a block of its own)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Any

from consilium.consult import cards_prompt
from consilium.protocols import Card
from consilium.train.conversations import asked, diagnosis
from consilium.train.conversations import cards as made_up
from consilium.train.conversations.bench import Bench
from consilium.train.conversations.cards import Task
from consilium.train.conversations.group import Branch
from consilium.train.conversations.out_of_fold import stated
from consilium.train.conversations.trust import show
from consilium.types import Case, Opinion

UNKNOWN = "I cannot tell from this picture."
# How many cards are offered in all, and how often.
_OFFERS, _OFTEN = (1, 2, 3, 4, 5, 6, 7, 8), (2, 4, 4, 3, 2, 2, 2, 2)
# How often all that are offered are for one kind of picture, as policy `triggered` offers them.
_GATED = 0.5
_OPEN, _YES_NO = 0.25, 0.25
_SILENT = "unlike the pictures it was trained on"
Ask = Callable[[Random], tuple[Case, dict[str, Any]]]


@dataclass(frozen=True, eq=False)
class Board:
    """The experts offered, shuffled; own: the set's own expert under the name it bears here, None where it is not offered;
    asks: others that are offered, each with what draws a question that it fits and the arguments asked for; absent: made-up
    tasks whose expert is not offered."""

    offered: tuple[Card, ...]
    own: Card | None
    asks: tuple[tuple[Card, Ask], ...]
    absent: tuple[Task, ...]


def conversations(
    bench: Bench, row: int, cards: tuple[Card, ...], shares: Mapping[str, float], rng: Random
) -> tuple[Branch, ...]:
    """Conversations on picture `row`.

    cards   every real expert there is.
    shares  "twice" and "unfitting": of all blocks; "adversarial" (what an expert returns is wrong) and "silent" (it abstains):
            of the calls whose return is told. "questions": conversations under a block.
    """
    if rng.random() < shares["twice"]:
        return (_twice(bench, row, cards, rng),)
    board = _board(bench, cards, rng.random() >= shares["unfitting"], rng)
    made = [_own(bench, row, board, shares, rng)] if board.own or rng.random() < 0.8 else []
    kinds = rng.choices(("own", "other", "needless", "absent"), (2, 6, 1, 1), k=int(shares["questions"]) - len(made))
    makers = {"own": _more, "other": _other, "needless": _needless, "absent": _absent}
    made += [branch for kind in kinds for branch in makers[kind](bench, row, board, rng)]
    return tuple({branch.messages[0]: branch for branch in made}.values())


def _board(bench: Bench, cards: tuple[Card, ...], fits: bool, rng: Random) -> Board:
    kind = (bench.source.modality or "", bench.source.body_part)
    admitted = {bench.judged.card.name, *(judged.card.name for judged in bench.bystanders)}
    gated, count = rng.random() < _GATED, rng.choices(_OFFERS, _OFTEN)[0]
    own = made_up.renamed(bench.judged.card, rng) if fits else None
    others = [card for card in cards if card.name not in admitted and made_up.questions(card.name)]
    strangers = [card for card in others if not gated or _alike(card, kind)]
    # Bystanders know some of the words but not all of the options: they fit other questions.
    beside_it = [judged.card for judged in bench.bystanders if made_up.questions(judged.card.name)]
    strangers += [card for card in beside_it if fits and rng.random() < 0.5]
    beside = rng.sample(strangers, min(len(strangers), count - fits, rng.randint(0, 3)))
    names = {card.name for card in beside} | ({bench.judged.card.name} if fits else admitted)
    unlike = [task for task in made_up.tasks() if names & set(task.beside)]
    tasks = made_up.beside(max(0, count - fits - len(beside)), kind, unlike, rng, 1.0 if gated else 0.5)
    asks: list[tuple[Card, Ask]] = [(card, task.question) for task, card in tasks]
    for card in beside:
        asks.append((made_up.renamed(card, rng), partial(_of_real, card)))
    offered = _distinct([*([own] if own else []), *(card for card, _ in asks)], rng)
    here = [task for task, _ in tasks]
    absent = [task for task in made_up.tasks() if task not in unlike and task not in here]
    kinds = {(task.modality, task.part) for task in here}
    near = [task for task in absent if (task.modality, task.part) in kinds]
    return Board(offered, own, tuple(a for a in asks if a[0] in offered), tuple(near or absent))


def _of_real(card: Card, rng: Random) -> tuple[Case, dict[str, Any]]:
    questions = made_up.questions(card.name)
    return asked.case(rng.choice(questions), (), (card.modalities[0], card.body_parts[0])), {}


def _alike(card: Card, kind: tuple[str, str]) -> bool:
    return kind[0] in card.modalities and kind[1] in card.body_parts


def _own(bench: Bench, row: int, board: Board, shares: Mapping[str, float], rng: Random) -> Branch:
    """The question of the picture's set to its end: through the call where its expert is offered, else at once."""
    case, right = _asked(bench, row, rng)
    if board.own is None:
        return _ended(case, board.offered, right, "unfitting")
    condition = _condition(shares, rng)
    said = show(condition, bench, row, False, rng)
    opinion = replace(said.opinions[0], specialist=board.own.name)
    labels = [code.meaning for code in bench.judged.card.concepts]
    knew = None if said.said is None else labels[int(said.said.argmax())] == bench.records[row].labels[0]
    extra = {"condition": f"call_{condition}", "opinion_right": knew}
    return _called(case, board.offered, [(board.own, opinion)], right, extra)


def _more(bench: Bench, row: int, board: Board, rng: Random) -> Iterator[Branch]:
    """Another question of the set's own kind, told up to the call."""
    if board.own is None:
        case, right = _asked(bench, row, rng)
        yield _ended(case, board.offered, right, "unfitting")
    else:
        free = made_up.questions(bench.judged.card.name)
        seen = (bench.source.modality, bench.source.body_part)
        case = asked.case(rng.choice(free), (), seen) if free and rng.random() < 0.5 else _asked(bench, row, rng)[0]
        yield _ended(case, board.offered, cards_prompt.call(board.own), "asked")


def _other(bench: Bench, row: int, board: Board, rng: Random) -> Iterator[Branch]:
    """The Image line tells the kind of picture that the fitting expert is for, as a file's header does; that may be another
    than the picture shows: cards are chosen by what is told, and pictures of every kind are not at hand."""
    if board.asks:
        card, ask = rng.choice(board.asks)
        case, filled = ask(rng)
        yield _ended(case, board.offered, cards_prompt.call(card, filled), "other")


def _absent(bench: Bench, row: int, board: Board, rng: Random) -> Iterator[Branch]:
    case, _ = rng.choice(board.absent).question(rng)
    yield _ended(replace(case, options=()), board.offered, UNKNOWN, "absent")


def _needless(bench: Bench, row: int, board: Board, rng: Random) -> Iterator[Branch]:
    """What kind of picture, which part of the body: the picture tells, and no expert is for that."""
    seen = (bench.source.modality, bench.source.body_part)
    which = "body_part" if seen[1] and rng.random() < 0.5 else "modality"
    if rng.random() < 0.5:
        told = asked.body_part(seen, rng) if which == "body_part" else asked.modality(seen[0], rng)
    else:
        answer = seen[1].lower() if which == "body_part" else asked.modality_word(seen[0])
        told = asked.ask("", rng.choice(made_up.needless(which)), answer)
    image, _, question = told.messages[0][1].partition("\n")
    if rng.random() < 0.5:  # as served, where the file tells it anyway
        image = asked.ask("", "", "", (), seen).messages[0][1].partition("\n")[0]
    turns = (("user", f"{cards_prompt.calls(board.offered)}\n{image}\n{question}"), told.messages[1])
    yield Branch("call", turns, False, {"condition": "call_needless", "opinion_right": None})


def _condition(shares: Mapping[str, float], rng: Random) -> str:
    draw = rng.random()
    if draw < shares["adversarial"]:
        return "adversarial"
    return "missing" if draw < shares["adversarial"] + shares.get("silent", 0) else "as_is"


def _asked(bench: Bench, row: int, rng: Random) -> tuple[Case, str]:
    """A question of the set's own kind on this picture, and its right option; now and then to be answered by yes or no, or
    without options, so that neither tells whether an expert is to be called."""
    label, words = bench.records[row].labels[0], bench.words
    seen = (bench.source.modality, bench.source.body_part)
    draw = rng.random()
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
    if rng.random() < 0.4 and words["groupings"]:
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


def _twice(bench: Bench, row: int, cards: tuple[Card, ...], rng: Random) -> Branch:
    """Two cards of the set's own expert, one under another name: the one offered first is called first, and abstains."""
    (case, right), twin = _asked(bench, row, rng), bench.judged.card
    own = made_up.another_name(twin, rng)
    others = [card for card in _board(bench, cards, False, rng).offered if card.name not in (own.name, twin.name)]
    first, second = asked.shuffled((twin, own), rng)
    offered = list(asked.shuffled([*others, first, second], rng))
    places = sorted(offered.index(card) for card in (first, second))
    offered[places[0]], offered[places[1]] = first, second
    silent = stated(first, None, bench.judged.exclusive, abstained=_SILENT)
    said = show("as_is", bench, row, False, rng).opinions[0]
    heard = [(first, silent), (second, replace(said, specialist=second.name))]
    return _called(case, offered, heard, right, {"condition": "call_twice", "opinion_right": None})


def _distinct(cards: Sequence[Card], rng: Random) -> tuple[Card, ...]:
    """Shuffled, the first of each name."""
    return asked.shuffled({card.name: card for card in reversed(cards)}.values(), rng)
