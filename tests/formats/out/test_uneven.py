"""What was outlined on slices at uneven distances: the caution beside it, on its way into every result."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from tests.formats.out.conftest import LESION

from consilium.cli.show import show
from consilium.consult.council import case_of, consult
from consilium.consult.panel import Panel
from consilium.encoders import patch_statistics
from consilium.formats import read, record
from consilium.formats.out import write
from consilium.formats.page import to_html
from consilium.imaging.measure import measure
from consilium.protocols import Card
from consilium.types import Case, Consultation, Finding, Opinion, Segmentation

BRIDGED = (
    "slices are missing: about 2 in 1 gap; volumes are estimates (half of a gap counts with each slice beside it), "
    "diameters may come out too small"
)


class _Outliner:
    """Outlines the middle of every slice. `foreign`: it measures by itself, as a plug-in may."""

    def __init__(self, foreign: bool = False) -> None:
        self.card = Card("specialist", "outliner", "1", "Outlines.", ("MR",), concepts=(LESION,), outlines=True)
        self.foreign = foreign

    def examine(self, case: Case, args: Mapping[str, Any] | None = None) -> Opinion:
        (volume,) = case.studies[0].images
        labels = np.zeros(volume.voxels.shape, np.uint8)
        labels[:, 4:8, 3:7] = 1
        drawn = Segmentation(labels, volume.uid, (LESION,))
        findings = (Finding(LESION, quantity=1.0, unit="mL"),) if self.foreign else measure(drawn, volume)
        return Opinion("outliner", "1", findings, caution="it is a test", exclusive=False, segmentations=(drawn,))


def _held(folder: Path, foreign: bool = False) -> Consultation:
    panel = Panel(patch_statistics.load(), {}, "echo", None)
    panel.seat("outliner", _Outliner(foreign))
    return consult(case_of(read(folder), "Outline the lesion.", ()), panel, "moed")


def test_missing_slices_are_a_caution_in_every_result(series, tmp_path: Path) -> None:
    folder = series([0, 3, 6, 15, 18])
    held = _held(folder)
    (opinion,) = held.opinions
    assert opinion.caution == f"it is a test; {BRIDGED}"
    sizes = [finding.quantity for finding in opinion.findings if finding.site == "volume"]
    assert sizes == [pytest.approx(4 * 4 * 0.5 * 0.75 * 3 * 7 / 1000)]  # of seven slices, of which five are there
    assert record.from_json(record.to_json(held)) == held
    assert BRIDGED in to_html(held)
    shown = io.StringIO()
    show(held, Console(file=shown, width=400))
    assert BRIDGED in " ".join(shown.getvalue().split())
    done = {path.name: path for path in write(held, tmp_path / "out", [folder]).paths}
    assert BRIDGED.encode() in done["report.dcm"].read_bytes()
    for name in ("fhir-r4.json", "fhir-r5.json", "mask-01-outliner.json"):
        assert BRIDGED in done[name].read_text(encoding="utf-8"), name


@pytest.mark.parametrize(
    ("heights", "foreign", "said"),
    [
        ([0, 3, 6, 9], False, ""),
        ([0, 3, 6, 9.6, 12], False, "; slices lie 2.4 to 3.6 mm apart; volumes count each with its own thickness"),
        ([0, 3, 6, 9.6, 12], True, "; slices lie 2.4 to 3.6 mm apart; volumes may come out wrong"),
        (
            [0, 3, 6, 24, 27, 33],
            False,
            "; slices are missing: about 6 in 2 gaps; volumes and diameters may come out too small",
        ),
        (
            [0, 3, 9, 12],
            True,
            "; slices are missing: about 1 in 1 gap; volumes and diameters may come out too small",
        ),
    ],
)
def test_the_caution_says_what_is_odd_and_what_that_does(series, heights, foreign, said) -> None:
    assert _held(series(heights), foreign).opinions[0].caution == f"it is a test{said}"
