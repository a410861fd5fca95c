"""Figures read the same everywhere, and never more certain than they are."""

from __future__ import annotations

import pytest
from tests.consultations import drawn, stack

from consilium.formats import wording
from consilium.types import Code, Finding, Opinion, Score


@pytest.mark.parametrize(
    ("probability", "reads"),
    [(0.0, "0 %"), (1e-9, "<1 %"), (0.4949, "49 %"), (0.995001, ">99 %"), (1.0, "100 %"), (None, "-")],
)
def test_percent(probability: float | None, reads: str) -> None:
    assert wording.percent(probability) == reads.replace(" ", "\N{NO-BREAK SPACE}")


def test_a_quantity_is_written_with_its_unit_and_never_as_a_percentage() -> None:
    volume = Finding(Code.local("volume"), quantity=1234.56, unit="ml")
    assert wording.amount(volume) == "1235\N{NO-BREAK SPACE}ml"
    assert wording.amount(Finding(Code.local("count"), quantity=3.0)) == "3"


def test_interval() -> None:
    assert wording.interval(Score("AUROC", 0.9, 0.854, 0.946, 100)) == "0.90 [0.85, 0.95]"


@pytest.mark.parametrize(
    ("calibrated", "reads"),
    [([True, True], "calibrated"), ([False], "not calibrated"), ([True, False], "partly calibrated"), ([], "")],
)
def test_calibration_is_of_all_probabilities(calibrated: list[bool], reads: str) -> None:
    quantity = Finding(Code.local("volume"), quantity=1.0)
    findings = (quantity, *(Finding(Code.local("a"), 0.5, known) for known in calibrated))
    assert wording.calibration(Opinion("a", "1", findings)) == reads


def test_dimensions_are_columns_by_rows_with_their_distance_where_known() -> None:
    assert wording.dimensions(drawn(60, 80)) == "80 × 60 pixels"
    assert wording.dimensions(stack()) == "20 slices of 16 × 16 pixels, 1 × 2 × 5 mm apart"


def test_printable_keeps_lines_tabs_and_letters() -> None:
    assert wording.printable("Größe\t肺\r\n\x1b[0m\ud800") == "Größe\t肺\n\ufffd[0m\ufffd"
