"""Sets with one class a picture: closed diagnosis by shuffled options, yes or no, open questions, descriptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from consilium.datasets.folder import read_folder
from consilium.errors import DataError
from consilium.train.conversations import asked, spoken
from consilium.train.conversations.group import Branch, Item
from consilium.train.mixture import Source


def items(source: Source, data: Path) -> list[Item]:
    """Every picture of the set with its class; what has none is left out. DataError where several may hold at once."""
    folder = read_folder(data / source.folder, where=source.where)
    if not folder.exclusive:
        raise DataError(
            f"source {source.name} has several labels a picture, and reader diagnosis tells one class each."
        )
    spoken.check(source, folder.classes)
    known = {"classes": folder.classes}
    return [
        Item(f"{source.folder}/{r.row['path']}", r.split, r.patient, source.licence, r.labels, known)
        for r in folder.records
        if r.labels
    ]


def talk(item: Item, source: Source, rng: Random) -> list[Branch]:
    """All classes as options first, then two of the other kinds, and so on by turns."""
    label, words = item.labels[0], spoken.of(source, item.facts["classes"])
    seen = (source.modality, source.body_part)
    branches = [_all_classes(label, words, seen, rng)]
    while len(branches) < source.branches:
        draw = rng.random()
        if len(branches) % 2:
            make = _some_classes if draw < 0.25 else _grouped if draw < 0.45 else _yes_no if draw < 0.88 else _open
            branches.append(make(label, words, seen, rng))
        elif draw < 0.2 and source.modality:
            branches.append(asked.modality(source.modality, rng))
        elif draw < 0.4 and source.body_part:
            branches.append(asked.body_part(seen, rng))
        else:
            other = _description if draw < 0.65 else _yes_no if draw < 0.85 else _open
            branches.append(other(label, words, seen, rng))
    return branches


def describe(item: Item, source: Source, rng: Random) -> Branch | None:
    words = spoken.of(source, item.facts["classes"])
    return _description(item.labels[0], words, (source.modality, source.body_part), rng)


def spelled(labels: Sequence[str], words: Mapping[str, Any], rng: Random) -> dict[str, str]:
    """Label -> option: as the set spells it, or, half the time, in plain words; one manner for all."""
    if rng.random() < 0.5:
        return {label: label for label in labels}
    return {label: rng.choice(words["labels"][label]["plain"]) for label in labels}


def question(words: Mapping[str, Any], rng: Random) -> str:
    """A question that any of the classes may answer."""
    ways = [*asked.wording("diagnosis")["closed"], *words.get("closed", ())]
    return rng.choice(ways).format(picture=words["picture"])


def grouping(label: str, words: Mapping[str, Any], rng: Random) -> tuple[str, str, tuple[str, ...]]:
    """(question, right option, shuffled options) of a coarser division of the classes."""
    found = rng.choice(words["groupings"])
    right = next(option for option, labels in found["options"].items() if label in labels)
    ways = [*found["questions"], question(words, rng)]
    return rng.choice(ways), right, asked.shuffled(found["options"], rng)


def _all_classes(label: str, words: Mapping[str, Any], seen: asked.Seen, rng: Random) -> Branch:
    options = spelled(tuple(words["labels"]), words, rng)
    shown = asked.shuffled(options.values(), rng)
    return asked.ask("diagnosis", question(words, rng), options[label], shown, asked.told(seen, rng))


def _some_classes(label: str, words: Mapping[str, Any], seen: asked.Seen, rng: Random) -> Branch:
    options = spelled(tuple(words["labels"]), words, rng)
    shown = asked.some(tuple(options.values()), options[label], rng)
    return asked.ask("diagnosis", question(words, rng), options[label], shown, asked.told(seen, rng))


def _grouped(label: str, words: Mapping[str, Any], seen: asked.Seen, rng: Random) -> Branch:
    if not words["groupings"]:
        return _some_classes(label, words, seen, rng)
    text, right, options = grouping(label, words, rng)
    return asked.ask("diagnosis", text, right, options, asked.told(seen, rng))


def _yes_no(label: str, words: Mapping[str, Any], seen: asked.Seen, rng: Random) -> Branch:
    """Half of them true; which concept is asked for is drawn among those with that answer."""
    yes = rng.random() < 0.5
    concept = rng.choice([c for c in words["concepts"] if (label in c["labels"]) == yes])
    ways = concept.get("questions") or asked.wording("diagnosis")["yes_no"]
    text = rng.choice(ways).format(picture=words["picture"], thing=concept.get("thing", ""))
    return asked.yes_no("yes_no", text, yes, asked.told(seen, rng), rng)


def _open(label: str, words: Mapping[str, Any], seen: asked.Seen, rng: Random) -> Branch:
    text = rng.choice(asked.wording("diagnosis")["open"]).format(picture=words["picture"])
    return asked.ask("diagnosis", text, words["labels"][label]["plain"][0], (), asked.told(seen, rng))


def _description(label: str, words: Mapping[str, Any], seen: asked.Seen, rng: Random) -> Branch:
    instruction = rng.choice(asked.wording("describe")["instructions"])
    fill = {
        "picture": words["picture"],
        "finding": rng.choice(words["labels"][label]["findings"]),
        "modality": asked.modality_word(seen[0]),
        "part": seen[1].lower(),
    }
    unknown = [name for name, known in (("{modality}", seen[0]), ("{part}", seen[1])) if not known]
    ways = [way for way in asked.wording("describe")["diagnosis"] if not any(name in way for name in unknown)]
    text = rng.choice(ways).format(**fill)
    told = seen if rng.random() < 0.4 else asked.UNTOLD
    return asked.ask("description", instruction, asked.sentence(text), (), told)
