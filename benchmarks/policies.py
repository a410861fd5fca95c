"""Every policy on the shipped sets' test splits with the default generalist: how often is the answer right?

python benchmarks/policies.py [--data ../shared/data] [--cases 40]

The first `cases` test pictures of each set in a seeded order; an abstention counts as wrong. Writes every answer and the
figures to results/policies.json.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import numpy as np

from consilium import formats
from consilium.consult import policies
from consilium.consult.council import case_of, consult
from consilium.consult.panel import DEFAULT_GENERALIST, assemble
from consilium.datasets.folder import Record, read_folder
from consilium.metrics.bootstrap import interval

# Set -> modality, body part, question, options, labels that an option stands for where they differ.
SETS = {
    "cxr_pneumonia_kermany": (
        ("CR", "CHEST"),
        "Does this chest X-ray show pneumonia?",
        ("normal", "pneumonia"),
        {"bacterial_pneumonia": "pneumonia", "viral_pneumonia": "pneumonia"},
    ),
    "brain_tumor_mri": (
        ("MR", "HEAD"),
        "Which tumour does the slice show?",
        ("glioma", "meningioma", "pituitary", "notumor"),
        {},
    ),
    "breast_ultrasound_busi": (("US", "BREAST"), "What does the picture show?", ("benign", "malignant", "normal"), {}),
    "lung_ct_iqoth": (("CT", "CHEST"), "What does the slice show?", ("benign", "malignant", "normal"), {}),
}
RUNS = [(policy, "measured") for policy in policies.names()] + [("gsco", "published")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--generalist", default=DEFAULT_GENERALIST)
    options = parser.parse_args()
    panel = assemble(generalist=options.generalist)
    answers: list[dict[str, object]] = []
    for name, (seen, question, choices, stands_for) in SETS.items():
        records = list(read_folder(options.data / name).of("test"))
        random.Random(20240).shuffle(records)
        for number, record in enumerate(records[: options.cases], 1):
            truth = stands_for.get(record.labels[0], record.labels[0])
            case = case_of(formats.read(record.path, modality=seen[0], body_part=seen[1]), question, choices)
            for policy, profile in RUNS:
                held = consult(case, panel, policy, profile)  # type: ignore[arg-type]
                answers.append(_row(name, record, f"{policy} {profile}", held.answer.choice, truth))
            print(f"\r{name} {number}/{options.cases}", end="", flush=True)
        print()
    report = {
        "command": f"python benchmarks/policies.py --cases {options.cases} --generalist {options.generalist}",
        "generalist": dict.fromkeys([panel.generalist.card.name], panel.generalist.card.version),
        "accuracy": {s: {run: _accuracy(answers, s, run) for run in _runs(answers)} for s in [*SETS, "all"]},
        "less_than_panel_vote": {run: _difference(answers, run) for run in _runs(answers)},
        "answers": answers,
    }
    Path("results/policies.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: report[key] for key in ("accuracy", "less_than_panel_vote")}, indent=1))


def _row(name: str, record: Record, run: str, choice: str | None, truth: str) -> dict[str, object]:
    return {"set": name, "case": record.path.name, "run": run, "choice": choice, "truth": truth}


def _runs(answers: list[dict[str, object]]) -> list[str]:
    return list(dict.fromkeys(str(answer["run"]) for answer in answers))


def _right(answers: list[dict[str, object]], name: str, run: str) -> np.ndarray:
    rows = [a for a in answers if a["run"] == run and name in ("all", a["set"])]
    return np.array([a["choice"] == a["truth"] for a in rows], float)


def _accuracy(answers: list[dict[str, object]], name: str, run: str) -> dict[str, float]:
    right = _right(answers, name, run)
    score = interval("accuracy", lambda rows: float(right[rows].mean()), [str(i) for i in range(len(right))])
    return {"value": score.value, "low": score.low, "high": score.high, "n": score.n}


def _difference(answers: list[dict[str, object]], run: str) -> dict[str, float]:
    """Accuracy of panel_vote minus that of `run` over the same cases."""
    gap = _right(answers, "all", "panel_vote measured") - _right(answers, "all", run)
    score = interval("difference", lambda rows: float(gap[rows].mean()), [str(i) for i in range(len(gap))])
    return {"value": score.value, "low": score.low, "high": score.high, "n": score.n}


if __name__ == "__main__":
    main()
