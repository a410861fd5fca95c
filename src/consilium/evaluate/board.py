"""The leaderboard: one self-contained HTML page from records alone. No script, nothing fetched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from consilium.errors import UsageError, extra
from consilium.evaluate import draw
from consilium.evaluate.answers import System, systems
from consilium.evaluate.arbitration_report import Report, reports
from consilium.evaluate.compare import Test, compare_all, same_cases
from consilium.evaluate.matrix import SOLO, VOTES, Matrix, matrices
from consilium.evaluate.records import find_runs, read_run
from consilium.evaluate.score import FALLING, RESAMPLES, Scored, score
from consilium.formats import wording
from consilium.types import Score

MAIN = ("accuracy", "macro-F1", "AUROC", "ECE", "Brier", "coverage", "coverage at 5% risk", "AURC")
NO_PICTURES = f"Diagrams are left out, since matplotlib is not installed: {extra('train')}, and make the page again."


@dataclass(frozen=True)
class Line:
    """A system in its split's table. `mark`: "best", "not different from the best", or why nothing is said."""

    scored: Scored
    mark: str
    note: str


@dataclass(frozen=True)
class Part:
    """A split of a dataset: its table, tests, matrices and diagrams (SVG, None where they cannot be drawn)."""

    name: str
    anchor: str
    lines: tuple[Line, ...]
    tests: tuple[Test, ...]
    matrices: tuple[Matrix, ...]
    reliability: str | None
    coverage_risk: str | None
    points: dict[str, list[tuple[float, float, int]]]
    reports: tuple[Report, ...]
    misled: str | None


def make(places: Sequence[Path], resamples: int = RESAMPLES) -> str:
    """The page of all records in `places`; UsageError where there are none."""
    studies = {read_run(path).header.made_with["study"] for path in find_runs(places)}
    found = systems(places) if "evaluation" in studies else []
    misled = reports(places) if "arbitration" in studies else []
    if not found and not misled:
        raise UsageError("the records that were named hold no answers yet. Make some: consilium evaluate run FOLDER.")
    cases = dict.fromkeys([*(s.cases for s in found), *((r.dataset, r.split) for r in misled)])
    parts = [
        _part(
            number,
            ", ".join(of),
            [s for s in found if s.cases == of],
            [r for r in misled if (r.dataset, r.split) == of],
            resamples,
        )
        for number, of in enumerate(cases, 1)
    ]
    return (
        _environment()
        .get_template("board.html")
        .render(
            parts=parts,
            main=MAIN,
            falling=FALLING,
            votes=VOTES,
            solo=SOLO,
            disclaimer=wording.DISCLAIMER,
            drawn=draw.can_draw(),
            no_pictures=NO_PICTURES,
            made=[_made(system) for system in found],
        )
    )


def _part(number: int, name: str, found: Sequence[System], misled: Sequence[Report], resamples: int) -> Part:
    scored = sorted((score(system, resamples) for system in found), key=_rank)
    tests = _tests([s.system for s in scored])
    lines = tuple(Line(s, *_mark(s, scored[0], tests)) for s in scored)
    answers = {s.system.name: s.system.first for s in scored}
    stated = {of: a for of, a in answers.items() if draw.points(a)}
    drawn = draw.can_draw()
    return Part(
        name,
        f"set-{number}",
        lines,
        tests,
        tuple(matrices(found)),
        draw.reliability_diagram(stated, f"r{number}") if drawn and stated else None,
        draw.coverage_risk_diagram(stated, f"c{number}") if drawn and stated else None,
        {of: draw.points(a) for of, a in stated.items()},
        tuple(misled),
        draw.misled_diagram(misled, f"m{number}") if drawn and misled else None,
    )


def _rank(scored: Scored) -> float:
    found = scored.figures["accuracy"]
    return -(found.value if found else -1.0)


def _tests(ranked: Sequence[System]) -> tuple[Test, ...]:
    """The most accurate system against every other that answered the same cases, accuracy alone: what the marks rest on."""
    rivals = [system for system in ranked[1:] if same_cases(ranked[0], system)]
    if not rivals:
        return ()
    return compare_all([ranked[0], *rivals], against=ranked[0].name, figures=("accuracy",))


def _mark(scored: Scored, best: Scored, tests: Sequence[Test]) -> tuple[str, str]:
    if scored is best:
        return "best", ""
    test = next((t for t in tests if t.first == scored.system.name), None)
    if test is None:
        return "", "answered other cases than the best, so not compared"
    p = f"p = {test.p_holm:.3f}, Holm" if test.p_holm is not None else "no p"
    return ("", p) if test.differs else ("not different from the best", p)


def _made(system: System) -> dict[str, Any]:
    """What a system was made of, for the foot of the page."""
    made = system.headers[0]
    specialists = ", ".join(f"{name} {version}" for name, version in made["specialists"].items())
    generalist, index = made["generalist"], made["index"]
    return {
        "system": system,
        "question": made["question"],
        "options": ", ".join(made["options"]),
        "generalist": "none" if generalist is None else f"{generalist['name']} {generalist['version']}",
        "specialists": specialists or "none",
        "index": "none" if index is None else f"{index['name']}, {index['size']} cases",
        "wording": made["wording"],
        "consilium": made["consilium"],
        "profile": made["profile"],
    }


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("consilium", "evaluate"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": _figure, "bounds": _bounds}
    return environment


def _figure(found: Score | None) -> str:
    return "-" if found is None else f"{found.value:.3f}"


def _bounds(found: Score | None) -> str:
    if found is None:
        return ""
    return f"[{found.low:.3f}, {found.high:.3f}], n = {found.n}"
