"""What specialists, retrieval and `arbitrated` add to an evaluation: against the generalist alone, on the same cases, in turns.

python benchmarks/evaluate_speed.py [--cases 1000] [--block 50]

Both sides are `consilium.evaluate.run.run`, as `consilium evaluate run` calls it: `solo` with nobody else at the table and no
index, and `arbitrated` with the light specialists and the precedents that are shipped. Cases are test pictures, spread evenly
over four sets. Before time is taken every picture is read and encoded, so that its features lie on disk and its file in the
system's cache, and each side answers a few cases. Then, block by block, both answer the same cases; who begins changes from
block to block. Each side has an encoder and a generalist of its own: what the other has seen is not remembered. Seconds are
those of the runs, records written; members are loaded before, which is told apart. The interval is a bootstrap over blocks.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from consilium import formats, registry
from consilium.consult.panel import Panel
from consilium.datasets.folder import FolderDataset, read_folder
from consilium.evaluate import plain
from consilium.evaluate.council import Council
from consilium.evaluate.plan import Task, Wishes, plan, thin
from consilium.evaluate.records import Row, read_run
from consilium.evaluate.run import Evaluation, run
from consilium.imaging.picture import views
from consilium.settings import settings
from native_common import DIAGNOSES, Diagnosis

ROOT = Path(__file__).parents[1]
BAR, RESAMPLES, WARM = 1.3, 10_000, 4
LIGHT = "light"


@dataclass(frozen=True)
class Seated(Council):
    """A council that loads its members once, for all runs, and shares none with another council."""

    @cached_property
    def _seated(self) -> Panel:
        panel = super().panel()
        assert panel.generalist  # loaded now
        for name in panel.specialists:
            panel.specialist(name)
        return panel

    def panel(self) -> Panel:
        """A fresh panel of the same members: a run puts a guard before the retriever of the one that it is given."""
        return replace(self._seated)


@dataclass
class Side:
    """One way to evaluate; `wall_s` and `cpu_s` of each block, `rows` of all."""

    policy: str
    council: Seated
    load_s: float = 0.0
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def load(self) -> None:
        replace(self.council).panel()  # pays for imports, once a process
        start = time.perf_counter()
        self.council.panel()
        self.load_s = time.perf_counter() - start

    def answer(self, task: Task, counted: bool = True) -> None:
        with tempfile.TemporaryDirectory() as folder:
            evaluation = Evaluation(task, self.council, (self.policy,), Path(folder), plain.STUDY)
            start, cpu = time.perf_counter(), time.process_time()
            run(evaluation)
            if counted:
                self.wall_s.append(time.perf_counter() - start)
                self.cpu_s.append(time.process_time() - cpu)
                self.rows += read_run(evaluation.path(self.policy)).rows


def light_specialists() -> tuple[str, ...]:
    """Those that are shipped and judge by the shared encoder's features."""
    found = registry.find("specialists").values()
    shipped = [m for m in found if m.origin == "shipped" and m.folder and m.name != "modality_router"]
    return tuple(m.name for m in shipped if json.loads((m.folder / "card.json").read_text())["loader"] == LIGHT)


def blocks(data: Mapping[str, FolderDataset], count: int, size: int) -> list[Task]:
    """Tasks of at most `size` cases each, of one set each, `count` cases in all, spread evenly over the sets' test pictures;
    the sets take turns."""
    every = [(of.folder, record) for of in DIAGNOSES for record in data[of.folder].of("test")]
    if count > len(every):
        raise SystemExit(f"--cases {count}, but the sets have {len(every)} test pictures: ask for so many at most.")
    chosen = thin(every, count)
    parts = [(of, [r for folder, r in chosen if folder == of.folder]) for of in DIAGNOSES]
    found = [
        (start, task(of, data[of.folder], records[start : start + size]))
        for of, records in parts
        for start in range(0, len(records), size)
    ]
    return [made for _, made in sorted(found, key=lambda pair: pair[0])]


def task(of: Diagnosis, data: FolderDataset, records: Sequence[Any]) -> Task:
    wishes = Wishes(of.question, of.options, (), of.modality, of.body_part, "test", normal=of.normal)
    return plan(replace(data, records=tuple(records)), wishes)


