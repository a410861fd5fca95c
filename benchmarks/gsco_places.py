"""The places of the GSCo study: sets with their suites of specialists, and pairs whose right set the left council judges."""

from __future__ import annotations

import argparse
import functools
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from consilium import registry
from consilium.consult.panel import DEFAULT_ENCODER, Panel, index_folder
from consilium.datasets.folder import FolderDataset, Record, read_folder
from consilium.datasets.index_table import SPLITS
from consilium.evaluate.council import Council
from consilium.evaluate.once import RememberedGeneralist
from consilium.evaluate.plan import thin
from consilium.protocols import Encoder
from consilium.settings import settings
from consilium.train.precedents import entries
from consilium.train.specialist import Recipe
from consilium.train.suite import Options, train_suite


@dataclass(frozen=True, eq=False)
class Place:
    """One set or pair as the file tells it: its data, the index that is searched, by seed the members of its suite."""

    name: str
    told: Mapping[str, Any]
    data: FolderDataset
    index: str
    members: tuple[tuple[str, ...], ...]
    pair: bool = False

    @property
    def several(self) -> bool:
        """Whether a picture may have several labels."""
        return not self.data.exclusive

    @property
    def folder_name(self) -> str:
        return "".join(c if c.isalnum() else "_" for c in self.name)


class Studied(Council):
    """A council whose generalist's ratings are kept over all runs of the study."""

    def panel(self) -> Panel:
        panel = super().panel()
        panel.seat_generalist(_generalist(panel.generalist_name))
        return panel


@functools.cache
def _generalist(name: str) -> RememberedGeneralist:
    """Loaded once for all runs of a process."""
    inner = registry.get("generalists", name).load(encoder=encoder())
    return RememberedGeneralist(inner, room() / "ratings.jsonl")


def apart() -> None:
    """From here on what is trained lives in CONSILIUM_HOME/studies, apart from the members whom `consilium ask` consults."""
    os.environ["CONSILIUM_HOME"] = str(settings().home / "studies")


def room() -> Path:
    return settings().home / "gsco"


@functools.cache
def encoder() -> Encoder:
    return registry.get("encoders", DEFAULT_ENCODER).load()


def home(told: Mapping[str, Any], options: argparse.Namespace) -> Place:
    """A set with its suites, a seed each, trained now where they were not before. The first suite's index serves all seeds."""
    data = read(told, options.data)
    suites = []
    for seed in range(options.seeds):
        name = f"gsco_{told['name']}" + (f"_{seed}" if seed else "")
        recipe = Recipe(
            name,
            (told["modality"],),
            tuple(filter(None, [told.get("body_part")])),
            groups={group: tuple(members) for group, members in told.get("groups", {}).items()},
        )
        print(f"suite of {told['name']}, seed {seed}", flush=True)
        how = Options(seeds=1, first_seed=seed, index=seed == 0)
        suites.append(train_suite(data, recipe, encoder(), settings().home, how).kept)
    return Place(told["name"], told, data, f"gsco_{told['name']}", tuple(suites))


def away(told: Mapping[str, Any], left: Place, options: argparse.Namespace) -> Place:
    return Place(told["name"], told, read(told, options.data), left.index, left.members, pair=True)


def read(told: Mapping[str, Any], root: Path) -> FolderDataset:
    """The set as it is told: labels from a column, several labels under one option, every so-manieth picture of a split, without
    the labels that are left out, and, of a pair, the splits that are judged as "test"."""
    columns = [told["column"]] if "column" in told else []
    data = read_folder(root / told["folder"], where=told.get("where"), label_columns=columns)
    if "labels" not in told:
        classes = tuple(label for label in data.classes if label not in told.get("left_out", {}))
        return replace(data, records=_thinned(data.records, told.get("thin", 1)), classes=classes)
    made = tuple(r for r in (_relabelled(r, told) for r in data.records) if r is not None)
    return replace(data, records=made, classes=tuple(sorted(told["labels"])), exclusive=True, label_columns=())


def _thinned(records: Sequence[Record], step: int) -> tuple[Record, ...]:
    by_split = [[r for r in records if r.split == split] for split in SPLITS]
    return tuple(r for of in by_split for r in thin(of, -(-len(of) // step)))


def _relabelled(record: Record, told: Mapping[str, Any]) -> Record | None:
    """The record under the first option that stands for one of its labels; None where there is none. Of a pair's `splits`
    all are judged, what is left may be shown as known cases."""
    said = {record.row[told["column"]]} if "column" in told else set(record.labels)
    option = next((o for o, labels in told["labels"].items() if set(labels) & said), None)
    if option is None:
        return None
    judged = told.get("splits")
    split = record.split if judged is None else "test" if record.split in judged else "train"
    return replace(record, labels=(option,), split=split)


def with_cases(place: Place, shots: int) -> str:
    """The name of a copy of the place's index to which so many labelled cases of the right set are added, that are not judged."""
    name = f"{place.index}_{place.folder_name}_{shots}"
    folder = index_folder(name)
    if folder.is_dir():
        return name
    chosen = thin(place.data.of("train"), shots)
    fresh = folder.with_name(f".{name}.part")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(index_folder(place.index), fresh)
    retriever = registry.get("retrievers", "lance").load(folder=fresh, encoder_key=encoder().card.version)
    seen = (place.told["modality"], place.told.get("body_part", ""))
    retriever.add(entries(place.data, chosen, encoder(), seen, ""))
    fresh.rename(folder)
    return name
