"""Outlines drawn over what they outline: contours with a light fill, in colours that colour-blind readers tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np

from consilium.errors import UsageError
from consilium.imaging.legend import Line, below, strip
from consilium.imaging.measure import AREA, HU, LONGEST, PICTURE_AREA, VOLUME, check_fits
from consilium.imaging.picture import resize
from consilium.imaging.window import to_display
from consilium.types import Array, Code, Finding, Image, Segmentation, Volume

LEAST_SIDE, _MOST_SIDE = 448, 4096

# Okabe and Ito 2008, without black; the brighter first, since most pictures are dark.
PALETTE = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (213, 94, 0),
    (204, 121, 167),
    (0, 114, 178),
)
_DASHES = (0, 6, 2)
_FILL, _CONTOUR = 0.18, 0.75
_TILE = 192
_QUOTED = (VOLUME, AREA, PICTURE_AREA, LONGEST)


@dataclass(frozen=True)
class Style:
    """How one concept is drawn: its colour, and the length of the dashes of its contour in line widths (0: unbroken)."""

    colour: tuple[int, int, int]
    dash: int = 0


def styles(segmentations: Sequence[Segmentation]) -> dict[Code, Style]:
    """One style a concept, in the order in which they are first named: the seven colours unbroken, then dashed, then dotted.

    Raises UsageError for more than 21 concepts, which nobody could tell apart.
    """
    named = dict.fromkeys(concept for segmentation in segmentations for concept in segmentation.concepts)
    looks = [Style(colour, dash) for dash in _DASHES for colour in PALETTE]
    if len(named) > len(looks):
        raise UsageError(
            f"{len(named)} concepts cannot be told apart in one picture; draw at most {len(looks)} at a time"
        )
    return dict(zip(named, looks, strict=False))


def draw(
    shown: Image | Volume,
    segmentations: Segmentation | Sequence[Segmentation],
    findings: Sequence[Finding] = (),
    index: int | None = None,
    look: Mapping[Code, Style] | None = None,
) -> Image:
    """RGB Image of what is shown, with what is outlined on it, at least 448 pixels high and wide: smaller pictures are enlarged.

    The legend stands in a strip below the picture: for each concept seen its colour, its name, and from `findings` its volume or
    area and its longest diameter. Of what is outlined everything shows through: 82 % of a filled place, 25 % of a contour.

    index  the slice of a Volume, from 0 (the legend counts from 1); None: where most is outlined, the middle where nothing is.
    look   `styles` of all that is drawn of this case, where several pictures must agree; None: those of `segmentations`.

    Raises UsageError for a segmentation of another picture or a slice that is not there.
    """
    outlines = (segmentations,) if isinstance(segmentations, Segmentation) else tuple(segmentations)
    for outline in outlines:
        check_fits(outline, shown)
    look = styles(outlines) if look is None else look
    lines = []
    if isinstance(shown, Volume):
        index = _most_outlined(outlines, len(shown.voxels)) if index is None else index
        lines.append(Line(f"Slice {index + 1} of {len(shown.voxels)}"))
    elif index is not None:
        raise UsageError(f"slice {index} of a single picture was asked for; leave the index out")
    image, flat = _layer(shown, outlines, index)
    scale = max(1.0, min(LEAST_SIDE / min(image.pixels.shape[:2]), _MOST_SIDE / max(image.pixels.shape[:2])))
    picture = _outlined(image, flat, look, scale)
    lines += _legend(flat, look, [f for f in findings if f.image_uid in ("", shown.uid)])
    spacing = None if image.spacing_mm is None else (image.spacing_mm[0] / scale, image.spacing_mm[1] / scale)
    return _image(below(picture, strip(lines, picture.shape[1], min(picture.shape[:2]))), spacing)


def contact_sheet(
    volume: Volume,
    segmentations: Segmentation | Sequence[Segmentation],
    slices: Sequence[int],
    findings: Sequence[Finding] = (),
    look: Mapping[Code, Style] | None = None,
) -> Image:
    """RGB Image of several slices (from 0) in rows, each with its number (from 1) below it, and one legend below all.

    A slice is at least 192 pixels high and wide, more where there are few. Raises UsageError as `draw` does.
    """
    outlines = (segmentations,) if isinstance(segmentations, Segmentation) else tuple(segmentations)
    if not slices:
        raise UsageError("a contact sheet of no slices was asked for; name at least one")
    for outline in outlines:
        check_fits(outline, volume)
    look = styles(outlines) if look is None else look
    across = ceil(sqrt(len(slices)))
    side = max(_TILE, ceil(LEAST_SIDE / ceil(len(slices) / across)))
    layers = [_layer(volume, outlines, index) for index in slices]
    tiles = [
        _tile(image, flat, look, side, f"{index + 1}") for index, (image, flat) in zip(slices, layers, strict=True)
    ]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % across)
    sheet = np.concatenate([np.concatenate(tiles[i : i + across], axis=1) for i in range(0, len(tiles), across)])
    lines = [
        Line(f"Slices of {len(volume.voxels)}"),
        *_legend([part for _, flat in layers for part in flat], look, findings),
    ]
    return _image(below(sheet, strip(lines, sheet.shape[1], min(sheet.shape[:2]))), None)


_Flat = tuple[Array, tuple[Code, ...]]


def _layer(shown: Image | Volume, outlines: Sequence[Segmentation], index: int | None) -> tuple[Image, list[_Flat]]:
    """The picture to draw on, and the labels (rows, columns) on it with their concepts."""
    if isinstance(shown, Image):
        return shown, [(outline.labels, outline.concepts) for outline in outlines]
    if index is None or not 0 <= index < len(shown.voxels):
        raise UsageError(f"slice {index} was asked for; this volume has the slices 0 to {len(shown.voxels) - 1}")
    return shown.slice(index), [(outline.labels[index], outline.concepts) for outline in outlines]


def _most_outlined(outlines: Sequence[Segmentation], count: int) -> int:
    areas = [sum(int(np.count_nonzero(outline.labels[i])) for outline in outlines) for i in range(count)]
    return int(np.argmax(areas)) if any(areas) else count // 2


def _outlined(
    image: Image, flat: Sequence[_Flat], look: Mapping[Code, Style], scale: float, line: int | None = None
) -> Array:
    """uint8 (rows, columns, 3), `scale` times as large. Contours run inside what they enclose and lie over every fill."""
    rows, columns = (round(scale * n) for n in image.pixels.shape[:2])
    picture = resize(to_display(image), rows, columns)
    line = max(1, round(min(rows, columns) / (LEAST_SIDE / 2))) if line is None else line
    colour, opacity = np.zeros(picture.shape, np.float32), np.zeros((rows, columns), np.float32)
    contours = []
    for labels, concepts in flat:
        for mask, box, style in _masks(_enlarged(labels, rows, columns), concepts, look):
            colour[box][mask], opacity[box][mask] = style.colour, _FILL
            contours.append((_contour(mask, box, line, style.dash, (rows, columns)), box, style.colour))
    for edge, box, shade in contours:
        colour[box][edge], opacity[box][edge] = shade, _CONTOUR
    mixed = picture + opacity[..., None] * (colour - picture)
    return np.rint(mixed).astype(np.uint8)


def _enlarged(labels: Array, rows: int, columns: int) -> Array:
    from PIL import Image as Pillow

    return np.asarray(Pillow.fromarray(labels.astype(np.uint8)).resize((columns, rows), Pillow.Resampling.NEAREST))


def _masks(
    labels: Array, concepts: Sequence[Code], look: Mapping[Code, Style]
) -> list[tuple[Array, tuple[slice, ...], Style]]:
    """What is seen of each concept: the mask within its box, the box, the style."""
    from scipy.ndimage import find_objects

    boxes = find_objects(labels, max_label=len(concepts))
    found = []
    for number, (concept, box) in enumerate(zip(concepts, boxes, strict=True), 1):
        if box is None:
            continue
        if concept not in look:
            raise UsageError(
                f"no style was given for {concept.meaning!r}; make `look` of all segmentations with `styles`"
            )
        found.append((labels[box] == number, box, look[concept]))
    return found


def _contour(mask: Array, box: tuple[slice, ...], line: int, dash: int, size: tuple[int, int]) -> Array:
    """The outermost `line` places of a mask; none along the border of the picture, where what was outlined is only cut off."""
    from scipy.ndimage import binary_erosion

    room = [(int(side.start > 0), int(side.stop < n)) for side, n in zip(box, size, strict=True)]
    padded = np.pad(mask, room)
    inner = binary_erosion(padded, iterations=line, border_value=1)
    cut = tuple(slice(before, before + n) for (before, _), n in zip(room, mask.shape, strict=True))
    edge = mask & ~inner[cut]
    if dash:
        rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
        edge &= (rows + columns) // (dash * line) % 2 == 0
    return edge


def _legend(flat: Sequence[_Flat], look: Mapping[Code, Style], findings: Sequence[Finding]) -> list[Line]:
    seen = dict.fromkeys(concepts[n - 1] for labels, concepts in flat for n in np.unique(labels) if n)
    lines = []
    for concept in seen:
        style = look[concept]
        said = dict.fromkeys(
            quantity(finding)
            for site in _QUOTED
            for finding in findings
            if finding.site == site and finding.concept == concept
        )
        text = concept.meaning + (f": {', '.join(said)}" if said else "")
        lines.append(Line(text, style.colour, style.dash))
    return lines if lines or not flat else [Line("Nothing is outlined here")]


def quantity(finding: Finding) -> str:
    """A quantity with its unit as people write it: '12.3 mL', '1,240 mm²', '-35 HU'; of a longest diameter 'longest 31 mm'."""
    amount = finding.quantity or 0.0
    number = f"{amount:,.0f}" if abs(amount) >= 100 else f"{amount:.3g}"
    unit = {"mm2": "mm²", HU: "HU", "1": ""}.get(finding.unit, finding.unit)
    lead = "longest " if finding.site == LONGEST else ""
    return f"{lead}{number} {unit}{' of the picture' if finding.site == PICTURE_AREA else ''}".rstrip()


def _tile(image: Image, flat: Sequence[_Flat], look: Mapping[Code, Style], side: int, caption: str) -> Array:
    """One slice of a contact sheet: drawn at least at its own size, then brought to `side` for its shorter side."""
    short = min(image.pixels.shape[:2])
    scale = max(1.0, side / short)
    drawn = _outlined(image, flat, look, scale, line=max(1, round(1.5 * short * scale / side)))
    factor = side / min(drawn.shape[:2])
    small = resize(drawn, *(max(side, round(factor * n)) for n in drawn.shape[:2]))
    return below(small, strip([Line(caption)], small.shape[1], side))


def _image(rgb: Array, spacing_mm: tuple[float, float] | None) -> Image:
    plain = Image(rgb, "", spacing_mm, units="RGB")
    return Image(rgb, f"sha256:{plain.digest}", spacing_mm, units="RGB")
