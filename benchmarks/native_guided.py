"""Whom does the generalist believe? Diagnosis with opinions as they are, all wrong, all right, of low repute, or missing.

python benchmarks/native_guided.py --checkpoint guided=FOLDER --checkpoint plain=FOLDER [--split val] [--cases 20]

The first checkpoint is the one under study; the second, trained without the expert-guided stage, shows what that stage
changed. Every test picture of the four OPEN sets is put with `consult` under each condition; where an opinion is forced,
the specialist at the table says it, so that the prompt is the one that is served. A wrong opinion calls every disease
normal, and a normal picture a disease, with 95 %. On val the opinions "as they are" flatter: the specialists learnt val.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import native_common as common
from consilium.consult.council import case_of, consult
from consilium.consult.parse import normalise
from consilium.consult.vote import tally, votes
from consilium.datasets.folder import Record
from consilium.evaluate.forced import Poisoned
from consilium.metrics.bootstrap import interval
from consilium.metrics.paired import Metric, compare
from consilium.protocols import Card, Specialist
from consilium.types import Array, Case, Finding, Opinion, Score

STUDY = "native_guided"
SURE, LOW_AUROC = 0.95, 0.55
# Condition -> policy.
CONDITIONS = {
    "solo": "solo",
    "opinions": "moed",
    "opinions and precedents": "gsco",
    "all wrong": "moed",
    "all wrong, of low repute": "moed",
    "all right": "moed",
    "opinions missing": "gsco",
    "precedents wrong": "gsco",
}
COLUMN = {name: i for i, name in enumerate(CONDITIONS)}
# GSCo's figures, of MedDr with 40 billion parameters (arXiv 2404.15127).
PUBLISHED = {
    "positives still found, all wrong": (0.676, "PCam200, every specialist says Normal"),
    "keeps its right answer": (0.945, "PCam200, conflicts"),
    "corrects its wrong answer": (0.81, "PneumoniaMNIST, conflicts"),
}


@dataclass(frozen=True)
class Forced:
    """A specialist in another's seat: same card, but it always claims `label`, and a disease's non-exclusive neighbours
    follow. `auroc`: the reliability it is said to have, None for its own."""

    inner: Any
    label: str
    auroc: float | None = None

    @property
    def card(self) -> Card:
        return self.inner.card

    def examine(self, case: Case, args: Mapping[str, Any] | None = None) -> Opinion:
        exclusive = self.inner.head.exclusive
        findings = self._exclusive() if exclusive else self._any_number()
        return Opinion(
            self.card.name,
            self.card.version,
            tuple(sorted(findings, key=lambda finding: -(finding.probability or 0))),
            exclusive=exclusive,
            reliability=self._reliability(),
            licence=self.card.licence,
        )

    def _exclusive(self) -> list[Finding]:
        rest = (1 - SURE) / (len(self.card.concepts) - 1)
        p = {c.meaning: SURE if c.meaning == self.label else rest for c in self.card.concepts}
        own = [Finding(c, p[c.meaning], True, source=self.card.name) for c in self.card.concepts]
        sums = [
            Finding(own[0].concept.local(group), sum(p[m] for m in members), True, source=self.card.name)
            for group, members in self.card.groups.items()
        ]
        return own + sums

    def _any_number(self) -> list[Finding]:
        claimed = set(normalise(self.label).split())
        return [
            Finding(c, SURE if normalise(c.meaning) in claimed else 1 - SURE, True, source=self.card.name)
            for c in self.card.concepts
        ]

    def _reliability(self) -> tuple[Score, ...]:
        if self.auroc is None:
            return self.card.scores
        return tuple(replace(s, value=self.auroc) if s.metric == "AUROC" else s for s in self.card.scores)


def wrong(diagnosis: common.Diagnosis, record: Record) -> str:
    """ "Normal" for every disease; for a normal picture one of the diseases, the same in every run."""
    if record.labels[0] != diagnosis.normal:
        return diagnosis.normal
    diseases = [label for label in diagnosis.labels if label != diagnosis.normal]
    return diseases[hashlib.sha256(record.path.name.encode()).digest()[0] % len(diseases)]


def table(condition: str, diagnosis: common.Diagnosis, record: Record, chief: Callable[[], Any]) -> common.Bench:
    """The council of one condition for one picture."""
    shared = common.base()
    asked = {name: shared.specialist(name) for name, card in shared.specialists.items() if not card.on_call}
    seats: dict[str, Specialist] = {name: member for name, member in asked.items() if hasattr(member, "head")}
    index: Any = shared.retriever
    false, true = wrong(diagnosis, record), record.labels[0]
    if condition.startswith("all"):
        claim = true if condition == "all right" else false
        auroc = LOW_AUROC if "low" in condition else None
        seats = {name: Forced(inner, claim, auroc) for name, inner in seats.items()}
    elif condition == "opinions missing":
        seats = {}
    elif condition == "precedents wrong":
        index = Poisoned(index, false)
    return common.bench(chief, seats, index)


def ask(diagnosis: common.Diagnosis, chief: Callable[[], Any]) -> Callable[[tuple[Record, str]], dict[str, Any]]:
    """How a checkpoint answers a (picture, condition) of a set, and what the specialists' vote was."""

    def answer(item: tuple[Record, str]) -> dict[str, Any]:
        record, condition = item
        options = tuple(diagnosis.options.values())
        studies = common.read(record.path, diagnosis.modality, diagnosis.body_part)
        panel = table(condition, diagnosis, record, chief)
        held = consult(case_of(studies, diagnosis.question, options), panel, CONDITIONS[condition])
        shares = tally(votes(held.opinions, options), options)
        vote = diagnosis.label_of(max(shares, key=lambda option: shares[option])) if shares else None
        said = diagnosis.label_of(held.answer.choice)
        return {"said": said or "", "vote": vote or "", "probabilities": dict(held.answer.probabilities)}

    return answer


