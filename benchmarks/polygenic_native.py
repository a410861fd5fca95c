"""The native generalist reads risk images itself, beside the light models of benchmarks/polygenic.py on the very same people.

python benchmarks/polygenic_native.py [--test-people 160] [--train-people 400] [--steps 100] [--folder CHECKPOINT]

The cohort, its split and its seed are those of benchmarks/polygenic.py (shared .85, seed 0, regime "modified"). Each test
person's picture and line of age and sex go through `consult` (policy solo) with a question for each of the eight diseases with
labels and the six without, each of these with the disease that it is most correlated with, by which the paper's baseline judges
it too; the answer is p+ / (p+ + p-). Once by the generalist as it is shipped; once by one that went on learning from some of the
training people, of the eight alone (configs/train/risk.toml); once by that one while it is shown the next person's picture:
what it owes to the picture.

Killed, the same command goes on: learning from its last checkpoint, answers from those kept. What was learnt is not shipped.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from tqdm import tqdm

import native_common as common
from consilium import registry, weights
from consilium.consult import prompt
from consilium.consult.council import consult
from consilium.consult.panel import Panel
from consilium.generalists import native
from consilium.nn import llava
from consilium.nn.eyes import Eyes
from consilium.nn.lean_llama import LeanLlama
from consilium.nn.pretrained import pick_device, pick_dtype
from consilium.nn.prompt_tokens import Writer as PromptWriter
from consilium.nn.shared_prefix import SharedPrefix
from consilium.train import loop, mix, shards, stages
from consilium.train.conversations.group import Branch, Group
from consilium.train.examples import Order, Writer
from consilium.train.plan import Recipe, Stage, read_recipe
from consilium.types import Array
from polygenic_cohort import Sizes
from polygenic_metrics import table
from polygenic_native_people import REGIME, Bench, bench

STUDY = "polygenic_native"
OUT = Path(f"results/{STUDY}.json")
RECIPE = Path("configs/train/risk.toml")
TEST, TRAIN = 160, 400
"""The least of people for results/: what two cores do in 25 minutes."""
SHIPPED, TUNED = "native, as shipped", "native, tuned on risk images"
SWAPPED = "native, tuned, shown another person's picture"
CAVEATS = (
    "simulated people of one ancestry, diseases without a meaning: nothing here is a finding about a real disease",
    "the light models learnt from all training people, but for those said to be of the native's",
    "what was learnt here is not shipped",
    "intervals: percentile bootstrap over test people, the same resamples for everybody; p from the spread of paired differences",
    "cpu_s: of the last start alone, where the study was interrupted",
)


def groups(made: Bench, place: Path) -> Iterator[Group]:
    """A picture with its questions for each person learnt from or watched, worded as it is served; the pictures go to `place`."""
    (place / "pictures").mkdir(parents=True, exist_ok=True)
    for split, people in (("train", made.learnt), ("val", made.watched)):
        for i in tqdm(range(len(people)), desc=f"pictures, {split}"):
            image, path = made.picture(people, i), f"pictures/{split}-{i}.png"
            PIL.Image.fromarray(image.pixels).save(place / path)
            asked = [prompt.compose(case) for case in made.cases(people, i, image)[: made.known]]
            turns = [
                (("user", messages[-1].text), ("assistant", ("no", "yes")[int(y)]))
                for messages, y in zip(asked, people.y[i, : made.known], strict=True)
            ]
            branches = tuple(Branch("risk", own) for own in turns)
            yield Group(f"risk/{split}-{i}", "risk", "simulated", split, path, image.digest, asked[0][0].text, branches)


def tuned(made: Bench, options: argparse.Namespace) -> tuple[Path, dict[str, Any]]:
    """The checkpoint that learnt from the training people, and facts of how; what is there already is not done again."""
    os.environ.setdefault("CONSILIUM_FEATURES", "0")  # else a gigabyte of features of people who do not exist
    recipe = read_recipe(options.recipe, options.change)
    stage = recipe.stages[-1]
    seen = [(people.percentiles.sum(), people.age.sum(), people.y.sum()) for people in (made.learnt, made.watched)]
    told = hashlib.sha256(repr((recipe, options.steps, made.questions, seen)).encode()).hexdigest()[:12]
    place = options.records / STUDY / f"tuned-{told}"
    places, done = stages.Places(place / "shards", place, place / "runs"), place / "done.json"
    if not done.is_file():
        shards.write(places.shards, next(iter(stage.mix)), groups(made, place))
        if options.steps:
            share = options.steps / an_epoch(recipe, stage, places.shards)
            stage = replace(stage, plan=replace(stage.plan, epochs=share))
        facts = stages.run_stage(recipe, stage, places, watched(stage.name), (options.device, ""))
        stages.write_checkpoint(recipe, stage, places)
        done.write_text(json.dumps(facts), encoding="utf-8")
    return places.out / stage.name / "checkpoint", json.loads(done.read_text(encoding="utf-8"))


def an_epoch(recipe: Recipe, stage: Stage, folder: Path) -> int:
    """Steps in which every group is seen once."""
    from transformers import AutoTokenizer, CLIPVisionConfig

    vision, language = (
        name if Path(name).is_dir() else weights.folder(name) for name in (recipe.vision, recipe.language)
    )
    writer = Writer(AutoTokenizer.from_pretrained(language, local_files_only=True))
    learnt = [writer.example(group) for group in mix.groups(stage, folder) if group["split"] == "train"]
    shown = min(stage.plan.shown, llava.tokens_per_image(CLIPVisionConfig.from_pretrained(vision)))
    return len(Order(stage.plan.tokens, shown, stage.plan.seed).batches(learnt, 0))


def watched(name: str) -> stages.Told:
    """A progress bar of a stage."""
    bar = tqdm(desc=f"stage {name}", unit="step")

    def step(done: loop.Step) -> None:
        bar.total = done.of
        bar.set_postfix_str(f"loss {done.loss:.3f}, {done.tokens / done.seconds:.0f} tokens/s", refresh=False)
        bar.update(done.number - bar.n)

    return stages.Told(step)


class Exact(torch.nn.Module):
    """An output layer whose logits are float32 whatever it is given: in bfloat16 the answers of many people would be equal."""

    def __init__(self, head: torch.nn.Linear) -> None:
        super().__init__()
        self.weight = head.weight.detach().float()

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(hidden.float(), self.weight)


def generalist(folder: Path, device: str) -> native.Native:
    """The checkpoint as it is served, but for its output layer; it looks with its own tower, which keeps no features. p+ and p-
    are the likelihoods of the whole reply."""
    model, processor = llava.load(folder, pick_device(device), pick_dtype("auto", pick_device(device)))
    lean = LeanLlama(model.model.language_model, model.lm_head)
    lean.head = Exact(model.lm_head)
    words = PromptWriter(processor, model.config.image_seq_length)
    return native.Native(SharedPrefix(lean, Eyes(model, processor)), words, None, length_normalised=False)


def heard(who: str, folder: Path, made: Bench, options: argparse.Namespace, most: int | None = None) -> Array:
    """(n, questions) probabilities that a checkpoint gives the test people; of the first `most` questions, or all. SWAPPED: each
    is shown the next one's picture."""

    @functools.cache
    def panel() -> Panel:
        found = Panel(registry.get("encoders", "patch_statistics").load(), {}, "native")  # it looks with its own tower
        found.seat_generalist(generalist(folder, options.device))
        return found

    def answer(i: int) -> dict[str, Any]:
        image = made.picture(made.test, (i + (who == SWAPPED)) % len(made.test))
        cases = made.cases(made.test, i, image)[:most]
        return {"yes": [consult(case, panel(), "solo").answer.probabilities["yes"] for case in cases]}

    cases = made.cases(made.test, 0, made.picture(made.test, 0))
    shown = (cases[0].question, made.questions, made.layout, made.test.percentiles.sum(), made.test.age.sum())
    words = hashlib.sha256(f"{Path(prompt.__file__).read_text(encoding='utf-8')} {shown}".encode()).hexdigest()[:12]
    made_with = {"who": who, "checkpoint": common.fingerprint(folder), "shown": words}
    name = "".join(c if c.isalnum() else "_" for c in who)
    kept = common.Records(options.records / STUDY / f"{name}.jsonl", made_with)
    return np.array([record["yes"] for record in kept.of(range(len(made.test)), str, answer)])


