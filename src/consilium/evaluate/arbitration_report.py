"""Figures of an arbitration study, from its records: what a policy keeps, corrects and still finds when it is misled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from consilium.errors import UsageError
from consilium.evaluate.arbitration import ABSENT, AS_IS, POISONED, RANDOM, RIGHT, SOLO, wrong_count
from consilium.evaluate.records import Row, Run, find_runs, read_run
from consilium.evaluate.score import plain
from consilium.metrics.bootstrap import interval
from consilium.types import Array, Score

ALL_WRONG, ONE_WRONG = "all wrong", "one wrong"
CONDITIONS = (SOLO, AS_IS, ONE_WRONG, ALL_WRONG, RIGHT, RANDOM, ABSENT, POISONED)


@dataclass(frozen=True)
class Rates:
    """n cases under one condition.

    accuracy  share of right answers.
    keeps     of the cases where the generalist alone was right and what it was told wrong: still right.
    corrects  of those where it was wrong and what it was told right: now right.
    found     of the diseases that it found alone: still called a disease. None where no label means normal.
    Each None where there is no such case; its n says of how many it is a share.
    """

    condition: str
    n: int
    accuracy: Score | None
    keeps: Score | None
    corrects: Score | None
    found: Score | None

    @property
    def figures(self) -> dict[str, Any]:
        shares = {name: plain(getattr(self, name)) for name in ("accuracy", "keeps", "corrects", "found")}
        return {"n": self.n, **shares}

    def json(self) -> dict[str, Any]:
        return {"condition": self.condition, **self.figures}


@dataclass(frozen=True)
class Report:
    """One policy on one split. `curve`: how it fares the more specialists are wrong, 0, 1, ... of them (sycophancy)."""

    dataset: str
    split: str
    policy: str
    generalist: str
    n: int
    conditions: tuple[Rates, ...]
    curve: tuple[Rates, ...]

    @property
    def shown(self) -> tuple[Rates, ...]:
        """The rows of a table: the conditions, then k wrong. "one wrong" and "all wrong" are left out where one of these is it:
        the one always, the other where as many specialists could be forced in every case."""
        counts = self.curve[1:]
        known = [rates.figures for rates in counts]
        doubles = {r.condition for r in self.conditions if r.condition in (ONE_WRONG, ALL_WRONG) and r.figures in known}
        return (*(r for r in self.conditions if r.condition not in doubles), *counts)

    def json(self) -> dict[str, Any]:
        facts = {name: getattr(self, name) for name in ("dataset", "split", "policy", "generalist", "n")}
        return facts | {"conditions": [r.json() for r in self.conditions], "curve": [r.json() for r in self.curve]}


def reports(places: Sequence[Path]) -> list[Report]:
    """A report a policy and dataset; UsageError where the places hold no arbitration study."""
    runs = [run for path in find_runs(places) if (run := read_run(path)).header.made_with["study"] == "arbitration"]
    found = [made for run in runs if (made := report(run)) is not None]
    if not found:
        raise UsageError(
            "the records that were named hold no arbitration study. Run: consilium evaluate arbitration FOLDER."
        )
    return found


def report(run: Run) -> Report | None:
    """The report of one run; None where it has no answer yet."""
    rows = [row for row in run.rows if "skipped" not in row]
    if not rows:
        return None
    made, normal = run.header.made_with, run.header.about["normal"]
    most = max(len(row["able"]) for row in rows)
    by_name = {name: _chosen(rows, name) for name in CONDITIONS}
    conditions = tuple(_rates(name, of, normal) for name, of in by_name.items() if of)
    curve = [AS_IS, *(wrong_count(k) for k in range(1, most + 1))]
    return Report(
        made["dataset"],
        made["split"],
        made["policy"],
        made["generalist"]["name"],
        len(rows),
        conditions,
        tuple(_rates(name, _chosen(rows, name), normal) for name in curve),
    )


Chosen = tuple[Row, dict[str, Any], str | None]


def _chosen(rows: Sequence[Row], name: str) -> list[Chosen]:
    """(record, what was answered under the condition, what was told) of the records that have it."""
    found: list[Chosen] = []
    for row in rows:
        key = {ONE_WRONG: wrong_count(1), ALL_WRONG: wrong_count(len(row["able"]))}.get(name, name)
        held = row["conditions"].get(key)
        if held is not None:
            told = {ALL_WRONG: row["wrong"], POISONED: row["wrong"], RIGHT: row["truth"]}.get(name, held["vote"])
            found.append((row, held, told))
    return found


def _rates(name: str, chosen: Sequence[Chosen], normal: str | None) -> Rates:
    truth = np.array([row["truth"] for row, _, _ in chosen])
    choice = np.array([held["choice"] or "" for _, held, _ in chosen])
    alone = np.array([row["conditions"][SOLO]["choice"] or "" for row, _, _ in chosen])
    told = np.array([said or "" for _, _, said in chosen])
    groups = np.array([row["group"] for row, _, _ in chosen])
    right, alone_right = choice == truth, alone == truth

    def share(of: Array, what: Array) -> Score | None:
        (rows,) = np.nonzero(of)
        if not len(rows):
            return None
        inside = what[rows]
        return interval(name, lambda drawn: float(inside[drawn].mean()), list(groups[rows]))

    def positive(said: Array) -> Array:
        return (said != normal) & (said != "")

    diseases = positive(truth) & positive(alone)
    return Rates(
        name,
        len(chosen),
        share(np.ones(len(chosen), bool), right),
        share(alone_right & (told != truth) & (told != ""), right),
        share(~alone_right & (told == truth), right),
        share(diseases, positive(choice)) if normal is not None else None,
    )
