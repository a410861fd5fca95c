"""Ablations of the native generalist's recipe: short trainings, alike but for one thing each, judged on the val splits.

python benchmarks/native_ablation.py --out-folder RUNS --shards RUNS/shards (about 8 minutes a row on two cores)

Every row starts from the same data in the same order, and is judged on the same val questions: the share of closed ones
whose right option is the most likely, and the mean loss on the answers, with every visual token shown. The warm start and the
alignment, short too, are those of the first row wherever a row does not change them. Interrupted, it goes on.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from consilium.metrics.bootstrap import interval
from consilium.metrics.paired import compare
from consilium.nn import llava
from consilium.nn.denormals import flushed_denormals
from consilium.nn.student import Student, shown_features
from consilium.nn.tree import Tree, lay_out
from consilium.train import stages
from consilium.train.examples import Writer
from consilium.train.plan import Recipe, read_recipe
from consilium.train.shards import read as read_shards
from consilium.train.stages import Places, make_student, run_stage, take

SHORT = (
    "stages.alignment.mix={ alignment = 0.1 }",
    "stages.alignment.tokens=2048",
    "stages.instruction.mix={ instruction = 0.06 }",
    "stages.instruction.tokens=2048",
    "stages.instruction.epochs=1.0",
)
WARM = ("stages.warmstart.epochs=4",)
FIRST = "recipe, short"
VARIANTS: Mapping[str, tuple[str, ...]] = {
    FIRST: (),
    "without warm start and alignment": ('stages.instruction.after=""',),
    "without alignment": ('stages.instruction.after="warmstart"',),
    "projector alone, no LoRA": ('stages.instruction.learns=["projector"]',),
    "LoRA rank 4": ("rank=4",),
    "LoRA rank 64": ("rank=64",),
    "9 visual tokens shown in training": ("stages.instruction.shown=9",),
    "65 visual tokens shown in training": ("stages.instruction.shown=65",),
    "linear projector": ('activation="linear"',),
    "VQA-RAD a third as often": ("stages.instruction.up={ vqa_rad = 0.33 }",),
    "encoder adapted, two blocks": ("blocks=2", 'stages.instruction.after="warmstart"'),
}
_OPTIONS = re.compile(r"^Options: (.+)\. Answer with one option only\.$", re.MULTILINE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("configs/train/native.toml"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--out-folder", type=Path, required=True, help="where the short runs are kept")
    parser.add_argument("--main-run", type=Path, help="a whole run, whose warm start and alignment are shared instead")
    parser.add_argument("--only", nargs="*", default=list(VARIANTS), help="names of the rows")
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("results/native_ablation.json"))
    options = parser.parse_args()
    rows = {}
    for name in options.only:
        rows[name] = row_of(name, VARIANTS[name], options)
        _write(rows, options)


def short(config: Path, changes: Sequence[str]) -> Recipe:
    """The recipe as every row runs it, but for the changes of one."""
    return read_recipe(config, [*SHORT, *WARM, *changes])


def row_of(name: str, changes: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """Runs a row, or reads what an earlier run kept of it."""
    folder = options.out_folder / _slug(name)
    kept = folder / "judged.json"
    if kept.is_file():
        return json.loads(kept.read_text(encoding="utf-8"))
    recipe = short(options.config, changes)
    places = Places(options.shards, options.data, folder)
    folder.mkdir(parents=True, exist_ok=True)
    first = options.main_run or options.out_folder / _slug(FIRST)
    if not recipe.blocks and recipe.activation == "gelu":
        for stage in ("warmstart", "alignment"):
            if (first / stage / "facts.json").is_file() and not (folder / stage).exists():
                (folder / stage).symlink_to((first / stage).resolve(), target_is_directory=True)
    start = time.perf_counter()
    names = [stage.name for stage in recipe.chain()]
    for stage in recipe.chain()[: names.index("instruction") + 1]:
        if (folder / stage.name / "facts.json").is_file():
            continue
        print(name, stage.name, flush=True)
        run_stage(recipe, stage, places, how=(options.device, ""))
    facts = json.loads((folder / "instruction" / "facts.json").read_text(encoding="utf-8"))
    judged = judge(recipe, places, options.questions, device=options.device) | {
        "steps": facts["steps"],
        "tokens": facts["tokens"],
        "val_loss": facts["val_loss"],
        "seconds": time.perf_counter() - start,
    }
    kept.write_text(json.dumps(judged) + "\n", encoding="utf-8")
    return judged


def _slug(name: str) -> str:
    return re.sub(r"\W+", "_", name)


def judge(
    recipe: Recipe, places: Places, questions: int, stage: str = "instruction", device: str = "cpu"
) -> dict[str, Any]:
    """Per question: right or not, its picture and its set."""
    student, processor = make_student(recipe)
    take(student, places.out / stage / "learnt.safetensors")
    student.eval().to(device)
    pictures = stages.Pictures(stages.open_encoder(recipe), places.data, student)
    asked = [
        (group, branch)
        for group in read_shards(places.shards, "instruction")
        if group["split"] == "val"
        for branch in group["branches"]
        if (listed := _OPTIONS.search(branch["messages"][0][1])) and branch["messages"][1][1] in listed[1].split(", ")
    ]
    asked = asked[:: max(1, len(asked) // questions)][:questions]
    right = [_right(student, Writer(processor.tokenizer), pictures, pair) for pair in tqdm(asked, desc="judged")]
    return {
        "right": right,
        "picture": [group["images"][0]["digest"] for group, _ in asked],
        "set": [group["dataset"] for group, _ in asked],
    }


@torch.no_grad()
def _right(student: Student, writer: Writer, pictures: stages.Pictures, pair: tuple[Any, Any]) -> int:
    """Whether the right option has the greatest likelihood: every option is a branch of one tree."""
    group, branch = pair
    listed = _OPTIONS.search(branch["messages"][0][1])
    assert listed
    options = listed[1].split(", ")
    asked = branch["messages"][0]
    example = writer.example(
        {**group, "branches": [{"messages": [asked, ["assistant", option]]} for option in options]}
    )
    places = torch.arange(llava.tokens_per_image(student.config.vision_config))
    tree = Tree(example.prefix, (places,) * len(example.digests), len(places), example.branches, example.shared)
    rows = lay_out([tree])
    shown = shown_features(pictures(example), tree.kept).to(student.device)
    with flushed_denormals(), torch.autocast(student.device.type, torch.bfloat16):
        losses = student.losses(rows.to(student.device), shown)
    lengths = [sum(b.learnt) for b in example.branches]
    totals = [float(part.sum()) for part in losses.split(lengths)]
    return int(options[int(np.argmin(totals))] == branch["messages"][1][1])


def _write(rows: Mapping[str, dict[str, Any]], options: argparse.Namespace) -> None:
    whole = rows.get(FIRST)
    figures = []
    for name, row in rows.items():
        right, pictures = np.array(row["right"], float), row["picture"]
        score = interval("closed accuracy, val", lambda chosen, right=right: float(right[chosen].mean()), pictures)
        figure = vars(score) | {
            "row": name,
            "val_loss": row["val_loss"],
            "steps": row["steps"],
            "tokens": row["tokens"],
        }
        if whole is not None and row is not whole:
            paired = compare(
                "difference",
                lambda rows, said: float(said[rows].mean()),
                right,
                np.array(whole["right"], float),
                pictures,
            )
            figure |= {"difference": vars(paired.score), "p": paired.p}
        figures.append(figure)
    command = (
        f"python benchmarks/native_ablation.py --shards FOLDER --out-folder FOLDER --questions {options.questions}"
    )
    made = {
        "command": command,
        "split": "val",
        "not run": [name for name in VARIANTS if name not in rows],
        "rows": figures,
    }
    options.out.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
