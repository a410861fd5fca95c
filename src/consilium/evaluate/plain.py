"""The plain study: each policy's answer, as it is served."""

from __future__ import annotations

from typing import Any

from consilium.consult.council import consult
from consilium.consult.panel import Panel
from consilium.evaluate.exclude import Excluding
from consilium.evaluate.reduced import reduced
from consilium.evaluate.run import Sitting, Study
from consilium.types import Case


def answer(panel: Panel, case: Case, sitting: Sitting) -> list[dict[str, Any]]:
    """The records of one consultation."""
    held = consult(case, panel, sitting.policy, sitting.council.profile)
    left_out = panel.retriever.left_out if isinstance(panel.retriever, Excluding) else 0
    return [reduced(held, ask, left_out, sitting.task.words) for ask in sitting.asks]


STUDY = Study("evaluation", answer)
