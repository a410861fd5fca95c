"""Conversations about pictures, made from what is labelled: one reader a kind of set, its wordings in wording.toml.

A reader is a module with
    items(source, data) -> list[Item]                 every picture of the set, all splits, with what is known of it
    talk(item, source, rng) -> list[Branch]           questions and answers (stage "instruction")
    describe(item, source, rng) -> Branch | None      one description (stage "alignment"), None where it has none
Nothing is asserted that is not labelled: a blank is not a no.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from consilium.errors import DataError
from consilium.train.mixture import Source


def reader(source: Source) -> ModuleType:
    """The module that knows the labels of `source`; DataError where there is none of that name."""
    if not source.reader.isidentifier():
        raise DataError(f"source {source.name} names the reader {source.reader!r}, which is no module name.")
    try:
        module = importlib.import_module(f"{__name__}.{source.reader}")
    except ModuleNotFoundError as error:
        raise DataError(f"source {source.name} names the reader {source.reader!r}, which there is not.") from error
    if not all(hasattr(module, name) for name in ("items", "talk", "describe")):
        raise DataError(f"{source.reader} is no reader: items, talk and describe are needed.")
    return module
