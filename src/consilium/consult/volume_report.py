"""A short report on volumes: what was examined, what was measured, who abstained, what nobody at the table can see.

The text is composed from the findings by rule, so that the same findings give the same words; of the generalist there is its
impression, marked as such. Sections bear the names that radiologists use, in the order in which they are read.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from consilium.consult.panel import Panel
from consilium.consult.parse import normalise
from consilium.consult.prompt import images_of
from consilium.consult.route import refusal
from consilium.formats.wording import DISCLAIMER, dimensions, percent
from consilium.imaging.measure import sides_known
from consilium.imaging.structures import sentence, structures
from consilium.protocols import Card
from consilium.types import Answer, Case, Code, Message, Opinion, Study, Volume

INDICATION, TECHNIQUE, COMPARISON = "indication", "technique", "comparison"
FINDINGS, ABSTENTIONS, UNSEEN = "findings", "abstentions", "not looked at"
LIMITATIONS, IMPRESSION = "limitations", "impression"
_TABLE = Path(__file__).with_name("anatomy.toml")
_TOLD = 24


@dataclass(frozen=True)
class Anatomy:
    """One structure of a body part: its code, and the words by which a concept of a member shows that it looks at it."""

    code: Code
    words: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.code.meaning.removesuffix(" (body structure)").removesuffix(" structure").lower()

    def within(self, concept: Code) -> bool:
        """Whether a member's concept is it by its code, or names it in whole words: 'left hippocampus' the hippocampus."""
        said = f" {_words(concept.meaning)} "
        same = (concept.scheme, concept.value) == (self.code.scheme, self.code.value)
        return same or any(f" {word} " in said for word in self.words)


def reported(
    answer: Answer, case: Case, opinions: Sequence[Opinion], cards: Mapping[str, Card], reader: str = ""
) -> Answer:
    """The answer with the sections of the report where the case is an open question on a volume; else as it is.

    opinions  what was heard; cards: of everyone at the table, asked or not.
    reader    who gave the impression, and what it was shown (see `reader`).
    """
    if case.options or not any(isinstance(item, Volume) for study in case.studies for item in study.images):
        return answer
    said = sections(case, opinions, cards, answer)
    if reader and IMPRESSION in said:
        said[LIMITATIONS] = f"{reader}\n{said[LIMITATIONS]}"
    return replace(answer, sections={**said, **answer.sections})


def reader(panel: Panel, exchange: Sequence[Message]) -> str:
    """Whose words the impression is, and how many pictures it saw; "" where no generalist was asked."""
    if not panel.has_generalist or not exchange:
        return ""
    generalist, shown = panel.generalist, len(images_of(exchange))
    saw = f"was shown {shown} pictures" if generalist.sees_images else "sees no pictures"
    return f"The impression is in the words of {generalist.card.name}, which {saw}; what was measured stands in the findings."


def sections(case: Case, opinions: Sequence[Opinion], cards: Mapping[str, Card], answer: Answer) -> dict[str, str]:
    """Name -> text of each section that has something to say, in the order of a report."""
    priors = [study.prior for study in case.studies if study.prior is not None]
    said = {
        INDICATION: case.history.strip(),
        TECHNIQUE: "\n".join(_examined(study) for study in case.studies),
        COMPARISON: "\n".join(_examined(study) for study in priors),
        FINDINGS: "\n".join(_findings(opinions)) or "Nothing was measured and nothing was judged by a specialist.",
        ABSTENTIONS: "\n".join(f"{o.specialist}: {o.abstained}." for o in opinions if o.abstained is not None),
        UNSEEN: "\n".join(dict.fromkeys(_unseen(study, opinions, cards) for study in case.studies)),
        LIMITATIONS: "\n".join(_limitations(case, opinions)),
        IMPRESSION: answer.text.strip() if answer.abstained is None else "",
    }
    return {name: text for name, text in said.items() if text}


def anatomy(body_part: str | None) -> tuple[Anatomy, ...]:
    """What a report on this DICOM body part should speak of; () where no list is kept or the part is not known."""
    return _tables().get(body_part or "", ())


@cache
def _tables() -> dict[str, tuple[Anatomy, ...]]:
    told = tomllib.loads(_TABLE.read_text(encoding="utf-8"))
    found: dict[str, tuple[Anatomy, ...]] = {}
    for part, entry in told.items():
        listed = tuple(_anatomy(*row) for row in entry["structures"])
        found |= dict.fromkeys((part, *entry["also"]), listed)
    return found


def _anatomy(value: str, meaning: str, *more: str) -> Anatomy:
    return Anatomy(Code(value, "SCT", meaning), tuple(dict.fromkeys(_words(word) for word in (meaning, *more))))


