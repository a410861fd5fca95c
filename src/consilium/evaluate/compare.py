"""Two policies on the same cases: differences with interval and permutation p, Holm-corrected over all that is shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from consilium.errors import DataError, UsageError
from consilium.evaluate import score as scoring
from consilium.evaluate.answers import Answers, System
from consilium.metrics.paired import Comparison, compare, holm
from consilium.types import Array

# Figure -> how it is computed, and the array of answers that is exchanged between the two.
COMPARED: dict[str, tuple[Callable[[Answers], float], str]] = {
    "accuracy": (scoring.accuracy, "choice"),
    "macro-F1": (scoring.macro_f1, "choice"),
    "Brier": (scoring.brier, "probabilities"),
}
_NAMED = 5
_SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Test:
    """`found`: the first's figure less the second's, and p; `p_holm`: p corrected for all tests made together. `found` is
    None where one of them gave no probabilities."""

    dataset: str
    split: str
    first: str
    second: str
    figure: str
    found: Comparison | None
    p_holm: float | None = None

    @property
    def differs(self) -> bool:
        return self.p_holm is not None and self.p_holm <= _SIGNIFICANT

    def json(self) -> dict[str, Any]:
        number = scoring.plain(self.found.score) if self.found else None
        p = {"p": self.found.p if self.found else None, "p_holm": self.p_holm}
        names = ("dataset", "split", "first", "second", "figure")
        return {name: getattr(self, name) for name in names} | {"difference": number, **p, "differs": self.differs}


def compare_all(
    systems: Sequence[System],
    *,
    intersect: bool = False,
    against: str | None = None,
    figures: Sequence[str] = tuple(COMPARED),
) -> tuple[Test, ...]:
    """Every two systems of a dataset and split, or each against the one called `against`.

    intersect  compare on the cases that both answered; without it DataError where they answered different ones.
    Raises UsageError where no split of a dataset has two systems.
    """
    tests = [_test(first, second, name, intersect) for first, second in _pairs(systems, against) for name in figures]
    if not tests:
        there = ", ".join(f"{s.name} on {s.dataset} {s.split}" for s in systems)
        raise UsageError(f"nothing to compare: no split of a dataset has two of what was named ({there}).")
    known = [i for i, test in enumerate(tests) if test.found is not None and not np.isnan(test.found.p)]
    corrected = dict(zip(known, holm([tests[i].found.p for i in known]), strict=True))  # type: ignore[union-attr]
    return tuple(replace(test, p_holm=corrected.get(i)) for i, test in enumerate(tests))


def aligned(first: System, second: System, intersect: bool = False) -> tuple[list[Answers], list[Answers]]:
    """The runs of both on the same questions in the same order; DataError where they cannot be paired."""
    a, b = set(first.first.keys), set(second.first.keys)
    if a != b and not intersect:
        raise DataError(_unpaired(first, second, a - b, b - a))
    common = [key for key in first.first.keys if key in b]
    if not common:
        raise DataError(f"{first.name} and {second.name} on {first.dataset} have no case in common.")
    if len(first.runs) != len(second.runs):
        raise DataError(
            f"{first.name} has {len(first.runs)} seeds and {second.name} {len(second.runs)} on {first.dataset}; they are paired "
            "one by one, so give as many of each."
        )
    pair = ([answers.on(common) for answers in first.runs], [answers.on(common) for answers in second.runs])
    one, other = pair[0][0], pair[1][0]
    if one.options != other.options or not np.array_equal(one.truth, other.truth):
        raise DataError(
            f"{first.name} and {second.name} on {first.dataset} were asked with other options ({', '.join(one.options)}; "
            f"{', '.join(other.options)}), so their answers cannot be paired. Run both with the same --option."
        )
    return pair


def same_cases(first: System, second: System) -> bool:
    """Whether `aligned` would find nothing to complain of."""
    one, other = first.first, second.first
    if set(one.keys) != set(other.keys) or one.options != other.options or len(first.runs) != len(second.runs):
        return False
    return bool(np.array_equal(one.truth, other.on(one.keys).truth))


def _pairs(systems: Sequence[System], against: str | None) -> list[tuple[System, System]]:
    pairs = [(a, b) for a, b in combinations(systems, 2) if a.cases == b.cases]
    if against is None:
        return pairs
    if against not in {system.name for system in systems}:
        raise UsageError(
            f"nothing is called {against!r}; there are: {', '.join(dict.fromkeys(s.name for s in systems))}."
        )
    return [(a, b) if b.name == against else (b, a) for a, b in pairs if against in (a.name, b.name)]


def _unpaired(first: System, second: System, only_a: set[Any], only_b: set[Any]) -> str:
    def said(name: str, keys: set[Any]) -> str:
        shown = sorted(f"{case}{f' ({asked})' if asked else ''}" for case, asked, _ in keys)
        more = f" and {len(shown) - _NAMED} more" if len(shown) > _NAMED else ""
        return f"{name} lacks {len(shown)}: {', '.join(shown[:_NAMED])}{more}"

    parts = [said(name, keys) for name, keys in ((second.name, only_a), (first.name, only_b)) if keys]
    return (
        f"{first.name} and {second.name} answered different cases of {first.dataset}: {'; '.join(parts)}. Finish the runs, or "
        "compare on the common cases: --intersect."
    )


def _test(first: System, second: System, name: str, intersect: bool) -> Test:
    figure, exchanged = COMPARED[name]
    one, other = aligned(first, second, intersect)
    if exchanged == "probabilities":
        stated = np.all([answers.stated for answers in (*one, *other)], axis=0)
        if not stated.any():
            return Test(*first.cases, first.name, second.name, name, None)
        rows = np.flatnonzero(stated)
        one, other = [a.of(rows) for a in one], [a.of(rows) for a in other]
    base = one[0]

    def metric(drawn: Array, said: Array) -> float:
        """`said` (n, seeds, ...): what is exchanged, of every seed."""
        of = base.of(drawn)
        by_seed = said[drawn].swapaxes(0, 1)
        return float(np.mean([figure(replace(of, **{exchanged: one_seed})) for one_seed in by_seed]))

    stacked = [np.stack([getattr(answers, exchanged) for answers in runs], axis=1) for runs in (one, other)]
    found = compare(name, metric, stacked[0], stacked[1], [str(group) for group in base.groups])
    return Test(*first.cases, first.name, second.name, name, found)
