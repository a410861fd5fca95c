"""With experts on call against without: the native generalist under policy triggered and under solo, on the same pictures.

python benchmarks/native_experts.py --checkpoint native=FOLDER [--split val] [--cases 40]

The four OPEN sets, each of which has an expert. Under `triggered` the generalist reads the cards of everyone who admits the
picture and calls whom it likes, or nobody; beside both stands the vote of the experts. Kept is also whom it called. Writes
results/native_experts.json; the goal is that of VILA-M3: macro-F1 up by 9 % of what it is without.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

import native_common as common
from consilium.consult.council import case_of, consult
from consilium.datasets.folder import Record
from consilium.metrics.bootstrap import interval
from consilium.types import Array
from native_diagnosis import SPECIALIST, Answer, asked, differences, figures

STUDY = "native_experts"
WITH, WITHOUT = "with experts", "without"
GAIN = 0.09


def with_experts(options: Any, diagnosis: common.Diagnosis) -> Answer:
    base, folder = common.base(), common.checkpoints(options)["native"]
    panel = common.bench(
        lambda: common.native(folder, tuple(options.load), 40),
        {name: base.specialist(name) for name in base.specialists},
    )

    def answer(record: Record) -> dict[str, Any]:
        studies = common.read(record.path, diagnosis.modality, diagnosis.body_part)
        held = consult(case_of(studies, diagnosis.question, tuple(diagnosis.options.values())), panel, "triggered")
        label = diagnosis.label_of(held.answer.choice) or ""
        return {"said": label, "called": [opinion.specialist for opinion in held.opinions]}

    return answer


def answers(
    options: Any, study: str, diagnoses: Sequence[common.Diagnosis]
) -> tuple[common.Judged, dict[str, Array], dict[str, Any]]:
    """All pictures, what was said of each under every policy, and set -> how often whom was called."""
    folder = common.checkpoints(options)["native"]
    rows: list[tuple[str, str, str]] = []
    said: dict[str, list[str]] = {}
    called: dict[str, Any] = {}
    for diagnosis in diagnoses:
        _, wanted = common.pictures(options, diagnosis)
        rows += [(diagnosis.folder, r.labels[0], f"{diagnosis.folder}/{r.patient}") for r in wanted]
        solo = common.bench(lambda: common.native(folder, tuple(options.load), 40))
        name = diagnosis.specialist
        vote = common.bench(lambda: common.base().generalist, {name: common.base().specialist(name)})
        for who, answer in (
            (WITHOUT, asked(solo, "solo", diagnosis)),
            (WITH, with_experts(options, diagnosis)),
            (SPECIALIST, asked(vote, "panel_vote", diagnosis)),
        ):
            checkpoint = None if who == SPECIALIST else folder
            kept = common.records(options, study, f"{who}-{diagnosis.folder}", checkpoint, repr(diagnosis))
            found = kept.of(wanted, lambda r: r.row["path"], answer)
            said.setdefault(who, []).extend(r["said"] for r in found)
            if who == WITH:
                called[diagnosis.folder] = Counter(" and ".join(r["called"]) or "nobody" for r in found)
    sets, truth, groups = zip(*rows, strict=True)
    return common.Judged(sets, truth, groups), {name: np.array(by) for name, by in said.items()}, called


def measure(options: Any, study: str, diagnoses: Sequence[common.Diagnosis]) -> dict[str, Any]:
    judged, said, called = answers(options, study, diagnoses)
    compared = differences(judged, said, WITH)

    def gain(rows: Array) -> float:
        return judged.macro_f1(rows, said[WITH]) / judged.macro_f1(rows, said[WITHOUT]) - 1

    relative = common.figure(interval("relative gain", gain, list(judged.groups)))
    return {
        "command": common.command(study, options),
        "split": options.split,
        "figures": figures(judged, said),
        "with_experts_minus": compared,
        "relative_gain": relative,
        "called": called,
        "bars": {"relative_gain_at_least": GAIN, "met": relative["value"] >= GAIN},
    }


def main() -> None:
    options = common.parser(__doc__, STUDY).parse_args()
    common.only_shipped()
    common.write(options, STUDY, measure(options, STUDY, common.DIAGNOSES))


if __name__ == "__main__":
    main()
