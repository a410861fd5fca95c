"""What experts' Opinions look like to the generalist that called them: calibrated probabilities, measurements with unit and
place, why one abstains, and, for a generalist that sees, what was outlined, on the slice where it is largest, with a legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from consilium.consult.measured import measurements
from consilium.consult.prompt import DRAFTED, Evidence, compose, shortened
from consilium.imaging.overlay import draw
from consilium.types import Case, Image, Message, Opinion

# `draw` tells so many concepts apart.
_DRAWN = 21
LEGEND = "The picture shows what {specialist} outlined, where it is largest, in the colours of its legend."


def turn(case: Case, opinions: Sequence[Opinion], problems: Sequence[str], sees_images: bool) -> Message:
    """The user's next turn after calls: what each expert says, what was not carried out and why, and the question again.

    Of one expert with probabilities alone it reads as `cards_prompt.returned`, as the native generalist was trained.
    """
    drawn = [(o, picture) for o in opinions for picture in (outlines(case, o) if sees_images else ())]
    legends = dict.fromkeys(LEGEND.format(specialist=opinion.specialist) for opinion, _ in drawn)
    refused = [f"Not carried out: {problem}." for problem in problems]
    lines = [line for opinion in opinions for line in _lines(opinion)]
    rated = tuple(replace(o, draft="", findings=tuple(f for f in o.findings if f.quantity is None)) for o in opinions)
    rated = tuple(opinion for opinion in rated if opinion.findings and not opinion.abstained)
    asked = [line for line in compose(case, Evidence(rated))[-1].text.splitlines() if not line.startswith("Image: ")]
    return Message("user", (*(picture for _, picture in drawn), "\n".join([*refused, *legends, *lines, *asked])))


def outlines(case: Case, opinion: Opinion) -> tuple[Image, ...]:
    """What is outlined, drawn over its image, or over the slice of its volume that shows most of it; () where nothing is, or
    more than can be told apart: then the measurements speak alone."""
    shown = []
    for item in (item for study in case.studies for item in study.images):
        parts = [s for s in opinion.segmentations if s.image_uid == item.uid and s.labels.any()]
        if parts and len({concept for part in parts for concept in part.concepts}) <= _DRAWN:
            shown.append(draw(item, parts, opinion.findings))
    return tuple(shown)


def _lines(opinion: Opinion) -> list[str]:
    """What stands in no line of `compose` here: an abstention, measurements, a report, that nothing was found."""
    if opinion.abstained:
        return [f"Specialist {opinion.specialist} abstains: {opinion.abstained}."]
    if opinion.draft:
        return [DRAFTED.format(specialist=opinion.specialist, report=shortened(opinion.draft))]
    if not opinion.findings:
        return [f"Specialist {opinion.specialist} found nothing."]
    told = measurements(opinion)
    return [told + (" Less sure here than measured." if opinion.caution else "")] if told else []