def figures(made: Bench, said: dict[str, Array]) -> dict[str, Any]:
    """Everybody's AUC on the diseases with labels and on those without; the native against the others, paired over people."""
    y, k = made.test.y, made.known
    first = made.labelled | {who: p[:, :k] for who, p in said.items()}
    other = made.unlabelled | {who: p[:, k:] for who, p in said.items() if who != SWAPPED}
    return {
        "with labels": against(y[:, :k], first, (TUNED, SHIPPED)),
        "without labels": against(y[:, k:], other, (TUNED, SHIPPED)),
    }


def against(y: Array, said: dict[str, Array], bases: tuple[str, ...]) -> dict[str, Any]:
    """The table of everybody; each of `bases` that is there compared with everybody who is not one of the `bases` before it."""
    found: dict[str, Any] = {"compared": {}}
    before: list[str] = []
    for base in (base for base in bases if base in said):
        before.append(base)
        told = table(y, said, base, tuple(name for name in said if name not in before))
        found = {"models": told["models"], "compared": found["compared"] | told["compared"]}
    return found


def command(options: argparse.Namespace, usual: argparse.Namespace) -> list[str]:
    """What was asked beyond the usual; where something lies on this machine is nobody's business."""
    named = ("test_people", "train_people", "steps", *asdict(Sizes()))
    said = [f"--{n.replace('_', '-')} {getattr(options, n)}" for n in named if getattr(options, n) != getattr(usual, n)]
    said += [f"--{n} OWN" for n in ("folder", "recipe") if getattr(options, n) != getattr(usual, n)]
    return said + [f"--set {change}" for change in options.change]


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--test-people", type=int, default=TEST)
    made.add_argument("--train-people", type=int, default=TRAIN, help="0: only as it is shipped")
    made.add_argument("--steps", type=int, help="default: every training person as often as the recipe says")
    made.add_argument("--folder", type=Path, help="a checkpoint to ask in the place of the shipped one, untuned")
    made.add_argument("--recipe", type=Path, default=RECIPE, help="its last stage is learnt")
    made.add_argument("--set", dest="change", action="append", default=[], help="KEY=VALUE of the recipe")
    made.add_argument("--device", default="auto", help="cpu, cuda or auto")
    made.add_argument("--records", type=Path, default=Path(".venv/records"), help="answers, and what was learnt")
    made.add_argument("--haplotypes", type=Path, help="where they are kept (.npz); default: beside the answers")
    made.add_argument("--out", type=Path, help=f"default: {OUT}; of a reduced run, beside the records")
    for name, value in asdict(Sizes()).items():
        made.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    return made


