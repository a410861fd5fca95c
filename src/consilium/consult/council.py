"""`consult`: the only way from a case to an answer."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import consilium
from consilium.consult import policies
from consilium.consult.panel import Panel
from consilium.consult.parse import normalise
from consilium.consult.prompt import NO_FINDING, Profile
from consilium.consult.route import identify
from consilium.consult.table import Table
from consilium.consult.volume_report import reader, reported
from consilium.errors import UsageError
from consilium.genomics.sealed import digest_of
from consilium.imaging.picture import views
from consilium.types import Case, Consultation, Genome, Study

DEFAULT_POLICY = "gsco"
_BATCH = 32


def case_of(
    studies: Sequence[Study],
    question: str,
    options: Sequence[str] = (),
    history: str = "",
    multiple: bool = False,
    genome: Genome | None = None,
) -> Case:
    """A case from what was read; its id is a digest of pictures, genome and question, so that it names nobody."""
    digest = hashlib.sha256(question.encode())
    for study in studies:
        for item in study.images:
            digest.update(item.digest.encode())
    if genome is not None:
        digest.update(f"genome {digest_of(genome)}".encode())
    name = f"case-{digest.hexdigest()[:12]}"
    return Case(name, question, tuple(options), tuple(studies), history, genome, multiple)


def consult(case: Case, panel: Panel, policy: str = DEFAULT_POLICY, profile: Profile = "measured") -> Consultation:
    """Holds the consultation on `case` and signs it with who spoke and for how long.

    Raises UsageError where the options cannot be told apart or the policy asks specialists or an index about a study of
    unknown modality, UnknownMemberError for an unknown policy, and what a broken member raises. A member that cannot judge
    abstains within the Consultation.
    """
    start = time.perf_counter()
    decide = policies.get(policy)
    _check_options(case.options, case.multiple)
    case = identify(case, panel.router)
    table = Table(case, panel, profile)
    answer = decide(table)
    opinions, precedents = table.heard()
    versions = {card.name: card.version for card in table.cards} | {"consilium": consilium.__version__}
    return Consultation(
        case=case,
        policy=policy,
        opinions=opinions,
        precedents=precedents,
        exchange=tuple(table.exchange),
        answer=reported(answer, case, opinions, panel.specialists, reader(panel, table.exchange)),
        versions=versions,
        licences={card.name: card.licence for card in table.cards},
        timings_s=table.timings_s | {"total": time.perf_counter() - start},
        notes=(f"prompt profile: {profile}", *dict.fromkeys(table.notes)),
    )


def consult_many(
    cases: Sequence[Case], panel: Panel, policy: str = DEFAULT_POLICY, profile: Profile = "measured"
) -> Iterator[Consultation]:
    """`consult` on each case, after batched encoder passes over their pictures; each bears its share of their time."""
    for first in range(0, len(cases), _BATCH):
        batch = cases[first : first + _BATCH]
        images = [view for case in batch for study in case.studies for item in study.images for view in views(item)]
        start = time.perf_counter()
        if images:
            panel.encoder.embed(images, patches=True)
        share = (time.perf_counter() - start) / len(batch)
        for case in batch:
            held = consult(case, panel, policy, profile)
            added = {name: held.timings_s.get(name, 0.0) + share for name in ("encoder", "total")}
            yield replace(held, timings_s={**held.timings_s, **added})


def _check_options(options: Sequence[str], multiple: bool) -> None:
    distinct = {normalise(option) for option in options}
    if multiple and (not options or normalise(NO_FINDING) in distinct):
        raise UsageError(
            f"a question of which several options may hold needs options, without {NO_FINDING!r}: that is offered."
        )
    least = 1 if multiple else 2
    if options and (len(distinct) < max(least, len(options)) or "" in distinct):
        raise UsageError(
            f"the options {', '.join(map(repr, options))} cannot be told apart. Give two or more that differ."
        )
