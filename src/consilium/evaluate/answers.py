"""Records as arrays: the answers of one policy on one dataset, of one run or of several seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from consilium.errors import DataError, UsageError
from consilium.evaluate.records import Row, Run, find_runs, read_run
from consilium.evaluate.reduced import vote_of
from consilium.types import Array

CaseKey = tuple[str, str, int]


@dataclass(frozen=True, eq=False)
class Answers:
    """n questions, c options.

    keys           (case, asked label, how many of this case came before): by which answers of two policies are paired.
    asked, truth   (n,) the label asked about, "" for none; (n,) place of the right option.
    choice, vote   (n,) place of the option chosen, of the specialists' vote; -1 for an abstention.
    probabilities  (n, c), rows of NaN where none were given.
    groups         (n,) whom each belongs to.
    """

    keys: tuple[CaseKey, ...]
    options: tuple[str, ...]
    exclusive: bool
    asked: Array
    truth: Array
    choice: Array
    vote: Array
    probabilities: Array
    groups: Array

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def right(self) -> Array:
        return np.asarray(self.choice == self.truth)

    @property
    def stated(self) -> Array:
        """(n,) where probabilities were given."""
        return np.asarray(np.isfinite(self.probabilities).all(axis=1))

    @property
    def confidence(self) -> Array:
        """(n,) the top probability, 0 of an answer without one, -inf where nothing was answered."""
        top = np.where(self.stated, np.nan_to_num(self.probabilities).max(axis=1), 0.0)
        return np.where(self.choice >= 0, top, -np.inf)

    def of(self, rows: Array) -> Answers:
        """The same of some rows, in that order; without keys, which no figure needs (a bootstrap calls this by the thousand)."""
        arrays = {
            name: getattr(self, name)[rows] for name in ("asked", "truth", "choice", "vote", "probabilities", "groups")
        }
        return replace(self, keys=(), **arrays)

    def on(self, keys: Sequence[CaseKey]) -> Answers:
        """The same of these questions, in that order."""
        place = {key: i for i, key in enumerate(self.keys)}
        return replace(self.of(np.array([place[key] for key in keys], int)), keys=tuple(keys))


@dataclass(frozen=True, eq=False)
class System:
    """What is ranked: one policy with one generalist on one dataset. `runs` has an entry a seed, over the same questions."""

    dataset: str
    split: str
    policy: str
    generalist: str
    name: str
    runs: tuple[Answers, ...]
    headers: tuple[dict[str, Any], ...]
    skipped: int
    seconds: float

    @property
    def first(self) -> Answers:
        return self.runs[0]

    @property
    def cases(self) -> tuple[str, str]:
        """(dataset, split): only within these are systems ranked and compared."""
        return self.dataset, self.split


def systems(places: Sequence[Path]) -> list[System]:
    """The systems whose records lie in these files and folders, by dataset and split, as they were found.

    Runs that differ in nothing but --seed-name are one system. Raises UsageError where there are no records of plain
    evaluations, DataError where the seeds of a system answered different questions.
    """
    runs = [run for path in find_runs(places) if (run := read_run(path)).header.made_with["study"] == "evaluation"]
    together: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        if any("skipped" not in row for row in run.rows):
            together.setdefault(_identity(run), []).append(run)
    if not together:
        raise UsageError("the records that were named hold no answers of `consilium evaluate run`; run it first.")
    found = [_system(of) for of in together.values()]
    return sorted(_told_apart(found, list(together.values())), key=lambda system: system.cases)


def to_answers(run: Run) -> Answers:
    """The answered records of a run."""
    rows = [row for row in run.rows if "skipped" not in row]
    options = tuple(run.header.made_with["options"])
    place = {option: i for i, option in enumerate(options)}
    seen: Counter[tuple[str, str]] = Counter()
    keys = []
    for row in rows:
        keys.append((row["case"], row["asked"], seen[row["case"], row["asked"]]))
        seen[row["case"], row["asked"]] += 1
    return Answers(
        tuple(keys),
        options,
        bool(run.header.about["exclusive"]),
        np.array([row["asked"] for row in rows]),
        np.array([place[row["truth"]] for row in rows], int),
        np.array([place.get(row["choice"], -1) for row in rows], int),
        np.array([place.get(_vote(row, options), -1) for row in rows], int),
        np.array([[_probability(row, option) for option in options] for row in rows], float),
        np.array([row["group"] for row in rows]),
    )


def _vote(row: Row, options: Sequence[str]) -> str:
    return vote_of({o["specialist"]: o["probabilities"] for o in row["opinions"]}, options) or ""


def _probability(row: Row, option: str) -> float:
    value = row["probabilities"].get(option)
    return float("nan") if value is None else float(value)


def _identity(run: Run) -> tuple[str, ...]:
    """All that records hang on but the seed's name and, with seeds, what seeds may change: the generalist's version. Runs
    without a seed's name are never joined."""
    made = dict(run.header.made_with)
    seed = made.pop("seed", "")
    generalist = made.pop("generalist", None) or {}
    apart = "" if seed else f"{generalist.get('version', '')} {run.path}"
    return (*(f"{key}={value}" for key, value in sorted(made.items())), str(generalist.get("name")), apart)


def _system(runs: Sequence[Run]) -> System:
    runs = sorted(runs, key=lambda run: str(run.header.made_with["seed"]))
    every = [to_answers(run) for run in runs]
    made = runs[0].header.made_with
    names = [str(run.header.made_with["seed"]) for run in runs]
    if len(set(names)) < len(names):
        raise DataError(
            f"two runs of {made['policy']} on {made['dataset']} bear the seed name {names[0]!r}; name them apart."
        )
    common = set.intersection(*(set(answers.keys) for answers in every))
    uneven = [name for name, answers in zip(names, every, strict=True) if len(answers) != len(common)]
    if uneven:
        raise DataError(
            f"the seeds {', '.join(names)} of {made['policy']} on {made['dataset']} answered different cases; finish each with "
            "the same command."
        )
    same = [answers.on(every[0].keys) for answers in every]
    rows = [row for run in runs for row in run.rows]
    spent = [row["seconds"].get("total", 0.0) for row in rows if "seconds" in row]
    return System(
        made["dataset"],
        made["split"],
        made["policy"],
        (made["generalist"] or {}).get("name", "none"),
        made["policy"],
        tuple(same),
        tuple(dict(run.header.made_with) for run in runs),
        len({row["row"] for row in rows if "skipped" in row}),
        float(np.median(spent)) if spent else float("nan"),
    )


def _told_apart(found: Sequence[System], runs: Sequence[Sequence[Run]]) -> list[System]:
    """Names within a split of a dataset: the policy; where that is not enough the generalist, then the folder and a number."""
    named = list(found)
    ways = (
        lambda s, of: f"{s.policy} {s.generalist}",
        lambda s, of: f"{s.policy} {s.generalist} {of[0].path.parent.name}",
        lambda s, of: f"{s.policy} {s.generalist} {of[0].path.parent.name} {of[0].header.digest}",
        lambda s, of: f"{s.policy} {of[0].path}",
    )
    for way in ways:
        counts = Counter((s.cases, s.name) for s in named)
        named = [
            replace(s, name=way(s, of)) if counts[s.cases, s.name] > 1 else s for s, of in zip(named, runs, strict=True)
        ]
    return named
