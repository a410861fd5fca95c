"""Indices of one's own: a case is found by its modality, a corrected label replaces the old one, a bad file is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests import phantoms

from consilium import registry
from consilium.consult.panel import index_folder
from consilium.encoders import patch_statistics
from consilium.errors import DataError
from consilium.train import precedents


@pytest.fixture
def folder(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(precedents, "DEFAULT_ENCODER", "patch_statistics")
    return phantoms.folder_of(tmp_path / "phantoms", 20)


def labels(name: str) -> list[str]:
    encoder = patch_statistics.load()
    index = registry.get("retrievers", "lance").load(folder=index_folder(name), encoder_key=encoder.card.version)
    return sorted(found.label for found in index.search(encoder.embed([phantoms_picture()]).pooled[0], len(index)))


def phantoms_picture():
    from consilium.types import Image

    return Image(phantoms.draw("mass", 1), "sha256:1")


def test_without_a_modality_nothing_is_indexed(folder: Path) -> None:
    with pytest.raises(DataError, match="Say --modality"):
        precedents.build(folder, "mine")
    assert precedents.build(folder, "mine", modality="MR") == {"name": "mine", "added": 12, "replaced": 0, "size": 12}


def test_a_corrected_label_replaces_the_old_one(folder: Path) -> None:
    precedents.build(folder, "mine", modality="MR")
    assert labels("mine") == ["clear"] * 6 + ["mass"] * 6
    index = folder / "index.csv"
    index.write_text(index.read_text().replace("0.png,clear", "0.png,mass", 1))
    assert precedents.build(folder, "mine", modality="MR") == {"name": "mine", "added": 0, "replaced": 1, "size": 12}
    assert labels("mine") == ["clear"] * 5 + ["mass"] * 7
    assert precedents.build(folder, "mine", modality="MR", body_part="HEAD")["replaced"] == 12


def test_columns_of_labels_are_known_by_name(folder: Path) -> None:
    index = folder / "index.csv"
    head, *rows = index.read_text().splitlines()
    cells = ["1,0", "0,1", "0,0", ","]
    index.write_text("\n".join([f"{head},x,y", *(f"{row},{cells[i % 4]}" for i, row in enumerate(rows))]) + "\n")
    done = precedents.build(folder, "mine", modality="MR", label_columns=("x", "y"))
    assert set(labels("mine")) == {"x", "y", "none of the labels"} and done["size"] < 12


def test_blank_cells_among_several_labels_are_no_known_case(folder: Path) -> None:
    index = folder / "index.csv"
    index.write_text(index.read_text().replace("label", "Finding Labels", 1).replace("0.png,clear", "0.png,", 1))
    told: list[str] = []
    done = precedents.build(folder, "mine", modality="MR", tell=told.append)
    assert labels("mine") == ["clear"] * 5 + ["mass"] * 6 and done["size"] == 11
    assert "labels from 'Finding Labels'" in told[0]
    assert any("1 of 20 pictures are not labelled" in note for note in told)


def test_a_file_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    with pytest.raises(DataError, match=r"0\.png cannot be indexed.*take its row out"):
        precedents.build(folder, "mine", modality="MR")
