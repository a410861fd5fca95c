"""FHIR Bundles: fhir.resources reads them back, the figures are exact, and no word of the patient is in them."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pydicom
import pytest
from fhir.resources.bundle import Bundle as BundleR5
from fhir.resources.R4B.bundle import Bundle as BundleR4
from tests.consultations import empty, full
from tests.formats.out.conftest import LESION, held_on

from consilium.errors import UsageError
from consilium.formats.out import fhir
from consilium.formats.out.sources import trace
from consilium.types import Code, Finding, Opinion

BUNDLES = {"R4": BundleR4, "R5": BundleR5}


@pytest.fixture(params=["R4", "R5"])
def release(request):
    return request.param


def resources(text: str, release: str) -> dict[str, list[dict]]:
    """The resources of a Bundle that fhir.resources accepts, by type."""
    BUNDLES[release].model_validate_json(text)
    found: dict[str, list[dict]] = {}
    for entry in json.loads(text)["entry"]:
        found.setdefault(entry["resource"]["resourceType"], []).append(entry["resource"])
    return found


def test_findings_are_observations(series, release):
    folder = series([0, 3, 6])
    held = held_on(folder)
    found = resources(fhir.build(held, trace([folder]), release), release)
    probability, volume, diameter, declined = found["Observation"]
    findings = held.opinions[0].findings
    assert {o["status"] for o in found["Observation"]} == {"preliminary"}
    assert probability["code"] == {"text": "pneumonia"}
    value = probability["valueQuantity"]
    assert (float(value["value"]), value["unit"], value["code"]) == (findings[0].probability, "probability", "1")
    assert probability["bodySite"] == {"text": "right"}
    assert [n["text"] for n in probability["note"]] == ["calibrated probability", held.opinions[0].caution]
    assert volume["code"]["coding"][0] == {"system": "http://snomed.info/sct", "code": "118565006", "display": "Volume"}
    for observed, finding in ((volume, findings[1]), (diameter, findings[2])):
        value = observed["valueQuantity"]
        assert (float(value["value"]), value["code"]) == (finding.quantity, finding.unit)
        assert value["system"] == "http://unitsofmeasure.org"
    assert declined["dataAbsentReason"]["coding"][0]["code"] == "asked-declined"
    assert declined["dataAbsentReason"]["text"] == "sees MR of the head only"
    assert {key for o in found["Observation"] for key in o if key.startswith("value")} == {"valueQuantity"}
    assert declined["device"]["display"] == "brain 2.0 (consilium)"


def test_the_report_names_its_results_and_its_study(series, release):
    folder = series([0, 3, 6])
    text = fhir.build(held_on(folder), trace([folder]), release)
    found = resources(text, release)
    (report,) = found["DiagnosticReport"]
    urls = {entry["fullUrl"]: entry["resource"]["resourceType"] for entry in json.loads(text)["entry"]}
    assert report["status"] == "preliminary"
    assert [urls[result["reference"]] for result in report["result"]] == ["Observation"] * 4
    assert [urls[s["reference"]] for s in report["imagingStudy" if release == "R4" else "study"]] == ["ImagingStudy"]
    assert report["conclusion"].startswith("Is there pneumonia? pneumonia")
    assert report["code"]["coding"][0]["code"] == "18748-4"


def test_the_imaging_study_lists_the_instances(series, release):
    folder = series([0, 3, 6])
    (study,) = resources(fhir.build(held_on(folder), trace([folder]), release), release)["ImagingStudy"]
    headers = [pydicom.dcmread(path) for path in folder.iterdir()]
    assert study["identifier"] == [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}]
    (listed,) = study["series"]
    assert listed["uid"] == headers[0].SeriesInstanceUID
    assert {instance["uid"] for instance in listed["instance"]} == {header.SOPInstanceUID for header in headers}
    assert (study["numberOfSeries"], study["numberOfInstances"]) == (1, 3)


def test_nothing_of_the_patient_but_what_the_caller_gives(series, release):
    folder = series([0, 3])
    held, traced = held_on(folder), trace([folder])
    anonymous = re.sub(r"urn:uuid:[0-9a-f-]+", "", fhir.build(held, traced, release))  # drawn: may hold any digits
    for word in ("Müßig", "Änne", "4711", "1951"):
        assert word not in anonymous
    assert "masked" in anonymous
    named = resources(fhir.build(held, traced, release, ("urn:example:hospital", "P-1")), release)
    whose = {"identifier": {"system": "urn:example:hospital", "value": "P-1"}}
    assert [r["subject"] for kind in named.values() for r in kind] == [whose] * 6


def test_a_picture_that_is_no_dicom(release):
    found = resources(fhir.build(full(), {}, release), release)
    assert [(s["status"], "series" in s) for s in found["ImagingStudy"]] == [("unknown", False)]
    assert [o["valueQuantity"]["value"] for o in found["Observation"] if "valueQuantity" in o] == [
        0.9731,
        0.0021,
        0.31,
        12.34567,
    ]


def test_what_a_genome_tells_is_no_imaging(series, release):
    """Beside a picture it is derived from none; alone it is a genetics report without an ImagingStudy."""
    folder = series([0, 3])
    risk = Opinion("gout_risk", "1", (Finding(Code.local("gout"), 0.07, True),), exclusive=False, basis="genome")
    seen = Opinion("lungs", "1", (Finding(Code.local("pneumonia"), 0.9, True),))
    beside = held_on(folder, seen)
    beside = replace(beside, case=replace(beside.case, genome=full().case.genome), opinions=(seen, risk))
    found = resources(fhir.build(beside, trace([folder]), release), release)
    imaging, laboratory = found["Observation"]
    assert [o["category"][0]["coding"][0]["code"] for o in (imaging, laboratory)] == ["imaging", "laboratory"]
    assert "derivedFrom" in imaging and "derivedFrom" not in laboratory
    assert [c["coding"][0]["code"] for c in found["DiagnosticReport"][0]["category"]] == ["RAD", "GE"]
    alone = replace(beside, case=replace(beside.case, studies=()), opinions=(risk,))
    found = resources(fhir.build(alone, {}, release), release)
    (report,) = found.pop("DiagnosticReport")
    assert set(found) == {"Observation"} and report["code"]["coding"][0]["code"] == "51969-4"
    assert [c["coding"][0]["code"] for c in report["category"]] == ["GE"]


def test_nobody_spoke(release):
    assert set(resources(fhir.build(empty(), {}, release), release)) == {"DiagnosticReport"}


def test_no_number_and_no_value_at_all(series, release):
    folder = series([0, 3])
    said = Opinion("lungs", "1", (Finding(Code.local("volume"), quantity=float("nan"), unit="mL"), Finding(LESION)))
    first, second, _ = resources(fhir.build(held_on(folder, said), {}, release), release)["Observation"]
    assert first["dataAbsentReason"]["coding"][0]["code"] == "not-a-number"
    assert second["valueCodeableConcept"]["text"] == "Lesion"


def test_refusals(series, tmp_path):
    with pytest.raises(UsageError, match="choose one of R4, R5"):
        fhir.build(empty(), {}, "R3")
    traced = {**trace([series([0, 3])]), **trace([series([0, 3], PatientID="another")])}
    with pytest.raises(UsageError, match="one patient at a time"):
        fhir.build(empty(), traced, "R4", ("a", "b"))


def test_a_measurement_is_coded_by_what_was_measured(series):
    finding = Finding(Code.local("liver"), quantity=31.0, unit="mm", site="longest diameter")
    (observed,) = fhir._observations(Opinion("s", "1", (finding,)), (), None)
    assert observed["code"] == {"text": "longest diameter"} and "liver" in json.dumps(observed["bodySite"])
    side = Finding(Code.local("liver"), quantity=97.0, unit="%", site="right")
    (observed,) = fhir._observations(Opinion("s", "1", (side,)), (), None)
    assert "liver" in json.dumps(observed["code"]) and observed["bodySite"] == {"text": "right"}
