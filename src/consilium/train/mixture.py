"""The mixture that a training is made of: one TOML file read into frozen values (configs/train/data.toml has each key)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from consilium.errors import DataError
from consilium.train.checks import is_share

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
    for source in mixture.sources:
        _check_source(source, path)
    told = [source.name for source in mixture.of("guided")]
    if told and not mixture.guided:
        raise DataError(f"{path} repeats {', '.join(told)} for guided, and has no table [guided] that says how.")
    if mixture.guided:
        _check_guided(mixture.guided, told, path)


def _check_source(source: Source, path: Path) -> None:
    texts = {"name": source.name, "reader": source.reader, "licence": source.licence, "folder": source.at}
    texts |= {"body_part": source.body_part, "modality": source.modality or ""}
    wrong = [key for key, said in texts.items() if not isinstance(said, str)]
    wrong += [] if isinstance(source.branches, int) and source.branches > 0 else ["branches"]
    wrong += [] if all(is_share(share, most=1000) for share in source.repeat.values()) else ["repeat"]
    wrong += [] if isinstance(source.where, dict | None) and isinstance(source.words, dict) else ["where or words"]
    if wrong:
        raise DataError(
            f"{path}: {', '.join(wrong)} of source {source.name!r} cannot be meant: texts, branches of 1 or more, repeat = "
            "{ STAGE = TIMES } of 0 or more, where and words as tables were expected."
        )


def _check_guided(guided: Mapping[str, Any], told: Sequence[str], path: Path) -> None:
    """Keys, shares and lists of the table; `told`: the sources of the stage."""
    where = f"{path}, [guided]"
    must = {"conditions", "published", "beside", "third_branch", "specialists"}
    must |= {"call_shares"} if guided.get("calls") else set()
    if unknown := set(guided) - must - {"calls", "call_shares", "misled", "offered"}:
        raise DataError(f"{where} has keys that there are not: {', '.join(sorted(unknown))}. Take them out.")
    if missing := must - set(guided):
        raise DataError(f"{where} does not say {', '.join(sorted(missing))}. See configs/train/data.toml for one.")
    tables = {key: guided[key] for key in ("conditions", "specialists", "calls", "call_shares") if key in guided}
    wrong = [key for key, table in tables.items() if not isinstance(table, dict)]
    wrong += [
        key for key in ("published", "beside", "third_branch", "misled") if not is_share(guided.get(key, 0), most=1)
    ]
    wrong += [key for key in ("calls", "call_shares") if not all(map(is_share, dict(guided.get(key) or {}).values()))]
    if not wrong:
        lists = {f"specialists.{name}": names for name, names in guided["specialists"].items()}
        lists |= {"offered": guided["offered"]} if guided.get("offered") else {}
        wrong += [
            key for key, names in lists.items() if not (isinstance(names, list) and names and all(map(_text, names)))
        ]
        wrong += [] if all(map(is_share, guided["conditions"].values())) else ["conditions"]
    if wrong:
        raise DataError(
            f"{where}: {', '.join(wrong)} cannot be meant: shares of 0 to 1, and lists of names were expected."
        )
    if abs(sum(guided["conditions"].values()) - 1) > 1e-6:
        raise DataError(
            f"{path}: the shares under guided.conditions sum to {sum(guided['conditions'].values())}, not to 1."
        )


def _text(said: Any) -> bool:
    return isinstance(said, str)
