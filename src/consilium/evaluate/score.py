"""Figures from records alone: how often a policy is right, how well its probabilities rank and mean what they say, and what
it would be if it answered only what it is sure of. Every figure with its interval over patients.

- An abstention is a wrong answer, but for "accuracy among answered".
- F1: over the options where the classes exclude each other; where each label was asked yes or no, of "yes" over the labels.
- AUROC, AUPRC, ECE, Brier: of the answers that came with probabilities, so many as the figure's n says.
- ECE is of the top option; at 15 bins it is far from 0 with few cases, whoever answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from consilium.evaluate.answers import Answers, System
from consilium.metrics import classification
from consilium.metrics.bootstrap import interval
from consilium.metrics.ranking import mean_auprc
from consilium.metrics.selective import aurc, coverage_at_risk, risk_at_coverage
from consilium.types import Array, Score

Figure = Callable[[Answers], float]
RESAMPLES = 1000
COVERAGES, RISKS = (0.7, 0.8, 0.9), (0.05, 0.1)
# Where less is better.
FALLING = frozenset({"ECE", "Brier", "AURC", *(f"risk at {c:.0%} coverage" for c in COVERAGES)})


def accuracy(answers: Answers) -> float:
    return _mean(answers.right)


def macro_f1(answers: Answers) -> float:
    """Mean of F1 over the concepts that occur or are claimed (see `concepts`)."""
    values = [2 * hit / (2 * hit + missed) for hit, missed in _counts(answers) if hit + missed]
    return _mean(np.array(values))


def micro_f1(answers: Answers) -> float:
    hit, missed = np.sum([*_counts(answers)], axis=0)
    return float(2 * hit / (2 * hit + missed)) if hit + missed else float("nan")


def brier(answers: Answers) -> float:
    """Squared difference summed over the options, mean over the answers with probabilities."""
    answers = answers.of(np.flatnonzero(answers.stated))
    return classification.brier(one_hot(answers), answers.probabilities) if len(answers) else float("nan")


def concepts(answers: Answers) -> list[tuple[str, int]]:
    """(label asked, place of the option) of everything that can be found: each option, or "yes" to each label."""
    if answers.exclusive:
        return [("", option) for option in range(len(answers.options))]
    return [(str(label), 0) for label in np.unique(answers.asked)]


def one_hot(answers: Answers) -> Array:
    """(n, options) float: 1 at the truth."""
    return np.eye(len(answers.options))[answers.truth]


def _counts(answers: Answers) -> Iterator[tuple[int, int]]:
    """Per concept: found rightly, and claimed wrongly or missed."""
    for label, option in concepts(answers):
        of = answers.asked == label
        truth, claim = answers.truth[of] == option, answers.choice[of] == option
        yield int((truth & claim).sum()), int((truth ^ claim).sum())


def _ranked(metric: Callable[[Array, Array], float]) -> Figure:
    """A figure of (targets, probabilities), one against the rest, mean over the concepts."""

    def figure(answers: Answers) -> float:
        if answers.exclusive:
            return metric(one_hot(answers), answers.probabilities)
        values = []
        for label, option in concepts(answers):
            of = answers.asked == label
            target = (answers.truth[of] == option).astype(float)[:, None]
            values.append(metric(target, answers.probabilities[of, option][:, None]))
        return _mean(np.array(values)[~np.isnan(values)]) if values else float("nan")

    return figure


def _selective(metric: Callable[..., float], *bound: float) -> Figure:
    return lambda answers: metric(answers.confidence, answers.right, *bound)


DECISIONS: dict[str, Figure] = {
    "coverage": lambda answers: _mean(answers.choice >= 0),
    "accuracy": accuracy,
    "accuracy among answered": lambda answers: _mean(answers.right[answers.choice >= 0]),
    "macro-F1": macro_f1,
    "micro-F1": micro_f1,
}
PROBABILITIES: dict[str, Figure] = {
    "AUROC": _ranked(classification.mean_auroc),
    "AUPRC": _ranked(mean_auprc),
    "ECE": lambda answers: classification.calibration_error(one_hot(answers), answers.probabilities, exclusive=True),
    "Brier": brier,
}
SELECTIVE: dict[str, Figure] = {
    **{f"risk at {c:.0%} coverage": _selective(risk_at_coverage, c) for c in COVERAGES},
    **{f"coverage at {r:.0%} risk": _selective(coverage_at_risk, r) for r in RISKS},
    "AURC": _selective(aurc),
}
FIGURES = (*DECISIONS, *PROBABILITIES, *SELECTIVE)


@dataclass(frozen=True)
class Scored:
    """A system's figures, None where they cannot be had (no probabilities); `spread`: the standard deviation of accuracy and
    macro-F1 between seeds, where there are several."""

    system: System
    figures: dict[str, Score | None]
    spread: dict[str, float]

    def json(self) -> dict[str, Any]:
        system = self.system
        return {
            "dataset": system.dataset,
            "split": system.split,
            "policy": system.policy,
            "generalist": system.generalist,
            "name": system.name,
            "n": len(system.first),
            "patients": len(set(system.first.groups)),
            "seeds": len(system.runs),
            "skipped": system.skipped,
            "seconds_median": None if np.isnan(system.seconds) else round(system.seconds, 4),
            "figures": {name: plain(score) for name, score in self.figures.items()},
            "spread_of_seeds": self.spread,
        }


def score(system: System, resamples: int = RESAMPLES) -> Scored:
    """Every figure of a system; with several seeds each is the mean over them, on the same draws of patients."""
    stated = np.all([answers.stated for answers in system.runs], axis=0)
    everything, with_probabilities = np.arange(len(stated)), np.flatnonzero(stated)
    figures: dict[str, Score | None] = {}
    for chosen, rows in ((DECISIONS, everything), (PROBABILITIES, with_probabilities), (SELECTIVE, everything)):
        for name, figure in chosen.items():
            possible = chosen is DECISIONS or stated.any()
            figures[name] = _scored(name, figure, system.runs, rows, resamples) if possible else None
    several = len(system.runs) > 1
    parts = {"accuracy": accuracy, "macro-F1": macro_f1} if several else {}
    spread = {name: float(np.std([f(a) for a in system.runs], ddof=1)) for name, f in parts.items()}
    return Scored(system, figures, spread)


def _scored(name: str, figure: Figure, runs: Sequence[Answers], rows: Array, resamples: int) -> Score | None:
    def mean(drawn: Array) -> float:
        return float(np.mean([figure(answers.of(rows[drawn])) for answers in runs]))

    found = interval(name, mean, list(runs[0].groups[rows]), resamples=resamples)
    return None if np.isnan(found.value) else found


def plain(score: Score | None) -> dict[str, Any] | None:
    """A score as JSON holds it; a bound that is undefined in every draw as None."""
    if score is None:
        return None
    numbers = {key: getattr(score, key) for key in ("value", "low", "high")}
    return {key: None if np.isnan(value) else value for key, value in numbers.items()} | {"n": score.n}


def _mean(values: Array) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
