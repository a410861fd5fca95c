"""The report on a volume, from files to the page: what was measured, who abstained, what nobody at the table can see."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.sr._concepts_dict import concepts as PYDICOM
from rich.console import Console

from consilium import formats
from consilium.cli.show import show
from consilium.consult import volume_report
from consilium.consult.council import case_of, consult
from consilium.consult.panel import Panel
from consilium.consult.volume_report import anatomy, reported, sections
from consilium.encoders import patch_statistics
from consilium.formats import page, record
from consilium.imaging.measure import measure, sides_known
from consilium.protocols import Card
from consilium.types import Answer, Case, Code, Consultation, Finding, Opinion, Score, Segmentation, Study, Volume

KIDNEY, CYST = Code.local("right kidney"), Code.local("renal cyst")


CARD = Card(
    "specialist",
    "kidneys",
    "1",
    "",
    ("CT",),
    ("ABDOMEN",),
    (KIDNEY, CYST),
    scores=(Score("Dice", 0.9, 0.88, 0.92, 30),),
)


class ByThreshold:
    """A segmenter for phantoms: what is bright is the kidney, what is brighter the cyst. It abstains on what has none."""

    card = CARD

    def examine(self, case: Case, args: Mapping[str, Any] | None = None) -> Opinion:
        findings, outlines = [], []
        for study in case.studies:
            for item in study.images:
                if not isinstance(item, Volume) or item.voxels.max() < 100:
                    return Opinion("kidneys", "1", abstained="it finds no kidney")
                labels = (item.voxels > 100).astype(np.uint8) + (item.voxels > 300)
                outlines.append(Segmentation(labels.astype(np.uint8), item.uid, (KIDNEY, CYST), (0.93, None)))
                findings += measure(outlines[-1], item, oriented=sides_known(study), source="kidneys")
        return Opinion(
            "kidneys", "1", tuple(findings), None, "", False, self.card.scores, segmentations=tuple(outlines)
        )


def voxels(bright: bool = True) -> np.ndarray:
    """Forty slices of air with a block of tissue on the patient's right (the left of the picture), and a cyst within it."""
    found = np.full((40, 64, 64), -800, np.int16)
    if bright:
        found[10:30, 20:40, 4:16] = 200
        found[18:22, 28:32, 8:12] = 400
    return found


def series(folder: Path, body_part: str = "ABDOMEN", **shown: bool) -> Path:
    """A CT series of 40 files, 5 mm apart, 5 x 5 mm pixels."""
    folder.mkdir()
    for number, pixels in enumerate(voxels(**shown)):
        made = pydicom.Dataset()
        made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", f"1.2.826.0.1.3680043.8.498.1.{number + 1}"
        made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.2", "1.2.826.0.1.3680043.8.498.3"
        made.FrameOfReferenceUID = "1.2.826.0.1.3680043.8.498.4"
        made.Modality, made.BodyPartExamined, made.PatientID, made.PatientName = "CT", body_part, "none", "none"
        made.ImageOrientationPatient, made.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-157.5, -157.5, 5.0 * number]
        made.PixelSpacing, made.SliceThickness, made.InstanceNumber = [5.0, 5.0], 5.0, number + 1
        made.Rows, made.Columns = pixels.shape
        made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
        made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 1
        made.RescaleSlope, made.RescaleIntercept, made.RescaleType = 1, 0, "HU"
        made.PixelData = pixels.tobytes()
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        made.save_as(folder / f"{number:03d}.dcm", enforce_file_format=True)
    return folder


def nifti(path: Path) -> Path:
    """The same volume as NIfTI, which says neither modality nor body part."""
    affine = np.diag([-5.0, -5.0, 5.0, 1.0])
    nibabel.Nifti1Image(voxels().transpose(2, 1, 0), affine).to_filename(path)
    return path


@pytest.fixture
def table() -> Panel:
    made = Panel(patch_statistics.load(), {}, "echo")
    made.seat("kidneys", ByThreshold())
    return made


def asked(panel: Panel, studies: tuple[Study, ...], policy: str = "moed") -> Consultation:
    return consult(case_of(studies, "What does it show?", history="Pain in the flank."), panel, policy)


