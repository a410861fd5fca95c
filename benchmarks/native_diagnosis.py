"""Closed-set diagnosis from pixels alone: the native generalist's option likelihoods against the light specialists.

python benchmarks/native_diagnosis.py --checkpoint native=FOLDER [--checkpoint question_only=FOLDER] [--split val] [--cases 20]

Every test picture of the four OPEN sets is put with `consult`: the generalist by policy solo, the light specialist by
panel_vote, on the same encoder. Beside them: the commonest class, the nearest train picture, and a model trained without
pictures. A figure over all sets is the mean over the sets; intervals and tests count a patient (where none is known, a
picture) as one piece of evidence.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import native_common as common
from consilium.consult.council import case_of, consult
from consilium.consult.panel import Panel
from consilium.datasets.folder import Record
from consilium.metrics.bootstrap import interval
from consilium.metrics.paired import compare
from consilium.types import Array

STUDY = "native_diagnosis"
QUESTION_ONLY = "question_only"
SPECIALIST = "light_specialist"
BAR = -0.05
Answer = Callable[[Record], dict[str, Any]]


def asked(panel: Panel, policy: str, diagnosis: common.Diagnosis, blind: bool = False) -> Answer:
    """How a council answers on one set."""

    def answer(record: Record) -> dict[str, Any]:
        studies = common.read(record.path, diagnosis.modality, diagnosis.body_part)
        if blind:
            studies = tuple(replace(study, images=()) for study in studies)
        case = case_of(studies, diagnosis.question, tuple(diagnosis.options.values()))
        held = consult(case, panel, policy).answer
        return {"said": diagnosis.label_of(held.choice) or "", "probabilities": dict(held.probabilities)}

    return answer


def commonest(train: Sequence[Record]) -> Answer:
    label = Counter(record.labels[0] for record in train).most_common(1)[0][0]
    return lambda record: {"said": label}


def nearest(train: Sequence[Record], title: str) -> Answer:
    """The label of the train picture with the most similar features."""
    known: list[Array] = []

    def answer(record: Record) -> dict[str, Any]:
        encoder = common.base().encoder
        if not known:
            known.append(common.pooled(encoder, [r.path for r in train], f"{title}, train"))
        similar = known[0] @ common.pooled(encoder, [record.path])[0]
        best = train[int(similar.argmax())]
        return {"said": best.labels[0], "similarity": round(float(similar.max()), 4)}

    return answer


def answerers(options: argparse.Namespace, diagnosis: common.Diagnosis, train: Sequence[Record]) -> dict[str, Any]:
    """Name -> (checkpoint folder or None, how it answers)."""
    found: dict[str, Any] = {}
    for name, folder in common.checkpoints(options).items():
        panel = common.bench(lambda folder=folder: common.native(folder, tuple(options.load)))
        found[name] = (folder, asked(panel, "solo", diagnosis, name == QUESTION_ONLY))

    def vote(record: Record) -> dict[str, Any]:
        name = diagnosis.specialist
        panel = common.bench(lambda: common.base().generalist, {name: common.base().specialist(name)})
        return asked(panel, "panel_vote", diagnosis)(record)

    return found | {
        SPECIALIST: (None, vote),
        "commonest_class": (None, commonest(train)),
        "nearest_neighbour": (None, nearest(train, diagnosis.folder)),
    }


def answers(options: argparse.Namespace) -> tuple[common.Judged, dict[str, Array]]:
    """All pictures, and what everyone said of each: (n,) labels, "" for an abstention."""
    rows: list[tuple[str, str, str]] = []
    said: dict[str, list[str]] = {}
    for diagnosis in common.DIAGNOSES:
        train, wanted = common.pictures(options, diagnosis)
        rows += [(diagnosis.folder, r.labels[0], f"{diagnosis.folder}/{r.patient}") for r in wanted]
        for name, (folder, answer) in answerers(options, diagnosis, train).items():
            kept = common.records(options, STUDY, f"{name}-{diagnosis.folder}", folder, repr(diagnosis))
            said.setdefault(name, []).extend(r["said"] for r in kept.of(wanted, lambda r: r.row["path"], answer))
    sets, truth, groups = zip(*rows, strict=True)
    return common.Judged(sets, truth, groups), {name: np.array(by) for name, by in said.items()}


def parts(judged: common.Judged) -> dict[str, Array]:
    """Rows of each set, and of all."""
    return {name: judged.of(name) for name in dict.fromkeys(judged.sets)} | {
        "mean of sets": np.arange(len(judged.sets))
    }


def figures(judged: common.Judged, said: Mapping[str, Array]) -> dict[str, Any]:
    """Set -> answerer -> macro-F1 and accuracy."""
    found: dict[str, Any] = {}
    for part, inside in parts(judged).items():
        groups = [judged.groups[i] for i in inside]
        for name, by in said.items():
            for title, metric in (("macro_f1", judged.macro_f1), ("accuracy", judged.accuracy)):
                score = interval(title, lambda rows, m=metric, by=by, inside=inside: m(inside[rows], by), groups)
                found.setdefault(part, {}).setdefault(name, {})[title] = common.figure(score)
            found[part][name]["abstained"] = int((by[inside] == "").sum())
    return found


def differences(judged: common.Judged, said: Mapping[str, Array], name: str) -> dict[str, Any]:
    """Set -> other answerer -> macro-F1 of `name` minus the other's, paired."""
    found: dict[str, Any] = {}
    for part, inside in parts(judged).items():
        groups = [judged.groups[i] for i in inside]
        for other in (other for other in said if other != name):

            def metric(rows: Array, of: Array, inside: Array = inside) -> float:
                whole = np.zeros(len(judged.sets), of.dtype)
                whole[inside] = of
                return judged.macro_f1(inside[rows], whole)

            difference = compare("macro-F1", metric, said[name][inside], said[other][inside], groups)
            found.setdefault(part, {})[other] = common.compared(difference)
    return found


def main() -> None:
    options = common.parser(__doc__, STUDY).parse_args()
    judged, said = answers(options)
    name = next(iter(common.checkpoints(options)))
    compared = differences(judged, said, name)
    met = {part: by[SPECIALIST]["value"] >= BAR for part, by in compared.items()}
    report = {
        "command": common.command(STUDY, options),
        "split": options.split,
        "asked": {d.folder: {"question": d.question, "options": list(d.options.values())} for d in common.DIAGNOSES},
        "figures": figures(judged, said),
        f"{name}_minus": compared,
        "bars": {"macro_f1_less_than_light_specialist_at_most": -BAR, "met": met},
    }
    common.write(options, STUDY, report)


if __name__ == "__main__":
    main()
