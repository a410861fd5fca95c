"""Outlines for the page: one colour a structure in every picture and in the table, and no more than can be told apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from tests.consultations import outlined, stack

from consilium.formats.page_outlines import DRAWN_SIDE, MOST, drawn, measured
from consilium.imaging.measure import measure
from consilium.types import Code, Finding, Image, Opinion, Segmentation


def _many(count: int) -> tuple[Image, Opinion]:
    """A picture of squares, each larger than the last, all but the last of `count` named parts of which were found."""
    image = Image(np.full((30 * count + 30, 60), 90, np.uint8), "squares", spacing_mm=(1.0, 1.0))
    labels = np.zeros(image.pixels.shape, np.uint8)
    for number in range(1, count):
        labels[30 * number : 30 * number + 3 + number // 2, 5:25] = number
    concepts = tuple(Code.local(f"part {number:02d}") for number in range(1, count + 1))
    segmentation = Segmentation(labels, "squares", concepts)
    return image, Opinion("parts", "1", measure(segmentation, image), segmentations=(segmentation,))


def test_the_table_holds_the_columns_that_say_something() -> None:
    table = measured(outlined())
    assert table is not None
    assert table.columns == ("Size", "Longest diameter", "Short axis", "Mean", "Slices", "Confidence")
    cyst, tumour = table.rows
    assert cyst.cells[0] == "0.36 mL" and cyst.cells[-2:] == ("4 to 6", "0.81") and cyst.swatch
    assert tumour.cells == ("not found", "", "", "", "", "") and not tumour.swatch
    assert measured(Opinion("a", "1", (Finding(Code.local("width"), quantity=3.0, unit="mm"),))) is None


def test_a_volume_is_drawn_by_its_fullest_slice_and_a_sheet() -> None:
    (one,) = drawn(outlined(), lambda uid: stack())
    assert one.pixels is not None and one.sheet is not None and "slice 5 of 20: cyst" in one.says
    assert max(one.pixels.shape) <= DRAWN_SIDE and max(one.sheet.shape) <= DRAWN_SIDE


def test_of_more_structures_than_can_be_told_apart_the_largest_are_drawn() -> None:
    image, opinion = _many(29)
    one, note = drawn(opinion, lambda uid: image)
    assert one.pixels is not None and one.sheet is None and max(one.pixels.shape) <= DRAWN_SIDE
    assert "part 28" in one.says and "part 02" not in one.says and "part 29" not in one.says
    assert note.pixels is None and note.says.startswith(f"Only the {MOST} largest of 28")
    table = measured(opinion)
    assert table is not None and len(table.rows) == 29 and sum(bool(row.swatch) for row in table.rows) == MOST
    assert len({row.swatch for row in table.rows}) == MOST + 1
    assert table.rows[-1].cells[0] == "not found"


def test_two_pictures_share_their_colours() -> None:
    image, opinion = _many(4)
    second = replace(
        opinion.segmentations[0], image_uid="other", labels=np.where(opinion.segmentations[0].labels == 3, 3, 0)
    )
    both = replace(opinion, segmentations=(opinion.segmentations[0], second))
    first, other = drawn(both, {"squares": image, "other": replace(image, uid="other")}.get)
    assert first.says.endswith("part 01, part 02, part 03") and first.pixels is not None and other.pixels is not None
    assert other.says.endswith(": part 03")
    green = (np.abs(other.pixels.astype(int) - (0, 158, 115)).sum(axis=-1) < 90).sum()
    orange = (np.abs(other.pixels.astype(int) - (230, 159, 0)).sum(axis=-1) < 90).sum()
    assert green > 50 and green > 4 * orange


def test_nothing_outlined_and_nothing_to_draw_on_are_said() -> None:
    empty = Segmentation(np.zeros((20, 16, 16), np.uint8), "stack", (Code.local("cyst"),))
    (blank,) = drawn(Opinion("a", "1", segmentations=(empty,)), lambda uid: stack())
    assert blank.pixels is None and blank.says == "It outlined nothing here."
    (lost,) = drawn(outlined(), lambda uid: None)
    assert lost.pixels is None and "does not hold" in lost.says
