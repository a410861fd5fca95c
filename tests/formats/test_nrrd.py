"""NRRD: values and space, encodings, lists of volumes, and files that reach for other files."""

from __future__ import annotations

import io
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest

from consilium.errors import DamagedFileError, UnsafeFileError
from consilium.formats import read


@pytest.fixture
def make_nrrd(tmp_path: Path):
    def make(values: np.ndarray, **header) -> Path:
        path = tmp_path / "any"
        nrrd.write(str(path.with_suffix(".nrrd")), values, header)
        return path.with_suffix(".nrrd")

    return make


SPACE = {"space": "left-posterior-superior", "space directions": np.diag([1.0, 2.0, 5.0]), "space origin": [3, 4, 5]}


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
def test_values_and_space(make_nrrd, encoding):
    values = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    ((volume,),) = (study.images for study in read(make_nrrd(values, encoding=encoding, **SPACE)))
    np.testing.assert_array_equal(volume.voxels, values.T)
    assert volume.spacing_mm == (5, 2, 1)
    np.testing.assert_allclose(volume.orientation @ [1, 1, 1, 1], [-4, -6, 10, 1])


def test_the_same_volume_as_nifti(make_nrrd, write):
    values = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.array([[1, 0, 0, 3], [0, 2, 0, 4], [0, 0, 5, 5], [0, 0, 0, 1.0]])
    from_nrrd, from_nifti = (
        read(make_nrrd(values, **SPACE)),
        read(write(nibabel.Nifti1Image(values, affine).to_bytes())),
    )
    assert from_nrrd[0].images == from_nifti[0].images


def test_other_spaces(make_nrrd):
    values = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    ((volume,),) = (s.images for s in read(make_nrrd(values, **{**SPACE, "space": "right-anterior-superior"})))
    np.testing.assert_array_equal(volume.voxels, values[::-1, ::-1].T)


def test_without_space(make_nrrd):
    (study,) = read(make_nrrd(np.arange(60, dtype=np.int16).reshape(3, 4, 5), spacings=[1, 2, 3]))
    assert study.images[0].spacing_mm == (3, 2, 1)
    assert any("no orientation" in note for note in study.notes)


def test_first_of_a_list(make_nrrd):
    values = np.stack([np.full((3, 4, 5), n, np.int16) for n in (7, 8)])
    directions = np.vstack([[np.nan] * 3, SPACE["space directions"]])
    path = make_nrrd(values, kinds=["list", "domain", "domain", "domain"], **{**SPACE, "space directions": directions})
    (study,) = read(path)
    assert np.unique(study.images[0].voxels).tolist() == [7]
    assert "first of 2 volumes along axis 1" in study.notes


def test_a_flat_file_is_an_image(make_nrrd):
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    ((image,),) = (study.images for study in read(make_nrrd(values)))
    np.testing.assert_array_equal(image.pixels, values.T)


def test_detached_data_are_refused(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(8))
    header = f"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nencoding: raw\ndata file: {secret}\n\n"
    path = tmp_path / "header"
    path.write_text(header)
    with pytest.raises(UnsafeFileError, match="attached"):
        read(path)


def test_claims_and_truncation(tmp_path, make_nrrd):
    path = tmp_path / "claim"
    path.write_bytes(b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 99999 99999 99999\nencoding: gzip\n\n" + bytes(9))
    with pytest.raises(UnsafeFileError, match="claims"):
        read(path)
    data = make_nrrd(np.arange(60, dtype=np.int16).reshape(3, 4, 5), encoding="raw").read_bytes()
    path.write_bytes(data[:-3])
    with pytest.raises(DamagedFileError):
        read(path)


def test_real_files_keep_their_values(shared_data):
    for path in sorted((shared_data / "nifti_samples").glob("*.nrrd")):
        ((volume,),) = (study.images for study in read(path))
        header = nrrd.read_header(io.BytesIO(path.read_bytes()))
        values, _ = nrrd.read(str(path))
        assert header["space"] == "left-posterior-superior"
        np.testing.assert_array_equal(np.sort(volume.voxels, axis=None), np.sort(values, axis=None))
        corner = np.linalg.inv(volume.orientation) @ [*(np.array([-1, -1, 1]) * header["space origin"]), 1]
        c, r, s = np.rint(corner[:3]).astype(int)
        assert volume.voxels[s, r, c] == values[0, 0, 0]


@pytest.mark.parametrize(("unit", "times"), [("um", 1e-3), ("cm", 10), ("mm", 1)])
def test_other_units_of_length_are_taken_as_they_are(make_nrrd, unit, times):
    header = {**SPACE, "space units": [unit] * 3}
    (study,) = read(make_nrrd(np.arange(60, dtype=np.int16).reshape(3, 4, 5), **header))
    np.testing.assert_allclose(study.images[0].spacing_mm, np.array([5, 2, 1]) * times)
    np.testing.assert_allclose(study.images[0].orientation @ [0, 0, 0, 1], [*(np.array([-3, -4, 5]) * times), 1])
    assert any(f"lengths in the header are in {unit}" in note for note in study.notes) == (unit != "mm")


def test_spacing_of_an_unknown_space_is_kept(make_nrrd):
    values = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    (study,) = read(make_nrrd(values, **{**SPACE, "space": "3D-right-handed"}))
    assert study.images[0].spacing_mm == (5, 2, 1) and any("no orientation" in note for note in study.notes)
    (study,) = read(make_nrrd(values, thicknesses=[1.0, 2.0, 4.0]))
    assert study.images[0].spacing_mm == (4, 2, 1)
    (study,) = read(make_nrrd(values))
    assert study.images[0].spacing_mm == (1, 1, 1) and any(
        "says no spacing: 1 mm taken" in note for note in study.notes
    )


def test_a_claim_is_judged_by_the_width_of_its_type(make_nrrd, monkeypatch):
    values = np.zeros((10, 10, 10), np.uint8)
    monkeypatch.setattr("consilium.formats.limits.MAX_BYTES", 4000)
    assert read(make_nrrd(values))[0].images[0].voxels.shape == (10, 10, 10)
    with pytest.raises(UnsafeFileError):
        read(make_nrrd(values.astype(np.float64)))
