"""Drawn pictures with a known label, for tests that need no data: noise, with a bright disc where the label is "mass"."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as Picture

LABELS = ("clear", "mass")


def draw(label: str, seed: int) -> np.ndarray:
    """A phantom (64, 64) uint8."""
    random = np.random.default_rng(seed)
    picture = random.normal(90, 12, (64, 64))
    if label == "mass":
        row, column = random.integers(20, 44, 2)
        y, x = np.ogrid[:64, :64]
        picture[(y - row) ** 2 + (x - column) ** 2 < 110] += 70
    return picture.clip(0, 255).astype(np.uint8)


def folder_of(folder: Path, count: int = 120) -> Path:
    """A folder of phantoms in the index.csv form, 60/20/20."""
    folder.mkdir(parents=True)
    rows = ["path,label,split,patient_id"]
    for i in range(count):
        label = LABELS[i % 2]
        Picture.fromarray(draw(label, i)).save(folder / f"{i}.png")
        rows.append(f"{i}.png,{label},{('train', 'train', 'train', 'val', 'test')[i // 2 % 5]},p{i}")
    (folder / "index.csv").write_text("\n".join(rows))
    return folder
