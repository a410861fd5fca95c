"""NIfTI: values and world coordinates against nibabel's own, whatever way the axes are stored."""

from __future__ import annotations

import gzip
import itertools
import struct

import nibabel
import numpy as np
import pytest

from consilium.errors import DamagedFileError, UnsafeFileError
from consilium.formats import read
from consilium.imaging.window import to_display
from consilium.types import Image, Volume


def nifti(voxels: np.ndarray, affine: np.ndarray, kind=nibabel.Nifti1Image) -> bytes:
    return kind(voxels, affine).to_bytes()


def axes(order: tuple[int, ...], signs: tuple[int, ...], spacing=(1.0, 2.0, 5.0)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = 0
    for column, (row, sign) in enumerate(zip(order, signs, strict=True)):
        affine[row, column] = sign * spacing[column]
    affine[:3, 3] = (-3, 7, 11)
    return affine


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ((), []),
        ((np.nan,), ["1 value is not a finite number: it is kept, seen as black"]),
        ((np.nan, np.inf, -np.inf), ["3 values are not finite numbers: they are kept, seen as black"]),
    ],
)
def test_values_that_are_no_numbers_are_counted_and_kept(write, odd, said):
    voxels = np.arange(3 * 4 * 5, dtype=np.float64).reshape(3, 4, 5)
    voxels[0, 0, : len(odd)] = odd
    (study,) = read(write(nifti(voxels, axes((0, 1, 2), (1, 1, 1)))))
    assert [note.partition(" (")[0] for note in study.notes] == said
    assert np.count_nonzero(~np.isfinite(study.images[0].voxels)) == len(odd)
    shades = {str(v): to_display(Image(np.array([[v, 1.0, 2.0]]), "x"))[0, 0, 0] for v in (np.nan, np.inf, -np.inf)}
    assert shades == {"nan": 0, "inf": 255, "-inf": 0}


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1)])
def test_every_voxel_stays_where_it_was(write, order, signs):
    voxels = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)
    affine = axes(order, signs)
    ((volume,),) = (study.images for study in read(write(nifti(voxels, affine))))
    assert volume.spacing_mm[0] == 5
    for s, r, c in itertools.product(*map(range, volume.voxels.shape)):
        there = volume.orientation @ [c, r, s, 1]
        i, j, k = np.rint(np.linalg.inv(affine) @ there)[:3].astype(int)
        assert volume.voxels[s, r, c] == voxels[i, j, k]


@pytest.mark.parametrize(
    ("order", "row", "column"),
    [((0, 1, 2), (-1, 0, 0), (0, -1, 0)), ((1, 2, 0), (0, -1, 0), (0, 0, -1)), ((0, 2, 1), (-1, 0, 0), (0, 0, -1))],
)
def test_the_patient_is_upright(write, order, row, column):
    """Axial: rows run to the left, columns to the back; sagittal: back and feet; coronal: left and feet (RAS+)."""
    ((volume,),) = (s.images for s in read(write(nifti(np.zeros((3, 4, 5), np.int16), axes(order, (1, 1, 1))))))
    across, down = volume.orientation[:3, 0], volume.orientation[:3, 1]
    np.testing.assert_allclose(across / np.linalg.norm(across), row)
    np.testing.assert_allclose(down / np.linalg.norm(down), column)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_packed_is_plain(write, kind):
    data = nifti(np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32), np.eye(4), kind)
    assert read(write(gzip.compress(data)))[0].images == read(write(data))[0].images


def test_scaled_values_are_nibabels(write):
    image = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    image.header.set_slope_inter(0.5, -3)
    ((volume,),) = (study.images for study in read(write(image.to_bytes())))
    loaded = nibabel.Nifti1Image.from_bytes(image.to_bytes())
    assert volume.voxels.dtype == np.float32
    np.testing.assert_allclose(np.sort(volume.voxels, axis=None), np.sort(loaded.get_fdata(), axis=None))


