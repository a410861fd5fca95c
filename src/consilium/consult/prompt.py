"""Every word that consilium says to a generalist. Two profiles:

- "published": the shape of GSCo's prompt, labels only (arXiv 2404.15127 and its code, MIT licence);
- "measured": ours: each opinion with its calibrated probabilities and the reliability measured for that specialist, each
  precedent with its similarity, each abstention with its reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from consilium.consult.parse import normalise
from consilium.imaging.picture import views
from consilium.types import Case, Image, Message, Opinion, Precedent, Score

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
_SHOWN_CONCEPTS = 3


def compose(
    case: Case,
    opinions: Sequence[Opinion] = (),
    precedents: Sequence[Precedent] = (),
    profile: Profile = "measured",
) -> tuple[Message, ...]:
    """The messages for `case`: text and its images (a volume by a few slices)."""
    text = _published(case, opinions, precedents) if profile == "published" else _measured(case, opinions, precedents)
    images = tuple(view for study in case.studies for item in study.images for view in views(item))
    user = Message("user", (*images, text))
    return (user,) if profile == "published" else (Message("system", (SYSTEM,)), user)


def _published(case: Case, opinions: Sequence[Opinion], precedents: Sequence[Precedent]) -> str:
    lines = [
        f"You are a helpful medical assistant. Your task is disease diagnosis. You are given a {_seen(case)} image."
    ]
    if not case.options:
        lines = [f"You are required to answer the question based on the medical image. The question is {case.question}"]
    else:
        lines.append(f"The possible diagnoses are: {', '.join(map(repr, case.options))}.")
    if precedents:
        lines.append(f"The diagnoses of the most similar cases are {', '.join(p.label for p in precedents)}.")
    said = [top_label(opinion, case.options) for opinion in opinions if not opinion.abstained]
    if said:
        lines.append(f"The diagnoses of the specialist models are {', '.join(said)}.")
    if case.options:
        lines.append("The response should only contain one option.")
    return " ".join(lines)


def _measured(case: Case, opinions: Sequence[Opinion], precedents: Sequence[Precedent]) -> str:
    lines = [f"Image: {_seen(case)}."]
    if case.history:
        lines.append(f"History: {case.history}")
    lines += [_opinion_line(opinion, case.options) for opinion in opinions if not opinion.abstained]
    if precedents:
        shown = "; ".join(f"{p.label} (similarity {p.similarity:.2f})" for p in precedents)
        lines.append(f"Diagnoses of the most similar known cases: {shown}.")
    lines.append(f"Question: {case.question}")
    if case.options:
        lines.append(f"Options: {', '.join(case.options)}. Answer with one option only.")
    return "\n".join(lines)


def _opinion_line(opinion: Opinion, options: Sequence[str]) -> str:
    wanted = {normalise(option) for option in options}
    on_topic = [f for f in opinion.findings if normalise(f.concept.meaning) in wanted]
    shown = (on_topic or list(opinion.findings))[:_SHOWN_CONCEPTS]
    said = ", ".join(f"{f.concept.meaning} {100 * (f.probability or 0):.0f} %" for f in shown)
    caution = f" Caution: {opinion.caution}." if opinion.caution else ""
    return f"Specialist {opinion.specialist} says: {said}{_reliability(opinion.reliability)}.{caution}"


def _reliability(scores: Sequence[Score]) -> str:
    score = next((s for s in scores if s.metric == "AUROC"), None)
    return f" (measured AUROC {score.value:.2f} on {score.n} unseen cases)" if score else ""


def top_label(opinion: Opinion, options: Sequence[str] = ()) -> str:
    """The concept that a specialist holds most probable, among the options where it knows one of them."""
    wanted = {normalise(option) for option in options}
    on_topic = [f for f in opinion.findings if normalise(f.concept.meaning) in wanted]
    return max(on_topic or opinion.findings, key=lambda f: f.probability or 0).concept.meaning


def _seen(case: Case) -> str:
    words = []
    for study in case.studies:
        part = (study.body_part or "").lower()
        words.append(f"{part} {MODALITY_WORDS.get(study.modality or '', study.modality or 'medical')}".strip())
    return " and ".join(dict.fromkeys(words)) or "medical"


def images_of(messages: Sequence[Message]) -> tuple[Image, ...]:
    """The pictures that a prompt carries, in order."""
    return tuple(part for message in messages for part in message.parts if isinstance(part, Image))
