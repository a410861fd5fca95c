"""Diagrams as SVG text for a page: reliability, coverage against risk, and how a policy fares the more it is misled.

Lines and words take the colour of the page (`currentColor`), so that they are read on light and on dark paper; policies are
told apart by colour and by dashes, so that nobody needs the colours.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np

from consilium.evaluate.answers import Answers
from consilium.evaluate.arbitration_report import Report
from consilium.metrics.selective import coverage_risk, reliability
from consilium.types import Array

# Okabe and Ito's palette (2008), which is told apart without red-green vision; its black is the page's own ink.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
_INK = "#010203"
_WIDTH, _HEIGHT = 4.4, 3.6


def can_draw() -> bool:
    """Whether matplotlib is installed (an extra: train)."""
    return find_spec("matplotlib") is not None


def reliability_diagram(by_policy: Mapping[str, Answers], prefix: str) -> str:
    """How often answers of a given probability are right; the diagonal is perfect."""
    with _axes(prefix, "probability of the answer", "share right") as (axes, svg):
        axes.plot([0, 1], [0, 1], color=_INK, linewidth=0.7, linestyle=":")
        for style, (name, answers) in zip(_styles(), by_policy.items(), strict=False):
            stated = answers.of(np.flatnonzero(answers.stated & (answers.choice >= 0)))
            if len(stated):
                mean, share, count = reliability(stated.confidence, stated.right)
                some = count > 0
                axes.plot(mean[some], share[some], label=name, marker="o", markersize=3, **style)
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.legend(frameon=False, fontsize=8, loc="upper left")
    return svg[0]


def coverage_risk_diagram(by_policy: Mapping[str, Answers], prefix: str) -> str:
    """The share of wrong answers among the surest ones, by how many of the cases they are."""
    with _axes(prefix, "coverage (surest first)", "risk") as (axes, svg):
        for style, (name, answers) in zip(_styles(), by_policy.items(), strict=False):
            coverage, risk = coverage_risk(answers.confidence, answers.right)
            axes.plot(coverage, risk, label=name, **style)
        axes.set(xlim=(0, 1), ylim=(0, None))
        axes.legend(frameon=False, fontsize=8, loc="best")
    return svg[0]


def misled_diagram(found: Sequence[Report], prefix: str) -> str:
    """Accuracy by the number of specialists that are forced wrong."""
    with _axes(prefix, "specialists forced wrong", "accuracy") as (axes, svg):
        for style, report in zip(_styles(), found, strict=False):
            values = [np.nan if r.accuracy is None else r.accuracy.value for r in report.curve]
            axes.plot(range(len(values)), values, label=report.policy, marker="o", markersize=3, **style)
        axes.set(ylim=(0, 1), xticks=range(max(len(r.curve) for r in found)))
        axes.legend(frameon=False, fontsize=8, loc="best")
    return svg[0]


def _styles() -> Iterator[dict[str, Any]]:
    number = 0
    while True:
        turn = number // len(_COLOURS)
        yield {
            "color": _COLOURS[number % len(_COLOURS)],
            "linestyle": _DASHES[(number + turn) % len(_DASHES)],
            "linewidth": 1.5,
        }
        number += 1


@contextmanager
def _axes(prefix: str, across: str, up: str) -> Iterator[tuple[Any, list[str]]]:
    """Axes to draw on, and a list that holds the SVG afterwards. `prefix` keeps the names in it apart from other figures'."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    ink: Any = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK)
    plain: Any = {"svg.fonttype": "none", "svg.hashsalt": prefix, "text.parse_math": False, "font.family": "sans-serif"}
    svg: list[str] = []
    with rc_context(ink | plain):
        figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        axes.set(xlabel=across, ylabel=up)
        yield axes, svg
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        svg.append(_inline(stream.getvalue(), prefix))


def _inline(text: str, prefix: str) -> str:
    """An SVG document as an element of a page: without its prologue, its names its own, its ink the page's."""
    body = text[text.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{prefix}-', body)
    body = re.sub(r"url\(#", f"url(#{prefix}-", body)
    body = re.sub(r'href="#', f'href="#{prefix}-', body)
    return body.replace(_INK, "currentColor").replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)


def points(answers: Answers) -> list[tuple[float, float, int]]:
    """(mean probability, share right, how many) of the bins that hold an answer: the table beside the diagram."""
    stated = answers.of(np.flatnonzero(answers.stated & (answers.choice >= 0)))
    if not len(stated):
        return []
    columns: tuple[Array, Array, Array] = reliability(stated.confidence, stated.right)
    return [(float(m), float(s), int(n)) for m, s, n in zip(*columns, strict=True) if n]
