"""Slices laid together: order, gaps, copies, repetitions, mixed series, frames of enhanced objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from consilium.formats import read
from consilium.types import Volume

AXIAL = [1, 0, 0, 0, 1, 0]


@pytest.fixture
def folder_of(tmp_path, make_dicom):
    """Writes a folder of slices; each is a dict of elements, its pixels all equal to `value`, in the order given."""

    def folder_of(slices: list[dict]) -> Path:
        for number, given in enumerate(slices):
            elements = {
                "ImageOrientationPatient": AXIAL,
                "PixelSpacing": [0.5, 0.7],
                "FrameOfReferenceUID": "1.9",
                "InstanceNumber": number + 1,
                "PatientID": "one",
                "Modality": "MR",
                **{key: value for key, value in given.items() if key != "value"},
            }
            pixels = np.full(given.get("shape", (4, 6)), given["value"], np.uint16)
            elements.pop("shape", None)
            (tmp_path / f"{number:03d}").write_bytes(make_dicom(pixels, **elements))
        return tmp_path

    return folder_of


def at(z: float, value: int | None = None, **more) -> dict:
    return {"ImagePositionPatient": [-10, -20, z], "value": round(z) if value is None else value, **more}


def test_shuffled_slices_are_ordered_by_position(folder_of):
    (study,) = read(folder_of([at(z) for z in (15, 0, 20, 5, 10)]))
    (volume,) = study.images
    assert isinstance(volume, Volume)
    assert volume.voxels[:, 0, 0].tolist() == [0, 5, 10, 15, 20]
    assert volume.spacing_mm == (5, 0.5, 0.7)
    assert volume.heights_mm == ()
    assert study.notes == ()
    np.testing.assert_allclose(volume.orientation @ [0, 0, 0, 1], [10, 20, 0, 1])
    np.testing.assert_allclose(volume.orientation @ [2, 3, 4, 1], [10 - 2 * 0.7, 20 - 3 * 0.5, 20, 1])


def test_sagittal_slices_are_ordered_along_their_normal(folder_of):
    sagittal = [0, 1, 0, 0, 0, -1]
    slices = [{"ImagePositionPatient": [x, 0, 0], "ImageOrientationPatient": sagittal, "value": x} for x in (3, 9, 6)]
    ((volume,),) = (study.images for study in read(folder_of(slices)))
    # the normal of these axes runs to the patient's right, which is -x in DICOM
    assert volume.voxels[:, 0, 0].tolist() == [9, 6, 3]
    np.testing.assert_allclose(volume.orientation @ [0, 0, 2, 1], [-3, 0, 0, 1])


def test_a_gap_is_named(folder_of):
    (study,) = read(folder_of([at(z) for z in (0, 2, 4, 10, 12, 14)]))
    assert study.notes == ("gaps after slices 3: about 2 slices of 2 mm are missing",)
    assert study.images[0].spacing_mm[0] == 2
    assert study.images[0].heights_mm == (0, 2, 4, 10, 12, 14)


def test_uneven_spacing_is_named(folder_of):
    (study,) = read(folder_of([at(z) for z in (0, 2, 4.2, 6, 8)]))
    assert study.notes == ("uneven spacing of slices: 1.8 to 2.2 mm, 2 mm taken",)
    assert study.images[0].heights_mm == (0, 2, 4.2, 6, 8)


def test_copies_are_left_out_and_named(folder_of):
    (study,) = read(folder_of([at(0), at(2), at(2), at(4)]))
    assert study.images[0].voxels.shape == (3, 4, 6)
    assert study.notes == ("copies of slices left out: 1",)


def test_repetitions_become_volumes(folder_of):
    slices = [at(z, value=100 * t + z, AcquisitionNumber=t) for z in (0, 2, 4) for t in (1, 0)]
    (study,) = read(folder_of(slices))
    assert [volume.voxels[:, 0, 0].tolist() for volume in study.images] == [[0, 2, 4], [100, 102, 104]]
    assert len({volume.uid for volume in study.images}) == 2
    assert study.notes == ("2 slices lie in the same place: one volume for each repetition",)


def test_a_localizer_in_the_series_is_named_and_kept(folder_of):
    scout = {"ImagePositionPatient": [0, 0, 0], "ImageOrientationPatient": [0, 1, 0, 0, 0, -1], "value": 7}
    (study,) = read(folder_of([at(0), at(2), scout, at(4, shape=(5, 6))]))
    assert [getattr(item, "voxels", None) is not None for item in study.images] == [True, False, False]
    assert study.notes[0].startswith("the series mixes 3 geometries")


def test_series_are_studies(folder_of):
    slices = [at(z, SeriesInstanceUID=f"1.2.{series}") for z in (0, 2) for series in (1, 2)]
    studies = read(folder_of(slices))
    assert [study.images[0].voxels.shape for study in studies] == [(2, 4, 6)] * 2


def test_views_of_one_examination_are_one_study(folder_of):
    views = [{"value": n, "Modality": "DX", "SeriesInstanceUID": f"1.{n}", "BodyPartExamined": "CHEST"} for n in (1, 2)]
    (study,) = read(folder_of(views))
    assert (study.modality, study.body_part, len(study.images)) == ("DX", "CHEST", 2)


def test_two_patients_in_a_folder_are_named(folder_of):
    slices = [at(z, PatientID=who, SeriesInstanceUID=f"1.{who}") for who in ("7", "8") for z in (0, 2)]
    studies = read(folder_of(slices))
    assert [study.notes for study in studies] == [("the files are of 2 different patients",)] * 2


def test_differing_windows_give_their_median(folder_of):
    slices = [at(z, WindowCenter=100 + z, WindowWidth=101) for z in (0, 2, 10)]
    (study,) = read(folder_of(slices))
    assert study.images[0].window == (51.5, 151.5)
    assert "windows differ between slices: their median taken" in study.notes


def test_gantry_tilt_is_named_and_kept_in_the_matrix(folder_of):
    slices = [{"ImagePositionPatient": [0, z / 2, z], "value": z} for z in (0, 4, 8)]
    (study,) = read(folder_of(slices))
    assert study.notes == ("slices are shifted against each other (gantry tilt)",)
    np.testing.assert_allclose(study.images[0].orientation @ [0, 0, 2, 1], [0, -4, 8, 1])


def test_frames_of_an_enhanced_object_become_a_volume(write, make_dicom):
    def item(**elements) -> pydicom.Sequence:
        dataset = pydicom.Dataset()
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
        return pydicom.Sequence([dataset])

    per_frame = [
        item(
            PlanePositionSequence=item(ImagePositionPatient=[0, 0, z]),
            PixelValueTransformationSequence=item(RescaleSlope=1, RescaleIntercept=intercept, RescaleType="HU"),
            FrameVOILUTSequence=item(WindowCenter=40, WindowWidth=400),
        )[0]
        for z, intercept in ((6, -1024), (0, -1000), (3, 0))
    ]
    shared = item(
        PlaneOrientationSequence=item(ImageOrientationPatient=AXIAL), PixelMeasuresSequence=item(PixelSpacing=[1, 2])
    )
    data = make_dicom(
        np.arange(3, dtype=np.uint16).repeat(20).reshape(3, 4, 5),
        NumberOfFrames=3,
        SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1",
        SharedFunctionalGroupsSequence=shared,
        PerFrameFunctionalGroupsSequence=pydicom.Sequence(per_frame),
    )
    (study,) = read(write(data))
    (volume,) = study.images
    assert volume.voxels[:, 0, 0].tolist() == [1 - 1000, 2, -1024]
    assert (volume.spacing_mm, volume.units, volume.window) == ((3, 1, 2), "HU", (-160.0, 239.0))


def test_a_real_series(shared_data):
    (study,) = read(shared_data / "dicom_samples/brain_mr/Study3_11-T1post-18670")
    (volume,) = study.images
    assert volume.voxels.shape == (22, 320, 280)
    folder = shared_data / "dicom_samples/brain_mr/Study3_11-T1post-18670"
    headers = sorted((pydicom.dcmread(path) for path in folder.iterdir()), key=lambda d: d.ImagePositionPatient[2])
    np.testing.assert_array_equal(volume.voxels, np.stack([header.pixel_array for header in headers]))
    for index, header in enumerate(headers):
        corner = np.diag([-1, -1, 1]) @ np.array(header.ImagePositionPatient, float)
        np.testing.assert_allclose((volume.orientation @ [0, 0, index, 1])[:3], corner, atol=0.01)


@pytest.mark.parametrize("twin", ["RLE", "big_endian", "jpeg_2k_lossless", "jpeg_ls_lossless"])
def test_real_twins_are_equal(shared_data, twin):
    folder = shared_data / "dicom_samples/misc"
    (plain,), (packed,) = (read(folder / f"pydicom-data__emri_small{tail}.dcm") for tail in ("", f"_{twin}"))
    assert len(plain.images) == 10
    for one, other in zip(plain.images, packed.images, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)


def test_echoes_keep_their_slices_where_one_is_missing(folder_of):
    slices = [at(2 * z, 100 * echo + z, EchoTime=echo) for z in range(6) for echo in (1, 2) if (z, echo) != (3, 1)]
    (study,) = read(folder_of(slices))
    first, second = (volume.voxels[:, 0, 0].tolist() for volume in study.images)
    assert first == [100, 101, 102, 104, 105] and second == [200, 201, 202, 203, 204, 205]
    assert "gaps after slices 3: about 1 slices of 2 mm are missing" in study.notes


def test_phases_that_look_alike_in_one_place_stay_in_order(folder_of):
    values = [[100 * phase + z for phase in (1, 2, 3)] for z in range(5)]
    values[2] = [0, 0, 302]
    slices = [at(2 * z, value) for z, here in enumerate(values) for value in here]
    (study,) = read(folder_of(slices))
    assert [volume.voxels[:, 0, 0].tolist() for volume in study.images] == [
        list(phase) for phase in zip(*values, strict=True)
    ]


def test_one_patient_is_never_laid_into_another(folder_of):
    slices = [at(z, PatientID="AB"[z % 2], SeriesInstanceUID="", StudyInstanceUID="") for z in range(6)]
    studies = read(folder_of(slices))
    assert [study.images[0].voxels[:, 0, 0].tolist() for study in studies] == [[0, 2, 4], [1, 3, 5]]


def test_slices_of_a_hundredth_of_a_millimetre_are_no_repetitions(folder_of):
    slices = [at(0.01 * z, z, PixelSpacing=[0.01, 0.01]) for z in range(6)]
    (study,) = read(folder_of(slices))
    (volume,) = study.images
    assert volume.voxels[:, 0, 0].tolist() == list(range(6)) and volume.spacing_mm[0] == pytest.approx(0.01)
