"""What is missing, damaged or contradictory in a benchmark dataset is refused with the file's name and what to do; and what is
written to the cache is whole."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from tests.datasets.test_benchmark import (
    HAM,
    MAMMO,
    PICTURES,
    cache,
    ham10000,
    medmnist,
    pathmnist,
    pcam200,
    pneumoniamnist,
    put,
    retoct,
    table,
    text,
    vindr_mammo,
    vindr_pcxr,
)
from tests.datasets.test_benchmark_text import QUESTIONS, mimic_cxr

from consilium import formats
from consilium.datasets import benchmark
from consilium.errors import DataError, UsageError

__all__ = ["cache"]


@pytest.mark.parametrize("name", benchmark.names())
def test_what_is_missing_is_named_with_what_to_download(name: str, tmp_path: Path) -> None:
    lacks = benchmark.missing(name, tmp_path / name)
    assert lacks
    call = {"vqa": benchmark.questions, "report": benchmark.reports}.get(benchmark.describe(name).task, benchmark.read)
    with pytest.raises(DataError, match=r"is not a folder.*Download") as told:
        call(name, tmp_path / name)
    assert benchmark.describe(name).tree.splitlines()[1].strip() in str(told.value)


@pytest.mark.parametrize("name", sorted({*PICTURES, *QUESTIONS}))
def test_a_dataset_that_is_there_lacks_nothing(name: str, tmp_path: Path) -> None:
    (PICTURES | QUESTIONS)[name](tmp_path / name)
    assert benchmark.missing(name, tmp_path / name) == ()


def test_one_missing_file_is_told(tmp_path: Path) -> None:
    vindr_mammo(tmp_path)
    (tmp_path / "breast-level_annotations.csv").unlink()
    assert benchmark.missing("vindr_mammo", tmp_path) == ("breast-level_annotations.csv",)
    with pytest.raises(DataError, match=r"lacks breast-level_annotations\.csv"):
        benchmark.read("vindr_mammo", tmp_path)


def test_one_missing_picture_is_told(tmp_path: Path) -> None:
    vindr_mammo(tmp_path)
    (tmp_path / "images/s1/i2.dicom").unlink()
    with pytest.raises(DataError, match=r"1 of 3 pictures .* not there, the first .*i2\.dicom.*Unpack"):
        benchmark.read("vindr_mammo", tmp_path)
    assert len(benchmark.read("vindr_mammo", tmp_path, "test").records) == 1


def test_an_unknown_label_is_told(tmp_path: Path) -> None:
    ham10000(tmp_path)
    table(tmp_path, "HAM10000_metadata.csv", HAM, ["HAM_1", "ISIC_0000000", "scc", "histo", 80, "male", "scalp"])
    with pytest.raises(DataError, match=r"HAM10000_metadata\.csv has a label 'scc' .* knows akiec, bcc"):
        benchmark.read("ham10000", tmp_path)
    retoct(tmp_path / "oct")
    put(tmp_path / "oct", "RetinalOCT_Dataset/RetinalOCT_Dataset/train/GLAUCOMA/1.jpg")
    with pytest.raises(DataError, match="train has a label 'GLAUCOMA'"):
        benchmark.read("retoct", tmp_path / "oct")
    medmnist(tmp_path / "p", "pneumoniamnist.npz", {"train": [0, 2], "val": [1], "test": [0]})
    with pytest.raises(DataError, match=r"pneumoniamnist\.npz has a label '2'"):
        benchmark.read("pneumoniamnist", tmp_path / "p")


def test_a_patient_in_two_splits_is_refused(tmp_path: Path) -> None:
    vindr_mammo(tmp_path)
    rows = [["s1", "x", "i1", "L", "CC", 1, 1, "BI-RADS 1", "C", "training"]]
    rows += [["s1", "x", "i2", "R", "CC", 1, 1, "BI-RADS 4", "C", "test"]]
    table(tmp_path, "breast-level_annotations.csv", MAMMO, *rows)
    with pytest.raises(DataError, match=r"1 patients of vindr_mammo under .* in more than one split"):
        benchmark.read("vindr_mammo", tmp_path)
    mimic_cxr(tmp_path / "mimic")
    path = tmp_path / "mimic/mimic-cxr-2.0.0-metadata.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("11000011", "10000032"), encoding="utf-8")
    with pytest.raises(DataError, match="1 patients of mimic_cxr"):
        benchmark.reports("mimic_cxr", tmp_path / "mimic")


def test_an_unknown_split_is_told(tmp_path: Path) -> None:
    vindr_mammo(tmp_path, last_split="holdout")
    with pytest.raises(DataError, match="says the split 'holdout' in split; training, test were expected"):
        benchmark.read("vindr_mammo", tmp_path)
    with pytest.raises(UsageError, match="'dev' is no split; there are: train, val, test"):
        benchmark.read("vindr_mammo", tmp_path, "dev")


def test_another_version_of_a_table_is_told_by_its_columns(tmp_path: Path) -> None:
    ham10000(tmp_path)
    table(tmp_path, "HAM10000_metadata.csv", ["image", "MEL", "NV"], ["ISIC_0000000", 1, 0])
    with pytest.raises(DataError, match=r"HAM10000_metadata\.csv has no column 'dx', only image, MEL, NV"):
        benchmark.read("ham10000", tmp_path)


def test_a_cell_that_is_no_label_is_told(tmp_path: Path) -> None:
    vindr_pcxr(tmp_path)
    path = tmp_path / "image_labels_test.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("1.0", "maybe"), encoding="utf-8")
    with pytest.raises(DataError, match=r"image_labels_test\.csv holds 'maybe' for Diaphragmatic hernia"):
        benchmark.read("vindr_pcxr", tmp_path)


def test_two_rows_that_contradict_each_other_are_told(tmp_path: Path) -> None:
    ham10000(tmp_path)
    rows = [["HAM_1", "ISIC_0000000", dx, "histo", 80, "male", "scalp"] for dx in ("nv", "mel")]
    table(tmp_path, "HAM10000_metadata.csv", HAM, *rows)
    with pytest.raises(DataError, match=r"ISIC_0000000\.jpg is labelled melanocytic nevus and melanoma"):
        benchmark.read("ham10000", tmp_path)


def test_a_row_cannot_point_outside(tmp_path: Path) -> None:
    ham10000(tmp_path / "ham")
    table(tmp_path / "ham", "HAM10000_metadata.csv", HAM, ["HAM_1", "../../secret", "nv", "histo", 80, "male", "scalp"])
    with pytest.raises(DataError, match="names a picture outside the dataset"):
        benchmark.read("ham10000", tmp_path / "ham")


def test_a_damaged_list_is_told(tmp_path: Path) -> None:
    PICTURES["fmc_endo"](tmp_path)
    text(tmp_path, "trainval.txt", "13333_2021.09_0001_51688574.png 0 0")
    with pytest.raises(DataError, match=r"trainval\.txt cannot be read as list: a line of a name and 4 values"):
        benchmark.read("fmc_endo", tmp_path)


def test_row_numbers_beyond_the_table_are_told(tmp_path: Path) -> None:
    PICTURES["derm7pt"](tmp_path)
    table(tmp_path / "release_v0", "meta/test_indexes.csv", ["indexes"], [99])
    with pytest.raises(DataError, match=r"test_indexes\.csv names the row '99'"):
        benchmark.read("derm7pt", tmp_path)


def test_a_series_with_two_pictures_is_told(tmp_path: Path) -> None:
    PICTURES["cbis_ddsm_mass"](tmp_path)
    put(tmp_path, "jpeg/1.3.2.P_00016.CC/2-001.jpg")
    with pytest.raises(DataError, match=r"P_00016\.CC holds 2 pictures where exactly one was expected"):
        benchmark.read("cbis_ddsm_mass", tmp_path)


def test_an_unknown_dataset_is_told_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"no benchmark dataset is called 'ham'; there are: bcn20000, .*, vqa_rad"):
        benchmark.describe("ham")


# ---- pictures out of arrays ----


def test_pictures_of_an_npz_are_its_pixels(tmp_path: Path) -> None:
    pathmnist(tmp_path)
    data = benchmark.read("pathmnist", tmp_path)
    arrays = np.load(tmp_path / "pathmnist.npz")
    for split in ("train", "val", "test"):
        for record, pixels in zip(data.of(split), arrays[f"{split}_images"], strict=True):
            assert (formats.read(record.path)[0].images[0].pixels == pixels).all()
    assert [r.row["source"] for r in data.of("train")] == [f"pathmnist.npz#train_images[{i}]" for i in (0, 1)]


def test_the_largest_size_is_read(tmp_path: Path) -> None:
    medmnist(tmp_path, "pneumoniamnist.npz", {"train": [0, 1], "val": [0], "test": [1]})
    medmnist(tmp_path, "pneumoniamnist_64.npz", {"train": [0, 1], "val": [0], "test": [1]}, (64, 64))
    (record,) = benchmark.read("pneumoniamnist", tmp_path, "test").records
    assert formats.read(record.path)[0].images[0].pixels.shape == (64, 64)


def test_pictures_are_written_once_and_anew_when_the_source_changes(tmp_path: Path, cache: Path) -> None:
    pneumoniamnist(tmp_path / "p")
    first = benchmark.read("pneumoniamnist", tmp_path / "p", "test")
    assert {path.name for path in (cache / "benchmark/pneumoniamnist").glob("*/*")} == {"test"}
    first.records[0].path.write_bytes(b"touched")
    again = benchmark.read("pneumoniamnist", tmp_path / "p", "test")
    assert again.records == first.records and again.records[0].path.read_bytes() == b"touched"
    medmnist(tmp_path / "p", "pneumoniamnist.npz", {"train": [0, 1], "val": [0], "test": [0, 1]})
    anew = benchmark.read("pneumoniamnist", tmp_path / "p", "test")
    assert len(anew.records) == 2 and anew.records[0].path != first.records[0].path


def test_an_interrupted_write_leaves_nothing_half_made(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pneumoniamnist(tmp_path / "p")
    real, count = Pillow.Image.save, iter(range(9))

    def full(self: Any, *words: Any) -> None:
        if next(count) == 1:
            raise OSError(28, "No space left on device")
        real(self, *words)

    with monkeypatch.context() as patched:
        patched.setattr(Pillow.Image, "save", full)
        with pytest.raises(UsageError, match=r"No space left on device\. Free space, or set CONSILIUM_CACHE"):
            benchmark.read("pneumoniamnist", tmp_path / "p", "train")
    assert [path for path in cache.rglob("*") if path.name.endswith(".png") or "train" in path.name] == []
    assert len(benchmark.read("pneumoniamnist", tmp_path / "p", "train").records) == 2


@pytest.mark.parametrize("harm", ["cut", "flipped", "no labels", "too few labels", "objects"])
def test_a_damaged_npz_is_told(tmp_path: Path, harm: str) -> None:
    pneumoniamnist(tmp_path)
    path = tmp_path / "pneumoniamnist.npz"
    arrays = dict(np.load(path))
    if harm == "no labels":
        del arrays["test_labels"]
    if harm == "too few labels":
        arrays["test_labels"] = arrays["test_labels"][:0]
    if harm == "objects":
        arrays["test_images"] = np.array([{}], object)
    np.savez(path, **arrays)
    if harm == "flipped":
        data = bytearray(path.read_bytes())
        data[data.index(arrays["train_images"].tobytes()) + 5] ^= 1
        path.write_bytes(data)
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"pneumoniamnist\.npz"):
        benchmark.read("pneumoniamnist", tmp_path)


H5 = {"train": [0, 1, 1], "valid": [0], "test": [1]}


def write_h5(folder: Path) -> None:
    """PatchCamelyon's six files; inside, arrays that the stand-in below reads."""
    for split, labels in H5.items():
        pixels = np.arange(len(labels) * 96 * 96 * 3).reshape(-1, 96, 96, 3).astype(np.uint8)
        for member, array in (("x", pixels), ("y", np.array(labels, np.uint8).reshape(-1, 1, 1, 1))):
            name = folder / f"camelyonpatch_level_2_split_{split}_{member}.h5"
            with name.open("wb") as stream:
                np.savez(stream, **{member: array})


class StandIn:
    """h5py.File, as far as it is used."""

    def __init__(self, path: Path) -> None:
        self.arrays = np.load(path)

    def __enter__(self) -> Any:
        return self.arrays

    def __exit__(self, *_: object) -> None:
        self.arrays.close()


def test_patchcamelyon_is_read_where_h5py_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", types.SimpleNamespace(File=StandIn))
    write_h5(tmp_path)
    data = benchmark.read("pcam200", tmp_path)
    assert {s: [r.labels[0] for r in data.of(s)] for s in ("train", "val", "test")} == {
        "train": ["normal", "tumor", "tumor"],
        "val": ["normal"],
        "test": ["tumor"],
    }
    assert formats.read(data.of("train")[1].path)[0].images[0].pixels.shape == (96, 96, 3)


def test_without_h5py_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    write_h5(tmp_path)
    with pytest.raises(UsageError, match="need the package h5py: pip install h5py"):
        benchmark.read("pcam200", tmp_path)
    pcam200(tmp_path)  # folders need it not
    assert len(benchmark.read("pcam200", tmp_path).records) == 5
