"""DICOM SEG: every pixel in the right slice, whatever the source, read back by highdicom and judged by dciodvfy."""

from __future__ import annotations

from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from tests.formats.out.conftest import AXIAL, LESION, LUNG, OBLIQUE, complaints, labels_for, opinion_on, picture_of

from consilium.errors import UsageError
from consilium.formats.out import seg
from consilium.formats.out.sources import trace
from consilium.types import Code, Opinion, Segmentation, Volume

LABELLED = (LUNG, LESION)


def written(path: Path, folder: Path, opinion: Opinion | None = None) -> Path:
    spoke = opinion or opinion_on(picture_of(path))
    outline = seg.build(spoke, spoke.segmentations, trace([path]))
    target = folder / "out.dcm"
    outline.dataset.save_as(target)
    return target


def by_instance(path: Path, uids: list[str]) -> np.ndarray:
    """Label maps (instances, rows, columns) that a viewer would lay over these instances."""
    stored = highdicom.seg.segread(path)
    return stored.get_pixels_by_source_instance(
        uids, combine_segments=True, relabel=False, assert_missing_frames_are_empty=True
    )


def slices_of(folder: Path) -> list[Dataset]:
    """The source slices in the order of a Volume, found from their positions alone."""
    slices = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    axes = np.asarray(slices[0].ImageOrientationPatient, float)
    return sorted(slices, key=lambda s: float(np.dot(s.ImagePositionPatient, np.cross(axes[:3], axes[3:]))))


@pytest.mark.parametrize("axes", [AXIAL, OBLIQUE, [-1, 0, 0, 0, 1, 0]], ids=["axial", "oblique", "mirrored"])
@pytest.mark.parametrize("heights", [[0, 3, 6, 9], [9, 6, 3, 0], [3, 9, 0, 6]], ids=["rising", "reversed", "shuffled"])
def test_every_pixel_lies_in_its_slice(series, tmp_path, axes, heights):
    folder = series(heights, axes)
    path = written(folder, tmp_path)
    slices = slices_of(folder)
    volume = picture_of(folder)
    assert isinstance(volume, Volume)
    assert volume.voxels[:, 0, 0].tolist() == [s.pixel_array[0, 0] for s in slices]
    found = by_instance(path, [s.SOPInstanceUID for s in slices])
    np.testing.assert_array_equal(found, labels_for(volume))
    assert complaints(path) == []


def test_a_ct_series_with_a_gap(series, tmp_path):
    ct = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "Modality": "CT", "RescaleSlope": 1, "RescaleIntercept": -1024}
    folder = series([12, 0, 3, 15, 6, 21], **ct)
    path = written(folder, tmp_path)
    volume = picture_of(folder)
    assert volume.units == "HU" and volume.voxels[:, 0, 0].tolist() == [-24 + z for z in (0, 3, 6, 12, 15, 21)]
    np.testing.assert_array_equal(by_instance(path, [s.SOPInstanceUID for s in slices_of(folder)]), labels_for(volume))
    assert complaints(path) == []


def test_the_places_of_the_frames_are_those_of_the_source(series, tmp_path):
    folder = series([0, 3, 6, 9], OBLIQUE)
    stored = pydicom.dcmread(written(folder, tmp_path))
    places = {s.SOPInstanceUID: s.ImagePositionPatient for s in slices_of(folder)}
    for group in stored.PerFrameFunctionalGroupsSequence:
        source = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        assert group.PlanePositionSequence[0].ImagePositionPatient == places[source]
    shared = stored.SharedFunctionalGroupsSequence[0]
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == OBLIQUE
    assert shared.PixelMeasuresSequence[0].PixelSpacing == [0.5, 0.75]


def test_segments_are_coded_and_name_who_drew_them(series, tmp_path):
    stored = highdicom.seg.segread(written(series([0, 3, 6]), tmp_path))
    lung, lesion = (stored.get_segment_description(number) for number in (1, 2))
    assert (lung.segment_label, lung.segmented_property_category.meaning) == ("left lung", "Anatomical Structure")
    assert (lung.segmented_property_type.value, lung.segmented_property_type.scheme_designator) == (
        "left lung",
        "99CONSILIUM",
    )
    assert lesion.segmented_property_type == pydicom.sr.codedict.codes.SCT.Lesion
    assert lesion.segmented_property_category.meaning == "Morphologically Abnormal Structure"
    assert (lesion.algorithm_type.value, lesion.algorithm_identification.name) == ("AUTOMATIC", "lungs")
    assert lesion.algorithm_identification.version == "1.2.0"
    assert lung.SegmentDescription == "confidence 0.91 (expected Dice)"
    assert stored.SegmentationType == "BINARY" and stored.ContentQualification == "RESEARCH"


def test_the_patient_is_the_sources_letter_for_letter(series, tmp_path):
    stored = pydicom.dcmread(written(series([0, 3]), tmp_path))
    assert str(stored.PatientName) == "Müßig^Änne" and stored.PatientID == "ID-4711"


