"""Codes, units, colours and texts as DICOM and FHIR want them, from what `consilium.types` holds."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from consilium.formats.wording import printable
from consilium.types import Code

_ABNORMAL = re.compile(
    r"abscess|an?eurysm|bleed|calcification|cancer|carcinoma|consolidation|cyst|(?:o|\b)edema|effusion|embol|fracture|glioma"
    r"|ha?emorrhage|hernia|infarct|infiltrat|inflammation|ischa?emia|lesion|lymphoma|mass\b|melanoma|meningioma|metasta"
    r"|necrosis|neoplasm|nodule|opacit|plaque|pneumonia|pneumothorax|polyp|scar\b|stenosis|thromb|tumou?r|ulcer",
    re.IGNORECASE,
)
_OBJECT = re.compile(
    r"catheter|device|drain\b|implant|instrument|needle|pacemaker|screw|stent|tube\b|wire\b", re.IGNORECASE
)
_SYSTEMS = {
    "SCT": "http://snomed.info/sct",
    "LN": "http://loinc.org",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "RADLEX": "http://radlex.org",
    "NCIt": "http://ncicb.nci.nih.gov/xml/owl/EVS/Thesaurus.owl",
    "UMLS": "http://www.nlm.nih.gov/research/umls",
}
_UNIT_NAMES = {
    "mL": "milliliter",
    "1": "no units",
    "%": "Percent",
    "mm": "mm",
    "mm2": "SquareMillimeter",
    "[hnsf'U]": "Hounsfield unit",
}


def tidy(text: str, limit: int) -> str:
    """One line of at most `limit` characters, without the backslash and the controls that DICOM gives a meaning."""
    words = " ".join(printable(text).replace("\\", "/").split())
    return words if len(words) <= limit else words[: limit - 3].rstrip() + "..."


def slug(text: str) -> str:
    """What a file may be called: lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "unnamed"


def concept(code: Code) -> Any:
    """The highdicom CodedConcept of a Code. A long local value stands in Long Code Value."""
    from highdicom.sr import CodedConcept

    return CodedConcept(tidy(code.value, 64), tidy(code.scheme, 16), tidy(code.meaning, 64))


def unit(ucum: str) -> Any:
    """The CodedConcept of a UCUM unit; "" is a bare number."""
    from highdicom.sr import CodedConcept

    value = ucum or "1"
    return CodedConcept(value, "UCUM", _UNIT_NAMES.get(value, tidy(value, 64)))


def category(code: Code) -> Any:
    """The Segmented Property Category (CID 7150) of what was outlined.

    A standard code has the category of the context group that lists it: lesions (CID 7159), devices (CID 7157); any other,
    and a local one, is judged by its meaning: abnormal where it names something abnormal, else anatomy.
    """
    from pydicom.sr.codedict import codes

    lesions, devices = _listed(7159), _listed(7157)
    if (code.scheme, code.value) in lesions or _ABNORMAL.search(code.meaning):
        return codes.cid7150.MorphologicallyAbnormalStructure
    if (code.scheme, code.value) in devices or _OBJECT.search(code.meaning):
        return codes.cid7150.PhysicalObject
    return codes.cid7150.AnatomicalStructure


@cache
def _listed(group: int) -> frozenset[tuple[str, str]]:
    """(scheme, value) of the codes of a DICOM context group."""
    from pydicom.sr.codedict import codes

    listed = getattr(codes, f"cid{group}")
    found = [getattr(listed, keyword) for keyword in listed.dir()]
    return frozenset((code.scheme_designator, code.value) for code in found)


def anatomy(term: str) -> Any | None:
    """pydicom's SNOMED CT code of one word of anatomy ("CHEST"); None where its tables have none."""
    from pydicom.sr.codedict import codes

    return getattr(codes.SCT, term.capitalize(), None) if term.isalpha() else None


def colour(index: int) -> tuple[int, int, int]:
    """An RGB colour that differs from its neighbours: hues a golden angle apart."""
    import colorsys

    red, green, blue = colorsys.hsv_to_rgb(index * 0.618034 % 1, 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def codeable(code: Code) -> dict[str, Any]:
    """The FHIR CodeableConcept of a Code; of a local one, its words alone."""
    text = {"text": tidy(code.meaning, 200)}
    system = _SYSTEMS.get(code.scheme)
    return {**text, "coding": [{"system": system, "code": code.value, "display": code.meaning}]} if system else text
