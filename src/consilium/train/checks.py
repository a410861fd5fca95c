"""Checks what a recipe's TOML says against the dataclass that it is meant for: names, types, ranges."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from consilium.errors import UsageError

# What has to be above 0, and what at least 1; every other number may be 0.
_ABOVE_ZERO = {"rate", "blocks_rate", "clip", "epochs", "keep"}
_FROM_ONE = {"tokens", "shown", "save_every", "batch", "layer"}
_MOST = {"keep": 1, "warm_up": 1, "seed": 2**62}
_ONE_OF = {"precision": ("float32", "bfloat16"), "activation": ("gelu", "relu", "silu", "linear")}
_TEXT, _YES = "a text", "true or false"


def check(
    said: Mapping[str, Any],
    kind: type,
    where: str,
    but: Sequence[str] = (),
    more: Sequence[str] = (),
    free: Sequence[str] = (),
) -> None:
    """Raises UsageError, naming `where` and what there is, where `said` does not make a `kind`.

    but   fields that are filled in elsewhere; more: names that belong beside its own; free: fields that need not be said.
    """
    known = {field.name: field for field in fields(kind) if field.name not in but}
    unknown = sorted(set(said) - set(known))
    if unknown:
        raise UsageError(f"{where} has no setting {', '.join(unknown)}; there are: {', '.join([*more, *known])}.")
    must = [n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING and n not in free]
    missing = [name for name in must if name not in said]
    if missing:
        raise UsageError(f"{where} does not say {', '.join(missing)}.")
    for name, value in said.items():
        wrong = _wrong(name, str(known[name].type), value)
        if wrong:
            raise UsageError(f"{where}: {name} is {value!r}; {wrong} was expected.")


def _wrong(name: str, kind: str, value: Any) -> str:
    """What was expected, "" where the value will do."""
    if name in _ONE_OF:
        return "" if value in _ONE_OF[name] else " or ".join(_ONE_OF[name])
    if name == "name" and not re.fullmatch(r"[\w.-]*\w", str(value)):
        return "a name of letters, digits, '-', '_' and '.', which a folder can bear,"
    if kind == "str":
        return "" if isinstance(value, str) else _TEXT
    if kind == "bool":
        return "" if isinstance(value, bool) else _YES
    if kind == "int" and (isinstance(value, bool) or not isinstance(value, int)):
        return "a whole number"
    if kind in ("int", "float"):
        return "" if is_share(value, _MOST.get(name, math.inf)) and _reaches(name, value) else _range(name)
    if kind.startswith("tuple"):
        fits = isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value)
        return "" if fits else "a list of names"
    shares = isinstance(value, Mapping) and all(map(is_share, value.values()))
    return "" if shares else "a table { NAME = SHARE }"


def is_share(value: Any, most: float = math.inf) -> bool:
    """Whether it is a finite number from 0 to `most`."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and 0 <= value <= most


def _reaches(name: str, value: float) -> bool:
    return value > 0 if name in _ABOVE_ZERO else value >= (name in _FROM_ONE)


def _range(name: str) -> str:
    least = "above 0" if name in _ABOVE_ZERO else f"of at least {int(name in _FROM_ONE)}"
    return f"a number {least}{f' and at most {_MOST[name]}' if name in _MOST else ''}"
