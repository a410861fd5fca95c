"""`consilium members`: every card."""

from __future__ import annotations

from typing import Annotated

import typer

from consilium.cli.common import emit


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
    table = _table()
    for member in found:
        card = member.card
        sees = ", ".join(card.modalities) + (f" ({', '.join(card.body_parts)})" if card.body_parts else "")
        score = next((s for s in card.scores if s.metric == "AUROC"), None)
        measured = f"AUROC {score.value:.3f} [{score.low:.3f}, {score.high:.3f}] n={score.n}" if score else ""
        table.add_row(card.kind, member.name, card.summary, sees, measured, card.licence)
    _print(table)


def _table():  # type: ignore[no-untyped-def]
    from rich.table import Table

    return Table(
        "kind", "name", "what it does", "sees", "measured on unseen cases", "licence", box=None, pad_edge=False
    )


def _print(table) -> None:  # type: ignore[no-untyped-def]
    from rich.console import Console

    Console().print(table)
