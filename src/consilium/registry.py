"""Finds members by name. Three sources: a file under the kind's room, a folder of a trained member, an entry point.

- a module of `consilium.<kind>` that has CARD and load(**options): built in;
- a folder with card.json under the room's `trained/` (shipped) or under CONSILIUM_HOME/<kind>/ (made by the user, which
  wins over a shipped one of the same name): its card names the module that loads it (`loader`);
- an entry point of the group `consilium.<kind>`, for other people's packages; it names a module like the first.

Reading a card imports no model library.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from consilium.errors import MemberError, UnknownMemberError
from consilium.protocols import Card
from consilium.settings import settings
from consilium.types import Code, Score

KINDS = ("encoders", "specialists", "generalists", "retrievers")
_ROOMS = Path(__file__).parent


@dataclass(frozen=True)
class Member:
    """Where a member was found: `module` has load(); `folder` holds what was trained, or is None."""

    kind: str
    name: str
    module: str
    folder: Path | None = None
    origin: str = "built in"

    @property
    def card(self) -> Card:
        """What it says of itself; MemberError where there is no card, or one that bears another name."""
        path = self.folder / "card.json" if self.folder is not None else self.module
        card = read_card(path) if isinstance(path, Path) else getattr(_import(path), "CARD", None)
        if not isinstance(card, Card):
            raise MemberError(f"{path} has no CARD. A member is a module with CARD and load(**options).")
        if card.name != self.name:
            raise MemberError(f"{path} is the card of {card.name!r}, found under the name {self.name!r}; rename one.")
        return card

    def fits(self, encoder: str) -> bool:
        """Whether a trained member was made on the features of this version of an encoder."""
        return self.folder is not None and _read_json(self.folder / "card.json").get("encoder") == encoder

    def load(self, **options: Any) -> Any:
        """Loads the member (dear: model libraries are imported here)."""
        module = _import(self.module)
        return module.load(folder=self.folder, **options) if self.folder is not None else module.load(**options)


def find(kind: str) -> dict[str, Member]:
    """Every member of `kind` by name, user's before shipped, sorted."""
    if kind not in KINDS:
        raise UnknownMemberError(f"no kind of member is called {kind!r}; there are: {', '.join(KINDS)}.")
    found = _built_in(kind) | _entry_points(kind) | _trained(kind, _ROOMS / kind / "trained", "shipped")
    return dict(sorted((found | _trained(kind, settings().home / kind, "trained here")).items()))


def get(kind: str, name: str) -> Member:
    """The member called `name`; UnknownMemberError lists those there are."""
    members = find(kind)
    if name not in members:
        raise UnknownMemberError(f"no {kind[:-1]} is called {name!r}; there are: {', '.join(members) or 'none'}.")
    return members[name]


def _built_in(kind: str) -> dict[str, Member]:
    room = _ROOMS / kind
    names = [m.name for m in pkgutil.iter_modules([str(room)]) if not m.name.startswith("_")]
    modules = {name: f"consilium.{kind}.{name}" for name in names}
    return {name: Member(kind, name, module) for name, module in modules.items() if _is_member(room / f"{name}.py")}


def _is_member(path: Path) -> bool:
    # A loader of trained folders (specialists/light.py) lies in the room too but has no card of its own.
    return path.is_file() and "\nCARD" in path.read_text(encoding="utf-8")


def _entry_points(kind: str) -> dict[str, Member]:
    return {
        point.name: Member(kind, point.name, point.value, origin=f"package {point.dist.name if point.dist else '?'}")
        for point in entry_points(group=f"consilium.{kind}")
    }


def _trained(kind: str, room: Path, origin: str) -> dict[str, Member]:
    """Whole folders alone: what begins with a dot is being written, or what a kill left of it. Where a kill fell between the two
    renames of a swap (`train.trained_folder`), the folder that was to be replaced is the member."""
    found: dict[str, Member] = {}
    whole = [path for path in sorted(room.glob("*/card.json")) if not path.parent.name.startswith(".")]
    replaced = [path for path in sorted(room.glob(".*-old-*/*/card.json")) if not (room / path.parent.name).exists()]
    for path in (*whole, *replaced):
        loader, name = _read_json(path).get("loader"), path.parent.name
        if not isinstance(loader, str) or not loader.isidentifier():
            raise MemberError(
                f"{path} names no loader (found {loader!r}). Train the member again, or remove its folder."
            )
        found[name] = Member(kind, name, f"consilium.{kind}.{loader}", path.parent, origin)
    return found


def read_card(path: Path) -> Card:
    """A card from card.json; MemberError where it is not one."""
    data = _read_json(path)
    try:
        return Card(
            kind=data["kind"],
            name=data["name"],
            version=data["version"],
            summary=data["summary"],
            modalities=tuple(data.get("modalities", ())),
            body_parts=tuple(data.get("body_parts", ())),
            concepts=tuple(Code(**code) for code in data.get("concepts", ())),
            groups={name: tuple(members) for name, members in data.get("groups", {}).items()},
            arguments=data.get("arguments", {}),
            trained_on=data.get("trained_on", {}),
            licence=data.get("licence", ""),
            evidence=data.get("evidence", ""),
            scores=tuple(_score(**score) for score in data.get("scores", ())),
            not_for=tuple(data.get("not_for", ())),
            on_call=bool(data.get("on_call", False)),
            outlines=bool(data.get("outlines", False)),
            drafts=bool(data.get("drafts", False)),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise MemberError(
            f"{path} is not a member's card: {error}. Train the member again, or remove its folder."
        ) from error


def _score(metric: str, value: float, low: float, high: float, n: int) -> Score:
    wrong = [x for x in (value, low, high, n) if not isinstance(x, int | float) or isinstance(x, bool)]
    if wrong or not isinstance(metric, str):
        raise TypeError(f"score {metric!r} holds {wrong[:1]} where numbers were expected")
    return Score(metric, value, low, high, n)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MemberError(f"{path} cannot be read as a card: {error}. Train the member again, or remove it.") from error
    if not isinstance(data, dict):
        raise MemberError(f"{path} is not a card: a JSON object was expected. Train the member again, or remove it.")
    return data


def _import(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MemberError(
            f"the member's module {module} cannot be imported: {error}. Install what it needs."
        ) from error
