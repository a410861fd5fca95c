"""Lines of text below a picture, each with a swatch of its colour where it has one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from consilium.types import Array

_GROUND, _INK = (20, 20, 20), (245, 245, 245)
_LEAST_TEXT = 14


@dataclass(frozen=True)
class Line:
    """What is written; `colour` of its swatch, None for none; `dash` as in the contour that it explains."""

    text: str
    colour: tuple[int, int, int] | None = None
    dash: int = 0


def strip(lines: Sequence[Line], width: int, short_side: int) -> Array:
    """uint8 (rows, width, 3): the lines one below the other, wrapped where they are too long; no rows without a line.

    The letters are a thirtieth of `short_side` high, at least 14 pixels. Characters that Pillow's own font lacks are boxes.
    """
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    if not lines:
        return np.zeros((0, width, 3), np.uint8)
    size = max(_LEAST_TEXT, round(short_side / 30))
    font = ImageFont.load_default(size)
    gap, step = size // 2, round(1.4 * size)
    indent = 2 * gap + size if any(line.colour for line in lines) else gap
    wrapped = [(line, _wrapped(line.text, font, width - indent - gap)) for line in lines]
    rows = sum(len(parts) for _, parts in wrapped)
    canvas = Pillow.new("RGB", (width, rows * step + gap), _GROUND)
    pen = ImageDraw.Draw(canvas)
    top = gap // 2
    for line, parts in wrapped:
        if line.colour:
            _swatch(pen, line, (gap, top + (step - size) // 2), size)
        for part in parts:
            pen.text((indent if line.colour else gap, top + step // 2), part, fill=_INK, font=font, anchor="lm")
            top += step
    return np.asarray(canvas)


def below(picture: Array, text: Array) -> Array:
    """The picture with the text below it, both (rows, width, 3)."""
    return np.concatenate([picture, text])


def _swatch(pen: Any, line: Line, corner: tuple[int, int], size: int) -> None:
    """A square of the colour; of a dashed contour, stripes of it."""
    left, top = corner
    width = max(1, size // (1 + line.dash)) if line.dash else size
    for start in range(0, size, 2 * width):
        end = min(start + width, size) - 1
        pen.rectangle((left + start, top, left + end, top + size - 1), fill=line.colour)


def _wrapped(text: str, font: Any, width: float) -> list[str]:
    """The text in parts that fit; a word that does not fit is cut."""
    parts = [""]
    for word in "".join(c if c.isprintable() else " " for c in text).split():
        longer = f"{parts[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            parts[-1] = longer
            continue
        parts.append("")
        for letter in word:
            if parts[-1] and font.getlength(parts[-1] + letter) > width:
                parts.append("")
            parts[-1] += letter
    return [part for part in parts if part] or [""]
