"""Puts a question as `consult` would serve it: every prompt is written by consult.prompt.compose."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from consilium.consult.prompt import MODALITY_WORDS, compose
from consilium.train.conversations.group import Branch
from consilium.types import Case, Study

WORDING = Path(__file__).parent / "wording.toml"
# What modality and body part questions offer, in the words of the Image line (MR as people write it).
MODALITIES = ("X-ray", "CT", "MRI", "ultrasound")
BODY_PARTS = ("chest", "head", "breast", "abdomen")
T = TypeVar("T")
Seen = tuple[str | None, str]
"""(modality, body part) that the Image line tells; (None, "") tells nothing."""
UNTOLD: Seen = (None, "")


@cache
def wording(section: str) -> Mapping[str, Any]:
    """One section of wording.toml."""
    return tomllib.loads(WORDING.read_text(encoding="utf-8"))[section]


def modality_word(modality: str | None) -> str:
    """How a person names the modality: "MRI", "X-ray"."""
    return "MRI" if modality == "MR" else MODALITY_WORDS.get(modality or "", "medical")


def case(question: str, options: Sequence[str], seen: Seen) -> Case:
    """A case that tells what `seen` says; it carries no picture, which the group names."""
    study = Study(seen[0], seen[1] or None, images=())
    return Case("training", question, tuple(options), (study,))


def system() -> str:
    """The system text where there is no evidence."""
    return compose(case("", (), UNTOLD))[0].text


def ask(kind: str, question: str, answer: str, options: Sequence[str] = (), seen: Seen = UNTOLD) -> Branch:
    """A question and its answer as one branch; descriptions are synthetic by their kind."""
    text = compose(case(question, options, seen))[-1].text
    return Branch(kind, (("user", text), ("assistant", answer)), kind in ("description", "report"))


def shuffled(options: Iterable[T], rng: Random) -> tuple[T, ...]:
    found = list(options)
    rng.shuffle(found)
    return tuple(found)


def yes_no(kind: str, question: str, yes: bool, seen: Seen, rng: Random) -> Branch:
    """A question to be answered by yes or no; the options are stated in 70 of 100, in either order."""
    options = shuffled(("yes", "no"), rng) if rng.random() < 0.7 else ()
    return ask(kind, question, "yes" if yes else "no", options, seen)


def modality(truth: str | None, rng: Random) -> Branch:
    """What kind of picture is this? The Image line tells nothing."""
    word, ways = modality_word(truth), wording("modality")
    if rng.random() < 0.35:
        asked = word if rng.random() < 0.5 else rng.choice([other for other in MODALITIES if other != word])
        return yes_no(
            "modality", rng.choice(ways["yes_no"]).format(modality=article(asked)), asked == word, UNTOLD, rng
        )
    options = some(MODALITIES, word, rng) if rng.random() < 0.75 else ()
    return ask("modality", rng.choice(ways["open"]), word, options)


def body_part(seen: Seen, rng: Random) -> Branch:
    """What part of the body is this? The Image line tells the modality at most."""
    word, ways = seen[1].lower(), wording("body_part")
    told = (seen[0], "") if rng.random() < 0.5 else UNTOLD
    if rng.random() < 0.35:
        asked = word if rng.random() < 0.5 else rng.choice([other for other in BODY_PARTS if other != word])
        return yes_no("modality", rng.choice(ways["yes_no"]).format(part=asked), asked == word, told, rng)
    options = some(BODY_PARTS, word, rng) if rng.random() < 0.75 else ()
    return ask("modality", rng.choice(ways["open"]), word, options, told)


def some(options: Sequence[str], right: str, rng: Random, least: int = 2) -> tuple[str, ...]:
    """A shuffled part of the options, the right one among them."""
    others = [option for option in options if option != right]
    return shuffled([right, *rng.sample(others, rng.randint(min(least - 1, len(others)), len(others)))], rng)


def told(seen: Seen, rng: Random) -> Seen:
    """What the Image line tells where the question gives nothing away: mostly all, as when it is served."""
    draw = rng.random()
    return seen if draw < 0.75 else (seen[0], "") if draw < 0.9 else UNTOLD


def article(noun: str) -> str:
    """ "an MRI", "a CT", "an ultrasound picture"."""
    full = f"{noun} picture" if noun == "ultrasound" else noun
    spoken_vowel = full[0] in "aeioAEIO" or full.startswith(("MR", "X-ray", "ultra"))
    return f"{'an' if spoken_vowel else 'a'} {full}"


def sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
