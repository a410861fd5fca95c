"""The members who sit at the table, loaded once and when first needed, all on one shared encoder."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import consilium
from consilium import registry
from consilium.consult.arbiter import SHIPPED as SHIPPED_ARBITER
from consilium.consult.arbiter import Arbiter
from consilium.consult.arbiter import load as load_arbiter
from consilium.errors import MemberError, UnknownMemberError, UsageError
from consilium.genomics.genotypes import Wanted
from consilium.protocols import Card, Encoder, Generalist, Retriever, Specialist
from consilium.registry import Member
from consilium.settings import settings

ROUTER = "modality_router"
DEFAULT_ENCODER = "clip_vit_b16"
DEFAULT_GENERALIST = "native"


@dataclass
class Panel:
    """Members by role. Built by `assemble`; tests and callers may give members of their own instead.

    specialists  cards of all who may be asked, with how to load each; the router decides who sees a case
    arbiter_file weights by which `arbitrated` weighs the evidence
    explains     whether the generalist also shows where it looked (`explain`), which costs a pass backwards
    """

    encoder: Encoder
    specialists: dict[str, Card]
    generalist_name: str
    retriever: Retriever | None = None
    router: Specialist | None = None
    generalist_options: dict[str, Any] = field(default_factory=dict)
    explains: bool = False
    arbiter_file: Path = SHIPPED_ARBITER
    _members: dict[str, Member] = field(default_factory=dict)
    _loaded: dict[str, Any] = field(default_factory=dict)

    def specialist(self, name: str) -> Specialist:
        if name not in self._loaded:
            self._loaded[name] = self._members[name].load(encoder=self.encoder)
        return self._loaded[name]

    @property
    def generalist(self) -> Generalist:
        """Loaded when first asked; one whose load takes an `encoder` sees through the shared one."""
        if "" not in self._loaded:
            member = registry.get("generalists", self.generalist_name)
            shared = {"encoder": self.encoder} if _takes(member, "encoder") else {}
            self._loaded[""] = member.load(**shared | self.generalist_options)
        return self._loaded[""]

    @property
    def generalist_card(self) -> Card:
        """Its card; of one that is not loaded yet, and has no options, that of the named member."""
        if self.has_generalist or self.generalist_options:
            return self.generalist.card
        return registry.get("generalists", self.generalist_name).card

    @cached_property
    def arbiter(self) -> Arbiter:
        return load_arbiter(self.arbiter_file)

    def genome_places(self) -> Wanted | None:
        """The places of a genome that those who read one judge by (their `table.wanted().keys`); None for all there are, where
        one of them names none. One that cannot be loaded is passed over, for it will abstain; MemberError where none can.
        UsageError where nobody at the table reads genomes."""
        readers, broken = [], []
        for name in (name for name, card in self.specialists.items() if not card.modalities):
            try:
                readers.append(self.specialist(name))
            except MemberError as error:
                broken.append(error)
        if broken and not readers:
            raise broken[0]
        if not readers:
            raise UsageError(
                "no specialist at the table reads genomes. Make one of your cohort (consilium genome specialist --help), and "
                "where you name --specialists, name it too."
            )
        tables = [getattr(reader, "table", None) for reader in readers]
        if any(table is None for table in tables):
            return None
        return Wanted(np.unique(np.concatenate([table.wanted().keys for table in tables if table is not None])))

    def seat(self, name: str, specialist: Specialist) -> None:
        """Adds a specialist that is already loaded."""
        self.specialists[name] = specialist.card
        self._loaded[name] = specialist

    @property
    def has_generalist(self) -> bool:
        """Whether it is loaded."""
        return "" in self._loaded

    def seat_generalist(self, generalist: Generalist) -> None:
        """Puts a generalist that is already loaded in the place of the named one."""
        self._loaded[""] = generalist


def _takes(member: Member, option: str) -> bool:
    """Whether a built-in or foreign member's load has this option by name."""
    return option in inspect.signature(importlib.import_module(member.module).load).parameters


def assemble(
    *,
    specialists: Sequence[str] | None = None,
    generalist: str = DEFAULT_GENERALIST,
    index: str | None = "shipped",
    encoder: str = DEFAULT_ENCODER,
    generalist_options: dict[str, Any] | None = None,
) -> Panel:
    """A panel of the named members.

    specialists  names, None for every one there is.
    index        the precedents to search: "shipped", the name of an index built here, or None for no retrieval.
    """
    members = registry.find("specialists")
    router = members.pop(ROUTER, None)
    chosen = {name: registry.get("specialists", name) for name in (members if specialists is None else specialists)}
    registry.get("generalists", generalist)  # an unknown name is said before the weights are read
    shared: Encoder = registry.get("encoders", encoder).load()
    return Panel(
        shared,
        {name: member.card for name, member in chosen.items()},
        generalist,
        open_index(index, shared) if index else None,
        router.load(encoder=shared) if router else None,
        generalist_options or {},
        _members=chosen,
    )


SHIPPED_INDEX = Path(consilium.__file__).parent / "retrievers" / "shipped" / "precedents.parquet"


def index_folder(name: str) -> Path:
    """Where the index `name` lies, or would lie."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
        raise UsageError(f"{name!r} cannot name an index: use letters, digits, _ and -, at most 64.")
    return settings().home / "indices" / name


def open_index(name: str, encoder: Encoder) -> Retriever:
    """The shipped precedents, or an index that `consilium index build` made under CONSILIUM_HOME/indices/."""
    if name == "shipped":
        return registry.get("retrievers", "exact").load(path=SHIPPED_INDEX, encoder_key=encoder.card.version)
    folder = index_folder(name)
    if not folder.is_dir():
        raise UnknownMemberError(f"no index is called {name!r}. Build one: consilium index build FOLDER --name {name}.")
    return registry.get("retrievers", "lance").load(folder=folder, encoder_key=encoder.card.version)
