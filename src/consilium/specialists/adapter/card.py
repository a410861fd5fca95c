"""Cards that a user writes for a model of their own (card.toml), and the member folders that are made of them."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from consilium.errors import MemberError, UsageError
from consilium.protocols import Card
from consilium.specialists.adapter import fields as fields_of
from consilium.weights.sources import sha256_of

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_LISTS = ("modality", "body_part", "not_for")
_TEXTS = ("name", "version", "summary", "licence", "evidence")
_TABLES = ("trained_on", "groups", "arguments")
FIELDS = (*_LISTS, *_TEXTS, *_TABLES, "concepts", "scores", "exclusive", "calibrated")
SAVED = (*(each.name for each in dataclasses.fields(Card)), "files")
UNMEASURED = "its scores were not calibrated: they are no probabilities"
NOT_FOR = ("decisions about patients: nothing was measured of it here",)


def read(path: Path, tables: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields of a card.toml; `tables` are those that this kind of adapter knows besides FIELDS.

    UsageError where the file is no TOML or has a field that nothing would read.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror}). Write a card.toml: docs/adapters.md shows one."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}. docs/adapters.md shows a card.") from error
    check_fields(found, str(path), tables)
    return found


def check_fields(fields: Mapping[str, Any], where: str, tables: tuple[str, ...] = ()) -> None:
    """UsageError where a field is unknown or of the wrong type."""
    unknown = sorted(set(fields) - set(FIELDS) - set(tables))
    if unknown:
        raise UsageError(
            f"{where} has {', '.join(unknown)}, which nothing reads. Known are: {', '.join((*FIELDS, *tables))}."
        )
    wrong = [name for name in _TEXTS if name in fields and not isinstance(fields[name], str)]
    wrong += [name for name in (*_TABLES, *tables) if name in fields and not isinstance(fields[name], Mapping)]
    wrong += [
        name
        for name in ("trained_on", "arguments")
        if name not in wrong and not all(isinstance(text, str) for text in fields.get(name, {}).values())
    ]
    wrong += [name for name in ("exclusive", "calibrated") if name in fields and not isinstance(fields[name], bool)]
    wrong += [name for name in _LISTS if name in fields and not fields_of.are_texts(fields[name])]
    if wrong:
        raise UsageError(f"{where}: {', '.join(wrong)} is not written as docs/adapters.md shows it. Correct the card.")


def card_of(fields: Mapping[str, Any], where: str, names_concepts: bool = True) -> Card:
    """The Card that these fields describe; UsageError where it would not be an honest one.

    names_concepts  it must name some, as all must but who writes reports.
    """
    needed = ("name", "summary", "modality", *(("concepts",) if names_concepts else ()), "licence")
    missing = [name for name in needed if not fields.get(name)]
    if missing:
        raise UsageError(f"{where} does not say {', '.join(missing)}. A card needs them: docs/adapters.md.")
    if not NAME.fullmatch(fields["name"]):
        raise UsageError(f"{fields['name']!r} cannot name a specialist: use letters, digits, _ and -, at most 64.")
    if fields.get("calibrated") and not fields.get("evidence"):
        raise UsageError(
            f"{where} says calibrated = true without `evidence`: name the file or command that measured it."
        )
    modalities = fields_of.modalities(fields["modality"], where)
    concepts = fields_of.concepts(fields.get("concepts", ()), where)
    labels = [code.meaning for code in concepts]
    groups = fields_of.groups(fields.get("groups", {}), where)
    strangers = sorted({member for members in groups.values() for member in members} - set(labels))
    if len(set(labels)) != len(labels) or strangers:
        raise UsageError(
            f"{where}: the concepts {', '.join(labels)} are not all different, or groups name others: {strangers}."
        )
    return Card(
        kind="specialist",
        name=fields["name"],
        version=fields.get("version", ""),
        summary=fields["summary"],
        modalities=modalities,
        body_parts=tuple(b.upper() for b in fields_of.texts(fields.get("body_part", ()))),
        concepts=concepts,
        groups=groups,
        arguments=dict(fields.get("arguments", {})),
        trained_on=dict(fields.get("trained_on", {})),
        licence=fields["licence"],
        evidence=fields.get("evidence", ""),
        scores=fields_of.scores(fields.get("scores", ()), where),
        not_for=fields_of.texts(fields.get("not_for", NOT_FOR)),
    )


def renamed(card: Card, name: str) -> Card:
    """The card under another name; as it is where `name` is empty."""
    if name and not NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot name a specialist: use letters, digits, _ and -, at most 64.")
    return dataclasses.replace(card, name=name) if name else card


def install(
    home: Path, card: Card, made: Mapping[str, Any], files: Mapping[str, Path], prove: Callable[[Path], object]
) -> Path:
    """Makes the member folder HOME/specialists/NAME of a card, what the loader needs (`made`, with `loader`) and copies of
    `files` (name within the folder -> where it lies now), and returns it. Nothing is left where `prove`, given the folder,
    raises: a member that cannot be loaded is no member.

    UsageError where a specialist of that name was added or trained here already.
    """
    room = home / "specialists"
    target = room / card.name
    if target.exists():
        raise UsageError(
            f"there is a specialist {card.name} already ({target}). Remove that folder, or choose another name."
        )
    room.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=room, prefix=".adding-") as work:
        folder = Path(work) / card.name
        for name, path in files.items():
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
        folder.mkdir(exist_ok=True)
        write(folder, card, made, tuple(files))
        prove(folder)
        folder.rename(target)
    return target


def write(folder: Path, card: Card, made: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """Writes card.json with the checksums of the files `names`. A card without a version bears that of its files."""
    sums = {name: sha256_of(folder / name) for name in names}
    if not card.version:
        digest = "".join(sums[name] for name in sorted(sums))
        card = dataclasses.replace(card, version=f"sha256:{digest[:12]}")
    plain = json.loads(json.dumps(dataclasses.asdict(card)))
    text = json.dumps(plain | dict(made) | {"files": sums}, indent=1, ensure_ascii=False)
    (folder / "card.json").write_text(text + "\n", encoding="utf-8")


def opened(folder: Path) -> dict[str, Any]:
    """All of card.json; MemberError where a file is missing or is another than the one that the card was written for."""
    made: dict[str, Any] = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    for name, expected in made.get("files", {}).items():
        path = folder / name
        if not path.is_file() or sha256_of(path) != expected:
            state = "is not the file that the card was written for" if path.is_file() else "is missing"
            raise MemberError(f"{path} {state}. Remove {folder} and add the specialist again.")
    return made
