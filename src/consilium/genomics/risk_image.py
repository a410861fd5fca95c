"""A person's polygenic scores as a picture: a square patch for each trait, a colour for each bar of p, the value the percentile
among reference people. It can be read back (`decode`), and goes with the demographics in words.

The form is Med-Gemini's (arXiv 2405.03162): patches of 8 x 8 pixels, values 0 to 255, three thresholds as red, green and blue.
The order of the patches is ours, since theirs is not published.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from consilium.errors import DataError, UsageError
from consilium.types import Array, Case, Image, Study

PATCH = 8
CHANNELS = 3
QUESTION = "The picture shows this person's polygenic scores. Does this person develop {outcome}?"
_LEVELS = 256
_AGE = re.compile(
    r"\b(?:aged?\b[\s:=]{0,3}(\d{1,3}(?:\.\d+)?)(?![\d.]*\d)|(?<![\d.])(\d{1,3}(?:\.\d+)?)[\s-]*(?:years?[\s-]+old|y/?o)\b)",
    re.IGNORECASE,
)
# What makes another age of a number: its unit or range behind it, what it is the age of before it.
_OTHER_UNIT = re.compile(r"\s*(?:(?:months?|mo|weeks?|wks?|days?|hours?)\b|(?:-|\u2013|to)\s*\d)", re.IGNORECASE)
_OTHER_AGE = re.compile(
    r"(?:gestational|mean|median|at|since|from|until|before|after|under|over|by)\s+$", re.IGNORECASE
)
_FEMALE = re.compile(r"\b(?:female|woman|girl)\b", re.IGNORECASE)
_MALE = re.compile(r"\b(?:male|man|boy)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Layout:
    """Where each trait's patch lies.

    traits   names, one a patch.
    bars     names of the three p-value thresholds: red, green, blue.
    cells    (traits,) cell of each trait in a grid of `rows` x `columns`, counted row by row; no cell twice.
    patch    side of a patch in pixels.
    """

    traits: tuple[str, ...]
    bars: tuple[str, str, str]
    cells: tuple[int, ...]
    rows: int
    columns: int
    patch: int = PATCH

    def __post_init__(self) -> None:
        n = len(self.traits)
        fits = len(self.cells) == n == len(set(self.cells)) and len(self.bars) == CHANNELS
        if not n or not fits or min(self.cells) < 0 or max(self.cells) >= self.rows * self.columns or self.patch < 1:
            raise DataError(f"a layout of {n} traits needs as many different cells of its grid and three bars of p.")


def by_correlation(traits: Sequence[str], bars: Sequence[str], correlation: Array, patch: int = PATCH) -> Layout:
    """Relatives are neighbours: the leaves of a tree over genetic correlations (traits, traits), cut in halves that share the
    grid's longer side, again and again. The sign of a correlation does not count: a mirrored trait is a relative too."""
    from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
    from scipy.spatial.distance import squareform

    n = len(traits)
    if correlation.shape != (n, n) or not np.isfinite(correlation).all():
        raise DataError(f"{n} traits need finite correlations ({n}, {n}); found {correlation.shape}.")
    order = np.arange(n)
    if n > 2:
        distance = 1 - np.abs(correlation + correlation.T) / 2
        np.fill_diagonal(distance, 0)
        condensed = squareform(np.clip(distance, 0, 1), checks=False)
        order = leaves_list(optimal_leaf_ordering(linkage(condensed, "average"), condensed))
    return _laid(traits, bars, order, patch)


def at_random(traits: Sequence[str], bars: Sequence[str], seed: int = 0, patch: int = PATCH) -> Layout:
    """The same grid in an order drawn by lot: what the arrangement is worth is measured against it."""
    rows, columns = _grid(len(traits))
    cells = np.random.default_rng(seed).permutation(rows * columns)[: len(traits)]
    return Layout(tuple(traits), _three(bars), tuple(map(int, cells)), rows, columns, patch)


def neighbour_correlation(layout: Layout, correlation: Array) -> float:
    """Mean absolute correlation of traits whose patches share a side; NaN where none do."""
    trait_at = np.full(layout.rows * layout.columns, -1)
    trait_at[list(layout.cells)] = np.arange(len(layout.cells))
    grid = trait_at.reshape(layout.rows, layout.columns)
    pairs = [(grid[:, :-1], grid[:, 1:]), (grid[:-1], grid[1:])]
    first, second = (np.concatenate([pair[i].ravel() for pair in pairs]) for i in (0, 1))
    both = (first >= 0) & (second >= 0)
    return float(np.abs(correlation[first[both], second[both]]).mean()) if both.any() else float("nan")


def draw(percentiles: Array, layout: Layout) -> Image:
    """(traits, 3) percentiles of 0 to 100 -> the picture; cells without a trait are black. DataError where one is no percentile:
    what counts for a score that is not known is the caller's to say."""
    if percentiles.shape != (len(layout.traits), CHANNELS) or not ((percentiles >= 0) & (percentiles <= 100)).all():
        raise DataError(
            f"a picture of {len(layout.traits)} traits needs ({len(layout.traits)}, 3) percentiles of 0 to 100; found "
            f"{percentiles.shape}, or values outside. Score the person against the reference first."
        )
    grid = np.zeros((layout.rows * layout.columns, CHANNELS), np.uint8)
    grid[list(layout.cells)] = levels(percentiles)
    pixels = grid.reshape(layout.rows, layout.columns, CHANNELS)
    pixels = pixels.repeat(layout.patch, axis=0).repeat(layout.patch, axis=1)
    return Image(pixels, f"sha256:{hashlib.sha256(pixels.tobytes()).hexdigest()}", units="RGB")


