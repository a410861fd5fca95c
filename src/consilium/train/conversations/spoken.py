"""What the classes of a set are called: in wording.toml, in the mixture itself, or, where neither says, by their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from consilium.errors import DataError
from consilium.train.conversations import asked
from consilium.train.mixture import Source

_KEYS = ("picture", "labels", "closed", "groupings", "concepts")


def of(source: Source, classes: Sequence[str]) -> Mapping[str, Any]:
    """The words of a set as a section of wording.toml has them: "picture", "labels", "closed", "groupings", "concepts"."""
    known = asked.wording("sets").get(source.name)
    return known if known is not None and not source.words else {**_plain(source, classes), **source.words}


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


def check(source: Source, classes: Sequence[str]) -> None:
    """DataError, naming what is wrong, where the words of a source do not fit its classes or say what is not understood."""
    words = of(source, classes)
    where = f"[sources.words] of {source.name}"
    _known(where, source.words, _KEYS)
    if not isinstance(words["picture"], str) or not isinstance(words["labels"], Mapping):
        raise DataError(f"{where}: picture is a text, labels a table of the classes.")
    for label, said in words["labels"].items():
        _known(f"{where}, label {label}", said, ("plain", "findings"))
        for key in ("plain", "findings"):
            _texts(f"{where}, label {label}", key, said.get(key))
    if lost := sorted(set(classes) - set(words["labels"])):
        raise DataError(f"{where} has none for {', '.join(lost)}; it has some for {', '.join(words['labels'])}.")
    if words.get("closed"):
        _texts(where, "closed", words["closed"])
    for entry in words["groupings"]:
        _grouping(f"{where}, a grouping", entry, classes)
    for entry in words["concepts"]:
        _concept(f"{where}, a concept", entry, classes)
    for label in classes:
        if len({label in entry["labels"] for entry in words["concepts"]}) < 2:
            raise DataError(f"{where}: {label} needs a concept that is true of it, and one that is not.")


def _grouping(where: str, entry: Any, classes: Sequence[str]) -> None:
    _known(where, entry, ("options", "questions"))
    _texts(where, "questions", entry.get("questions"))
    options = entry.get("options")
    parts = list(options.values()) if isinstance(options, Mapping) else []
    for part in parts:
        _texts(where, "options", part)
    if sorted(label for part in parts for label in part) != sorted(classes):
        raise DataError(f"{where}: options hold each of {', '.join(classes)} once.")


def _concept(where: str, entry: Any, classes: Sequence[str]) -> None:
    _known(where, entry, ("thing", "questions", "labels"))
    _texts(where, "labels", entry.get("labels"))
    if beyond := sorted(set(entry["labels"]) - set(classes)):
        raise DataError(f"{where} names {', '.join(beyond)}, which none of its pictures is labelled.")
    if not entry.get("thing") and not entry.get("questions"):
        raise DataError(f"{where} says neither a thing to be seen nor questions.")
    if entry.get("questions"):
        _texts(where, "questions", entry["questions"])


def _known(where: str, said: Any, keys: Sequence[str]) -> None:
    if not isinstance(said, Mapping):
        raise DataError(f"{where} is {said!r}; a table of {', '.join(keys)} was expected.")
    if strange := sorted(set(said) - set(keys)):
        raise DataError(f"{where} says {', '.join(strange)}; there are: {', '.join(keys)}.")


def _texts(where: str, key: str, said: Any) -> None:
    """A list of texts, with nothing to fill in but the picture and the thing."""
    if not isinstance(said, list | tuple) or not said or not all(isinstance(text, str) and text for text in said):
        raise DataError(f"{where}: {key} is {said!r}; a list of texts was expected.")
    for text in said:
        try:
            text.format(picture="", thing="")
        except (KeyError, IndexError, ValueError) as error:
            raise DataError(
                f"{where}: {key} holds {text!r}, in which only {{picture}} and {{thing}} are filled in."
            ) from error
