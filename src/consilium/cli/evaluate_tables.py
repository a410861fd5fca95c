"""How `consilium evaluate` prints figures in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from consilium.cli.common import counted
from consilium.types import Score

if TYPE_CHECKING:
    from consilium.evaluate.arbitration_report import Report
    from consilium.evaluate.compare import Test
    from consilium.evaluate.matrix import Matrix
    from consilium.evaluate.score import Scored


_WIDEST = 10_000


def show_scores(found: Sequence[Scored]) -> None:
    """A table a split of a dataset: a row a figure, a column a policy."""
    for cases in dict.fromkeys(scored.system.cases for scored in found):
        of = [scored for scored in found if scored.system.cases == cases]
        table = _table(", ".join(cases), "figure", *(scored.system.name for scored in of))
        table.add_row("cases", *(_cases(scored) for scored in of))
        for name in of[0].figures:
            table.add_row(name, *(_shown(scored.figures[name]) for scored in of))
        table.add_row("seconds a case, median", *(f"{scored.system.seconds:.2f}" for scored in of))
        _print(table)


def show_tests(tests: Sequence[Test]) -> None:
    """A row a test."""
    table = _table("first less second", "dataset", "first", "second", "figure", "difference", "p", "p (Holm)")
    for test in tests:
        p = ("-", "-") if test.found is None else (_p(test.found.p), _p(test.p_holm))
        shown = _shown(test.found.score if test.found else None)
        table.add_row(f"{test.dataset}, {test.split}", test.first, test.second, test.figure, shown, *p)
    _print(table)


def show_matrices(found: Sequence[Matrix]) -> None:
    """How often each policy is right, by the specialists' vote and the generalist alone."""
    if not found:
        return
    heads = [f"vote {cell.vote}, alone {cell.solo}" for cell in found[0].cells]
    table = _table("how often right, by what the vote and the generalist alone were", "dataset", "policy", *heads)
    for matrix in found:
        cells = [f"{_shown(cell.right)}  n={cell.right.n}" if cell.right else "-" for cell in matrix.cells]
        table.add_row(", ".join(matrix.system.cases), matrix.system.name, *cells)
    _print(table)


def show_reports(found: Sequence[Report]) -> None:
    """A table a policy: a row a condition, then a row a number of wrong specialists."""
    heads = (
        "condition",
        "cases",
        "accuracy",
        "keeps its right answer",
        "corrects its wrong one",
        "diseases still found",
    )
    for report in found:
        table = _table(f"{report.dataset}, {report.split}, {report.policy}, {report.generalist}", *heads)
        for rates in report.shown:
            shares = (rates.accuracy, rates.keeps, rates.corrects, rates.found)
            table.add_row(rates.condition, str(rates.n), *(f"{_shown(s)}  n={s.n}" if s else "-" for s in shares))
        _print(table)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _print(table: Table) -> None:
    # A table that is piped or wider than the screen is written in full, not cut.
    console = Console()
    if not console.is_terminal:
        console = Console(width=Console(width=_WIDEST).measure(table).maximum)
    console.print(table)


def _cases(scored: Scored) -> str:
    system = scored.system
    groups = counted(len(set(system.first.groups)), "group")
    seeds = f", {len(system.runs)} seeds" if len(system.runs) > 1 else ""
    skipped = f", {system.skipped} skipped" if system.skipped else ""
    return f"{len(system.first)} in {groups}{seeds}{skipped}"


def _shown(score: Score | None) -> str:
    return "-" if score is None else f"{score.value:.3f} [{score.low:.3f}, {score.high:.3f}]"


def _p(value: float | None) -> str:
    return "-" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"