def test_a_series_gives_measurements_and_a_report(tmp_path: Path, table: Panel) -> None:
    held = asked(table, formats.read(series(tmp_path / "series")))
    said = held.answer.sections
    assert list(said)[:3] == ["indication", "technique", "findings"] and "comparison" not in said
    assert said["indication"] == "Pain in the flank."
    assert (
        "CT of abdomen (modality from header, body part from header), DICOM: 40 slices of 64 × 64" in said["technique"]
    )
    # 20 x 20 x 12 places of 0.125 mL, less the cyst of 4 x 4 x 4.
    kidney, cyst = said["findings"].splitlines()[:2]
    assert kidney.startswith("right kidney: 592 mL, longest diameter") and "on the right of the patient" in kidney
    assert "slices 11 to 30" in kidney and "confidence 0.93 (kidneys)." in kidney and "mean intensity 200 HU" in kidney
    assert cyst.startswith("renal cyst: 8 mL") and "confidence" not in cyst
    unseen = said["not looked at"]
    assert (
        "No member at the table looks at these structures of abdomen: liver, gallbladder" in unseen
        and "spleen" in unseen
    )
    assert "kidney" not in unseen and "Whether each lies within the field of view was not checked." in unseen
    assert "Not a medical device." in said["limitations"] and "A confidence is the Dice" in said["limitations"]
    assert said.get("impression", "") == held.answer.text.strip()
    assert ("in the words of echo, which sees no pictures" in said["limitations"]) == bool(held.answer.text)
    assert record.from_json(record.to_json(held)) == held


def test_the_same_volume_as_nifti_gives_the_same_measurements(tmp_path: Path, table: Panel) -> None:
    told = formats.read(nifti(tmp_path / "v.nii.gz"), modality="CT", body_part="ABDOMEN")
    dicom = asked(table, formats.read(series(tmp_path / "series"))).answer.sections["findings"]
    said = asked(table, told).answer.sections
    assert said["findings"] == re.sub(r", mean intensity \d+ HU", "", dicom) and "from user" in said["technique"]
    assert "not in Hounsfield units" in said["limitations"]


def test_the_page_and_the_terminal_show_the_report(tmp_path: Path, table: Panel) -> None:
    held = asked(table, formats.read(series(tmp_path / "series")))
    html = page.to_html(held)
    assert "Not looked at" in html and "Outlined and measured by kidneys" in html and "592" in html
    assert "http:" not in html and "https:" not in html and html.count("data:image/png;base64,") >= 4
    console = Console(width=100, record=True, file=(tmp_path / "out").open("w"))
    show(held, console)
    text = " ".join(console.export_text().split())
    assert "right kidney: 592 mL" in text and "Not looked at: No member at the table" in text


def test_an_abstention_is_reported_and_its_structures_are_missed(tmp_path: Path, table: Panel) -> None:
    held = asked(table, formats.read(series(tmp_path / "series", bright=False)))
    said = held.answer.sections
    assert said["abstentions"] == "kidneys: it finds no kidney."
    assert "abstained or were not asked: kidney." in said["not looked at"]
    assert said["findings"].startswith("Nothing was measured") and "impression" not in said
    assert held.answer.abstained


def test_a_member_for_another_part_looks_at_nothing_here(tmp_path: Path, table: Panel) -> None:
    said = asked(table, formats.read(series(tmp_path / "series", body_part="CHEST"))).answer.sections
    assert "it is for ABDOMEN; the study shows CHEST" in said["abstentions"]
    assert "lung, pleura" in said["not looked at"] and "kidney" not in said["not looked at"]


def test_unknown_parts_are_said_to_be_unknown(tmp_path: Path, table: Panel) -> None:
    told = formats.read(nifti(tmp_path / "v.nii.gz"), modality="CT")
    assert "body part is not known" in asked(table, told).answer.sections["not looked at"]
    odd = (replace(told[0], body_part="EXTREMITY"),)
    assert "No list of the structures of extremity is kept" in asked(table, odd).answer.sections["not looked at"]


def test_closed_questions_and_pictures_have_no_report(tmp_path: Path, table: Panel) -> None:
    studies = formats.read(series(tmp_path / "series"))
    closed = consult(case_of(studies, "Is there a cyst?", ("yes", "no")), table, "moed")
    assert not closed.answer.sections
    flat = Study("CT", "ABDOMEN", (studies[0].images[0].slice(20),))  # type: ignore[union-attr]
    answer = Answer("A cyst.")
    assert reported(answer, case_of([flat], "What is seen?"), (), {}) is answer


