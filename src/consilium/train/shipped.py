"""Trains everything that is shipped, from configs/specialists.toml, and writes its figures to results/specialists.json.

make specialists, which runs: python -m consilium.train.shipped configs/specialists.toml --data ../shared/data
"""

from __future__ import annotations

import argparse
import csv
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import consilium
from consilium import registry
from consilium.consult.panel import DEFAULT_ENCODER, SHIPPED_INDEX
from consilium.datasets.folder import FolderDataset, Record, read_folder
from consilium.protocols import Card, Encoder
from consilium.train import background
from consilium.train.features import Progress, encode
from consilium.train.precedents import entries
from consilium.train.specialist import Recipe, train

ROOM = Path(consilium.__file__).parent / "specialists" / "trained"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--results", type=Path, default=Path("results/specialists.json"))
    options = parser.parse_args()
    config = tomllib.loads(options.config.read_text(encoding="utf-8"))
    command = "make specialists"
    encoder: Encoder = registry.get("encoders", DEFAULT_ENCODER).load()
    write_background(config["router"], options.data, encoder)
    cards = [_specialist(entry, options.data, encoder, command) for entry in config["specialists"]]
    cards.append(_router(config["router"], options.data, encoder, command))
    write_precedents(config, options.data, encoder)
    report = {"command": command, "encoder": encoder.card.version, "specialists": {c.name: _report(c) for c in cards}}
    options.results.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _specialist(entry: Mapping[str, Any], data_folder: Path, encoder: Encoder, command: str) -> Card:
    data = read_folder(data_folder / entry["folder"], where=entry.get("where"))
    recipe = Recipe(
        name=entry["name"],
        modalities=tuple(entry["modalities"]),
        body_parts=tuple(entry["body_parts"]),
        summary=entry["summary"],
        licence=entry["licence"],
        data_licence=entry["data_licence"],
        not_for=tuple(entry.get("not_for", ())),
        groups={name: tuple(members) for name, members in entry.get("groups", {}).items()},
        command=f"results/specialists.json ({command})",
    )
    return train(data, recipe, encoder, ROOM, _bar(recipe.name))


def _router(entry: Mapping[str, Any], data_folder: Path, encoder: Encoder, command: str) -> Card:
    records = [r for source in entry["sources"] for r in _router_source(source, data_folder, entry["most"])]
    classes = tuple(sorted({record.labels[0] for record in records}))
    data = FolderDataset("the open sets", data_folder, tuple(records), classes, True, (), "per set")
    recipe = Recipe(
        name=entry["name"],
        modalities=tuple(sorted({label.split("/")[0] for label in classes})),
        summary=entry["summary"],
        licence=entry["licence"],
        margin=entry["margin"],
        data_licence="; ".join(dict.fromkeys(f"{s['folder']}: {s['licence']}" for s in entry["sources"])),
        command=f"results/specialists.json ({command})",
    )
    return train(data, recipe, encoder, ROOM, _bar(recipe.name))


def _router_source(source: Mapping[str, Any], data_folder: Path, most: int) -> list[Record]:
    """Records of one source under the router's label, evenly thinned to `most`; patients are kept apart by set."""
    folder = data_folder / source["folder"]
    if (folder / "qa.jsonl").is_file():
        records = _question_pictures(folder, source["where"])
    else:
        records = list(_rows(folder, source.get("where", {})))
    step = max(1, -(-len(records) // most))
    return [
        replace(record, labels=(source["label"],), patient=f"{source['folder']} {record.patient}")
        for record in records[::step]
    ]


def _rows(folder: Path, where: Mapping[str, str]) -> list[Record]:
    with (folder / "index.csv").open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if all(row[c] == v for c, v in where.items())]
    patient = next((c for c in ("patient_id", "clip_id") if c in rows[0]), "path")
    return [Record(folder / r["path"], (), r["split"], r[patient], r) for r in rows]


def _question_pictures(folder: Path, where: Mapping[str, str]) -> list[Record]:
    """The pictures of VQA-RAD by its image-disjoint split; a tenth of its train pictures serves as val."""
    rows = [json.loads(line) for line in (folder / "qa.jsonl").read_text(encoding="utf-8").split("\n") if line]
    pictures = {r["path"]: r for r in rows if all(r[c] == v for c, v in where.items())}
    found = []
    for number, (path, row) in enumerate(sorted(pictures.items())):
        split = "val" if row["image_disjoint_split"] == "train" and number % 10 == 0 else row["image_disjoint_split"]
        found.append(Record(folder / path, (), split, path, row))
    return found


def write_background(entry: Mapping[str, Any], data_folder: Path, encoder: Encoder) -> None:
    """The background of other modalities: train pictures of every source of the router."""
    picked: list[Record] = []
    for source in entry["sources"]:
        records = [r for r in _router_source(source, data_folder, entry["most"]) if r.split == "train"]
        picked += records[:: max(1, len(records) // entry["background"])][: entry["background"]]
    features = encode(picked, encoder, _bar("background")).features
    background.save(features, [record.labels[0] for record in picked], encoder.card.version)


def write_precedents(config: Mapping[str, Any], data_folder: Path, encoder: Encoder) -> None:
    """The shipped index: train cases of the open sets, spread evenly over their labels."""
    from consilium.retrievers import exact

    by_name = {entry["name"]: entry for entry in config["specialists"]}
    index = exact.load(encoder_key=encoder.card.version)
    for name in config["precedents"]["sets"]:
        entry = by_name[name]
        data = read_folder(data_folder / entry["folder"], where=entry.get("where"))
        chosen = _spread(data.of("train"), config["precedents"]["each"])
        seen = (entry["modalities"][0], entry["body_parts"][0])
        index.add(entries(data, chosen, encoder, seen, entry["data_licence"]))
    SHIPPED_INDEX.parent.mkdir(parents=True, exist_ok=True)
    index.save(SHIPPED_INDEX)


def _spread(records: Sequence[Record], wanted: int) -> list[Record]:
    """`wanted` records, as evenly as they go over the labels, in the order of the index."""
    by_label: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        by_label.setdefault(record.labels[:1], []).append(record)
    chosen: list[Record] = []
    queues = [list(reversed(queue)) for queue in by_label.values()]
    while len(chosen) < wanted and any(queues):
        chosen += [queue.pop() for queue in queues if queue]
    return chosen[:wanted]


def _bar(what: str) -> Progress:
    from tqdm import tqdm

    bar = tqdm(desc=what, unit="picture")

    def show(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return show


def _report(card: Card) -> dict[str, Any]:
    made = json.loads((ROOM / card.name / "card.json").read_text(encoding="utf-8"))
    return {"version": card.version, "scores": [asdict(score) for score in card.scores], "fit": made["fit"]}


if __name__ == "__main__":
    main()
