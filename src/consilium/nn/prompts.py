"""Reads where to look and what to call it: the boxes, points, picture and slices of a specialist that is shown its target."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from consilium.errors import UsageError
from consilium.types import Array, Case, Image, Study, Volume

ARGUMENTS = {
    "box": "[x0, y0, x1, y1] around a target: first column, first row, last column, last row, pixels from 0; or several such",
    "point": "[x, y] inside the target: column, row; or several such. A box does better",
    "target": "words for what is outlined; it becomes the name of the finding",
    "image": "number of the picture in the case, from 1; needed where it holds several",
    "slice": "number of the slice that box or point lie in, from 1; needed of a volume",
    "through": "[first, last] slices, from 1, that the outline is carried to, each by the box of its neighbour's outline",
}
UNNAMED = "outlined region"


@dataclass(frozen=True, eq=False)
class Prompt:
    """What was asked, checked against the picture.

    places   of kind "box" (k, 4) x0, y0, x1, y1, of kind "point" (k, 2) x, y; pixels of `picture`.
    picture  the image, or the slice of `shown`; `index` its place in the volume, from 0, or None.
    span     first and last slice to carry to, from 0; None: this slice alone.
    """

    study: Study
    shown: Image | Volume
    picture: Image
    kind: Literal["box", "point"]
    places: Array
    target: str
    index: int | None = None
    span: tuple[int, int] | None = None


def prompt_of(case: Case, args: Mapping[str, Any] | None) -> Prompt:
    """The prompt in `args`, whose values may be numbers and lists or text that reads as such ("[10, 20, 80, 90]" or
    "10,20,80,90"). UsageError, in words that say what is needed, where there is none or it does not fit the case."""
    given = {name: value for name, value in (args or {}).items() if value is not None}
    if unknown := sorted(given.keys() - ARGUMENTS.keys()):
        raise UsageError(f"no argument is called {', '.join(unknown)}; there are: {', '.join(ARGUMENTS)}")
    study, shown = _chosen(case, given.get("image"))
    if ("box" in given) == ("point" in given):
        raise UsageError(
            "it outlines what a box or a point marks: give box=[x0, y0, x1, y1] or point=[x, y], one of the two"
        )
    index, span = None, None
    if isinstance(shown, Volume):
        depth = len(shown.voxels)
        index = _number(given.get("slice"), "slice", depth)
        picture = shown.slice(index)
        span = _span(given["through"], index, depth) if "through" in given else None
    elif "slice" in given or "through" in given:
        raise UsageError("slice and through are for volumes; this is a single picture: leave them out")
    else:
        picture = shown
    size = picture.pixels.shape[:2]
    kind: Literal["box", "point"] = "box" if "box" in given else "point"
    places = _boxes(given["box"], size) if kind == "box" else _points(given["point"], size)
    target = " ".join(str(given.get("target", "")).split()) or UNNAMED
    return Prompt(study, shown, picture, kind, places, target, index, span)


def _chosen(case: Case, image: Any) -> tuple[Study, Image | Volume]:
    pictures = [(study, item) for study in case.studies for item in study.images]
    if not pictures:
        raise UsageError("the case holds no picture")
    return pictures[0 if image is None and len(pictures) == 1 else _number(image, "image", len(pictures))]


def _number(value: Any, name: str, count: int) -> int:
    """A count from 1 as an index from 0."""
    found = _numbers(value, name)
    if found.shape not in {(), (1,)} or not 1 <= float(found.item()) <= count or float(found.item()) % 1:
        raise UsageError(
            f"say which {name} is meant: {name}=1 to {count}" + ("" if value is None else f"; found {value!r}")
        )
    return int(found.item()) - 1


def _span(value: Any, index: int, depth: int) -> tuple[int, int]:
    found = _numbers(value, "through")
    if found.shape != (2,) or (found % 1).any() or not 1 <= found[0] <= index + 1 <= found[1] <= depth:
        raise UsageError(
            f"through is [first, last] slice around slice {index + 1}, between 1 and {depth}; found {value!r}"
        )
    return int(found[0]) - 1, int(found[1]) - 1


def _boxes(value: Any, size: tuple[int, ...]) -> Array:
    found = np.atleast_2d(_numbers(value, "box"))
    rows, columns = size
    fits = found.ndim == 2 and found.shape[1] == 4 and found.size > 0
    if (
        not fits
        or (found[:, :2] >= found[:, 2:]).any()
        or (found < 0).any()
        or (found >= [columns, rows, columns, rows]).any()
    ):
        raise UsageError(
            f"box is [x0, y0, x1, y1] with x0 < x1 below {columns} (columns) and y0 < y1 below {rows} (rows); found {value!r}"
        )
    return found


def _points(value: Any, size: tuple[int, ...]) -> Array:
    found = np.atleast_2d(_numbers(value, "point"))
    rows, columns = size
    fits = found.ndim == 2 and found.shape[1] == 2 and found.size > 0
    if not fits or (found < 0).any() or (found >= [columns, rows]).any():
        raise UsageError(f"point is [x, y] with x below {columns} (columns) and y below {rows} (rows); found {value!r}")
    return found


def _numbers(value: Any, name: str) -> Array:
    """Finite numbers as an array; those of None, of words and of ragged lists are NaN, which fits nothing."""
    if isinstance(value, str):
        text = value.strip()
        try:
            value = json.loads(text if text.startswith("[") else f"[{text}]")
        except ValueError:
            raise UsageError(f"{name} is made of numbers; found {value!r}") from None
    try:
        found = np.asarray(value, float)
    except (TypeError, ValueError):
        raise UsageError(f"{name} is made of numbers; found {value!r}") from None
    return found if np.isfinite(found).all() else np.full(1, np.nan)