def test_the_first_of_four_dimensions(write):
    voxels = np.stack([np.full((3, 4, 5), n, np.int16) for n in (7, 8)], axis=-1)
    (study,) = read(write(nifti(voxels, np.diag([1, 1, 3, 1]))))
    assert np.unique(study.images[0].voxels).tolist() == [7]
    assert "first of 2 volumes along axis 4" in study.notes


def test_one_slice_is_an_image(write):
    (study,) = read(write(nifti(np.arange(20, dtype=np.uint8).reshape(4, 5, 1), np.diag([2, 3, 1, 1]))))
    (image,) = study.images
    assert isinstance(image, Image)
    assert (image.pixels.shape, image.spacing_mm) == ((5, 4), (3, 2))


def test_colours_become_images_and_equal_channels_a_volume(write):
    rgb = np.zeros((3, 4, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    rgb["R"] = 9
    (study,) = read(write(nifti(rgb, np.eye(4))))
    assert [image.pixels[0, 0].tolist() for image in study.images] == [[9, 0, 0]] * 5
    rgb["G"] = rgb["B"] = 9
    (study,) = read(write(nifti(rgb, np.eye(4))))
    assert isinstance(study.images[0], Volume)


def test_unknown_orientation_and_masks_are_named(write):
    image = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.uint8), None)
    (study,) = read(write(image.to_bytes()))
    assert any("no orientation" in note for note in study.notes)
    assert any("mask" in note for note in study.notes)


def test_truncated(write):
    data = nifti(np.zeros((8, 8, 8), np.int16), np.eye(4))
    with pytest.raises(DamagedFileError):
        read(write(data[:-10]))
    with pytest.raises(DamagedFileError):
        read(write(gzip.compress(data)[:-10]))


def test_a_claim_is_judged_before_reading(write):
    data = bytearray(nifti(np.zeros((2, 2, 2), np.int16), np.eye(4)))
    data[42:48] = struct.pack("<3h", 32767, 32767, 32767)
    with pytest.raises(UnsafeFileError):
        read(write(bytes(data)))
    with pytest.raises(UnsafeFileError):
        read(write(gzip.compress(bytes(data))))


def test_no_more_is_unpacked_than_claimed(write):
    data = nifti(np.zeros((8, 8, 8), np.int16), np.eye(4))
    (study,) = read(write(gzip.compress(data + bytes(2**27), 1)))
    assert study.images[0].voxels.shape == (8, 8, 8)


def test_real_volumes_keep_their_values(shared_data):
    for path in sorted((shared_data / "nifti_samples").glob("*.nii.gz")):
        ((volume,),) = (study.images for study in read(path))
        canonical = nibabel.as_closest_canonical(nibabel.load(path))
        # RAS+ to left-posterior-superior is a flip of the first two axes
        expected = canonical.get_fdata(dtype=np.float32)[::-1, ::-1].swapaxes(0, 2)
        np.testing.assert_allclose(volume.voxels, expected, rtol=1e-6)


@pytest.mark.parametrize(("code", "unit", "times"), [(1, "meters", 1000), (3, "microns", 0.001)])
def test_other_units_of_length_are_taken_as_they_are(write, code, unit, times):
    data = bytearray(nifti(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([2.0, 2, 3, 1])))
    data[123] = code
    (study,) = read(write(bytes(data)))
    np.testing.assert_allclose(study.images[0].spacing_mm, np.array([3, 2, 2]) * times)
    assert f"lengths in the header are in {unit}: taken as such" in study.notes


def test_two_orientations_that_disagree_on_the_sides_are_named(write):
    image = nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([-2.0, 2, 3, 1]))
    image.set_sform(np.diag([-2.0, 2, 3, 1]), 1)
    image.set_qform(np.diag([2.0, 2, 3, 1]), 1)
    (study,) = read(write(image.to_bytes()))
    assert any("disagree on left and right" in note for note in study.notes)


def test_a_spacing_that_is_not_given_is_named(write):
    data = bytearray(nifti(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([2.0, 2, 3, 1])))
    data[252:256] = bytes(4)  # neither qform nor sform
    data[88:92] = struct.pack("<f", 0)  # pixdim[3]
    (study,) = read(write(bytes(data)))
    assert any("no spacing along axis 3" in note for note in study.notes)
