"""NIH ChestX-ray14: labels mined from reports. A label is a finding that is there; what is not labelled is not known to be
absent, so "no" is said of films labelled "No Finding" alone."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from random import Random

from consilium.datasets.folder import read_folder
from consilium.train.conversations import asked, film
from consilium.train.conversations.group import Branch, Item
from consilium.train.mixture import Source

NONE = "No Finding"
VIEWS = ("AP", "PA")
# Ends of the age groups, years.
_AGES = ((18, "child"), (40, "young adult"), (65, "middle-aged adult"), (200, "older adult"))
# Pictures are 256 px high; the lung fields lie between about 0.12 and 0.80 of the height, cut into thirds.
_SIDE, _UPPER, _LOWER = 256.0, 0.35, 0.57


def items(source: Source, data: Path) -> list[Item]:
    """Every film with its findings, view, age, sex and boxes (label, side of the patient, zone)."""
    folder = read_folder(data / source.folder, where=source.where)
    places = _places(data / source.folder / "boxes.csv")
    found = []
    for record in folder.records:
        row = record.row
        facts = {"places": places.get(row["path"], []), **{name: row.get(name, "") for name in ("view", "age", "sex")}}
        path = f"{source.folder}/{row['path']}"
        found.append(Item(path, record.split, record.patient, source.licence, record.labels, facts))
    return found


def _places(boxes: Path) -> dict[str, list[tuple[str, str, str]]]:
    """Path -> (finding, side, zone) of each box; the picture's left is the patient's right."""
    if not boxes.is_file():
        return {}
    found: dict[str, list[tuple[str, str, str]]] = {}
    with boxes.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            x = (float(row["x"]) + float(row["w"]) / 2) / _SIDE
            y = (float(row["y"]) + float(row["h"]) / 2) / _SIDE
            zone = "upper" if y < _UPPER else "middle" if y < _LOWER else "lower"
            found.setdefault(row["path"], []).append((plain(row["label"]), "right" if x < 0.5 else "left", zone))
    return found


def plain(label: str) -> str:
    """Pleural_Thickening -> pleural thickening."""
    return {"Infiltrate": "infiltration"}.get(label, label.replace("_", " ").lower())


def talk(item: Item, source: Source, rng: Random) -> list[Branch]:
    """A question about findings first, then others without repeating a kind; places where boxes are known."""
    findings = tuple(plain(label) for label in item.labels if label != NONE)
    branches = _placed(item, rng)
    ways: list[Callable[[], Branch]] = [lambda: _finding(findings, rng), lambda: _finding(findings, rng)]
    others: list[Callable[[], Branch]] = [
        lambda: film.listing(findings, rng),
        lambda: film.description(findings, item.facts["view"], rng),
        lambda: asked.modality(source.modality, rng),
        lambda: asked.body_part((source.modality, source.body_part), rng),
    ]
    others += [lambda: film.view(item.facts["view"], rng)] * 2 if item.facts["view"] in VIEWS else []
    others += [lambda: _patient(item, rng)] if item.facts["sex"] in ("M", "F") else []
    if not findings or "pneumonia" in findings:
        others += [lambda: film.either("pneumonia", ("pneumonia", "no finding"), _either(findings), rng)] * 2
    ways += rng.sample(others, len(others))
    return (branches + [make() for make in ways[: source.branches]])[: max(source.branches, len(branches) + 1)]


def _either(findings: tuple[str, ...]) -> str:
    return "pneumonia" if findings else "no finding"


def _finding(findings: tuple[str, ...], rng: Random) -> Branch:
    if rng.random() < 0.2:
        return film.normal(not findings, rng)
    if findings:
        return film.is_there(rng.choice(findings), True, rng)
    # As often as they are asked with "yes", so that the question alone does not tell the answer.
    usual = asked.wording("nih")["frequency"]
    absent = rng.choices(list(usual), list(usual.values()))[0]
    if absent == "COVID-19" and rng.random() < 0.5:
        return film.either("covid", ("COVID-19", "no finding"), "no finding", rng)
    return film.is_there(absent, False, rng)


def _patient(item: Item, rng: Random) -> Branch:
    age = int(item.facts["age"] or 0)
    if rng.random() < 0.5 or not age:
        return film.sex({"M": "male", "F": "female"}[item.facts["sex"]], rng)
    group = next(name for end, name in _AGES if age < end)
    options = asked.shuffled((name for _, name in _AGES), rng)
    return asked.ask("view", rng.choice(asked.wording("film")["age"]), group, options, asked.told(film.CHEST, rng))


def _placed(item: Item, rng: Random) -> list[Branch]:
    """Where a boxed finding lies; a finding boxed on both sides is bilateral and has no zone of its own."""
    by_finding: dict[str, list[tuple[str, str]]] = {}
    for finding, side, zone in item.facts["places"]:
        by_finding.setdefault(finding, []).append((side, zone))
    branches = []
    for finding, places in by_finding.items():
        words, sides = asked.wording("film"), {side for side, _ in places}
        side = places[0][0] if len(sides) == 1 else "both"
        text = rng.choice(words["side"]).format(finding=finding)
        options = asked.shuffled(("left", "right", "both"), rng) if rng.random() < 0.7 else ()
        branches.append(asked.ask("location", text, side, options, film.CHEST))
        if len(places) == 1:
            zone = places[0][1]
            text = rng.choice(words["zone"]).format(finding=finding)
            options = asked.shuffled(("upper", "middle", "lower"), rng)
            branches.append(asked.ask("location", text, zone, options, film.CHEST))
            text = rng.choice(words["place"]).format(finding=finding)
            branches.append(asked.ask("location", text, f"{side} {zone} zone", (), film.CHEST))
    return branches


def describe(item: Item, source: Source, rng: Random) -> Branch | None:
    return film.description([plain(label) for label in item.labels if label != NONE], item.facts["view"], rng)
