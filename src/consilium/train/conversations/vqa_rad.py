"""VQA-RAD: clinicians' questions and answers, split by image. The Image line never tells what is asked."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

from consilium.errors import DataError
from consilium.train.conversations import asked
from consilium.train.conversations.group import Branch, Item
from consilium.train.mixture import Source

PARTS = {"HEAD": "HEAD", "CHEST": "CHEST", "ABD": "ABDOMEN"}
# Questions whose answer the body part would give away, besides those that the set itself marks ORGAN.
_ASKS_PART = ("organ", "body", "part of", "chest", "thorax", "abdom", "brain", "head", "system", "where is this")
_UNTOLD_SHARE = 0.4


def items(source: Source, data: Path) -> list[Item]:
    """An item for up to `source.branches` questions of a picture, of equal size; DataError where the set is not there."""
    path = data / source.folder / "qa.jsonl"
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error
    by_picture: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_picture.setdefault(row["path"], []).append(row)
    found = []
    for picture, asked_of in sorted(by_picture.items()):
        parts = -(-len(asked_of) // source.branches)
        for part in range(parts):
            first = asked_of[0]
            facts = {"questions": asked_of[part::parts], "part": part}
            place = f"{source.folder}/{picture}"
            found.append(Item(place, first["image_disjoint_split"], picture, source.licence, (), facts))
    return found


def talk(item: Item, source: Source, rng: Random) -> list[Branch]:
    return [_branch(row, rng) for row in item.facts["questions"]]


def _branch(row: dict[str, Any], rng: Random) -> Branch:
    question, answer = " ".join(str(row["question"]).split()), str(row["answer"]).strip().lower()
    part = "" if _gives_away(row) or rng.random() < _UNTOLD_SHARE else PARTS[row["image_organ"]]
    if answer in ("yes", "no"):
        return asked.yes_no("vqa", question, answer == "yes", (None, part), rng)
    return asked.ask("vqa", question, answer, (), (None, part))


def _gives_away(row: dict[str, Any]) -> bool:
    return "ORGAN" in row["question_type"] or any(word in row["question"].lower() for word in _ASKS_PART)


def describe(item: Item, source: Source, rng: Random) -> Branch | None:
    return None