def cache(tasks: Sequence[Task], encoder: Any) -> int:
    """Reads and encodes every picture; how many there were."""
    images = [
        view
        for of in tasks
        for record in of.data.records
        for item in formats.read(record.path)[0].images
        for view in views(item)
    ]
    for start in range(0, len(images), 16):
        encoder.embed(images[start : start + 16], patches=True)
    return len(images)


def ratio(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    """Of the sums over blocks, with a 95 % interval from blocks drawn anew."""
    a, b = np.array(above), np.array(below)
    drawn = np.random.default_rng(0).integers(len(a), size=(RESAMPLES, len(a)))
    low, high = np.quantile(a[drawn].sum(axis=1) / b[drawn].sum(axis=1), [0.025, 0.975])
    return {"value": float(a.sum() / b.sum()), "low": float(low), "high": float(high), "blocks": len(a)}


def told(side: Side) -> dict[str, Any]:
    """Seconds a case, in all and by who took them (as the records say), and what was answered."""
    count, spent = len(side.rows), Counter[str]()
    for row in side.rows:
        spent.update(row["seconds"])
    parts = {name: round(seconds / count, 5) for name, seconds in spent.most_common()}
    return {
        "policy": side.policy,
        "specialists": side.council.specialists,
        "index": side.council.index,
        "load_s": side.load_s,
        "wall_s": sum(side.wall_s),
        "cpu_s": sum(side.cpu_s),
        "wall_s_a_case": sum(side.wall_s) / count,
        "cpu_s_a_case": sum(side.cpu_s) / count,
        "wall_s_a_case_by_member": parts,
        "generalist_asked": sum("generalist" in row["seconds"] for row in side.rows) / count,
        "abstained": sum(row["abstained"] is not None for row in side.rows) / count,
        "right": sum(row["choice"] == row["truth"] for row in side.rows) / count,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--block", type=int, default=50, help="cases of one set that a side answers in a turn")
    parser.add_argument("--out", type=Path, default=ROOT / "results/evaluate_speed.json")
    options = parser.parse_args()
    if not settings().keep_features:
        raise SystemExit("CONSILIUM_FEATURES is 0: nothing would be cached. Unset it.")
    tasks = blocks({of.folder: read_folder(options.data / of.folder) for of in DIAGNOSES}, options.cases, options.block)
    alone = Side("solo", Seated(specialists=(), index=None))
    ours = Side("arbitrated", Seated(specialists=light_specialists()))
    sides = (alone, ours)
    for side in sides:
        side.load()
    encoder = registry.get("encoders", alone.council.encoder).load()
    pictures = cache(tasks, encoder)
    for of in {t.data.name: t for t in tasks}.values():
        few = replace(of, data=replace(of.data, records=of.data.records[:WARM]))
        for side in sides:
            side.answer(few, counted=False)
    for number, of in enumerate(tqdm(tasks, desc="blocks")):
        for side in sides[:: 1 if number % 2 == 0 else -1]:
            side.answer(of)
    wall, cpu = ratio(ours.wall_s, alone.wall_s), ratio(ours.cpu_s, alone.cpu_s)
    loaded = (sum(ours.wall_s) + ours.load_s) / (sum(alone.wall_s) + alone.load_s)
    report = {
        "command": f"python benchmarks/evaluate_speed.py --cases {options.cases} --block {options.block}",
        "cores": os.cpu_count(),
        "sets": dict(Counter(of.data.name for of in tasks for _ in of.data.records)),
        "n": len(ours.rows),
        "pictures": {
            "kept before time is taken": pictures,
            "of them encoded now": encoder.passes,
            "encoded while time is taken": sum(side.council.panel().encoder.passes for side in sides),
        },
        "sides": {"generalist alone": told(alone), "council": told(ours)},
        "ratio": {"wall": wall, "cpu": cpu, "wall_with_loading": loaded},
        "bar": {**wall, "n": len(ours.rows), "bar": BAR, "met": wall["value"] <= BAR, "interval": "95 %, over blocks"},
    }
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
