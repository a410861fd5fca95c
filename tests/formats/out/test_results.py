"""Results beside the page: those that fit, those that were named, and what is said of those that cannot be."""

from pathlib import Path

import pytest
from tests.formats.out.conftest import held_on

from consilium.cli.results import demand_own, kinds_of, results
from consilium.errors import UsageError
from consilium.formats import record


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
