"""Results beside the page: those that fit, those that were named, and what is said of those that cannot be."""

from pathlib import Path

import pytest
from tests.formats.out.conftest import held_on

from consilium.cli.results import kinds_of, results
from consilium.errors import UsageError


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