def place(options: argparse.Namespace, usual: argparse.Namespace) -> Path:
    """Where the report is written: results/ is for at least the usual people of the usual cohort, as the recipe stands, alone."""
    more = argparse.Namespace(**{**vars(options), "test_people": TEST, "train_people": TRAIN})
    whole = not command(more, usual) and options.test_people >= TEST and options.train_people >= TRAIN
    reduced = options.records / f"{STUDY}.{options.test_people}.{options.train_people}.json"
    out = options.out or (OUT if whole else reduced)
    if not whole and out.resolve() == OUT.resolve():
        raise SystemExit(f"{OUT} is for the study at its full size. Name another --out.")
    return out


def main() -> None:
    options, usual = parser().parse_args(), parser().parse_args([])
    start, out = time.process_time(), place(options, usual)
    print("the cohort, and what the light models say", flush=True)
    sizes = Sizes(**{name: getattr(options, name) for name in asdict(Sizes())})
    kept = options.haplotypes or options.records / STUDY / "haplotypes.npz"
    try:
        made = bench(sizes, kept, options.train_people, options.test_people)
    except ModuleNotFoundError as error:
        raise SystemExit(f"{error}: pip install -e '.[study]', or name kept haplotypes with --haplotypes.") from error
    folder = options.folder or weights.folder(native.WEIGHTS)
    said = {SHIPPED: heard(SHIPPED, folder, made, options)}
    facts: dict[str, Any] = {}
    if options.train_people:
        learnt, facts = tuned(made, options)
        said[TUNED] = heard(TUNED, learnt, made, options)
        said[SWAPPED] = heard(SWAPPED, learnt, made, options, made.known)
    report = {
        "command": " ".join([f"python benchmarks/{STUDY}.py", *command(options, usual)]),
        "people": {"learnt from": len(made.learnt), "tested": len(made.test)},
        "regime": REGIME,
        "shipped": common.fingerprint(folder),
        "learning": facts,
        "relatives of the diseases without labels": [made.questions[k] for k in made.nearest],
        "caveats": CAVEATS,
        **figures(made, said),
        "cpu_s": round(time.process_time() - start, 1),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for part in ("with labels", "without labels"):
        for name, found in {**report[part]["models"], **report[part]["compared"]}.items():
            print(f"{part}: {name}: {found['mean AUC']}")
    print(f"written to {out}")


if __name__ == "__main__":
    main()
