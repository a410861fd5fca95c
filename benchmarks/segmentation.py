"""How well do the installed segmenters outline what they never saw? Each test picture goes through `examine`, as a case would.

python benchmarks/segmentation.py [--config configs/segment.toml] [--data ../shared/data] [--only NAME] [--most N] [--card]

Dice, 95th percentile of surface distances (mm, or pixels where the picture has no spacing) and relative error of volume or area a
label, with 95 % intervals over patients; how far the expected Dice was from the one reached; how many own and foreign pictures it
abstained on; seconds a case. Pictures on which it abstained have no outline and do not count in the first three.
Tasks that are not installed are left out.
--card writes the scores into the cards. Writes results/segmentation.json, task by task.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from consilium import formats, registry
from consilium.consult.council import case_of
from consilium.consult.panel import DEFAULT_ENCODER
from consilium.errors import ReadError
from consilium.metrics.bootstrap import interval
from consilium.metrics.segmentation import dice, hd95_mm, relative_volume_error
from consilium.protocols import Specialist
from consilium.train.segment_canvas import labels_of, shown
from consilium.train.segment_data import Row, rows_of
from consilium.train.segment_install import scored
from consilium.types import Array, Opinion, Score, Study

RESULTS = Path("results/segmentation.json")


def asked(specialist: Specialist, item: Any) -> tuple[Opinion, float]:
    """The opinion on a case of this one picture, and the seconds it took."""
    study = Study(specialist.card.modalities[0], specialist.card.body_parts[0], (item,))
    start = time.perf_counter()
    opinion = specialist.examine(case_of([study], "Outline it."))
    return opinion, time.perf_counter() - start


def measured(specialist: Specialist, row: Row, table: Mapping[str, Any]) -> dict[str, Any]:
    """What one test picture gave; NaN for what an abstention leaves open."""
    item, truth = shown(row.image, table["canvas"]), labels_of(row, table["canvas"])
    opinion, seconds = asked(specialist, item)
    found: dict[str, Any] = {"patient": row.patient, "seconds": seconds, "abstained": opinion.abstained or ""}
    spacing = item.spacing_mm or (1.0,) * truth.ndim
    said = opinion.segmentations[0].labels if opinion.segmentations else None
    names = {name: [number] for number, name in enumerate(table["labels"], 1)}
    if len(names) > 1:
        names["all together"] = list(range(1, len(names) + 1))
    for name, numbers in names.items():
        one, other = np.isin(truth, numbers), None if said is None else np.isin(said, numbers)
        found[f"Dice {name}"] = np.nan if other is None else dice(one, other)
        found[f"HD95 {name}"] = np.nan if other is None else hd95_mm(one, other, spacing)
        found[f"error {name}"] = np.nan if other is None or not one.any() else abs(relative_volume_error(one, other))
    if opinion.segmentations:
        expected = opinion.segmentations[0].confidence
        reached = [found[f"Dice {name}"] for name in table["labels"]]
        found["gap"] = float(np.mean([abs(e - r) for e, r in zip(expected, reached, strict=True)]))
        found["expected"], found["reached"] = float(np.mean(expected)), float(np.mean(reached))
    found["unit"] = "mm" if item.spacing_mm else "pixels"
    return found


def summary(rows: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> list[Score]:
    """Scores over the rows of one test set."""
    patients = [row["patient"] for row in rows]

    def over(name: str, key: str, of: Callable[[Array], float] = np.nanmean) -> Score:
        values = np.array([row.get(key, np.nan) for row in rows], float)
        values[np.isinf(values)] = np.nan
        return interval(
            name, lambda some: float(of(values[some])) if (~np.isnan(values[some])).any() else np.nan, patients
        )

    unit = rows[0]["unit"]
    names = [*labels, *(["all together"] if len(labels) > 1 else [])]
    scores = [over(f"Dice {name}", f"Dice {name}") for name in names]
    scores += [over(f"HD95 {name} ({unit})", f"HD95 {name}") for name in names]
    scores += [over(f"relative size error {name}", f"error {name}") for name in names]
    scores.append(over("expected Dice, mean absolute error", "gap"))
    gone = np.array([bool(row["abstained"]) for row in rows], float)
    scores.append(interval("abstained", lambda some: float(gone[some].mean()), patients))
    return scores


def foreign(specialist: Specialist, source: Mapping[str, Any], data: Path) -> dict[str, Any]:
    """How many pictures of another kind it abstains on; those that cannot be read are not counted."""
    folder = data / source["folder"]
    with (folder / "index.csv").open(encoding="utf-8", newline="") as lines:
        paths = [folder / row["path"] for row in csv.DictReader(lines) if row.get("split", "test") == "test"]
    answers = []
    for i in np.linspace(0, len(paths) - 1, min(len(paths), source["most"])).astype(int):
        try:
            items = [item for study in formats.read(paths[i]) for item in study.images]
        except ReadError:
            continue
        answers += [bool(asked(specialist, item)[0].abstained) for item in items[:1]]
    return {"folder": source["folder"], "n": len(answers), "abstained": float(np.mean(answers)) if answers else None}


def evaluated(table: Mapping[str, Any], data: Path, most: int | None) -> tuple[dict[str, Any], list[Score]]:
    """Everything about one task, and the scores for its card (those of its first test set)."""
    member = registry.get("specialists", table["name"])
    encoder = registry.get("encoders", DEFAULT_ENCODER).load() if table["canvas"]["dims"] == 2 else None
    specialist = member.load(encoder=encoder)
    sets: dict[str, Any] = {}
    first: list[Score] = []
    for source in table.get("tests", table["sources"]):
        rows = [row for row in rows_of(source, data) if row.split == "test"]
        if most is not None and len(rows) > most:
            rows = [rows[i] for i in np.linspace(0, len(rows) - 1, most).astype(int)]
        found = [measured(specialist, row, table) for row in rows]
        scores = summary(found, table["labels"])
        first = first or scores
        judged = [(row["expected"], row["reached"]) for row in found if "expected" in row]
        sets[source["folder"]] = {
            "scores": [asdict(score) for score in scores],
            "patients": len({row["patient"] for row in found}),
            "seconds a case, median and highest": [float(f(r["seconds"] for r in found)) for f in (_median, max)],
            "expected and reached Dice, correlation": float(np.corrcoef(np.array(judged).T)[0, 1])
            if len(judged) > 2
            else None,
            "why it abstained": sorted({row["abstained"] for row in found} - {""})[:10],
        }
    size = (member.folder / "model.safetensors").stat().st_size if member.folder else 0
    others = [foreign(specialist, source, data) for source in table.get("foreign", ())]
    return {"version": member.card.version, "model bytes": size, "tests": sets, "foreign": others}, first


def _median(values: Any) -> float:
    return float(np.median(list(values)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("configs/segment.toml"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only")
    parser.add_argument("--most", type=int)
    parser.add_argument("--card", action="store_true")
    given = parser.parse_args()
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {"command": "", "tasks": {}}
    results["command"] = "python benchmarks/segmentation.py --card"
    installed = registry.find("specialists")
    for table in tomllib.loads(given.config.read_text(encoding="utf-8"))["tasks"]:
        if table["name"] not in installed or given.only not in (None, table["name"]):
            continue
        found, scores = evaluated(table, given.data, given.most)
        results["tasks"][table["name"]] = found | ({"most": given.most} if given.most else {})
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        folder = installed[table["name"]].folder
        if given.card and folder is not None:
            scored(folder, scores)
        print(table["name"], *(f"{s.metric} {s.value:.4f} [{s.low:.4f}, {s.high:.4f}]" for s in scores), sep="\n  ")


if __name__ == "__main__":
    main()
