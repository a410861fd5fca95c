"""Trains the segmenters of a config on packed data, on a machine that has numpy, torch and MONAI alone.

    python3 -m consilium.train.segment_run --config configs/segment.toml --packed DIR/*.npz --out OUT --device cuda --minutes 4

Writes OUT/<task>.npz (weights, held-out judgements) and OUT/<task>.json (what was trained, how long, the losses); they become
members by `consilium specialist segment`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from consilium.nn.unet import described
from consilium.train.segment import Trained, train
from consilium.train.segment_augment import Augment
from consilium.train.segment_data import read_packed
from consilium.train.segment_task import Task


def tasks(config: Path) -> dict[str, tuple[Task, Mapping[str, Any]]]:
    """Every task of the config by name, with all that the config says of it."""
    data = tomllib.loads(config.read_text(encoding="utf-8"))
    return {table["name"]: (task_of(table), table) for table in data["tasks"]}


def task_of(table: Mapping[str, Any]) -> Task:
    """The task that a table of the config describes."""
    given = {name: table[name] for name in ("batch", "rate", "share", "folds", "spoilt") if name in table}
    return Task(
        table["name"],
        described(table["network"]),
        Augment(**table.get("augment", {})),
        tuple(table.get("swap", range(table["network"]["outputs"]))),
        **given,
    )


def run(config: Path, packed: Sequence[Path], out: Path, device: str, minutes: float) -> None:
    """Trains what is packed, one task after the other, each in its share of the minutes; each is written when it is done."""
    known = tasks(config)
    work = [(known[path.stem][0], path) for path in packed]
    whole = sum(task.share for task, _ in work)
    out.mkdir(parents=True, exist_ok=True)
    for task, path in work:
        start = time.monotonic()
        trained = train(read_packed(path), task, 60 * minutes * task.share / whole, device, _tell)
        write(trained, task, out, {"device": _named(device), "seconds": time.monotonic() - start})
        _tell(f"{task.name}: done after {time.monotonic() - start:.1f} s")


def write(trained: Trained, task: Task, out: Path, how: Mapping[str, object]) -> None:
    """OUT/<task>.npz and OUT/<task>.json."""
    arrays = {f"weight:{name}": value for name, value in trained.tensors.items()}
    arrays |= {f"judged:{name}": getattr(trained.judged, name) for name in ("signs", "dice", "row", "spoilt")}
    np.savez(out / f"{task.name}.npz", **arrays)  # type: ignore[arg-type]
    said = {"task": asdict(task), "chosen": trained.chosen, "course": trained.course, **how}
    (out / f"{task.name}.json").write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")


def _named(device: str) -> str:
    import torch

    chip = torch.cuda.get_device_name() if device.startswith("cuda") else device
    return f"{chip}, torch {torch.__version__}"


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--packed", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--minutes", type=float, required=True)
    given = parser.parse_args()
    run(given.config, given.packed, given.out, given.device, given.minutes)


if __name__ == "__main__":
    main()