@pytest.mark.parametrize(
    "name",
    [
        "brain_mr/Study3_11-T1post-18670",
        "brain_mr/Study1_13_HCropVolume",
        "misc/highdicom__ct_image.dcm",
        "misc/highdicom__dx_image.dcm",
        "misc/pydicom-data__RG3_J2KI.dcm",
        "misc/pydicom__MR_small_RLE.dcm",
        "misc/pydicom__JPGExtended.dcm",
    ],
)
def test_real_files(shared_data, tmp_path, name):
    source = shared_data / "dicom_samples" / name
    path = written(source, tmp_path)
    uids = (
        [s.SOPInstanceUID for s in slices_of(source)] if source.is_dir() else [pydicom.dcmread(source).SOPInstanceUID]
    )
    labels = labels_for(picture_of(source))
    np.testing.assert_array_equal(by_instance(path, uids), labels.reshape(-1, *labels.shape[-2:]))
    assert complaints(path) == []


def test_monochrome1_is_outlined_where_it_is_shown(shared_data, tmp_path):
    source = shared_data / "dicom_samples/misc/torchxrayvision__Fake_MONOHR1.dcm"
    header = pydicom.dcmread(source)
    assert header.PhotometricInterpretation == "MONOCHROME1"
    found = by_instance(written(source, tmp_path), [header.SOPInstanceUID])
    np.testing.assert_array_equal(found[0], labels_for(picture_of(source)))


def test_a_slide_of_tiles(shared_data, tmp_path):
    source = shared_data / "dicom_samples/misc/highdicom__sm_image.dcm"
    path = written(source, tmp_path)
    stored = highdicom.seg.segread(path)
    found = stored.get_total_pixel_matrix(combine_segments=True, relabel=False)
    np.testing.assert_array_equal(found, labels_for(picture_of(source)))
    assert complaints(path) == []


def test_one_frame_of_a_file_whose_frames_have_no_place(shared_data, tmp_path):
    source = shared_data / "dicom_samples/misc/pydicom-data__emri_small.dcm"
    uid = pydicom.dcmread(source).SOPInstanceUID
    labels = np.zeros((64, 64), np.uint8)
    labels[3:9, 5:7], labels[20, 30] = 1, 2
    path = written(source, tmp_path, Opinion("lungs", "1", segmentations=(Segmentation(labels, f"{uid}#6", LABELLED),)))
    stored = highdicom.seg.segread(path)
    for group in stored.PerFrameFunctionalGroupsSequence:
        reference = group.DerivationImageSequence[0].SourceImageSequence[0]
        assert (reference.ReferencedSOPInstanceUID, reference.ReferencedFrameNumber) == (uid, 7)
    np.testing.assert_array_equal(stored.pixel_array.sum(axis=0), labels > 0)
    assert complaints(path) == []


def enhanced(make_dicom, path: Path, places: list[float], shared: bool) -> Path:
    """An Enhanced MR of one file; its orientation and spacing in the shared groups or in each frame's."""
    common = Dataset()
    common.PlaneOrientationSequence = [Dataset()]
    common.PlaneOrientationSequence[0].ImageOrientationPatient = OBLIQUE
    common.PixelMeasuresSequence = [Dataset()]
    common.PixelMeasuresSequence[0].PixelSpacing = [0.5, 0.75]
    common.PixelMeasuresSequence[0].SliceThickness = 3
    normal = np.cross(OBLIQUE[:3], OBLIQUE[3:])
    groups = []
    for place in places:
        group = Dataset()
        if not shared:
            group.update(common)
        group.PlanePositionSequence = [Dataset()]
        group.PlanePositionSequence[0].ImagePositionPatient = [round(float(p), 6) for p in normal * place]
        groups.append(group)
    pixels = np.stack([np.full((12, 10), 100 + 7 * number, np.uint16) for number in range(len(places))])
    elements = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4.1",
        "Modality": "MR",
        "FrameOfReferenceUID": generate_uid(),
        "NumberOfFrames": len(places),
        "SharedFunctionalGroupsSequence": [common if shared else Dataset()],
        "PerFrameFunctionalGroupsSequence": groups,
    }
    path.write_bytes(make_dicom(pixels, **elements))
    return path


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "per frame"])
def test_enhanced_multi_frame(make_dicom, tmp_path, shared):
    source = enhanced(make_dicom, tmp_path / "enhanced", [9, 0, 6, 3], shared)
    path = written(source, tmp_path)
    volume = picture_of(source)
    order = [1, 3, 2, 0]
    assert volume.voxels[:, 0, 0].tolist() == [100 + 7 * frame for frame in order]
    stored = highdicom.seg.segread(path)
    uid = pydicom.dcmread(source).SOPInstanceUID
    found = stored.get_pixels_by_source_frame(
        uid, [frame + 1 for frame in order], combine_segments=True, relabel=False, assert_missing_frames_are_empty=True
    )
    np.testing.assert_array_equal(found, labels_for(volume))
    assert complaints(path) == []


