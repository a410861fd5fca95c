"""Who is evaluated: a council by names, so that every process can seat its own, and what it was made of, for the records."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import consilium
from consilium.consult import arbiter, policies
from consilium.consult.panel import DEFAULT_ENCODER, DEFAULT_GENERALIST, Panel, assemble
from consilium.consult.prompt import Profile
from consilium.errors import UsageError
from consilium.evaluate.content import of_folder
from consilium.evaluate.exclude import MOST_ALIKE

# This policy asks no generalist: its answers are the same whoever it is, and none is loaded for it.
WITHOUT_GENERALIST = frozenset({"panel_vote"})
WEIGH = frozenset({"arbitrated", "triggered"})
# Sources of the council that decide nothing of what is said: who may see what, how a report on a volume is composed.
_SILENT = frozenset({"panel.py", "volume_report.py", "council.py", "route.py"})


@dataclass(frozen=True)
class Council:
    """What `consult.panel.assemble` takes, and the prompt's profile. A subclass may seat others."""

    specialists: tuple[str, ...] | None = None
    generalist: str = DEFAULT_GENERALIST
    index: str | None = "shipped"
    encoder: str = DEFAULT_ENCODER
    generalist_options: Mapping[str, Any] = field(default_factory=dict)
    profile: Profile = "measured"
    arbiter: Path = arbiter.SHIPPED

    def panel(self) -> Panel:
        if not self.arbiter.is_file():
            raise UsageError(f"there are no weights of an arbiter in {self.arbiter}. Check --arbiter, or leave it out.")
        panel = assemble(
            specialists=self.specialists,
            generalist=self.generalist,
            index=self.index,
            encoder=self.encoder,
            generalist_options=dict(self.generalist_options),
        )
        panel.arbiter_file = self.arbiter
        return panel

    def facts(self, panel: Panel, policy: str, asks: bool) -> dict[str, Any]:
        """All of the council that answers under `policy` hang on; `asks`: also the generalist, which is loaded for it."""
        index, router = panel.retriever, panel.router
        return {
            "consilium": consilium.__version__,
            "policy": policy,
            "profile": self.profile,
            "generalist": _named(panel.generalist.card) if asks else None,
            "specialists": {name: card.version for name, card in panel.specialists.items()},
            "router": _named(router.card) if router else None,
            "encoder": _named(panel.encoder.card),
            "index": {"name": self.index, "size": len(index), **_named(index.card, "retriever")} if index else None,
            "most_alike": MOST_ALIKE,
            "wording": wording(policy),
            **({"arbiter": _digest(self.arbiter)} if policy in WEIGH else {}),
            **({"checkpoint": of_folder(own)} if asks and (own := _checkpoint(self.generalist_options)) else {}),
        }


def wording(policy: str) -> str:
    """A digest of the sources that decide what a generalist is told and how its answer is read."""
    folder = Path(policies.__file__).parent
    sources = [path for path in sorted(folder.parent.glob("*.py")) if path.name not in _SILENT]
    digest = hashlib.sha256()
    for path in (*sources, folder / f"{policy}.py"):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _checkpoint(options: Mapping[str, Any]) -> Path | None:
    """The folder of a checkpoint among a generalist's options: two of one name are two models."""
    named = options.get("model") or options.get("folder")
    return Path(str(named)) if named and Path(str(named)).is_dir() else None


def _named(card: Any, key: str = "name") -> dict[str, str]:
    return {key: card.name, "version": card.version}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
