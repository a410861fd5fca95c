"""What the classes of a set are called: in wording.toml, in the mixture itself, or, where neither says, by their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from consilium.errors import DataError
from consilium.train.conversations import asked
from consilium.train.mixture import Source

_KEYS = ("picture", "labels", "closed", "groupings", "concepts")


def of(source: Source, classes: Sequence[str]) -> Mapping[str, Any]:
    """The words of a set as a section of wording.toml has them: "picture", "labels", "closed", "groupings", "concepts".

    DataError where the words that there are do not fit the classes.
    """
    known = asked.wording("sets").get(source.name)
    words = known if known is not None and not source.words else {**_plain(source, classes), **source.words}
    _check(source, words, classes)
    return words


def _plain(source: Source, classes: Sequence[str]) -> dict[str, Any]:
    """By their labels alone. Which of them belong together nobody has said, so that no coarser question is asked."""
    spoken = {label: label.replace("_", " ") for label in classes}
    kind = asked.modality_word(source.modality) if source.modality else ""
    named = " ".join(filter(None, (source.body_part.lower(), kind)))
    picture = f"{named} picture" if kind in ("", "ultrasound") else named
    return {
        "picture": picture.strip(),
        "labels": {label: {"plain": [text], "findings": [text]} for label, text in spoken.items()},
        "groupings": [],
        "concepts": [{"questions": _asks(picture.strip(), text), "labels": [label]} for label, text in spoken.items()],
    }


def _asks(picture: str, text: str) -> list[str]:
    return [f"Would you call this {picture} {text}?", f"Is this {picture} an example of {text}?"]


def _check(source: Source, words: Mapping[str, Any], classes: Sequence[str]) -> None:
    strange = sorted(set(source.words) - set(_KEYS))
    if strange:
        raise DataError(f"source {source.name} words {', '.join(strange)}; there are: {', '.join(_KEYS)}.")
    told = set(words["labels"])
    if lost := sorted(set(classes) - told):
        raise DataError(f"source {source.name} has no words for {', '.join(lost)}; it has some for {', '.join(told)}.")
    meant = [label for entry in words["concepts"] for label in entry["labels"]]
    meant += [label for entry in words["groupings"] for of in entry["options"].values() for label in of]
    if beyond := sorted(set(meant) - told):
        raise DataError(f"source {source.name} words {', '.join(beyond)}, which none of its pictures is labelled.")
