"""The mixture that a training is made of: one TOML file read into frozen values (configs/train/data.toml has each key)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from consilium.errors import DataError

STAGES = ("alignment", "instruction", "guided")


@dataclass(frozen=True)
class Source:
    """One set of pictures and how often it is told.

    reader       module of consilium.train.conversations that knows its labels.
    repeat       stage -> how many groups each train picture gives (1.5: every second picture gives two).
    branches     conversations a group.
    modality     DICOM modality and body part of all its pictures; None and "" where they differ.
    where        only the rows of its index with these values in these columns.
    at           its folder in the data folder ("folder" in the file); its name, where nothing is said.
    words        what its classes are called, as a set of conversations/wording.toml says it; by their labels, where nothing is.
    """

    name: str
    reader: str
    licence: str
    repeat: Mapping[str, float]
    branches: int = 3
    modality: str | None = None
    body_part: str = ""
    where: Mapping[str, str] | None = None
    at: str = ""
    words: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        return self.at or self.name


@dataclass(frozen=True)
class Mixture:
    """`text` is the file as it was read, kept beside what was made from it; `guided` holds the shares of stage 3."""

    seed: int
    shard: int
    sources: tuple[Source, ...]
    guided: Mapping[str, Any]
    text: str

    def of(self, stage: str) -> tuple[Source, ...]:
        return tuple(source for source in self.sources if source.repeat.get(stage, 0) > 0)


def read(path: Path) -> Mixture:
    """The mixture in the TOML file `path`; DataError where it is not one, naming what is wrong."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        found = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{path} cannot be read as a mixture: {error}.") from error
    unknown = set(found) - {"seed", "shard", "sources", "guided"}
    if unknown:
        raise DataError(f"{path} has keys that no mixture has: {', '.join(sorted(unknown))}. Take them out.")
    try:
        sources = tuple(_source(entry) for entry in found["sources"])
        mixture = Mixture(int(found["seed"]), int(found.get("shard", 512)), sources, found.get("guided", {}), text)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is not a mixture: {error}. See configs/train/data.toml for one.") from error
    _check(mixture, path)
    return mixture


def _source(entry: Mapping[str, Any]) -> Source:
    said = {**entry, "repeat": dict(entry["repeat"])}
    return Source(at=said.pop("folder", ""), **said)


def _check(mixture: Mixture, path: Path) -> None:
    names = [source.name for source in mixture.sources]
    if len(set(names)) < len(names) or not names:
        raise DataError(
            f"{path} names {', '.join(names) or 'no source'}; each source once, and at least one, is needed."
        )
    strange = {stage for source in mixture.sources for stage in source.repeat} - set(STAGES)
    if strange:
        raise DataError(f"{path} repeats for {', '.join(sorted(strange))}; the stages are {', '.join(STAGES)}.")
    if not 1 <= mixture.shard <= 4096:
        raise DataError(f"{path} asks for shards of {mixture.shard} groups; choose 1 to 4096.")
    conditions = mixture.guided.get("conditions")
    if conditions is not None and abs(sum(conditions.values()) - 1) > 1e-6:
        raise DataError(f"{path}: the shares under guided.conditions sum to {sum(conditions.values())}, not to 1.")
