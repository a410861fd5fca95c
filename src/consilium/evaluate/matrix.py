"""The arbitration matrix: how often a policy is right, by whether the specialists' vote and the generalist alone are.

The off-diagonal cells are conflicts. Where the vote is wrong and the generalist alone was right, being right is keeping; the
other way round it is correcting. A system that follows the vote scores all of one and none of the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from consilium.evaluate.answers import System
from consilium.evaluate.compare import aligned, same_cases
from consilium.evaluate.score import plain
from consilium.metrics.bootstrap import interval
from consilium.types import Array, Score

VOTES = ("right", "wrong", "none")
SOLO = ("right", "wrong")


@dataclass(frozen=True)
class Cell:
    """`right`: how often the policy is right there, over so many answers (all seeds); None where there are none."""

    vote: str
    solo: str
    right: Score | None


@dataclass(frozen=True)
class Matrix:
    system: System
    cells: tuple[Cell, ...]

    def json(self) -> dict[str, Any]:
        system = self.system
        cells = [{"vote": cell.vote, "solo": cell.solo, "right": plain(cell.right)} for cell in self.cells]
        return {"dataset": system.dataset, "split": system.split, "name": system.name, "cells": cells}


def matrices(systems: Sequence[System]) -> list[Matrix]:
    """Of every system that heard specialists, beside the same generalist's `solo` on the same cases."""
    found = []
    for system in systems:
        heard = any((answers.vote >= 0).any() for answers in system.runs)
        alone = [s for s in systems if s.policy == "solo" and _same(s, system)]
        if heard and system.policy != "solo" and alone:
            found.append(Matrix(system, _cells(system, alone[0])))
    return found


def _same(solo: System, system: System) -> bool:
    """The same split of a dataset, the same generalist (whichever, where the policy asks none), the same cases."""
    generalists = {solo.generalist, system.generalist} - {"none"}
    versions = {str(s.headers[0]["generalist"]) for s in (solo, system) if s.headers[0]["generalist"]}
    fits = len(generalists) < 2 and (len(versions) < 2 or len(solo.runs) > 1)
    return solo.cases == system.cases and fits and same_cases(solo, system)


def _cells(system: System, solo: System) -> tuple[Cell, ...]:
    own, alone = aligned(system, solo)
    right = np.concatenate([answers.right for answers in own])
    solo_right = np.concatenate([answers.right for answers in alone])
    voted = np.concatenate([answers.vote >= 0 for answers in own])
    vote_right = np.concatenate([answers.vote == answers.truth for answers in own])
    groups = np.concatenate([answers.groups for answers in own])
    vote = np.where(voted, np.where(vote_right, "right", "wrong"), "none")
    cells = []
    for said in VOTES:
        for known in SOLO:
            (rows,) = np.nonzero((vote == said) & (solo_right == (known == "right")))
            cells.append(Cell(said, known, _share(right[rows], groups[rows]) if len(rows) else None))
    return tuple(cells)


def _share(right: Array, groups: Array) -> Score:
    return interval("right", lambda drawn: float(right[drawn].mean()), list(groups))
