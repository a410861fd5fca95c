"""Policies: who is asked, and what the generalist is shown. One file each, of one function `decide(table) -> Answer`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING

from consilium.errors import UnknownMemberError
from consilium.types import Answer

if TYPE_CHECKING:
    from consilium.consult.table import Table


def names() -> tuple[str, ...]:
    """Every policy there is."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def get(name: str) -> Callable[[Table], Answer]:
    """The policy called `name`; UnknownMemberError lists those there are."""
    if name not in names():
        raise UnknownMemberError(f"no policy is called {name!r}; there are: {', '.join(names())}.")
    decide: Callable[[Table], Answer] = importlib.import_module(f"{__name__}.{name}").decide
    return decide