def test_cautions_and_missing_reliability_are_limitations() -> None:
    study = Study(
        "MR", "HEAD", (Volume(np.zeros((2, 2, 2)), "1", (1, 1, 1), np.eye(4)),), notes=("left and right are not known",)
    )
    told = Opinion("tumours", "1", caution="far from its own", segmentations=())
    said = reported(Answer("Nothing."), case_of([study], "What?"), (told,), {}).sections
    assert (
        "tumours: far from its own." in said["limitations"] and "reliability of tumours has not" in said["limitations"]
    )
    assert "sides of the patient are not known" in said["limitations"]
    assert said["findings"] == "tumours found nothing to report." and said["impression"] == "Nothing."
    assert "left and right are not known" in said["technique"]


def test_concepts_are_matched_in_whole_words() -> None:
    names = {one.name: one for one in anatomy("BRAIN")}
    hippocampus = names["hippocampus"]
    assert all(hippocampus.within(Code.local(said)) for said in ("left hippocampus", "Hippocampus (anterior)"))
    assert hippocampus.within(Code("5366008", "SCT", "cornu Ammonis"))
    assert not names["orbit"].within(Code.local("orbital cortex")) and names["brain stem"].within(
        Code.local("brainstem")
    )
    assert anatomy("HEAD") == anatomy("SKULL") and anatomy("HEAD")[0].code == Code("12738006", "SCT", "Brain")
    assert {one.name for one in anatomy("PROSTATE")} >= {"urinary bladder", "prostate"} and anatomy(None) == ()


def test_the_codes_are_those_of_pydicom() -> None:
    known = {(value, meaning) for entry in PYDICOM["SCT"].values() for value, (meaning, _) in entry.items()}
    listed = {one.code for part in volume_report._tables().values() for one in part}
    assert len(listed) > 50
    assert sorted(c.meaning for c in listed if (c.value, c.meaning) not in known) == []


def test_a_real_hippocampus_is_measured_by_its_labels(shared_data: Path, table: Panel) -> None:
    folder = shared_data / "hippocampus_mri3d"
    path = sorted((folder / "images").glob("*.nii.gz"))[0] if folder.is_dir() else folder
    if not path.is_file():
        pytest.skip("needs hippocampus_mri3d")
    studies = formats.read(path, modality="MR", body_part="HEAD")
    (labels,) = formats.read(folder / "labels" / path.name)[0].images
    (volume,) = studies[0].images
    assert isinstance(volume, Volume) and isinstance(labels, Volume)
    anterior, posterior = Code.local("anterior hippocampus"), Code.local("posterior hippocampus")
    outline = Segmentation(labels.voxels.astype(np.uint8), volume.uid, (anterior, posterior))
    told = Opinion("labels", "1", measure(outline, volume), segmentations=(outline,))
    card = Card("specialist", "labels", "1", "", ("MR",), (), (anterior, posterior))
    said = reported(Answer(""), case_of(studies, "What is seen?"), (told,), {"labels": card}).sections
    first = float(said["findings"].split("anterior hippocampus: ")[1].split(" mL")[0])
    assert first == pytest.approx((labels.voxels == 1).sum() * np.prod(volume.spacing_mm) / 1000, rel=0.01)
    assert "hippocampus" not in said["not looked at"] and "thalamus" in said["not looked at"]


def test_what_a_member_knows_and_did_not_look_at_is_listed(tmp_path: Path, table: Panel) -> None:
    (study,) = formats.read(series(tmp_path / "ct"))
    case = Case("c", "What is there?", studies=(study,))
    card = Card(
        "specialist", "organs", "1", "", ("CT",), ("ABDOMEN",), tuple(map(Code.local, ("liver", "spleen", "kidney")))
    )
    found = Opinion("organs", "1", (Finding(Code.local("spleen"), quantity=210.0, unit="mL", site="volume"),))
    said = sections(case, [found], {"organs": card}, Answer(""))["not looked at"]
    missed = next(part for part in said.split(". ") if "abstained or were not asked" in part)
    assert "liver" in missed and "kidney" in missed and "spleen" not in missed