def decode(image: Image, layout: Layout) -> Array:
    """The percentiles (traits, 3) of a picture that `draw` made, right to half a level (0.2). DataError where the picture is
    another: resized, compressed with loss, or of another layout."""
    shape = (layout.rows * layout.patch, layout.columns * layout.patch, CHANNELS)
    if image.pixels.shape != shape or image.pixels.dtype != np.uint8:
        raise DataError(
            f"the layout is of {shape} bytes, the picture of {image.pixels.shape}. Keep it as it was drawn."
        )
    tiles = image.pixels.reshape(layout.rows, layout.patch, layout.columns, layout.patch, CHANNELS)
    if (tiles != tiles[:, :1, :, :1]).any():
        raise DataError("patches of the picture are not of one colour: it was resized or compressed. Keep it as PNG.")
    return middle(tiles[:, 0, :, 0].reshape(-1, CHANNELS)[list(layout.cells)])


def levels(percentiles: Array) -> Array:
    """0 to 100 -> 0 to 255, each level as wide as the others."""
    return np.minimum(np.floor(percentiles * (_LEVELS / 100)), _LEVELS - 1).astype(np.uint8)


def middle(level: Array) -> Array:
    """0 to 255 -> the percentile in the middle of the level."""
    return (level + 0.5) * (100 / _LEVELS)


def normal_scores(percentiles: Array) -> Array:
    """Percentiles -> what a standard normal has there, float32; the ends of the scale are those of a level."""
    from scipy.special import ndtri

    edge = 50 / _LEVELS
    return np.asarray(ndtri(np.clip(percentiles, edge, 100 - edge) / 100), np.float32)


def study(image: Image) -> Study:
    """The picture as a study (DICOM modality OT, "other"), so that a generalist may look at it in a consultation."""
    return Study("OT", None, (image,), "user", file_format="risk image")


def reading(name: str, image: Image, demographics: str, outcome: str) -> Case:
    """The case called `name` in which a generalist reads the picture for itself: under the policy `solo` the answer's probability
    of "yes" is p+ / (p+ + p-), the share of its likelihood. demographics: the line of `demographic_text`."""
    return Case(name, QUESTION.format(outcome=outcome), ("yes", "no"), (study(image),), demographics)


def demographic_text(age_years: float, sex: str) -> str:
    """The line that goes with the picture."""
    if not 0 <= age_years <= 120 or sex not in ("female", "male"):
        raise UsageError(
            f"age {age_years:g} and sex {sex!r} cannot be used. Give years of 0 to 120, and female or male."
        )
    return f"Age: {age_years:g} years. Sex: {sex}."


def read_demographics(text: str) -> tuple[float | None, str | None]:
    """(age in years, "female" or "male") that a history states, each None where it says none, or more than one."""
    found = [
        m
        for m in _AGE.finditer(text)
        if not _OTHER_UNIT.match(text, m.end()) and not _OTHER_AGE.search(text[: m.start()])
    ]
    ages = {float(m[1] or m[2]) for m in found}
    sexes = {name for name, said in (("female", _FEMALE), ("male", _MALE)) if said.search(text)}
    age = ages.pop() if len(ages) == 1 else None
    return (age if age is not None and age <= 120 else None), (sexes.pop() if len(sexes) == 1 else None)


def _laid(traits: Sequence[str], bars: Sequence[str], order: Array, patch: int) -> Layout:
    rows, columns = _grid(len(traits))
    cells = np.empty(len(traits), np.int64)
    cells[order] = _cells(len(traits), (0, 0, rows, columns), columns)
    return Layout(tuple(traits), _three(bars), tuple(map(int, cells)), rows, columns, patch)


def _grid(n: int) -> tuple[int, int]:
    """The least square, less the rows that would stay empty."""
    columns = int(np.ceil(np.sqrt(n)))
    return -(-n // columns), columns


def _cells(n: int, box: tuple[int, int, int, int], width: int) -> Array:
    """Cells for n things in their order within a box (row, column, rows, columns) of a grid `width` wide, halved until one is
    left."""
    row, column, rows, columns = box
    if n <= 1 or rows * columns == 1:
        return np.full(n, row * width + column)
    if rows > columns:
        half = rows // 2
        boxes = ((row, column, half, columns), (row + half, column, rows - half, columns))
    else:
        half = columns // 2
        boxes = ((row, column, rows, half), (row, column + half, rows, columns - half))
    room = [b[2] * b[3] for b in boxes]
    first = min(room[0], max(n - room[1], round(n * room[0] / sum(room))))
    return np.concatenate([_cells(m, b, width) for m, b in zip((first, n - first), boxes, strict=True)])


def _three(bars: Sequence[str]) -> tuple[str, str, str]:
    if len(bars) != CHANNELS:
        raise DataError(f"a picture has three colours: give three bars of p, not {len(bars)}.")
    return bars[0], bars[1], bars[2]
