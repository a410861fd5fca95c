"""Every word that consilium says to a generalist. Two profiles:

- "published": the shape of GSCo's prompt, labels only (arXiv 2404.15127 and its code, MIT licence);
- "measured": ours: each opinion with its calibrated probabilities and the reliability measured for that specialist, each
  precedent with its similarity, each abstention with its reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from consilium.consult.measured import measurements
from consilium.consult.parse import normalise
from consilium.imaging.picture import VIEWS, pointed_to
from consilium.types import Case, Image, Message, Opinion, Precedent

Profile = Literal["measured", "published"]
PROFILES: tuple[Profile, ...] = ("measured", "published")
MODALITY_WORDS = {
    "CR": "X-ray",
    "DX": "X-ray",
    "CT": "CT",
    "MR": "MR",
    "US": "ultrasound",
    "DMS": "dermatoscopy",
    "SM": "pathology",
    "OP": "ophthalmic photography",
}
SYSTEM = (
    "You are a physician who leads a council. Weigh the evidence by its measured reliability and answer the question."
)
NO_FINDING = "No finding"
# Least AUROC -> what a specialist is called.
REPUTE = ((0.88, "reliable"), (0.75, "fair"), (0.65, "weak"), (0.0, "unreliable"))
DRAFTED = "Report drafted by specialist {specialist}: {report}"
_SHOWN_CONCEPTS = 3
_SHOWN_REPORTS, _REPORT_WORDS = 2, 80


@dataclass(frozen=True)
class Evidence:
    """What a policy shows beside the case. `broader` names the concept that a label belongs to (bacterial pneumonia ->
    pneumonia), as the cards of those who spoke group their own; `learnt`: the sets that they were trained on."""

    opinions: Sequence[Opinion] = ()
    precedents: Sequence[Precedent] = ()
    broader: Mapping[str, str] = field(default_factory=dict)
    slices: int = VIEWS
    windows: bool = False
    learnt: frozenset[str] = frozenset()


NOTHING = Evidence()


def compose(
    case: Case, evidence: Evidence = NOTHING, profile: Profile = "measured", worked: bool = False
) -> tuple[Message, ...]:
    """The messages for `case`: text and its images (a volume by a few slices).

    worked  precede a closed question that has evidence by one worked example per option, in the same form, whose evidence
            favours that option: a small language model follows the pattern, where from one prompt it repeats its prior.
    """
    outlines = [outline for opinion in evidence.opinions for outline in opinion.segmentations]
    shown = [item for study in case.studies for item in study.images]
    images = tuple(v for item in shown for v in pointed_to(item, outlines, evidence.slices, evidence.windows))
    if profile == "published":
        return (Message("user", (*images, _published(case, evidence))),)
    examples = _worked(case, evidence) if worked and case.options and not case.multiple else ()
    system = Message("system", (SYSTEM + _reliability(evidence.opinions),))
    return (system, *examples, Message("user", (*images, _measured(case, _lines(case, evidence)))))


def _published(case: Case, evidence: Evidence) -> str:
    given = f"a {_seen(case)} image" if case.studies or case.genome is None else "a genome that specialists read"
    lines = [f"You are a helpful medical assistant. Your task is disease diagnosis. You are given {given}."]
    if not case.options:
        lines = [
            f"You are required to answer the question based on the medical image. The question is {_in_line(case.question)}"
        ]
    else:
        lines.append(f"The possible diagnoses are: {', '.join(map(repr, _offered(case)))}.")
    drafts = () if case.options else _drafts(evidence.opinions)
    if drafts:
        lines.append(f"The reports of the specialist models are: {' '.join(text for _, text in drafts)}")
    reports = () if case.options else _reports(evidence.precedents)
    if reports:
        lines.append(f"The reports of the most similar cases are: {' '.join(text for text, _ in reports)}")
    elif evidence.precedents:
        lines.append(f"The diagnoses of the most similar cases are {', '.join(p.label for p in evidence.precedents)}.")
    judged = [o for o in evidence.opinions if not o.abstained and any(f.quantity is None for f in o.findings)]
    said = [_diagnosis(opinion, case.options) for opinion in judged]
    if said:
        lines.append(f"The diagnoses of the specialist models are {', '.join(said)}.")
    if case.multiple:
        lines.append("The response should only contain one or more options.")
        lines.append(f"Only if no other option fits, you can choose '{NO_FINDING}'.")
    elif case.options:
        lines.append("The response should only contain one option.")
    return " ".join(lines)


def _measured(case: Case, lines: Sequence[str]) -> str:
    how = f"every option that holds, {NO_FINDING} only where no other does" if case.multiple else "one option only"
    closed = f"Options: {', '.join(_offered(case))}. Answer with {how}."
    return "\n".join([*lines, f"Question: {_in_line(case.question)}", *([closed] if case.options else [])])


def _offered(case: Case) -> tuple[str, ...]:
    return (*case.options, NO_FINDING) if case.multiple else case.options


def _lines(case: Case, evidence: Evidence) -> list[str]:
    lines = [f"Image: {_seen(case)}."] if case.genome is None else [_with_genome(case)]
    if case.history:
        lines.append(f"History: {_in_line(case.history)}")
    spoke = [opinion for opinion in evidence.opinions if not opinion.abstained]
    shown_by = [(opinion, _shown(opinion, case.options)) for opinion in spoke]
    lines += [_opinion_line(opinion, shown) for opinion, shown in shown_by if shown]
    lines += [told for opinion, shown in shown_by if not shown and (told := measurements(opinion))]
    if evidence.precedents:
        shown = [(option_of(p.label, case.options, evidence.broader), p.similarity) for p in evidence.precedents]
        lines.append(_precedent_line(shown))
    if case.options:
        return lines
    lines += [DRAFTED.format(specialist=name, report=text) for name, text in _drafts(evidence.opinions)]
    reports = _reports(evidence.precedents)
    return lines + [f"Report of a similar known case (similarity {likeness:.2f}): {text}" for text, likeness in reports]


def _in_line(text: str) -> str:
    """What a person wrote, on one line: a line of it could pass for evidence."""
    return " ".join(text.split())


def _with_genome(case: Case) -> str:
    """Genotypes are never shown: a model that reads text would make something up of them."""
    return f"Image: {_seen(case) if case.studies else 'none'}. Genome: read by specialists alone."


def _reports(precedents: Sequence[Precedent]) -> tuple[tuple[str, float], ...]:
    """(text, similarity) of the nearest known cases that have a report, one line each and cut after some words."""
    return tuple((shortened(p.report), p.similarity) for p in precedents if p.report.strip())[:_SHOWN_REPORTS]


def _drafts(opinions: Sequence[Opinion]) -> tuple[tuple[str, str], ...]:
    """(specialist, what it wrote) of those who wrote a report, as the reports of known cases are shown."""
    return tuple((o.specialist, shortened(o.draft)) for o in opinions if o.draft.strip() and not o.abstained)


def shortened(report: str) -> str:
    """A report in one line, cut after some words."""
    words = report.split()
    return " ".join(words[:_REPORT_WORDS]) + " ..." * (len(words) > _REPORT_WORDS)


def _worked(case: Case, evidence: Evidence) -> tuple[Message, ...]:
    """One example an option, shaped like the evidence at hand: as many specialists, as many precedents."""
    spoke = [opinion for opinion in evidence.opinions if not opinion.abstained]
    if not spoke and not evidence.precedents:
        return ()
    messages: list[Message] = []
    for i, option in enumerate(case.options):
        other = case.options[(i + 1) % len(case.options)]
        lines = ["Worked example, not the case at hand.", f"Image: {_seen(case)}."]
        lines += [_opinion_line(replace(o, caution=""), [(option, 0.93), (other, 0.05)]) for o in spoke]
        if evidence.precedents:
            labels = [other if j == 2 else option for j in range(len(evidence.precedents))]
            lines.append(_precedent_line([(label, 0.95) for label in labels]))
        messages += [Message("user", (_measured(case, lines),)), Message("assistant", (option,))]
    return tuple(messages)


def _shown(opinion: Opinion, options: Sequence[str]) -> list[tuple[str, float]]:
    """The concepts to show with their probabilities, most probable first: the options that the specialist knows, in the
    words of the question, else its leading concepts."""
    judged = [f for f in opinion.findings if f.quantity is None]
    known = [(option_of(f.concept.meaning, options), f.probability or 0.0) for f in judged]
    on_topic = [(label, p) for label, p in known if label in options]
    return sorted(on_topic or known, key=lambda pair: -pair[1])[:_SHOWN_CONCEPTS]


def _opinion_line(opinion: Opinion, shown: Sequence[tuple[str, float]]) -> str:
    said = ", ".join(f"{label} {100 * p:.0f} %" for label, p in shown)
    repute = f" ({word})" if (word := _repute(opinion)) else ""
    return (
        f"Specialist {opinion.specialist}{repute}: {said}.{' Less sure here than measured.' if opinion.caution else ''}"
    )


def _repute(opinion: Opinion) -> str:
    """Its measured AUROC in a word, which a small language model reads better than a number; "" where it is not measured."""
    auroc = next((score.value for score in opinion.reliability if score.metric == "AUROC"), float("nan"))
    return next((word for least, word in REPUTE if auroc >= least), "")


def _precedent_line(labels: Sequence[tuple[str, float]]) -> str:
    shown = ", ".join(f"{label} (similarity {similarity:.2f})" for label, similarity in labels)
    return f"Most similar known cases: {shown}."


def option_of(label: str, options: Sequence[str], broader: Mapping[str, str] | None = None) -> str:
    """`label` in the words of the question where it, or the concept it belongs to, is an option but for punctuation."""
    names = [normalise(label), normalise((broader or {}).get(label, ""))]
    return next((option for name in names for option in options if normalise(option) == name), label)


def _reliability(opinions: Sequence[Opinion]) -> str:
    """Once, ahead of the evidence: beside each line it drew a small language model away from what the line says."""
    measured = [
        f"{opinion.specialist} AUROC {score.value:.2f} on {score.n} unseen cases"
        for opinion in opinions
        for score in opinion.reliability
        if score.metric == "AUROC" and not opinion.abstained
    ]
    return f" Measured reliability: {'; '.join(measured)}." if measured else ""


def _diagnosis(opinion: Opinion, options: Sequence[str]) -> str:
    """What a specialist diagnoses, as labels alone: its most probable class, the options first; where its concepts do not
    exclude each other, every one above one half, else no finding."""
    shown = _shown(opinion, options)
    if opinion.exclusive:
        return shown[0][0]
    return ", ".join(label for label, p in shown if p >= 0.5) or "no finding"


def _seen(case: Case) -> str:
    words = []
    for study in case.studies:
        part = (study.body_part or "").lower()
        words.append(f"{part} {MODALITY_WORDS.get(study.modality or '', study.modality or 'medical')}".strip())
    return " and ".join(dict.fromkeys(words)) or "medical"


def images_of(messages: Sequence[Message]) -> tuple[Image, ...]:
    """The pictures that a prompt carries, in order."""
    return tuple(part for message in messages for part in message.parts if isinstance(part, Image))