def test_the_second_of_two_volumes_in_one_file(make_dicom, tmp_path):
    source = enhanced(make_dicom, tmp_path / "enhanced", [0, 3, 6, 0, 3, 6], True)
    from consilium.formats import read

    (study,) = read(source)
    second = study.images[1]
    assert second.voxels[:, 0, 0].tolist() == [121, 128, 135]
    path = written(source, tmp_path, opinion_on(second))
    frames = pydicom.dcmread(path).PerFrameFunctionalGroupsSequence
    numbers = {int(g.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber) for g in frames}
    assert numbers == {4, 6}  # the middle one is empty


def test_slices_that_differ_by_a_trifle(series, tmp_path):
    folder = series([0, 3, 6], OBLIQUE)
    for number, path in enumerate(sorted(folder.iterdir())):
        header = pydicom.dcmread(path)
        header.ImageOrientationPatient = [0.8 + 1e-6 * number, *OBLIQUE[1:]]
        header.save_as(path)
    found = by_instance(written(folder, tmp_path), [s.SOPInstanceUID for s in slices_of(folder)])
    np.testing.assert_array_equal(found, labels_for(picture_of(folder)))


def test_one_slice_of_a_volume(series, tmp_path):
    folder = series([0, 3, 6])
    volume = picture_of(folder)
    labels = labels_for(volume)[2]
    drawn = Segmentation(labels, f"{volume.uid}#2", LABELLED)
    header = slices_of(folder)[2]
    path = written(folder, tmp_path, Opinion("lungs", "1", segmentations=(drawn,)))
    np.testing.assert_array_equal(by_instance(path, [header.SOPInstanceUID])[0], labels)


def test_parts_that_overlap_stay_whole(series, tmp_path):
    folder = series([0, 3, 6])
    volume = picture_of(folder)
    first, second = np.zeros((2, *volume.voxels.shape), np.uint8)
    first[:2, :6], second[1:, 3:] = 1, 1
    drawn = tuple(Segmentation(labels, volume.uid, (code,)) for labels, code in ((first, LUNG), (second, LESION)))
    stored = highdicom.seg.segread(written(folder, tmp_path, Opinion("lungs", "1", segmentations=drawn)))
    found = stored.get_pixels_by_source_instance(
        [s.SOPInstanceUID for s in slices_of(folder)], assert_missing_frames_are_empty=True
    )
    np.testing.assert_array_equal(found, np.stack([first, second], axis=-1))
    assert stored.SegmentsOverlap == "YES"


def test_an_empty_part_is_left_out_and_named(series):
    folder = series([0, 3])
    volume = picture_of(folder)
    labels = np.full(volume.voxels.shape, 2, np.uint8)
    spoke = Opinion("lungs", "1", segmentations=(Segmentation(labels, volume.uid, LABELLED),))
    outline = seg.build(spoke, spoke.segmentations, trace([folder]))
    assert outline.notes == ("lungs: nothing was outlined as left lung",)
    assert outline.numbers == {(0, 2): 1}
    assert [segment.SegmentLabel for segment in outline.dataset.SegmentSequence] == ["Lesion"]


def test_refusals_say_what_to_do(series, tmp_path, make_dicom):
    folder = series([0, 3])
    volume = picture_of(folder)
    traced = trace([folder])

    def refused(labels: np.ndarray, uid: str = volume.uid, traced=traced) -> str:
        spoke = Opinion("lungs", "1", segmentations=(Segmentation(labels, uid, LABELLED),))
        with pytest.raises(UsageError) as caught:
            seg.build(spoke, spoke.segmentations, traced)
        return str(caught.value)

    full = np.ones(volume.voxels.shape, np.uint8)
    assert "every mask is empty" in refused(full * 0)
    assert "outline the picture at its own size" in refused(full[:, :5])
    assert "name every label" in refused(full * 3)
    assert "give the files the case was read from" in refused(full, "1.2.3.4.5.6")
    assert "write masks (NIfTI or PNG) instead" in refused(full, traced={})
    (tmp_path / "alone").mkdir()
    lost = tmp_path / "alone/ct"
    lost.write_bytes(make_dicom(np.zeros((4, 6), np.uint16) + 7, PatientName="Secret^Name", PatientID="S-1"))
    said = refused(np.ones((4, 6), np.uint8), picture_of(lost).uid, trace([lost]))
    assert "write masks" in said and "Secret" not in said and "S-1" not in said


def test_categories_follow_the_tables_and_the_words():
    from consilium.formats.out.coding import category

    expected = {
        "Morphologically Abnormal Structure": (
            Code("4147007", "SCT", "Mass"),
            Code("27925004", "SCT", "Nodule"),
            Code.local("lung opacity"),
            Code.local("pleural effusion"),
            Code.local("whole tumor"),
            Code.local("edema"),
        ),
        "Physical object": (Code("14106009", "SCT", "Cardiac pacemaker"), Code.local("endotracheal tube")),
        "Anatomical Structure": (
            Code("10200004", "SCT", "Liver"),
            Code.local("anterior hippocampus"),
            Code.local("scapula"),
        ),
    }
    for meaning, concepts in expected.items():
        assert [category(code).meaning for code in concepts] == [meaning] * len(concepts)
