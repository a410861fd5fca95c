"""`consilium members`: every card."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from consilium.cli.common import emit

if TYPE_CHECKING:
    from consilium.protocols import Card
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
    for member in found:
        typer.echo(f"{member.name}  ({member.card.kind}, {member.origin})\n  {member.card.summary}")
        for name, value in _facts(member.card).items():
            if value:
                typer.echo(f"  {name:<9} {value}")


def _facts(card: Card) -> dict[str, str]:
    parts = f" ({', '.join(card.body_parts)})" if card.body_parts else ""
    score = next((s for s in card.scores if s.metric == "AUROC"), None)
    interval = f"[{score.low:.3f}, {score.high:.3f}]" if score else ""
    return {
        "sees": ", ".join(card.modalities) + parts,
        "reads": "genome" if card.kind == "specialist" and not card.modalities else "",
        "names": ", ".join(concept.meaning for concept in card.concepts),
        "measured": f"AUROC {score.value:.3f} {interval} on {score.n} unseen cases" if score else "",
        "licence": card.licence,
        "not for": "; ".join(card.not_for),
    }
