"""The fields of a card that a user wrote, each checked and in the form that a Card has. What is wrong is a UsageError."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite
from typing import Any

from consilium.errors import UsageError
from consilium.formats.anatomy import MODALITIES
from consilium.types import Code, Score

# Words in the names of metrics that lie between 0 and 1.
_SHARES = {"accuracy", "auc", "auprc", "auroc", "dice", "f1", "iou", "jaccard", "npv", "ppv"}
_SHARES |= {"recall", "sensitivity", "specificity"}


def are_texts(value: Any) -> bool:
    """Whether it is one text, or a list of texts."""
    return isinstance(value, str) or (isinstance(value, list | tuple) and all(isinstance(each, str) for each in value))


def texts(value: Any) -> tuple[str, ...]:
    """One text stands for a list of it."""
    return (value,) if isinstance(value, str) else tuple(value)


def is_number(value: Any) -> bool:
    """Whether it is a finite number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def modalities(value: Any, where: str) -> tuple[str, ...]:
    """DICOM's terms, in capitals."""
    found = tuple(each.strip().upper() for each in texts(value)) if are_texts(value) else ()
    unknown = sorted(set(found) - MODALITIES)
    if not found or unknown:
        raise UsageError(
            f"{where}: `modality` is {value!r}; {', '.join(map(repr, unknown)) or 'that'} is no modality of DICOM. Write terms "
            'like ["CR", "DX"] (X-ray), ["CT"], ["MR"], ["US"], ["MG"], ["DMS"] (dermatoscopy), ["SM"] (slide).'
        )
    return found


def concepts(listed: Any, where: str) -> tuple[Code, ...]:
    """A text is a local code; a table names value, scheme and meaning."""
    if not isinstance(listed, list | tuple):
        raise UsageError(f'{where}: `concepts` is {listed!r}; it is a list, even of one: ["pneumonia"].')
    return tuple(_concept(each, where) for each in listed)


def _concept(given: Any, where: str) -> Code:
    parts = {"value": given, "scheme": "99CONSILIUM", "meaning": given} if isinstance(given, str) else given
    names = {"value", "scheme", "meaning"}
    if not isinstance(parts, Mapping) or set(parts) != names or not all(_said(part) for part in parts.values()):
        raise UsageError(
            f"{where}: a concept is a text, or a table of value, scheme and meaning, none of them empty; found {given!r}."
        )
    return Code(**parts)


def _said(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def groups(table: Mapping[str, Any], where: str) -> dict[str, tuple[str, ...]]:
    """Name -> the concepts that it stands for."""
    for name, members in table.items():
        if not _said(name) or not are_texts(members) or not texts(members):
            raise UsageError(
                f"{where}: a group is a name and the list of the concepts that it stands for, like "
                f'pneumonia = ["bacterial", "viral"]; found {name} = {members!r}.'
            )
    return {name: texts(members) for name, members in table.items()}


def scores(listed: Any, where: str) -> tuple[Score, ...]:
    """Tables of metric, value, low, high and n."""
    if not isinstance(listed, list | tuple):
        raise UsageError(f"{where}: `scores` is {listed!r}; it is a list of tables, each under [[scores]].")
    return tuple(_score(each, where) for each in listed)


def _score(given: Any, where: str) -> Score:
    names = ("metric", "value", "low", "high", "n")
    if not isinstance(given, Mapping) or set(given) != set(names):
        raise UsageError(f"{where}: a score is a table of {', '.join(names)}; found {given!r}.")
    numbers = [given[name] for name in ("value", "low", "high")]
    if not _said(given["metric"]) or not all(is_number(each) for each in numbers):
        raise UsageError(
            f"{where}: of a score, metric is a text, and value, low and high are finite numbers; found {given!r}."
        )
    if type(given["n"]) is not int or given["n"] < 1:
        raise UsageError(f"{where}: `n` of a score is how many cases it was measured on, from 1; found {given['n']!r}.")
    value, low, high = (float(each) for each in numbers)
    if not low <= value <= high:
        raise UsageError(f"{where}: the {given['metric']} {value:g} is not within its interval, {low:g} to {high:g}.")
    if _is_share(given["metric"]) and not 0 <= low <= high <= 1:
        raise UsageError(
            f"{where}: {given['metric']} lies from 0 to 1, found {value:g} [{low:g}, {high:g}]. Write 0.87 for 87 %."
        )
    return Score(given["metric"], value, low, high, given["n"])


def _is_share(metric: str) -> bool:
    return bool(_SHARES & set(re.findall(r"[a-z0-9]+", metric.lower())))
