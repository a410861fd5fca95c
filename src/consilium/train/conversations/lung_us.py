"""Lung ultrasound: class and signs by a physician, 0 or 1; a blank is not known and never asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

from consilium.datasets.folder import read_folder
from consilium.train.conversations import asked
from consilium.train.conversations.group import Branch, Item
from consilium.train.mixture import Source

SEEN: asked.Seen = ("US", "CHEST")


def items(source: Source, data: Path) -> list[Item]:
    """Every frame with its class, and sign -> True or False where it is known; the licence is the frame's own."""
    folder = read_folder(data / source.folder, where=source.where)
    names = asked.wording("lung_us")["findings"]
    found = []
    for record in folder.records:
        signs = {names[column]: record.row[column] == "1" for column in names if record.row.get(column) in ("0", "1")}
        path, licence = f"{source.folder}/{record.row['path']}", record.row.get("licence") or source.licence
        found.append(Item(path, record.split, record.patient, licence, record.labels, {"signs": signs}))
    return found


def talk(item: Item, source: Source, rng: Random) -> list[Branch]:
    label, signs = item.labels[0], item.facts["signs"]
    ways: list[Callable[[], Branch]] = [
        lambda: asked.modality("US", rng),
        lambda: asked.body_part(SEEN, rng),
        lambda: _description(item, rng),
    ]
    first = [lambda: _diagnosis(label, rng)]
    if signs:
        ways += [lambda: _listing(signs, rng)]
        first += [lambda: _sign(signs, rng)]
    return [make() for make in [*first, *rng.sample(ways, len(ways))][: source.branches]]


def _diagnosis(label: str, rng: Random) -> Branch:
    words = asked.wording("lung_us")
    options, right = tuple(words["labels"].values()), words["labels"][label]
    shown = asked.some(options, right, rng) if rng.random() < 0.8 else ()
    return asked.ask("diagnosis", rng.choice(words["diagnosis"]), right, shown, asked.told(SEEN, rng))


def _sign(signs: dict[str, bool], rng: Random) -> Branch:
    """Half of them present, where any is."""
    present = [sign for sign, there in signs.items() if there]
    absent = [sign for sign, there in signs.items() if not there]
    yes = bool(present) and (not absent or rng.random() < 0.5)
    sign = rng.choice(present if yes else absent)
    text = rng.choice(asked.wording("lung_us")["yes_no"]).format(finding=sign)
    return asked.yes_no("yes_no", text, yes, asked.told(SEEN, rng), rng)


def _listing(signs: dict[str, bool], rng: Random) -> Branch:
    present = [sign for sign, there in signs.items() if there]
    text = rng.choice(asked.wording("lung_us")["listing"])
    return asked.ask("report", text, ", ".join(present) or "no such sign", (), asked.told(SEEN, rng))


def _description(item: Item, rng: Random) -> Branch:
    words = asked.wording("describe")
    named = asked.wording("lung_us")["labels"][item.labels[0]]
    said = [sign for sign, there in item.facts["signs"].items() if there and rng.random() < 0.7]
    findings = " with ".join(part for part in (named, " and ".join(said)) if part)
    text = rng.choice(words["lung_ultrasound"]).format(findings=findings)
    told = SEEN if rng.random() < 0.4 else asked.UNTOLD
    return asked.ask("description", rng.choice(words["instructions"]), asked.sentence(text), (), told)


def describe(item: Item, source: Source, rng: Random) -> Branch | None:
    return _description(item, rng)
