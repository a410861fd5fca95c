"""Results beside the page: those that fit, those that were named, and what is said of those that cannot be."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.formats.out.conftest import held_on

from consilium.cli.results import demand_own, kinds_of, results
from consilium.errors import UsageError
from consilium.formats import record
from consilium.types import Code, Finding, Opinion


def test_what_fits_is_written_without_being_named(series, tmp_path: Path) -> None:
    folder = series([0, 3])
    written = results(held_on(folder), folder, tmp_path, "auto")
    assert {path.suffix for path in written} >= {".dcm", ".json", ".gz", ".png"}
    assert results(held_on(folder), folder, tmp_path / "none", "none") == ()


def test_what_cannot_be_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image as Picture

    Picture.new("L", (20, 20), 40).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match="seg"):
        results(held_on(tmp_path / "a.png"), tmp_path / "a.png", tmp_path, "seg")
    assert "note: seg" in capsys.readouterr().err
    with pytest.raises(UsageError, match="there are: auto, none, seg"):
        kinds_of("seg,pdf")


def test_what_is_lost_is_said_though_no_kind_was_named(
    series, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = series([0, 5, 10.8, 15, 20])
    held = held_on(folder)
    risk = Opinion("gout_risk", "1", (Finding(Code.local("gout"), 0.07, True),), basis="genome")
    results(replace(held, opinions=(*held.opinions, risk)), folder, tmp_path / "out", "auto")
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "note: sr: gout_risk read the genome, which a report on pictures does not hold; FHIR does",
        "note: masks: mask-01-lungs: NIfTI has its slices at even distances, which those of the volume are not",
    ]
    results(replace(held, opinions=(risk,)), folder, tmp_path / "alone", "auto")
    assert "gout_risk read the genome" in capsys.readouterr().err


def test_what_there_was_nothing_to_write_of_is_said_of_named_kinds_alone(
    series, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = series([0, 3])
    held = held_on(folder)
    (drawn,) = held.opinions[0].segmentations
    empty = replace(held.opinions[0], segmentations=(replace(drawn, labels=np.zeros_like(drawn.labels)),))
    for opinions in ((), (empty,)):
        results(replace(held, opinions=opinions), folder, tmp_path / "out", "auto")
        assert capsys.readouterr().err == ""
    results(replace(held, opinions=(empty,)), folder, tmp_path / "out", "seg,masks")
    assert "every mask is empty" in capsys.readouterr().err


def test_results_of_two_cases_never_lie_in_one_folder(series, tmp_path: Path) -> None:
    one, other, out = held_on(series([0, 3])), held_on(series([0, 3, 6])), tmp_path / "out"
    demand_own(one, out)
    out.mkdir()
    record.write(one, out / "consultation.json")
    (out / "report.dcm").write_bytes(b"of the first")
    demand_own(one, out)
    with pytest.raises(UsageError, match=r"results of another case \(report.dcm\).*Name another folder"):
        demand_own(other, out)
    (out / "consultation.json").write_text("damaged")
    with pytest.raises(UsageError, match="another case"):
        demand_own(one, out)
    (out / "report.dcm").unlink()
    demand_own(other, out)
