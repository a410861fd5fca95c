"""How far the evidence of one group is to be trusted, and what becomes of it: the conditions of stage 3.

as_is             opinions out of fold with the reliability measured for that specialist
degraded          a poor specialist that says so: stated AUROC 0.5 to 0.7, and wrong as often as that means
adversarial       the measured reliability, and an opinion that is confidently wrong
missing           every specialist abstains, or only one speaks that knows other things
precedents_wrong  the similar cases bear wrong labels
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np

from consilium.train.conversations.bench import Bench
from consilium.train.conversations.out_of_fold import Judged, stated
from consilium.types import Array, Opinion, Precedent, Score

CONDITIONS = ("as_is", "degraded", "adversarial", "missing", "precedents_wrong")
_POOR = (0.5, 0.7)


@dataclass(frozen=True, eq=False)
class Shown:
    """The evidence of one group. `said`: the own specialist's class probabilities (classes,), None where it is silent."""

    condition: str
    opinions: tuple[Opinion, ...]
    precedents: tuple[Precedent, ...]
    said: Array | None


def show(condition: str, bench: Bench, row: int, beside: bool, rng: Random) -> Shown:
    """The evidence on picture `row` under this condition; `beside`: specialists of other sets speak too, where admitted."""
    own, found = bench.judged, bench.precedents(row)
    labels = [code.meaning for code in own.card.concepts]
    truth = labels.index(bench.records[row].labels[0])
    others = tuple(judged.opinion(row) for judged in bench.bystanders) if beside else ()
    if condition == "precedents_wrong":
        found = poisoned(found, labels[truth], labels, rng)
    if condition == "missing":
        silent = stated(own.card, None, own.exclusive, abstained="unlike the pictures it was trained on")
        return Shown(condition, (silent, *others), found if rng.random() < 0.5 else (), None)
    said: Array | None
    if condition in ("degraded", "adversarial"):
        opinion, said = (_degraded if condition == "degraded" else _adversarial)(own, truth, rng)
    else:
        opinion = own.opinion(row)
        said = None if opinion.abstained else own.probabilities[row]
    return Shown(condition, (opinion, *others), found, said)


def right_share(auroc: float, classes: int) -> float:
    """How often a specialist with this AUROC is made to be right: by chance at 0.5, always at 1, in a line between."""
    return 1 / classes + (2 * auroc - 1) * (1 - 1 / classes)


def poisoned(found: Sequence[Precedent], truth: str, labels: Sequence[str], rng: Random) -> tuple[Precedent, ...]:
    """The same cases with labels that are not `truth`: one wrong label for most of them, any other for the rest."""
    wrong = [label for label in labels if label != truth]
    chief = rng.choice(wrong)
    return tuple(replace(p, label=chief if rng.random() < 0.8 else rng.choice(wrong)) for p in found)


def _degraded(own: Judged, truth: int, rng: Random) -> tuple[Opinion, Array]:
    auroc, classes = round(rng.uniform(*_POOR), 2), len(own.card.concepts)
    right = rng.random() < right_share(auroc, classes)
    peak = rng.uniform(0.75, 0.99) if rng.random() < 0.5 else rng.uniform(max(0.36, 1.1 / classes), 0.7)
    said = drawn(truth if right else _other(truth, classes, rng), classes, peak, rng)
    scores = tuple(_restated(score, auroc) for score in own.card.scores if score.metric == "AUROC")
    return replace(stated(own.card, said, own.exclusive), reliability=scores), said


def _adversarial(own: Judged, truth: int, rng: Random) -> tuple[Opinion, Array]:
    """Wrong in the coarse sense too, where the card groups its classes (normal for pneumonia), two times of three."""
    labels = [code.meaning for code in own.card.concepts]
    group = next((set(g) for g in own.card.groups.values() if labels[truth] in g), {labels[truth]})
    outside = [i for i, label in enumerate(labels) if label not in group]
    coarse = outside and rng.random() < 2 / 3
    wrong = rng.choice(outside) if coarse else _other(truth, len(labels), rng)
    said = drawn(wrong, len(labels), rng.uniform(0.8, 0.99), rng)
    return stated(own.card, said, own.exclusive), said


def _other(truth: int, classes: int, rng: Random) -> int:
    return rng.choice([i for i in range(classes) if i != truth])


def drawn(chief: int, classes: int, peak: float, rng: Random) -> Array:
    """(classes,) probabilities with `peak` at `chief`, the rest spread at random with none above it."""
    rest = np.array([rng.random() + 0.05 for _ in range(classes - 1)])
    rest = np.minimum(rest / rest.sum() * (1 - peak), 0.95 * peak)
    said = np.insert(rest, chief, 0.0)
    said[chief] = 1 - rest.sum()
    return said


def _restated(score: Score, auroc: float) -> Score:
    half = min(0.1, 1 - auroc)
    return replace(score, value=auroc, low=auroc - half, high=auroc + half)
