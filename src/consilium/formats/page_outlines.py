"""What a specialist outlined, for the page: pictures with outlines and their legend, and a table of what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from consilium.imaging.overlay import PALETTE, Style, contact_sheet, draw, styles
from consilium.imaging.picture import resize
from consilium.imaging.slices import chosen, largest
from consilium.imaging.structures import Structure, structures
from consilium.types import Array, Code, Image, Opinion, Segmentation, Volume

DRAWN_SIDE, SHEET = 768, 6
# `styles` tells so many concepts apart: seven colours in three kinds of line.
MOST = 3 * len(PALETTE)
_LINES = {0: "solid", 6: "dashed", 2: "dotted"}
_COLUMNS: tuple[tuple[str, Callable[[Structure], str]], ...] = (
    ("Size", lambda s: s.size if s.found else "not found"),
    ("Longest diameter", lambda s: s.longest),
    ("Short axis", lambda s: s.short),
    ("Mean", lambda s: s.intensity),
    ("Side of the patient", lambda s: s.side),
    ("Slices", lambda s: s.slices),
    ("Connected parts", lambda s: "" if s.parts in {"0", "1"} else s.parts),
    ("Also measured", lambda s: ", ".join(s.others)),
    ("Confidence", lambda s: "" if s.confidence is None else f"{s.confidence:.2f}"),
)


@dataclass(frozen=True, eq=False)
class Drawn:
    """One picture (rows, columns, 3) uint8 with its text alternative; None for the pixels where there is only something to say.
    `sheet`: further slices of the same volume."""

    pixels: Array | None
    says: str
    sheet: Array | None = None


@dataclass(frozen=True)
class Row:
    """A structure in the table: the CSS of its swatch ("" where it is not drawn), its name, a cell for each column."""

    swatch: str
    name: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    """The table of one specialist: the columns that hold anything, and its rows."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def measured(opinion: Opinion) -> Measured | None:
    """The measurements of what was outlined; None where nothing was."""
    found = [structure for structure in structures(opinion) if structure.outlined]
    if not found:
        return None
    look = styles(_drawable(opinion))
    columns = [(name, said) for name, said in _COLUMNS if any(said(structure) for structure in found)]
    rows = tuple(Row(_swatch(look, s.concept), s.name, tuple(said(s) for _, said in columns)) for s in found)
    return Measured(tuple(name for name, _ in columns), rows)


def drawn(opinion: Opinion, find: Callable[[str], Image | Volume | None]) -> list[Drawn]:
    """A picture for each image or volume that the specialist outlined something in, all in the same colours; of a volume the
    slice that shows most, and a sheet of further ones. `find` gives what has a uid, None where the record lacks it."""
    parts = _drawable(opinion)
    look = styles(parts)
    outlined = {c for s in opinion.segmentations for c, size in zip(s.concepts, _sizes(s), strict=True) if size}
    found = []
    for uid in dict.fromkeys(part.image_uid for part in parts):
        own, item = [part for part in parts if part.image_uid == uid], find(uid)
        found.append(_one(opinion, own, item, look))
    if len(outlined) > MOST:
        said = f"Only the {MOST} largest of {len(outlined)} outlined structures are drawn; all are in the table."
        found.append(Drawn(None, said))
    return found


def _one(
    opinion: Opinion, parts: Sequence[Segmentation], item: Image | Volume | None, look: Mapping[Code, Style]
) -> Drawn:
    seen = [c.meaning for part in parts for c, size in zip(part.concepts, _sizes(part), strict=True) if size]
    names = ", ".join(dict.fromkeys(seen))
    if item is None:
        return Drawn(None, f"It outlined {names or 'nothing'} on a picture that this record does not hold.")
    if not names:
        return Drawn(None, "It outlined nothing here.")
    if isinstance(item, Image):
        return Drawn(_fitting(draw(item, parts, opinion.findings, look=look).pixels), f"Outlined by the model: {names}")
    index = _fullest(parts)
    pixels = _fitting(draw(item, parts, opinion.findings, index, look).pixels)
    says = f"Outlined by the model, slice {index + 1} of {len(item.voxels)}: {names}"
    others = chosen(item, parts, min(SHEET, len(item.voxels)))
    return Drawn(pixels, says, _fitting(contact_sheet(item, parts, others, opinion.findings, look).pixels))


def _fullest(parts: Sequence[Segmentation]) -> int:
    """The slice in which most is outlined."""
    if len(parts) == 1:
        return largest(parts[0])
    return int(np.argmax(sum(np.count_nonzero(part.labels, axis=(1, 2)) for part in parts)))


def _drawable(opinion: Opinion) -> list[Segmentation]:
    """The segmentations with what is outlined alone, of more than can be told apart the largest."""
    sizes: dict[Code, int] = {}
    for segmentation in opinion.segmentations:
        for concept, size in zip(segmentation.concepts, _sizes(segmentation), strict=True):
            sizes[concept] = sizes.get(concept, 0) + int(size)
    kept = sorted((c for c, size in sizes.items() if size), key=lambda c: -sizes[c])[:MOST]
    return [_of(segmentation, frozenset(kept)) for segmentation in opinion.segmentations]


def _of(segmentation: Segmentation, kept: frozenset[Code]) -> Segmentation:
    """The segmentation with the labels of these concepts alone."""
    concepts = [concept for concept in segmentation.concepts if concept in kept]
    if len(concepts) == len(segmentation.concepts):
        return segmentation
    numbers = {concept: number for number, concept in enumerate(concepts, 1)}
    table = np.array([0, *(numbers.get(concept, 0) for concept in segmentation.concepts)], np.uint8)
    return Segmentation(table[segmentation.labels], segmentation.image_uid, tuple(concepts))


def _sizes(segmentation: Segmentation) -> Array:
    """(concepts,) how many places of each."""
    return np.bincount(segmentation.labels.reshape(-1), minlength=len(segmentation.concepts) + 1)[1:]


def _swatch(look: Mapping[Code, Style], concept: Code) -> str:
    if concept not in look:
        return ""
    style = look[concept]
    shade = ",".join(map(str, style.colour))
    return f"background:rgba({shade},.35);border:3px {_LINES[style.dash]} rgb({shade})"


def _fitting(rgb: Array) -> Array:
    scale = DRAWN_SIDE / max(rgb.shape[:2])
    return rgb if scale >= 1 else resize(rgb, *(max(1, round(scale * n)) for n in rgb.shape[:2]))
