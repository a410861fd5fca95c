"""Who may see what: recognises the modality and body part of a study, and admits a specialist by its card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from consilium.errors import UsageError
from consilium.protocols import Card, Specialist
from consilium.types import Case, Study

# DICOM gives projection radiography several modality terms; for a card they are one.
XRAY = frozenset({"CR", "DX", "RG"})
# Terms of Body Part Examined (DICOM PS3.16 annex L) that name the same field of view.
SAME_PART = (frozenset({"CHEST", "THORAX", "LUNG"}), frozenset({"HEAD", "BRAIN", "SKULL"}))
SURE = 0.9


def identify(case: Case, router: Specialist | None) -> Case:
    """Fills in modality and body part of the studies whose files do not say them. Where `router` does not know either, the
    modality stays None; `demand_modality` then asks the user."""
    return replace(case, studies=tuple(_identified(study, case, router) for study in case.studies))


def _identified(study: Study, case: Case, router: Specialist | None) -> Study:
    if router is None or (study.modality and study.body_part):
        return study
    opinion = router.examine(replace(case, studies=(study,)))
    if opinion.abstained or (opinion.findings[0].probability or 0) < SURE:
        return study
    modality, body_part = opinion.findings[0].concept.meaning.split("/")
    if study.modality is None:
        study = replace(study, modality=modality, modality_source="classifier")
    if study.body_part is None and _same(study.modality, modality):
        study = replace(study, body_part=body_part, body_part_source="classifier")
    return study


def demand_modality(case: Case) -> None:
    """UsageError where a study's modality is known neither from the file nor to the classifier."""
    for number, study in enumerate(case.studies, 1):
        if study.modality is None:
            raise UsageError(
                f"study {number} of {len(case.studies)} does not say its modality and the classifier does not recognise "
                "it. Say what it is with --modality (CR for an X-ray, CT, MR, US, DMS for dermatoscopy, SM for a slide ...)."
            )


def refusal(card: Card, study: Study) -> str | None:
    """Why the member with this card may not see this study; None where it may."""
    if study.modality is None:
        return "the modality of the study is unknown"
    if not any(_same(study.modality, allowed) for allowed in card.modalities):
        return f"it is for {', '.join(card.modalities) or 'no images'}; the study is {study.modality}"
    if study.body_part and card.body_parts and not any(_same_part(study.body_part, p) for p in card.body_parts):
        return f"it is for {', '.join(card.body_parts)}; the study shows {study.body_part}"
    return None


def refused(card: Card, case: Case) -> str | None:
    """Why the member with this card may judge nothing of the case; None where it may see a study or, if it sees no images, the
    genome."""
    if not card.modalities:
        return "the case holds no genome" if case.genome is None else None
    refusals = [refusal(card, study) for study in case.studies]
    return None if None in refusals else (refusals[0] if refusals else "the case holds no study")


def among(case: Case, studies: tuple[Study, ...], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments with the number of a picture (`image`, from 1 among all of the case's) as it counts among those of `studies`,
    which its card lets a member see. UsageError where the picture is another's."""
    number = arguments.get("image")
    items = [(study, item) for study in case.studies for item in study.images]
    if isinstance(number, bool) or not isinstance(number, int | float) or number % 1 or not 1 <= number <= len(items):
        return arguments
    shown = [item for study in studies for item in study.images]
    place = next((i for i, item in enumerate(shown, 1) if item is items[int(number) - 1][1]), None)
    if place is None:
        raise UsageError(f"its card does not let it see picture {int(number)} of the case")
    return {**arguments, "image": place}


def alike(modality: str | None) -> tuple[str | None, ...]:
    """The modality terms that mean the same kind of picture: all of projection radiography, else the term alone."""
    return tuple(sorted(XRAY)) if modality in XRAY else (modality,)


def _same(a: str | None, b: str) -> bool:
    return b in alike(a)


def _same_part(a: str, b: str) -> bool:
    return a == b or any(a in group and b in group for group in SAME_PART)
