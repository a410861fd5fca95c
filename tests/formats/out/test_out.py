"""`write`: what is applicable, whole or not at all, with notes of the rest; a real Orthanc takes and gives back the DICOM."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from PIL import Image as Pillow
from pynetdicom import AE
from tests.consultations import full
from tests.formats.out.conftest import NAMES, held_on, opinion_on

from consilium.errors import UsageError
from consilium.formats import read
from consilium.formats.out import KINDS, fhir, write
from consilium.types import Code, Segmentation


def test_everything_of_a_series(series, tmp_path):
    folder = series([6, 0, 3])
    done = write(held_on(folder), tmp_path / "out", [folder])
    assert [path.name for path in done.paths] == [
        "segmentation-01-lungs.dcm",
        "report.dcm",
        "fhir-r4.json",
        "fhir-r5.json",
        "mask-01-lungs.nii.gz",
        "mask-01-lungs.json",
        "overlay-01-lungs.png",
    ]
    drawn = np.asarray(Pillow.open(done.paths[-1]))
    assert drawn.ndim == 3 and (drawn[..., 0] != drawn[..., 2]).any()  # colours, not greys alone
    assert done.notes == ()
    assert sorted((tmp_path / "out").iterdir()) == sorted(done.paths)
    stored = {pydicom.dcmread(path).Modality: pydicom.dcmread(path) for path in done.paths[:2]}
    (series_item,) = [
        item
        for item in stored["SR"].CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        if item.SeriesInstanceUID == stored["SEG"].SeriesInstanceUID
    ]
    assert series_item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == stored["SEG"].SOPInstanceUID


def test_single_files_are_as_good_as_their_folder(series, tmp_path):
    folder = series([6, 0, 3])
    done = write(held_on(folder), tmp_path / "out", sorted(folder.iterdir()), ["seg"])
    assert pydicom.dcmread(done.paths[0]).NumberOfFrames == 4  # two parts in two slices, the middle one empty


def test_nothing_of_the_patient_in_names_and_plain_files(series, tmp_path):
    folder = series([0, 3])
    said = replace(opinion_on(read(folder)[0].images[0]), specialist="../Lungs & more/ÄÖ" + "x" * 90)
    done = write(held_on(folder, said), tmp_path / "out", [folder])
    assert {path.parent for path in done.paths} == {tmp_path / "out"}
    words = [*NAMES["PatientName"].split("^"), NAMES["PatientID"], NAMES["PatientBirthDate"]]
    for path in done.paths:
        assert not any(word.lower() in path.name.lower() for word in words)
        assert len(path.name) < 80 and path.name.isascii()
        if path.suffix != ".dcm":
            assert not any(word.encode() in path.read_bytes() for word in words)


def test_a_report_refers_only_to_what_is_written(series, tmp_path):
    folder = series([0, 3, 6])
    done = write(held_on(folder), tmp_path / "out", [folder], ["sr"])
    assert [path.name for path in done.paths] == ["report.dcm"]
    assert "Segment" not in str(pydicom.dcmread(done.paths[0]))


def test_a_picture_that_is_no_dicom(tmp_path):
    Pillow.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20).astype(np.uint8)).save(tmp_path / "a.png")
    done = write(held_on(tmp_path / "a.png"), tmp_path / "out", [tmp_path / "a.png"])
    assert [path.name for path in done.paths] == [
        "fhir-r4.json",
        "fhir-r5.json",
        "mask-01-lungs.png",
        "mask-01-lungs.json",
        "overlay-01-lungs.png",
    ]
    assert [note.split(":")[0] for note in done.notes] == ["seg", "sr"]
    assert "write masks (NIfTI or PNG) instead" in done.notes[0]


def test_nothing_outlined_is_noted(tmp_path):
    done = write(full(), tmp_path / "out")
    assert [path.name for path in done.paths] == ["fhir-r4.json", "fhir-r5.json"]
    assert done.notes[0] == "seg: nothing was outlined" and done.notes[-1] == "overlays: nothing was outlined"


def test_an_empty_outline_is_noted(series, tmp_path):
    folder = series([0, 3])
    volume = read(folder)[0].images[0]
    drawn = Segmentation(np.zeros(volume.voxels.shape, np.uint8), volume.uid, (Code.local("mass"),))
    done = write(
        held_on(folder, replace(opinion_on(volume), segmentations=(drawn,))), tmp_path / "out", [folder], ["seg"]
    )
    assert done.paths == () and "every mask is empty" in done.notes[0]


def test_whole_or_not_at_all(series, tmp_path, monkeypatch):
    folder = series([0, 3])
    out = tmp_path / "out"
    write(held_on(folder), out, [folder], ["seg"])
    before = (out / "segmentation-01-lungs.dcm").read_bytes()
    monkeypatch.setattr(fhir, "build", lambda *_: (_ for _ in ()).throw(OSError("the disk is full")))
    with pytest.raises(OSError, match="the disk is full"):
        write(held_on(folder), out, [folder])
    assert [path.name for path in out.iterdir()] == ["segmentation-01-lungs.dcm"]
    assert (out / "segmentation-01-lungs.dcm").read_bytes() == before


def test_refusals(series, tmp_path):
    folder = series([0, 3])
    with pytest.raises(UsageError, match=r"no result is called seq; there are: seg, sr, fhir, masks"):
        write(full(), tmp_path / "out", kinds=["seq"])
    with pytest.raises(UsageError, match="no such file"):
        write(full(), tmp_path / "out", [tmp_path / "nowhere"])
    (tmp_path / "out/report.dcm").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"report\.dcm is a folder"):
        write(held_on(folder), tmp_path / "out", [folder])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.dcm"]
    assert KINDS == ("seg", "sr", "fhir", "masks", "overlays")


def test_orthanc_stores_them_by_c_store_and_gives_them_back(series, tmp_path, orthanc):
    folder = series([0, 3, 6])
    done = write(held_on(folder), tmp_path / "out", [folder], ["seg", "sr"])
    datasets = [pydicom.dcmread(path) for path in done.paths]
    sender = AE("CONSILIUM")
    for dataset in datasets:
        sender.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = sender.associate("127.0.0.1", orthanc.dicom_port, ae_title="ORTHANC")
    assert association.is_established
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert [association.send_c_store(dataset).Status for dataset in datasets] == [0, 0]
    association.release()
    stored = {}
    for name in orthanc.get("/instances"):
        tags = orthanc.get(f"/instances/{name}/simplified-tags")
        stored[tags["SOPInstanceUID"]] = tags
    for dataset in datasets:
        tags = stored[str(dataset.SOPInstanceUID)]
        assert (tags["Modality"], tags["StudyInstanceUID"]) == (dataset.Modality, "1.2.3")
        assert tags["PatientName"] == NAMES["PatientName"]


def test_orthanc_stores_real_ones_by_rest(shared_data, tmp_path, orthanc):
    for name in ("brain_mr/Study3_11-T1post-18670", "misc/highdicom__dx_image.dcm"):
        source = shared_data / "dicom_samples" / name
        done = write(held_on(source), tmp_path / "out", [source], ["seg", "sr"])
        assert len(done.paths) == 2
        for path in done.paths:
            answer = orthanc.post(path.read_bytes())
            assert answer["Status"] in {"Success", "AlreadyStored"}
            tags = orthanc.get(f"/instances/{answer['ID']}/tags")
            assert tags["0008,0018"]["Value"] == pydicom.dcmread(path).SOPInstanceUID
            assert tags["0008,0060"]["Value"] == pydicom.dcmread(path).Modality


def test_the_bundles_are_json(series, tmp_path):
    folder = series([0, 3])
    done = write(held_on(folder), tmp_path / "out", [folder], ["fhir"], ("urn:example", "P-1"))
    assert [json.loads(path.read_text(encoding="utf-8"))["resourceType"] for path in done.paths] == ["Bundle"] * 2
    assert all("P-1" in path.read_text(encoding="utf-8") for path in done.paths)


@pytest.mark.parametrize(
    ("heights", "said"),
    [([0, 5, 10.8, 15, 20], True), ([0, 5, 10, 22, 27], True), ([0, 5, 10, 20, 25], False), ([0, 5, 10, 15], False)],
)
def test_that_a_mask_in_nifti_has_even_slices_is_said_where_it_misplaces_them(series, tmp_path, heights, said):
    folder = series(heights)
    written = write(held_on(folder), tmp_path / "out", [folder], ["masks"])
    assert any("at even distances" in note for note in written.notes) == said