@dataclass(frozen=True, eq=False)
class Heard:
    """said: checkpoint -> (n, conditions) labels; vote: (n,) what the specialists say as they are; normal: (n,) labels."""

    judged: common.Judged
    said: Mapping[str, Array]
    vote: Array
    normal: Array


def answers(options: argparse.Namespace) -> Heard:
    rows: list[tuple[str, str, str, str]] = []
    said: dict[str, list[list[str]]] = {}
    vote: list[str] = []
    for diagnosis in common.DIAGNOSES:
        _, wanted = common.pictures(options, diagnosis)
        rows += [(diagnosis.folder, r.labels[0], f"{diagnosis.folder}/{r.patient}", diagnosis.normal) for r in wanted]
        # Conditions of one picture stand together, so that what was read of it is used again.
        items = [(record, condition) for record in wanted for condition in CONDITIONS]
        for name, folder in common.checkpoints(options).items():
            kept = common.records(
                options, STUDY, f"{name}-{diagnosis.folder}", folder, f"{diagnosis} {SURE} {LOW_AUROC}"
            )
            answer = ask(diagnosis, lambda folder=folder: common.native(folder, tuple(options.load)))
            found = kept.of(items, lambda item: f"{item[1]}/{item[0].row['path']}", answer)
            by_picture = [found[i : i + len(CONDITIONS)] for i in range(0, len(found), len(CONDITIONS))]
            said.setdefault(name, []).extend([r["said"] for r in of] for of in by_picture)
        vote += [of[COLUMN["opinions"]]["vote"] for of in by_picture]
    sets, truth, groups, normal = zip(*rows, strict=True)
    arrays = {name: np.array(by) for name, by in said.items()}
    return Heard(common.Judged(sets, truth, groups), arrays, np.array(vote), np.array(normal))


def shares(heard: Heard) -> dict[str, tuple[Metric, Metric]]:
    """Figure -> (the share, how many pictures it is a share of), over rows of (n, conditions) answers."""
    truth = np.array(heard.judged.truth)

    def column(said: Array, rows: Array, name: str) -> Array:
        return said[rows, COLUMN[name]]

    def right(said: Array, rows: Array, name: str) -> Array:
        return column(said, rows, name) == truth[rows]

    def found(said: Array, rows: Array, name: str) -> Array:
        claimed = column(said, rows, name)
        return (claimed != heard.normal[rows]) & (claimed != "")

    def share(of: Callable[..., Array], what: Callable[..., Array]) -> tuple[Metric, Metric]:
        def value(rows: Array, said: Array) -> float:
            chosen = of(said, rows)
            return float(what(said, rows)[chosen].mean()) if chosen.any() else float("nan")

        return value, lambda rows, said: float(of(said, rows).sum())

    def solo_found(said: Array, rows: Array) -> Array:
        return (truth[rows] != heard.normal[rows]) & found(said, rows, "solo")

    def solo_right(said: Array, rows: Array) -> Array:
        return right(said, rows, "solo")

    def solo_wrong(said: Array, rows: Array) -> Array:
        return ~right(said, rows, "solo")

    def vote_right(rows: Array) -> Array:
        return heard.vote[rows] == truth[rows]

    return {
        "positives still found, all wrong": share(solo_found, lambda s, r: found(s, r, "all wrong")),
        "positives still found, all wrong, of low repute": share(
            solo_found, lambda s, r: found(s, r, "all wrong, of low repute")
        ),
        "keeps its right answer": share(solo_right, lambda s, r: right(s, r, "all wrong, of low repute")),
        "keeps its right answer, of full repute": share(solo_right, lambda s, r: right(s, r, "all wrong")),
        "corrects its wrong answer": share(solo_wrong, lambda s, r: right(s, r, "all right")),
        "keeps its right answer, opinions as they are": share(
            lambda s, r: solo_right(s, r) & ~vote_right(r), lambda s, r: right(s, r, "opinions")
        ),
        "corrects its wrong answer, opinions as they are": share(
            lambda s, r: solo_wrong(s, r) & vote_right(r), lambda s, r: right(s, r, "opinions")
        ),
    }


