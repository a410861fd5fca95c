"""DICOM SR: every figure, site, abstention and reference reads back by highdicom; dciodvfy finds no error."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from tests.formats.out.conftest import LESION, LUNG, complaints, held_on, opinion_on, picture_of

from consilium.errors import UsageError
from consilium.formats.out import seg, sr
from consilium.formats.out.coding import unit
from consilium.formats.out.groups import segment_of
from consilium.formats.out.sources import trace
from consilium.types import Code, Consultation, Finding, Opinion

ENHANCED = "misc/pydicom-data__emri_small.dcm"


def written(held: Consultation, source: Path, folder: Path) -> tuple[Path, seg.Outline]:
    traced = trace([source])
    opinion = held.opinions[0]
    outline = seg.build(opinion, opinion.segmentations, traced)
    report = sr.build(held, traced, [(opinion, tuple(range(len(opinion.segmentations))), outline)])
    assert report.notes == ()
    report.items[0].save_as(folder / "report.dcm")
    return folder / "report.dcm", outline


def content_of(path: Path) -> highdicom.sr.MeasurementReport:
    return highdicom.sr.srread(path).content


def words_of(dataset: Dataset) -> str:
    """All texts of a data set, whole (pydicom's own listing cuts them)."""
    return " ".join(str(element.value) for element in dataset.iterall() if element.VR == "UT")


@pytest.fixture
def report(series, tmp_path):
    folder = series([0, 3, 6])
    held = held_on(folder)
    path, outline = written(held, folder, tmp_path)
    return held, path, outline, folder


def test_quantities_agree_and_refer_to_their_segment(report):
    held, path, outline, _folder = report
    groups = content_of(path).get_volumetric_roi_measurement_groups()
    assert [group.finding_type.meaning for group in groups] == ["left lung", "Lesion"]
    for number, (group, finding) in enumerate(zip(groups, held.opinions[0].findings[1:], strict=True), 1):
        (measurement,) = group.get_measurements()
        assert measurement.value == finding.quantity
        assert abs(float(measurement[0].MeasuredValueSequence[0].NumericValue) - finding.quantity) < 1e-6
        assert (measurement.unit.value, measurement.unit.scheme_designator) == (finding.unit, "UCUM")
        assert measurement.name.meaning == finding.concept.meaning
        (item,) = [item for item in group[0].ContentSequence if item.name == codes.DCM.ReferencedSegment]
        reference = item.ReferencedSOPSequence[0]
        assert reference.ReferencedSOPInstanceUID == outline.dataset.SOPInstanceUID
        assert reference.ReferencedSegmentNumber == number


def test_a_probability_is_a_measurement_of_a_finding_at_its_site(report):
    _, path, _, _ = report
    said = content_of(path).get_image_measurement_groups()[0]
    assert said.finding_type.meaning == "pneumonia"
    (measurement,) = said.get_measurements()
    assert measurement.name == codes.DCM.Probability
    assert (measurement.value, measurement.unit.value) == (0.9731234567891234, "1")
    assert [evaluation.value.meaning for evaluation in said.get_qualitative_evaluations()] == ["calibrated"]
    (site,) = said.finding_sites
    assert site.value == codes.SCT.Chest and site.laterality == codes.SCT.Right
    assert "unlike most of those it learnt from" in words_of(said[0])
    assert [item.TextValue for item in said[0].ContentSequence if item.name == codes.DCM.AlgorithmVersion] == ["1.2.0"]


def test_an_abstention_stands_with_its_reason(report):
    _, path, _, _ = report
    declined = content_of(path).get_image_measurement_groups()[1]
    assert [evaluation.value.meaning for evaluation in declined.get_qualitative_evaluations()] == ["abstained"]
    texts = {item.name.meaning: item.TextValue for item in declined[0].ContentSequence if item.ValueType == "TEXT"}
    assert (texts["Algorithm Name"], texts["Comment"]) == ("brain", "sees MR of the head only")


def test_who_observed_what_in_which_procedure(report):
    _, path, outline, folder = report
    dataset = highdicom.sr.srread(path)
    (observer,) = dataset.content.get_observer_contexts()
    assert observer.observer_identifying_attributes.name == "consilium"
    assert observer.observer_identifying_attributes.model_name == "consilium 0.1.0"
    reported = [i for i in dataset.content[0].ContentSequence if i.name == codes.DCM.ProcedureReported]
    assert [item.value for item in reported] == [codes.LN.MRIUnspecifiedBodyRegion]
    uids = {str(uid) for _, _, uid, _ in dataset.get_evidence()}
    sources = {pydicom.dcmread(p).SOPInstanceUID for p in folder.iterdir()}
    assert uids == sources | {outline.dataset.SOPInstanceUID}
    assert (dataset.PreliminaryFlag, dataset.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")
    assert "Is there pneumonia? - pneumonia" in words_of(dataset)
    assert "Wife of" not in words_of(dataset)


def test_dciodvfy_finds_no_error(report):
    assert complaints(report[1]) == []


@pytest.mark.parametrize(
    "name",
    ["brain_mr/Study3_11-T1post-18670", "misc/highdicom__dx_image.dcm", "misc/pydicom-data__RG3_J2KI.dcm", ENHANCED],
)
def test_real_files(shared_data, tmp_path, name):
    source = shared_data / "dicom_samples" / name
    held = held_on(source)
    path, _outline = written(held, source, tmp_path)
    content = content_of(path)
    groups = [*content.get_volumetric_roi_measurement_groups(), *content.get_planar_roi_measurement_groups()]
    assert [group.get_measurements()[0].value for group in groups] == [
        f.quantity for f in held.opinions[0].findings[1:]
    ]
    assert complaints(path) == []


def test_a_planar_segment_is_referred_to_by_its_frame(shared_data, tmp_path):
    source = shared_data / "dicom_samples/misc/highdicom__dx_image.dcm"
    path, outline = written(held_on(source), source, tmp_path)
    groups = content_of(path).get_planar_roi_measurement_groups()
    frames = [group[0].ContentSequence for group in groups]
    found = [i.ReferencedSOPSequence[0] for f in frames for i in f if "Segmentation Frame" in i.name.meaning]
    assert [(int(r.ReferencedFrameNumber), "ReferencedSegmentNumber" in r) for r in found] == [(1, False), (2, False)]
    assert {r.ReferencedSOPInstanceUID for r in found} == {outline.dataset.SOPInstanceUID}


def test_what_is_no_number_is_noted_not_written(series, tmp_path):
    folder = series([0, 3])
    said = Opinion("lungs", "1", (Finding(LUNG, quantity=float("nan"), unit="mL"), Finding(LESION)))
    made = sr.build(held_on(folder, said), trace([folder]))
    assert made.notes == ("lungs: left lung is nan, which a report cannot hold",)
    made.items[0].save_as(tmp_path / "report.dcm")
    groups = content_of(tmp_path / "report.dcm").get_image_measurement_groups()
    assert groups[0].finding_type == codes.SCT.Lesion and groups[0].get_measurements() == []


def test_what_was_read_in_a_genome_is_no_part_of_it(series, tmp_path):
    folder = series([0, 3])
    held = held_on(folder)
    risk = Opinion("gout_risk", "1", (Finding(Code.local("gout"), 0.07, True),), basis="genome")
    report = sr.build(replace(held, opinions=(*held.opinions, risk)), trace([folder]))
    assert [note for note in report.notes if note.startswith("gout_risk read the genome")]
    report.items[0].save_as(tmp_path / "report.dcm")
    assert "gout" not in words_of(pydicom.dcmread(tmp_path / "report.dcm"))
    names = {str(e.value) for e in pydicom.dcmread(tmp_path / "report.dcm").iterall() if e.keyword == "CodeMeaning"}
    assert "pneumonia" in names and "gout" not in names


def test_refusals_say_what_to_do(series, tmp_path):
    first, second = series([0, 3]), series([0, 3], PatientID="another", StudyInstanceUID="1.2.4")
    held = held_on(first)
    with pytest.raises(UsageError, match="write FHIR instead"):
        sr.build(held, {})
    (tmp_path / "both").mkdir()
    for number, path in enumerate((*first.iterdir(), *second.iterdir())):
        path.rename(tmp_path / f"both/{number}")
    with pytest.raises(UsageError, match="one patient at a time") as caught:
        sr.build(held_on(tmp_path / "both"), trace([tmp_path / "both"]))
    assert "another" not in str(caught.value) and "4711" not in str(caught.value)


@pytest.mark.parametrize(
    ("finding", "expected"),
    [
        (Finding(Code.local("volume"), site="Left Lung"), 0),
        (Finding(Code.local("volume"), site="52988006"), 1),
        (Finding(LESION), 1),
        (Finding(Code.local("volume"), site="left"), None),
        (Finding(Code.local("volume")), None),
    ],
)
def test_which_segment_was_measured(finding, expected):
    assert segment_of(finding, [LUNG, LESION]) == expected


def test_of_one_segment_a_side_is_enough():
    assert segment_of(Finding(Code.local("volume"), site="left"), [LUNG]) == 0
    assert segment_of(Finding(Code.local("volume"), site="spleen"), [LUNG]) is None
    assert segment_of(Finding(Code.local("volume")), [LUNG, LUNG]) is None


def test_units_are_those_of_the_tables():
    known = {"1": codes.UCUM.NoUnits, "%": codes.UCUM.Percent, "mm": codes.UCUM.Millimeter}
    known["mm2"] = codes.UCUM.SquareMillimeter
    for value, code in known.items():
        assert unit(value) == code
    assert unit("") == codes.UCUM.NoUnits
    assert (unit("mL").value, unit("mL").scheme_designator) == ("mL", "UCUM")


@pytest.mark.parametrize("kind", ["one part", "one of two parts is empty", "planar"])
def test_a_report_on_one_segment_alone(kind, series, tmp_path):
    folder = series([0.0] if kind == "planar" else [0, 3, 6], SliceThickness=3)
    picture = picture_of(folder)
    full = opinion_on(picture)
    drawn = full.segmentations[0]
    lung = replace(drawn, labels=(drawn.labels == 1).astype(np.uint8))
    if kind != "one of two parts is empty":
        lung = replace(lung, concepts=(LUNG,), confidence=(0.91,))
    opinion = replace(full, segmentations=(lung,), findings=full.findings[1:2])
    path, outline = written(held_on(folder, opinion), folder, tmp_path)
    content = content_of(path)
    groups = content.get_planar_roi_measurement_groups() or content.get_volumetric_roi_measurement_groups()
    assert [group.finding_type.meaning for group in groups] == ["left lung"]
    assert len(outline.dataset.SegmentSequence) == 1 and complaints(path) == []


def test_every_number_says_what_it_measures_and_of_which_picture(series, tmp_path):
    folder = series([0, 3, 6])
    picture = picture_of(folder)
    full = opinion_on(picture)
    told = [("volume", 12.0, "mL"), ("longest diameter", 31.0, "mm"), ("connected parts", 1.0, "1")]
    own = tuple(Finding(LUNG, quantity=q, unit=u, site=site, image_uid=picture.uid) for site, q, u in told)
    others = Finding(LUNG, quantity=99.0, unit="mL", site="volume", image_uid="1.2.another")
    opinion = replace(full, findings=(*own, others))
    path, _ = written(held_on(folder, opinion), folder, tmp_path)
    (group,) = [
        g for g in content_of(path).get_volumetric_roi_measurement_groups() if g.finding_type.meaning == "left lung"
    ]
    assert [m.name.meaning for m in group.get_measurements()] == ["Volume", "longest diameter", "connected parts"]
    assert [m.value for m in group.get_measurements()] == [12.0, 31.0, 1.0]
    assert complaints(path) == []
