"""What training data is made of: a picture with what is known of it, a conversation about it, a group of such conversations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Item:
    """One picture: path relative to the data folder, split, patient, licence, labels, and further facts by the reader."""

    path: str
    split: str
    patient: str
    licence: str
    labels: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Branch:
    """One conversation: (role, text) turns, beginning with the user. `synthetic`: its answer is text of our own wording.

    extra  what analysis wants to know of it; written beside the rest.
    """

    kind: str
    messages: tuple[tuple[str, str], ...]
    synthetic: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        turns = [list(turn) for turn in self.messages]
        return {"kind": self.kind, "synthetic": self.synthetic, **self.extra, "messages": turns}


@dataclass(frozen=True)
class Group:
    """Branches that share the system text and the picture (path relative to the data folder, digest). "" : no system turn."""

    id: str
    dataset: str
    licence: str
    split: str
    path: str
    digest: str
    system: str
    branches: tuple[Branch, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "dataset": self.dataset,
            "licence": self.licence,
            "split": self.split,
            "images": [{"path": self.path, "digest": self.digest}],
            "system": self.system,
            "branches": [branch.to_json() for branch in self.branches],
        }
