"""Masks as NIfTI and PNG: each voxel where the volume has it, in millimetres; labels named."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow
from tests.formats.out.conftest import AXIAL, OBLIQUE, labels_for, opinion_on, picture_of

from consilium.errors import UsageError
from consilium.formats import read
from consilium.formats.out.masks import write_mask
from consilium.types import Code, Image, Opinion, Segmentation, Volume


@pytest.mark.parametrize("heights", [[0, 3, 6, 9], [9, 6, 3, 0]])
def test_nifti_has_the_labels_in_the_place_of_the_volume(series, tmp_path, heights):
    volume = picture_of(series(heights, OBLIQUE))
    said = opinion_on(volume)
    path, beside = write_mask(said.segmentations[0], said, volume, tmp_path / "mask-01-lungs")
    assert (path.name, beside.name) == ("mask-01-lungs.nii.gz", "mask-01-lungs.json")
    stored = nibabel.load(path)
    np.testing.assert_array_equal(np.asarray(stored.dataobj), labels_for(volume).transpose(2, 1, 0))
    np.testing.assert_allclose(stored.affine, volume.orientation, atol=1e-4)
    np.testing.assert_allclose(stored.get_qform(), volume.orientation, atol=1e-4)
    assert stored.get_data_dtype() == np.uint8
    assert bytes(stored.header["descrip"]).rstrip(b"\0") == b"1 left lung; 2 Lesion"
    assert (int(stored.header["intent_code"]), int(stored.header["sform_code"])) == (1002, 1)


@pytest.mark.parametrize("axes", [AXIAL, OBLIQUE])
def test_slices_that_are_missing_are_empty_and_the_others_where_they_lie(series, tmp_path, axes):
    heights = [0, 3, 6, 15, 18, 24]
    volume = picture_of(series(heights, axes))
    said = opinion_on(volume)
    path, beside = write_mask(said.segmentations[0], said, volume, tmp_path / "mask")
    stored = nibabel.load(path)
    labels = np.asarray(stored.dataobj)
    there = [0, 1, 2, 5, 6, 8]
    assert labels.shape == (10, 12, 9)
    np.testing.assert_array_equal(labels[..., there], labels_for(volume).transpose(2, 1, 0))
    assert not labels[..., [3, 4, 7]].any()
    assert json.loads(beside.read_text(encoding="utf-8"))["missing_slices"] == [3, 4, 7]
    normal = np.cross(axes[:3], axes[3:])
    for place, height in zip(there, heights, strict=True):
        expected = (normal * height + [-40.0, 17.0, 5.0]) * [-1, -1, 1]
        np.testing.assert_allclose(stored.affine @ [0, 0, place, 1], [*expected, 1], atol=1e-4)


def test_the_mask_of_a_nifti_read_back_lies_on_it(shared_data, tmp_path):
    source = sorted((shared_data / "hippocampus_mri3d").rglob("*.nii.gz"))[0]
    volume = picture_of(source)
    labels = (volume.voxels > np.median(volume.voxels)).astype(np.uint8)
    drawn = Segmentation(labels, volume.uid, (Code.local("bright"),))
    path, _ = write_mask(drawn, Opinion("x", "1", segmentations=(drawn,)), volume, tmp_path / "mask")
    original, mask = nibabel.load(source), nibabel.load(path)
    inside = np.argwhere(np.asarray(mask.dataobj) == 1)
    world = nibabel.affines.apply_affine(mask.affine, inside)
    back = nibabel.affines.apply_affine(np.linalg.inv(original.affine), world)
    indices = np.rint(back).astype(int)
    np.testing.assert_allclose(back, indices, atol=1e-2)
    values = np.asarray(original.dataobj)
    expected = np.zeros(values.shape, bool)
    expected[tuple(indices.T)] = True
    np.testing.assert_array_equal(expected, values > np.median(values))


def test_a_tilted_gantry_keeps_its_shear(tmp_path):
    tilted = np.eye(4)
    tilted[1, 2] = 0.3
    volume = Volume(np.zeros((3, 4, 5), np.int16), "v", (1.0, 1.0, 1.0), tilted)
    drawn = Segmentation(labels_for(volume), "v", (Code.local("a"), Code.local("b")))
    path, _ = write_mask(drawn, Opinion("x", "1"), volume, tmp_path / "mask")
    stored = nibabel.load(path)
    np.testing.assert_allclose(stored.affine, tilted, atol=1e-6)
    assert int(stored.header["qform_code"]) == 0


def test_png_holds_labels_and_colours(tmp_path):
    image = Image(np.zeros((9, 13), np.uint8), "sha256:x")
    said = opinion_on(image)
    path, beside = write_mask(said.segmentations[0], said, image, tmp_path / "mask")
    with Pillow.open(path) as stored:
        np.testing.assert_array_equal(np.asarray(stored), labels_for(image))
        colours = np.asarray(stored.convert("RGB")).reshape(-1, 3)
    assert len(np.unique(colours, axis=0)) == 3
    meant = json.loads(beside.read_text(encoding="utf-8"))
    assert (meant["specialist"], meant["version"], meant["caution"]) == ("lungs", "1.2.0", said.caution)
    assert meant["labels"]["1"] == {
        "value": "left lung",
        "scheme": "99CONSILIUM",
        "meaning": "left lung",
        "confidence": 0.91,
        "voxels": int((labels_for(image) == 1).sum()),
    }
    assert meant["labels"]["2"]["confidence"] is None


def test_masks_read_as_what_they_are(tmp_path):
    volume = Volume(np.zeros((3, 20, 20), np.int16), "v", (1.0, 1.0, 1.0), np.eye(4))
    drawn = Segmentation(labels_for(volume), "v", (Code.local("a"), Code.local("b")))
    path, _ = write_mask(drawn, Opinion("x", "1"), volume, tmp_path / "mask")
    (study,) = read(path)
    assert any("looks like a mask" in note for note in study.notes)


def test_another_size_is_refused(tmp_path):
    image = Image(np.zeros((9, 13), np.uint8), "x")
    drawn = Segmentation(np.zeros((9, 12), np.uint8), "x", (Code.local("a"),))
    with pytest.raises(UsageError, match="at its own size"):
        write_mask(drawn, Opinion("x", "1"), image, tmp_path / "mask")
    assert list(tmp_path.iterdir()) == []
