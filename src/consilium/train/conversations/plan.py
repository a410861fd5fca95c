"""Which groups a stage is made of, in which order: every picture of its sources, as often as the mixture says, mixed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from consilium import formats
from consilium.errors import DataError, ReadError
from consilium.imaging.picture import views
from consilium.train.conversations import asked, reader
from consilium.train.conversations.group import Branch, Group, Item
from consilium.train.mixture import Mixture, Source

_RANK = {"train": 0, "val": 1, "test": 2}


@dataclass(frozen=True)
class Planned:
    """A group to be made: `make` reads nothing that is not at hand, and always makes the same."""

    id: str
    make: Callable[[], Group]


class Digests:
    """Image.digest of the first view of each picture, by its path in the data folder; each is read once."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._known: dict[str, str] = {}

    def of(self, path: str) -> str:
        """DataError naming the file where it does not read: a picture is never skipped."""
        if path not in self._known:
            try:
                study = formats.read(self._data / path)[0]
            except ReadError as error:
                raise DataError(f"{self._data / path} cannot be learnt from: {error} Mend or remove it.") from error
            self._known[path] = views(study.images[0])[0].digest
        return self._known[path]


def plan(stage: str, mixture: Mixture, data: Path, digests: Digests) -> list[Planned]:
    """The groups of "alignment" or "instruction" in the order in which they are written: train shuffled, then val.

    A picture that also lies in a later split of any source (val, test) is left out.
    """
    told = [(source, item) for source in mixture.sources for item in reader(source).items(source, data)]
    latest = later_split((digests.of(item.path), item.split) for _, item in told)
    chosen = [
        (source, item, turn)
        for source, item in told
        if item.split != "test" and latest[digests.of(item.path)] == item.split
        for turn in range(turns(item, source.repeat.get(stage, 0.0), f"{mixture.seed} {stage}"))
    ]
    random = Random(f"{mixture.seed} {stage} order")
    random.shuffle(chosen)
    chosen.sort(key=lambda entry: entry[1].split != "train")
    planned = (_planned(stage, mixture, digests, entry) for entry in chosen)
    return [entry for entry in planned if entry is not None]


def later_split(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Digest -> the latest of the splits in which that picture lies."""
    latest: dict[str, str] = {}
    for digest, split in pairs:
        latest[digest] = max(latest.get(digest, split), split, key=lambda name: _RANK[name])
    return latest


def turns(item: Item, repeat: float, seed: str) -> int:
    """How many groups this picture gives: 1.3 is one, and a second for three in ten. A val picture gives one."""
    if item.split != "train":
        return int(repeat > 0)
    more = Random(f"{seed} {item.path} {item.facts.get('part', 0)} turns").random() < repeat % 1
    return int(repeat) + more


def _planned(stage: str, mixture: Mixture, digests: Digests, entry: tuple[Source, Item, int]) -> Planned | None:
    source, item, turn = entry
    # A set of masks tells of another set's pictures, so their names alone would not be unique.
    own = "" if item.path.startswith(f"{source.folder}/") else f"{source.name}."
    part = f"{item.facts['part']}." if "part" in item.facts else ""
    name = f"{item.path}#{own}{part}{turn}"
    module = reader(source)
    if stage == "alignment" and module.describe(item, source, Random(0)) is None:
        return None

    def make() -> Group:
        rng = Random(f"{mixture.seed} {stage} {source.name} {name}")
        branches = _described(module.describe(item, source, rng)) if stage == "alignment" else _talk(module, entry, rng)
        return Group(
            name, source.name, item.licence, item.split, item.path, digests.of(item.path), asked.system(), branches
        )

    return Planned(f"{source.name} {name}", make)


def _described(branch: Branch | None) -> tuple[Branch, ...]:
    return (branch,) if branch is not None else ()


def _talk(module: object, entry: tuple[Source, Item, int], rng: Random) -> tuple[Branch, ...]:
    """The reader's branches, no question with the same answer twice, whatever the order of its options."""
    made: Iterator[Branch] = iter(module.talk(entry[1], entry[0], rng))  # type: ignore[attr-defined]
    return tuple({(_question(branch), branch.messages[-1]): branch for branch in made}.values())


def _question(branch: Branch) -> str:
    return next(line for line in branch.messages[0][1].splitlines() if line.startswith("Question: "))