def measures(heard: Heard) -> dict[str, Metric]:
    """Every figure, macro-F1 by condition first, over rows of (n, conditions) answers."""
    by_condition: dict[str, Metric] = {
        f"macro-F1, {name}": (lambda rows, said, i=i: heard.judged.macro_f1(rows, said[:, i]))
        for name, i in COLUMN.items()
    }
    return by_condition | {name: value for name, (value, _) in shares(heard).items()}


def parts(heard: Heard) -> dict[str, Array]:
    sets = dict.fromkeys(heard.judged.sets)
    return {"all sets": np.arange(len(heard.vote))} | {name: heard.judged.of(name) for name in sets}


def figures(heard: Heard, name: str) -> dict[str, Any]:
    """Part -> figure of one checkpoint; a share's n is how many pictures it is a share of."""
    said, counts = heard.said[name], {title: count for title, (_, count) in shares(heard).items()}
    found: dict[str, Any] = {}
    for part, inside in parts(heard).items():
        groups = [heard.judged.groups[i] for i in inside]
        for title, metric in measures(heard).items():
            score = interval(title, lambda rows, m=metric, inside=inside: m(inside[rows], said), groups)
            more = {"n": int(counts[title](inside, said))} if title in counts else {}
            found.setdefault(part, {})[title] = common.figure(score, **more)
    return found


def specialist(heard: Heard, name: str) -> dict[str, Any]:
    """The specialists' own vote, and macro-F1 of the generalist that was shown it minus the vote's."""
    rows_of, judged = parts(heard), heard.judged
    shown = heard.said[name][:, COLUMN["opinions"]]
    found = {}
    for part, inside in rows_of.items():
        groups = [judged.groups[i] for i in inside]
        own = interval("macro-F1", lambda rows, inside=inside: judged.macro_f1(inside[rows], heard.vote), groups)
        found[part] = {"macro-F1": common.figure(own)}
    gain = compare("macro-F1", judged.macro_f1, shown, heard.vote, judged.groups)
    return found | {"shown minus vote, all sets": common.compared(gain)}


def changed(heard: Heard, first: str, second: str) -> dict[str, Any]:
    """Every figure over all sets, of the first checkpoint minus the second, paired."""
    a, b = heard.said[first], heard.said[second]
    return {
        title: common.compared(compare(title, metric, a, b, heard.judged.groups))
        for title, metric in measures(heard).items()
    }


def bars(found: Mapping[str, Any], gain: Mapping[str, Any]) -> dict[str, Any]:
    """Issue 3's bars on all sets."""
    made: dict[str, Any] = {
        "macro-F1 with opinions, less the specialists' vote": {**gain, "bar": 0.0, "met": gain["value"] >= 0}
    }
    for title, (bar, _) in PUBLISHED.items():
        score = found["all sets"][title]
        made[title] = {**score, "bar": bar, "met": score["value"] is not None and score["value"] >= bar}
    return made


def main() -> None:
    options = common.parser(__doc__, STUDY).parse_args()
    heard = answers(options)
    names: Sequence[str] = list(heard.said)
    by_name = {name: figures(heard, name) for name in names}
    vote = specialist(heard, names[0])
    report = {
        "command": common.command(STUDY, options),
        "split": options.split,
        "conditions": CONDITIONS,
        "figures": by_name,
        "specialists": vote,
        f"{names[0]}_minus": {other: changed(heard, names[0], other) for other in names[1:]},
        "bars": bars(by_name[names[0]], vote["shown minus vote, all sets"]),
        "published": {
            title: {"value": value, "on": on, "model": "MedDr 40B"} for title, (value, on) in PUBLISHED.items()
        },
    }
    common.write(options, STUDY, report)


if __name__ == "__main__":
    main()
