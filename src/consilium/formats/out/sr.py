"""What the specialists said as a DICOM SR: a measurement report (TID 1500) in a Comprehensive SR, made with highdicom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import consilium
from consilium.errors import NothingError, UsageError
from consilium.formats.out.coding import tidy
from consilium.formats.out.groups import Grouped, groups_of
from consilium.formats.out.seg import Outline
from consilium.formats.out.sources import Traced, discreet, pictures
from consilium.types import Consultation, Opinion

_SERIES_NUMBER = 9100
_CONCLUSION_LIMIT = 10_000
_UNSTATED = "no words were given"


def build(
    held: Consultation,
    traced: Mapping[str, Traced],
    outlines: Sequence[tuple[Opinion, tuple[int, ...], Outline]] = (),
) -> Grouped:
    """A Comprehensive SR of every opinion on the pictures, and notes of what it could not take.

    A measurement group for each finding: its concept, probability or quantity with UCUM unit, site, and the algorithm;
    findings measured on one segment share a group that refers to it. An abstention is a group with its reason.
    outlines  what `seg.build` made, with whose it is and which of his segmentations it holds; they must be stored too.
    Raises UsageError where no picture of the case is DICOM, where nothing was said that it could take, or where the files are
    of several patients; NothingError where nobody said anything.
    """
    headers = _evidence(held, traced)
    if not held.opinions:
        raise NothingError("no specialist was asked, so there is nothing to report; ask with specialists")
    notes: list[str] = []
    with discreet():
        groups: list[Any] = []
        for opinion in held.opinions:
            if opinion.basis == "genome":
                notes.append(
                    f"{opinion.specialist} read the genome, which a report on pictures does not hold; FHIR does"
                )
                continue
            theirs = [(chosen, outline) for owner, chosen, outline in outlines if owner is opinion]
            said = groups_of(held, opinion, theirs)
            groups += said.items
            notes += said.notes
        if not groups and notes:
            raise UsageError(f"{'; '.join(dict.fromkeys(notes))}; so there is nothing to report")
        if not groups:
            raise NothingError("no specialist found, measured or declined anything, so there is nothing to report")
        report = _report(held, headers, groups)
        dataset = _document([*headers, *(outline.dataset for _, _, outline in outlines)], report)
    return Grouped((dataset,), tuple(notes))


def _evidence(held: Consultation, traced: Mapping[str, Traced]) -> list[Any]:
    """One header for each source instance of the case."""
    found = (header for shown in pictures(held) if shown.uid in traced for header in traced[shown.uid].instances)
    once = {str(header.SOPInstanceUID): header for header in found}
    whole = [header for header in once.values() if header.get("StudyInstanceUID") and header.get("SeriesInstanceUID")]
    if not whole:
        raise UsageError("a DICOM report refers to DICOM pictures, and this case has none; write FHIR instead")
    if len({str(header.PatientID) for header in whole}) > 1:
        raise UsageError("the files are of different patients, and a report has one; ask about one patient at a time")
    return whole


def _report(held: Consultation, headers: Sequence[Any], groups: Sequence[Any]) -> Any:
    from highdicom.sr import (
        DeviceObserverIdentifyingAttributes,
        MeasurementReport,
        ObservationContext,
        ObserverContext,
        TextContentItem,
    )
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    version = held.versions.get("consilium", consilium.__version__)
    device = DeviceObserverIdentifyingAttributes(
        uid=generate_uid(entropy_srcs=["consilium", version]),
        name="consilium",
        manufacturer_name="consilium",
        model_name=tidy(f"consilium {version}", 64),
    )
    observer = ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=observer),
        procedure_reported=_procedure(headers[0]),
        imaging_measurements=list(groups),
        referenced_images=_library(headers),
    )
    comment = TextContentItem(codes.DCM.Comment, _conclusion(held), "CONTAINS")
    report[0].ContentSequence.append(_evaluations(comment))
    return report


def _evaluations(item: Any) -> Any:
    """The container of TID 1500 for what is said of the whole."""
    from highdicom.sr import CodedConcept, ContainerContentItem, ContentSequence

    container = ContainerContentItem(
        CodedConcept("C0034375", "UMLS", "Qualitative Evaluations"), relationship_type="CONTAINS"
    )
    container.ContentSequence = ContentSequence([item])
    return container


def _conclusion(held: Consultation) -> str:
    answer = held.answer
    said = (
        f"abstained: {answer.abstained}" if answer.abstained is not None else answer.choice or answer.text or _UNSTATED
    )
    if answer.caution:
        said = f"{said} (caution: {answer.caution})"
    return tidy(f"{held.case.question} - {said} - Preliminary: written by software, not verified.", _CONCLUSION_LIMIT)


def _library(headers: Sequence[Any]) -> list[Any]:
    """Headers that highdicom describes by what every picture has: others of its descriptors fail where one is missing."""
    from pydicom.dataset import Dataset

    library = []
    for header in headers:
        entry = Dataset()
        for keyword in ("SOPClassUID", "SOPInstanceUID", "Rows", "Columns", "FrameOfReferenceUID"):
            if header.get(keyword):
                setattr(entry, keyword, getattr(header, keyword))
        entry.Modality = "OT"
        library.append(entry)
    return library


def _procedure(header: Any) -> Any:
    """The procedure that the header names by a code, else that of its modality (CID 100)."""
    from highdicom.sr import CodedConcept
    from pydicom.sr.codedict import codes

    for item in header.get("ProcedureCodeSequence") or ():
        if item.get("CodeValue") and item.get("CodingSchemeDesignator") and item.get("CodeMeaning"):
            return CodedConcept(item.CodeValue, item.CodingSchemeDesignator, tidy(item.CodeMeaning, 64))
    listed = codes.cid100
    radiograph = listed.XRUnspecifiedBodyRegion
    known = {"CT": listed.CTUnspecifiedBodyRegion, "MR": listed.MRIUnspecifiedBodyRegion}
    known |= dict.fromkeys(("CR", "DX", "RG"), radiograph)
    return known.get(str(header.get("Modality")), listed.ImagingProcedure)


def _document(evidence: Sequence[Any], report: Any) -> Any:
    from highdicom import UID
    from highdicom.sr import ComprehensiveSR

    try:
        return ComprehensiveSR(
            evidence=list(evidence),
            content=report[0],
            series_instance_uid=UID(),
            series_number=_SERIES_NUMBER,
            sop_instance_uid=UID(),
            instance_number=1,
            manufacturer="consilium",
            manufacturer_model_name="consilium",
            software_versions=consilium.__version__,
            device_serial_number=consilium.__version__,
            series_description="consilium: measurement report",
            is_complete=True,
            is_final=False,
            is_verified=False,
            specific_character_set="ISO_IR 192",
        )
    except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        # its words may quote the header, and so the patient
        raise UsageError(
            f"no report can refer to this source ({type(error).__name__} in highdicom: its header is incomplete); "
            "write FHIR instead"
        ) from error
