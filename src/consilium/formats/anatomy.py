"""Modality and body part in DICOM's words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# DICOM's terms for kinds of picture (PS3.3 C.7.3.1.1.1).
_TERMS = "AR BDUS BI BMD CR CT DG DMS DX ECG EPS ES FID GM HC IO IVOCT IVUS KER LS MG MR NM OAM OCT OP OPM OPT OPV OT PT PX RF RG"
MODALITIES = frozenset(f"{_TERMS} SM SRF TG US VA XA XC".split(" "))
_BODY_PARTS = {
    "CHEST": ("THORAX", "TORAX", "CXR", "LUNG", "LUNGS", "CHEST PA", "CHEST AP", "CHEST LAT", "CHEST LATERAL"),
    "HEAD": ("BRAIN", "CRANIUM", "CEREBRUM"),
    "BREAST": ("MAMMA", "MAMMO", "BREASTS"),
    "ABDOMEN": ("ABD", "ABDO", "BELLY"),
    "CSPINE": ("CERVICAL SPINE", "C SPINE"),
    "TSPINE": ("THORACIC SPINE", "T SPINE"),
    "LSPINE": ("LUMBAR SPINE", "L SPINE"),
}
_SYNONYMS = {synonym: part for part, synonyms in _BODY_PARTS.items() for synonym in synonyms}


def normal_body_part(text: str | None) -> str | None:
    """A body part as DICOM writes it: upper case, well-known synonyms mapped; None for nothing."""
    words = " ".join((text or "").replace("_", " ").replace("-", " ").upper().split())
    return _SYNONYMS.get(words, words) or None


def normal_modality(text: str | None) -> str | None:
    """A modality as DICOM writes it; None for nothing."""
    return (text or "").strip().upper() or None


def modality_of(dataset: Dataset) -> str | None:
    return normal_modality(str(dataset.get("Modality") or ""))


def body_part_of(dataset: Dataset) -> str | None:
    """Body Part Examined, else the meaning of the first Anatomic Region code."""
    part = normal_body_part(str(dataset.get("BodyPartExamined") or ""))
    if part is not None:
        return part
    groups = [dataset]
    for group in (dataset.get("SharedFunctionalGroupsSequence") or [])[:1]:
        groups += (group.get("FrameAnatomySequence") or [])[:1]
    for group in groups:
        for region in (group.get("AnatomicRegionSequence") or [])[:1]:
            return normal_body_part(str(region.get("CodeMeaning") or ""))
    return None