def _words(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", " ", normalise(text)).strip()


def _examined(study: Study) -> str:
    """'CT of the chest (both from the header), NIfTI: 120 slices of 512 × 512 pixels, ... mm apart.' and what was odd."""
    part = study.body_part.lower() if study.body_part else "an unknown body part"
    what = f"{study.modality or 'Unknown modality'} of {part}"
    source = f"modality from {study.modality_source}, body part from {study.body_part_source}"
    sizes: dict[str, int] = {}
    for item in study.images:
        sizes[dimensions(item)] = sizes.get(dimensions(item), 0) + 1
    shown = "; ".join(f"{count} × {size}" if count > 1 else size for size, count in sizes.items())
    odd = f" Noted on reading: {'; '.join(study.notes)}." if study.notes else ""
    return f"{what} ({source}), {study.file_format or 'format not stated'}: {shown or 'no picture'}.{odd}"


def _findings(opinions: Sequence[Opinion]) -> list[str]:
    lines = []
    for opinion in opinions:
        if opinion.abstained is not None:
            continue
        told = [sentence(structure) for structure in structures(opinion)]
        lines += [f"{line} ({opinion.specialist})." for line in told[:_TOLD]]
        lines += [f"And {len(told) - _TOLD} more measured by {opinion.specialist}."] if len(told) > _TOLD else []
        judged = [f for f in opinion.findings if f.probability is not None]
        if judged:
            rated = ", ".join(f"{f.concept.meaning} {percent(f.probability)}" for f in judged[:_TOLD])
            sure = "calibrated" if all(f.calibrated for f in judged) else "not calibrated"
            lines.append(f"{opinion.specialist} judges: {rated} ({sure}).")
        if opinion.draft:
            lines.append(f"{opinion.specialist} wrote: {' '.join(opinion.draft.split())}")
        if not told and not judged and not opinion.draft:
            lines.append(f"{opinion.specialist} found nothing to report.")
    return lines


def _unseen(study: Study, opinions: Sequence[Opinion], cards: Mapping[str, Card]) -> str:
    """Which structures of the body part no member who may see the study knows, and which only members who abstained know."""
    if study.body_part is None:
        return "The body part is not known, so what was not looked at cannot be listed."
    listed = anatomy(study.body_part)
    part = study.body_part.lower()
    if not listed:
        return f"No list of the structures of {part} is kept, so what was not looked at cannot be listed."
    silent = {opinion.specialist for opinion in opinions if opinion.abstained is not None}
    heard = {opinion.specialist for opinion in opinions} - silent
    able = {card.name: card for card in cards.values() if refusal(card, study) is None}
    knowing = {s: {n for n, c in able.items() if any(s.within(k) for k in c.concepts)} for s in listed}
    nobody = [s.name for s in listed if not knowing[s]]
    said = {c for o in opinions if o.specialist in heard for c in _named(o)}
    missed = [s.name for s in listed if knowing[s] and not any(s.within(concept) for concept in said)]
    lines = []
    if nobody:
        lines.append(f"No member at the table looks at these structures of {part}: {', '.join(nobody)}.")
    if missed:
        lines.append(f"Those who know these abstained or were not asked: {', '.join(missed)}.")
    lines.append("Whether each lies within the field of view was not checked.")
    return " ".join(lines)


def _named(opinion: Opinion) -> set[Code]:
    """The concepts that an opinion judges, measures or outlines."""
    return {finding.concept for finding in opinion.findings} | {c for s in opinion.segmentations for c in s.concepts}


def _limitations(case: Case, opinions: Sequence[Opinion]) -> list[str]:
    volumes = [item for study in case.studies for item in study.images if isinstance(item, Volume)]
    spoke = [opinion for opinion in opinions if opinion.abstained is None]
    lines = [f"{o.specialist}: {o.caution}." for o in spoke if o.caution]
    unmeasured = [o.specialist for o in spoke if not o.reliability]
    if unmeasured:
        lines.append(f"The reliability of {', '.join(unmeasured)} has not been measured.")
    if any(value is not None for o in spoke for s in o.segmentations for value in s.confidence):
        lines.append("A confidence is the Dice that an outline is expected to reach, or what the member's card states.")
    if not all(sides_known(study) for study in case.studies):
        lines.append("The sides of the patient are not known from the file: right and left are not stated.")
    if any(study.modality == "CT" and item.units != "HU" for study in case.studies for item in study.images):
        lines.append("The CT's values are not in Hounsfield units.")
    if len(volumes) > 1:
        lines.append(f"{len(volumes)} volumes were examined; each was measured by itself.")
    return [*lines, f"Composed by rule from what the members said. {DISCLAIMER}"]
