"""Chest films of COVID-19: the Hannover set and the open rows of the Cohen collection. Part of the first lies in the second
as another rendering, with a split of its own: a picture or patient that either set tests on is left out of training.

The notes of the collection tell courses of disease more than pictures, so none is used as a description."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

from consilium.errors import DataError
from consilium.train.conversations import asked, film
from consilium.train.conversations.group import Branch, Item
from consilium.train.mixture import Source

HANNOVER, NOTES = "covid_cxr_hannover", "covid_cxr_notes"
NONE = "No Finding"
_VIEWS = {"ap": "AP", "pa": "PA", "AP": "AP", "PA": "PA", "AP Supine": "AP"}
_SEXES = {"m": "male", "f": "female", "M": "male", "F": "female"}
_RANK = {"train": 0, "val": 1, "test": 2}


def items(source: Source, data: Path) -> list[Item]:
    """Every X-ray of the source that `where` admits, its split the later one of both sets; labels as the set spells them."""
    later = later_splits(data)
    found = []
    for row in rows(data / source.folder / "index.csv"):
        if any(row.get(column) != value for column, value in (source.where or {}).items()):
            continue
        if row.get("modality", "X-ray") != "X-ray":
            continue
        facts = {"view": _VIEWS.get(row["view"], ""), "sex": _SEXES.get(row["sex"], "")}
        licence = row.get("licence") or source.licence
        split = later.get((source.folder, row["patient_id"]), row["split"])
        item = Item(f"{source.folder}/{row['path']}", row["split"], row["patient_id"], licence, (row["label"],), facts)
        found.append(replace(item, split=max(item.split, split, key=_RANK.__getitem__)))
    return found


def rows(index: Path) -> list[dict[str, str]]:
    try:
        with index.open(encoding="utf-8", newline="") as lines:
            return list(csv.DictReader(lines))
    except OSError as error:
        raise DataError(f"{index} cannot be read: {error.strerror}.") from error


def later_splits(data: Path) -> dict[tuple[str, str], str]:
    """(set, patient) -> the latest split in which either set holds a picture of that patient; {} where one set is absent."""
    indices = {name: data / name / "index.csv" for name in (HANNOVER, NOTES)}
    if not all(path.is_file() for path in indices.values()):
        return {}
    first, second = (rows(path) for path in indices.values())
    by_picture = {Path(row["path"]).stem: row["patient_id"] for row in first}
    same = {(row["patient_id"], by_picture.get(Path(row.get("orig_filename", "")).stem)) for row in second}
    pairs = {(notes, hannover) for notes, hannover in same if hannover}
    split: dict[tuple[str, str], str] = {}
    for name, listed in ((HANNOVER, first), (NOTES, second)):
        for row in listed:
            key = (name, row["patient_id"])
            split[key] = max(split.get(key, "train"), row["split"], key=_RANK.__getitem__)
    for notes, hannover in [*pairs, *pairs]:
        both = ((NOTES, notes), (HANNOVER, hannover))
        latest = max((split[key] for key in both), key=_RANK.__getitem__)
        split |= dict.fromkeys(both, latest)
    return split


def talk(item: Item, source: Source, rng: Random) -> list[Branch]:
    """Diagnosis first, then view, sex, kind of picture, description."""
    label = item.labels[0]
    ways: list[Callable[[], Branch]] = [
        lambda: asked.modality("CR", rng),
        lambda: asked.body_part(film.CHEST, rng),
        lambda: film.description(_findings(item), item.facts["view"], rng),
    ]
    ways += [lambda: film.view(item.facts["view"], rng)] * 3 if item.facts["view"] else []
    ways += [lambda: film.sex(item.facts["sex"], rng)] if item.facts["sex"] else []
    return [_diagnosis(label, rng), *(make() for make in rng.sample(ways, source.branches - 1))]


def _diagnosis(label: str, rng: Random) -> Branch:
    if label not in ("COVID-19", NONE):
        return film.is_there(label, True, rng)
    if rng.random() < 0.5:
        truth = "COVID-19" if label == "COVID-19" else "no finding"
        return film.either("covid", ("COVID-19", "no finding"), truth, rng)
    # A film of a patient with COVID-19 may be normal, so that is asked of films labelled without finding alone.
    if label == NONE and rng.random() < 0.3:
        return film.normal(True, rng)
    return film.is_there("COVID-19", label == "COVID-19", rng)


def _findings(item: Item) -> tuple[str, ...]:
    return tuple(label for label in item.labels if label != NONE)


def describe(item: Item, source: Source, rng: Random) -> Branch | None:
    return film.description(_findings(item), item.facts["view"], rng)
