"""Small sets of drawn pictures under the names of public ones, so that their readers have something to read."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image as Picture

CLASSES = ("benign", "malignant", "normal")
_DISC = {"normal": (0, 0), "benign": (6, 90), "malignant": (13, 90)}

RECIPE = """
seed = 7
shard = 16

[[sources]]
name = "breast_ultrasound_busi"
reader = "diagnosis"
licence = "CC BY 4.0"
modality = "US"
body_part = "BREAST"
repeat = { alignment = 1, instruction = 1.5, guided = 2 }
branches = 3

[guided]
published = 0.2
beside = 0.5
third_branch = 0.3
misled = 0.3
calls = { train = 12, val = 2 }
call_shares = { twice = 0.05, unfitting = 0.3, adversarial = 0.2, silent = 0.1, questions = 4 }
conditions = { as_is = 0.4, degraded = 0.2, adversarial = 0.2, missing = 0.1, precedents_wrong = 0.1 }
specialists = { breast_ultrasound_busi = ["finder"] }
"""


def picture(path: Path, label: str, seed: int) -> None:
    """Noise, with a disc whose size tells the class."""
    random = np.random.default_rng(seed)
    pixels = random.normal(90, 12, (64, 64))
    radius, bright = _DISC[label]
    row, column = random.integers(20, 44, 2)
    y, x = np.ogrid[:64, :64]
    pixels[(y - row) ** 2 + (x - column) ** 2 < radius**2] += bright
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def index(folder: Path, rows: list[dict[str, str]], name: str = "index.csv") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def drawn(folder: Path, rows: list[dict[str, str]]) -> None:
    """An index and a picture of noise for each of its rows."""
    index(folder, rows)
    for number, row in enumerate(rows):
        picture(folder / row["path"], "normal", number)


def breast(data: Path, count: int = 60) -> Path:
    """Three classes, two pictures a patient, three fifths train."""
    rows = []
    for i in range(count):
        label, patient = CLASSES[i % 3], i // 6
        split = ("train", "train", "train", "val", "test")[patient % 5]
        rows.append({"path": f"images/{i}.png", "label": label, "split": split, "patient_id": f"p{patient}.{i % 3}"})
        picture(data / "breast_ultrasound_busi" / rows[-1]["path"], label, i)
    index(data / "breast_ultrasound_busi", rows)
    return data


def questions(data: Path) -> Path:
    """VQA-RAD's form: nine questions on a train picture, one on a val and a test picture each."""
    asked = [
        ("Is there a mass?", "Yes ", "PRES"),
        ("Is this normal?", "no", "ABN"),
        ("What organ is shown?", "Brain", "ORGAN"),
        ("Which plane is this?", "Axial", "PLANE"),
        ("Where is the lesion?", "left  side", "POS"),
        ("How many lesions?", 2, "COUNT"),
        ("Is it large?", "No", "SIZE"),
        ("Is the chest shown?", "no", "PRES"),
        ("What is bright?", "Fat", "COLOR"),
    ]
    rows = [
        {"question": q, "answer": a, "question_type": t, "image_organ": "HEAD", "path": p, "image_disjoint_split": s}
        for p, s, some in (
            ("images/a.png", "train", asked),
            ("images/b.png", "val", asked[:1]),
            ("images/c.png", "test", asked[:1]),
        )
        for q, a, t in some
    ]
    for number, name in enumerate("abc"):
        picture(data / f"vqa_rad/images/{name}.png", "normal", 900 + number)
    (data / "vqa_rad/qa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return data
