"""Whom does a policy believe? The same cases with opinions and precedents as they are, and forced to be wrong, right, random
or absent.

Conditions, within one record a case and policy:
    solo        the generalist alone, to which the others are compared
    as is       opinions and precedents as they are
    k wrong     k of the specialists who can say so claim a wrong answer at 95 %, for k = 1 ... all of them
    all right   all of them claim the right answer
    random      each claims an option drawn at random
    absent      no specialist is at the table
    poisoned    every precedent bears one wrong label (only where the policy looks at precedents)

A wrong answer calls every disease normal, and a normal case a disease; without a normal label it is drawn among the others.
"""

from __future__ import annotations

import hashlib
from typing import Any

from consilium.consult.council import consult
from consilium.consult.panel import Panel
from consilium.consult.route import refusal
from consilium.errors import UsageError
from consilium.evaluate.forced import Forced, drawn, reseat, stance
from consilium.evaluate.plan import LABEL, YES, Ask, Task
from consilium.evaluate.reduced import answered, number, spoken, vote_of
from consilium.evaluate.run import Sitting, Study
from consilium.protocols import Card
from consilium.types import Case, Consultation

SOLO, AS_IS, RIGHT, RANDOM, ABSENT, POISONED = "solo", "as is", "all right", "random", "absent", "poisoned"
NO_FINDING = "No Finding"


def wrong_count(k: int) -> str:
    return f"{k} wrong"


def answer(panel: Panel, case: Case, sitting: Sitting) -> list[dict[str, Any]]:
    """The record of one case under every condition; "able" names the specialists who can be forced. UsageError where one question
    is about all labels."""
    task = sitting.task
    if task.together:
        raise UsageError(f"specialists are forced on one label at a time; write {LABEL} into {task.question!r}.")
    (ask,) = sitting.asks
    false = wrong_option(ask, task.normal_option, case.id)
    able = _able(panel, case, ask, task, false)
    held: dict[str, dict[str, Any]] = {}

    def put(condition: str, seated: Panel, policy: str = sitting.policy) -> Consultation:
        found = consult(case, seated, policy, sitting.council.profile)
        held[condition] = _condition(found, ask)
        return found

    def forced(says: dict[str, str]) -> Panel:
        return reseat(panel, {name: _force(panel, name, ask, task, option) for name, option in says.items()})

    put(SOLO, panel, "solo")
    as_is = put(AS_IS, panel)
    order = sorted(able, key=lambda name: hashlib.sha256(f"{case.id} {name}".encode()).digest())
    for k in range(1, len(order) + 1):
        put(wrong_count(k), forced(dict.fromkeys(order[:k], false)))
    if able:
        put(RIGHT, forced(dict.fromkeys(able, ask.truth)))
        put(RANDOM, forced({name: drawn(ask.options, case.id, name) for name in able}))
    put(ABSENT, reseat(panel, empty=True))
    if as_is.precedents:
        put(POISONED, reseat(panel, label=_label(ask, false)))
    return [{"wrong": false, "able": sorted(able), "conditions": held}]


STUDY = Study("arbitration", answer, generalist=True)


def wrong_option(ask: Ask, normal: str | None, seed: str) -> str:
    """The normal option for every other truth; for a normal case, or without such an option, one of the others."""
    if normal is not None and ask.truth != normal:
        return normal
    return drawn([option for option in ask.options if option != ask.truth], seed)


def _able(panel: Panel, case: Case, ask: Ask, task: Task, false: str) -> list[str]:
    """Who may see the case and knows enough of the options to be forced to say either."""

    def can(card: Card) -> bool:
        admitted = any(refusal(card, study) is None for study in case.studies)
        return admitted and stance(card, ask, false, ask.truth, task.words) is not None

    return [name for name, card in panel.specialists.items() if can(card)]


def _force(panel: Panel, name: str, ask: Ask, task: Task, option: str) -> Forced:
    specialist = panel.specialist(name)
    # Whoever is able knows a concept of the truth or of the wrong option; one of the two is an alternative to every option.
    others = (other for other in (ask.truth, *ask.options) if other != option)
    found = next(filter(None, (stance(specialist.card, ask, option, other, task.words) for other in others)))
    return Forced(specialist, found)


def _label(ask: Ask, false: str) -> str:
    """The wrong option as a label that a known case could bear."""
    return false if not ask.asked else ask.words if false == YES else NO_FINDING


def _condition(held: Consultation, ask: Ask) -> dict[str, Any]:
    said = {opinion.specialist: spoken(opinion, ask) for opinion in held.opinions}
    return {
        **answered(held.answer),
        "vote": vote_of(said, ask.options),
        "opinions": {name: {o: number(p) for o, p in shares.items()} for name, shares in said.items()},
        "seconds": round(held.timings_s.get("total", 0.0), 4),
    }
