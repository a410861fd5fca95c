"""`consilium members`: every card."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from consilium.cli.common import emit

if TYPE_CHECKING:
    from consilium.registry import Member


def members(
    kind: Annotated[
        str | None, typer.Argument(help="encoders, specialists, generalists or retrievers; all by default")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print every card whole, as JSON.")] = False,
) -> None:
    """Show the card of every member: what it may see, what it can name, how good it was measured, under which licence.

    Example: consilium members specialists
    """
    from consilium import registry

    found = [member for each in ([kind] if kind else registry.KINDS) for member in registry.find(each).values()]
    if json:
        emit([{"origin": member.origin, "card": member.card} for member in found])
        return
    _show(found)


def _show(found: Iterable[Member]) -> None:
    from rich.console import Console
    from rich.table import Table

    headers = ("kind", "name", "what it does", "sees", "measured on unseen cases", "licence")
    table = Table(*headers, box=None, pad_edge=False)
    for member in found:
        card = member.card
        sees = ", ".join(card.modalities) + (f" ({', '.join(card.body_parts)})" if card.body_parts else "")
        score = next((s for s in card.scores if s.metric == "AUROC"), None)
        measured = f"AUROC {score.value:.3f} [{score.low:.3f}, {score.high:.3f}] n={score.n}" if score else ""
        table.add_row(card.kind, member.name, card.summary, sees, measured, card.licence)
    Console().print(table)
