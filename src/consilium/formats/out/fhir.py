"""A Consultation as a FHIR Bundle, R4 or R5: DiagnosticReport, an Observation for each finding, ImagingStudy. What was read in
a genome is a laboratory observation, derived from no picture; of a genome alone there is a genetics report without ImagingStudy.

fhir.resources checks every Bundle before it is given out (its R4B stands for R4: these resources are the same in both).
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import consilium
from consilium.errors import UsageError
from consilium.formats.out.coding import codeable, tidy
from consilium.formats.out.sources import Traced
from consilium.imaging.measure import MEASURED
from consilium.types import Code, Consultation, Finding, Opinion, Study

RELEASES = ("R4", "R5")
_TERMS = "http://terminology.hl7.org/CodeSystem"
_UCUM = "http://unitsofmeasure.org"
_ABSENT = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
_DICOM_CODES = "http://dicom.nema.org/resources/ontology/DCM"
_LIMIT = 5000
# Category (HL7 table 0074) and title (LOINC) of a report on each.
_KINDS = {
    "pictures": ({"code": "RAD", "display": "Radiology"}, Code("18748-4", "LN", "Diagnostic imaging study")),
    "genome": ({"code": "GE", "display": "Genetics"}, Code("51969-4", "LN", "Genetic analysis report")),
}


def build(
    held: Consultation, traced: Mapping[str, Traced], release: str = "R4", subject: tuple[str, str] | None = None
) -> str:
    """The Bundle (type "collection", status "preliminary") as JSON.

    traced   `sources.trace` of the DICOM files of the case; empty where there are none.
    subject  (system, value) of the patient's identifier, the only word of the patient; None: no subject but "masked".
    Raises UsageError for another release, and for a subject where the files are of several patients.
    """
    if release not in RELEASES:
        raise UsageError(f"FHIR {release!r} is not written; choose one of {', '.join(RELEASES)}")
    if subject and len({str(header.PatientID) for source in traced.values() for header in source.headers}) > 1:
        raise UsageError("the files are of different patients, and the subject is one; ask about one patient at a time")
    whose = {"identifier": {"system": subject[0], "value": subject[1]}} if subject else None
    studies = [_imaging_study(study, traced, release, whose) for study in held.case.studies]
    entries = [(_new_urn(), study) for study in studies]
    seen = [{"reference": urn} for urn, _ in entries]
    said = [(_new_urn(), item) for opinion in held.opinions for item in _observations(opinion, seen, whose)]
    report = _report(held, release, seen, [urn for urn, _ in said])
    if whose:
        report["subject"] = whose
    entries = [(_new_urn(), report), *said, *entries]
    bundle = {
        "resourceType": "Bundle",
        "type": "collection",
        "timestamp": _now(),
        "entry": [{"fullUrl": urn, "resource": resource} for urn, resource in entries],
    }
    return _checked(bundle, release)


def _checked(bundle: dict[str, Any], release: str) -> str:
    from importlib import import_module

    room = "fhir.resources.R4B.bundle" if release == "R4" else "fhir.resources.bundle"
    return import_module(room).Bundle.model_validate(bundle).model_dump_json(indent=1)


def _new_urn() -> str:
    return uuid.uuid4().urn


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _report(held: Consultation, release: str, studies: Sequence[Any], results: Sequence[str]) -> dict[str, Any]:
    kinds = [_KINDS["pictures"]] if studies or held.case.genome is None else []
    kinds += [_KINDS["genome"]] if held.case.genome is not None else []
    report: dict[str, Any] = {
        "resourceType": "DiagnosticReport",
        "status": "preliminary",
        "category": [{"coding": [{"system": f"{_TERMS}/v2-0074", **category}]} for category, _ in kinds],
        "code": codeable(kinds[0][1]),
        "issued": _now(),
        "conclusion": _conclusion(held),
    }
    if results:
        report["result"] = [{"reference": urn} for urn in results]
    if studies:
        report["imagingStudy" if release == "R4" else "study"] = list(studies)
    return report


def _conclusion(held: Consultation) -> str:
    answer = held.answer
    said = f"Abstained: {answer.abstained}" if answer.abstained is not None else answer.choice or answer.text
    parts = (held.case.question, said, f"Caution: {answer.caution}" if answer.caution else "")
    words = " ".join(filter(None, (tidy(part, _LIMIT) for part in parts)))
    return f"{words} [consilium {held.versions.get('consilium', consilium.__version__)}, not verified]".strip()


def _observations(opinion: Opinion, studies: Sequence[Any], whose: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """One for each finding, and one where the specialist abstained."""
    pictures = opinion.basis == "pictures"
    category = ("imaging", "Imaging") if pictures else ("laboratory", "Laboratory")
    coding = {"system": f"{_TERMS}/observation-category", "code": category[0], "display": category[1]}
    common: dict[str, Any] = {
        "resourceType": "Observation",
        "status": "preliminary",
        "category": [{"coding": [coding]}],
        "device": {"display": tidy(f"{opinion.specialist} {opinion.version} (consilium)", 200)},
    }
    if pictures and len(studies) == 1:
        common["derivedFrom"] = list(studies)
    if whose:
        common["subject"] = whose
    for finding in opinion.findings:
        observed = {**common, **_value(finding)}
        if finding.site in MEASURED and finding.quantity is not None:
            observed["code"], observed["bodySite"] = {"text": finding.site}, codeable(finding.concept)
        elif finding.site:
            observed["bodySite"] = {"text": tidy(finding.site, 200)}
        notes = [_doubt(finding), opinion.caution]
        observed["note"] = [{"text": tidy(note, _LIMIT)} for note in notes if note]
        yield {key: value for key, value in observed.items() if value}
    if opinion.abstained is not None:
        reason = {**_absent("asked-declined", "Asked But Declined"), "text": tidy(opinion.abstained, _LIMIT)}
        yield {**common, "code": {"text": tidy(f"Opinion of {opinion.specialist}", 200)}, "dataAbsentReason": reason}


def _doubt(finding: Finding) -> str:
    if finding.probability is None or finding.quantity is not None:
        return ""
    return (
        "calibrated probability"
        if finding.calibrated
        else "probability that is not calibrated: a ranking, not a chance"
    )


def _value(finding: Finding) -> dict[str, Any]:
    """code and value: a quantity in UCUM, a probability, or, where there is neither, the finding itself."""
    value, unit, words = finding.quantity, finding.unit or "1", finding.unit
    if value is None:
        value, unit, words = finding.probability, "1", "probability"
    if value is None:
        coding = [{"system": _DICOM_CODES, "code": "121071", "display": "Finding"}]
        return {"code": {"coding": coding, "text": "Finding"}, "valueCodeableConcept": codeable(finding.concept)}
    code = codeable(finding.concept)
    if not math.isfinite(value):
        return {"code": code, "dataAbsentReason": _absent("not-a-number", "Not a Number (NaN)")}
    quantity = {"value": float(value), "unit": words or unit, "system": _UCUM, "code": unit}
    return {"code": code, "valueQuantity": quantity}


def _absent(code: str, display: str) -> dict[str, Any]:
    return {"coding": [{"system": f"{_TERMS}/data-absent-reason", "code": code, "display": display}]}


def _imaging_study(
    study: Study, traced: Mapping[str, Traced], release: str, whose: dict[str, Any] | None
) -> dict[str, Any]:
    headers = [header for shown in study.images if shown.uid in traced for header in traced[shown.uid].instances]
    whole = {str(h.SOPInstanceUID): h for h in headers if h.get("StudyInstanceUID") and h.get("SeriesInstanceUID")}
    found: dict[str, Any] = {
        "resourceType": "ImagingStudy",
        "status": "available" if whole else "unknown",
        "subject": whose or {"extension": [{"url": _ABSENT, "valueCode": "masked"}]},
    }
    if study.modality:
        found["modality"] = [_modality(study.modality, release)]
    if not whole:
        return found
    series: dict[str, list[Any]] = {}
    for header in whole.values():
        series.setdefault(str(header.SeriesInstanceUID), []).append(header)
    uid = str(next(iter(whole.values())).StudyInstanceUID)
    found["identifier"] = [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}]
    found["numberOfSeries"], found["numberOfInstances"] = len(series), len(whole)
    found["series"] = [_series(uid, members, study, release) for uid, members in series.items()]
    return found


def _series(uid: str, headers: Sequence[Any], study: Study, release: str) -> dict[str, Any]:
    instances = [
        {
            "uid": str(header.SOPInstanceUID),
            "sopClass": {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{header.SOPClassUID}"},
        }
        for header in headers
    ]
    kind = _modality(str(headers[0].get("Modality") or study.modality or "OT"), release)
    return {"uid": uid, "modality": kind, "numberOfInstances": len(headers), "instance": instances}


def _modality(modality: str, release: str) -> dict[str, Any]:
    """A Coding in R4, a CodeableConcept in R5."""
    coding = {"system": _DICOM_CODES, "code": modality}
    return coding if release == "R4" else {"coding": [coding]}
