"""Runs the stages of a recipe: each starts from the result of the one before, and leaves its own as tensors and an adapter."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from consilium import registry, weights
from consilium.errors import DataError, UsageError, WeightsMissingError
from consilium.nn import llava
from consilium.nn.denormals import flushed_denormals
from consilium.nn.pretrained import pick_device
from consilium.nn.student import Student, shown_features
from consilium.nn.tree import lay_out
from consilium.train import curves, loop, mix
from consilium.train.examples import Example, Writer, tree
from consilium.train.pictures import Pictures
from consilium.train.plan import SHIPPED, WARM, Recipe, Stage
from consilium.train.result import LEARNT, facts_of, take, take_shipped, write_result
from consilium.train.warmstart import WarmPlan, choices, warm_start

_VAL_EXAMPLES = 160
_SAMPLES = 24
_LONGEST_REPLY = 40


@dataclass(frozen=True)
class Places:
    """shards  folder that `consilium train data` wrote; data: folder that its pictures' paths are relative to;
    out: where each stage gets a folder of its own."""

    shards: Path
    data: Path
    out: Path


@dataclass(frozen=True)
class Told:
    """What a stage tells while it runs: of the warm start (epoch, loss, right), of the others each `loop.Step`."""

    step: Callable[[loop.Step], None] = lambda step: None
    epoch: Callable[[int, float, float], None] = lambda epoch, loss, right: None


_Run: TypeAlias = tuple[Pictures, Path, Told, dict[str, Any]]


def run_stage(
    recipe: Recipe, stage: Stage, places: Places, told: Told | None = None, how: tuple[str, str] = ("auto", "")
) -> dict[str, Any]:
    """Runs one stage, or goes on with it; returns what `<out>/<stage>/facts.json` then says.

    how  (device, tracker): "cpu", "cuda" or "auto"; "trackio", "mlflow" or "" for none.
    Raises UsageError where the stage before it has not been run, DataError on shards or pictures that do not read.
    """
    told = told or Told()
    folder = places.out / stage.name
    student, processor = make_student(recipe)
    if stage.after == SHIPPED:
        take_shipped(student, recipe)
    elif stage.after:
        take(student, places.out / stage.after / LEARNT)
    pictures = Pictures(open_encoder(recipe), places.data, student)
    groups = list(mix.groups(stage, places.shards))
    run = (pictures, folder, told, _made_of(recipe))
    if stage.name == WARM:
        student.to(pick_device(how[0]))
        facts = _warm(student, processor.tokenizer, groups, stage, run)
    else:
        if isinstance(stage.plan, loop.Plan):
            stage = replace(stage, plan=replace(stage.plan, device=pick_device(how[0]), track=how[1]))
        facts = _train(student, processor.tokenizer, groups, stage, run)
    facts |= {
        "stage": stage.name,
        "after": stage.after,
        "recipe": recipe.name,
        "rank": recipe.rank,
        "layer": recipe.layer,
    }
    with loop.first_alone(how[0]) as first:
        if first:
            write_result(student, recipe, folder, facts)
        if isinstance(stage.plan, loop.Plan) and (
            first or stage.plan.fsdp
        ):  # spread weights answer together or not at all
            shown = list(_samples(student, processor.tokenizer, groups, (pictures, stage.blind)))
            if first:
                curves.draw(folder / "run", folder / "curves.png")
                curves.write_samples(shown, facts, folder / "curves.png", folder / "samples.html")
    return facts


@torch.no_grad()
def _samples(
    student: Student, tokenizer: Any, groups: Sequence[Any], with_: tuple[Pictures, bool]
) -> Iterator[curves.Sample]:
    """What the student answers to the first question of some val groups, spread over them, every visual token shown."""
    pictures, blind = with_
    val = [group for group in groups if group["split"] == "val"]
    per_image, writer = llava.tokens_per_image(student.config.vision_config), Writer(tokenizer)
    for group in val[:: max(1, len(val) // _SAMPLES)][:_SAMPLES]:
        branch = group["branches"][0]["messages"]
        example = writer.question(group, blind)
        laid = tree(example, per_image, per_image, torch.Generator())
        shown = shown_features(pictures(example), laid.kept).to(student.device)
        ids = student.reply(lay_out([laid]).to(student.device), shown, _LONGEST_REPLY, writer.end)
        thumbnail = curves.thumbnail(pictures.folder / example.paths[0]) if example.paths else b""
        yield curves.Sample(thumbnail, branch[0][1], branch[1][1], tokenizer.decode(ids))


def open_encoder(recipe: Recipe) -> Any:
    """The encoder whose tokens the student is shown: the council's, or the same over the tower in the recipe's folder."""
    own = {"folder": recipe.vision} if Path(recipe.vision).is_dir() else {}
    return registry.get("encoders", recipe.encoder).load(layer=recipe.layer - recipe.blocks, **own)


def make_student(recipe: Recipe) -> tuple[Student, Any]:
    """(student, processor) of a recipe, new from the base weights; the same seed gives the same student."""
    torch.manual_seed(recipe.seed)
    model, processor = _base(recipe)
    frozen = torch.bfloat16 if recipe.precision == "bfloat16" else torch.float32
    return Student(model, recipe.rank, frozen, recipe.blocks), processor


def write_checkpoint(recipe: Recipe, stage: Stage, places: Places) -> Path:
    """Merges what `stage` learnt into the base weights: an ordinary Hugging Face folder `<out>/<stage>/checkpoint`, byte for
    byte what `consilium export --adapter` writes. UsageError where the stage has not been run to its end."""
    from consilium.weights.convert_native import convert

    out = places.out / stage.name / "checkpoint"
    learnt = places.out / stage.name / "adapter.safetensors"
    if not learnt.is_file():
        raise UsageError(f"there is no {learnt}: run stage {stage.name} first, to its end.")
    convert((_folder(recipe.vision), _folder(recipe.language)), learnt, out)
    return out


def _made_of(recipe: Recipe) -> dict[str, Any]:
    """What the student of a recipe hangs on beside its weights; of folders their names, since they may be moved."""
    names = {key: Path(getattr(recipe, key)).name for key in ("vision", "language")}
    return names | {key: getattr(recipe, key) for key in ("encoder", "layer", "rank", "blocks", "activation")}


def _warm(student: Student, tokenizer: Any, groups: Sequence[Any], stage: Stage, with_: _Run) -> dict[str, Any]:
    """Begins anew where it was cut, and takes up what is there where it was finished with the same settings."""
    pictures, folder, told, made_of = with_
    paths = {p["digest"]: p["path"] for g in groups for p in g["images"]}
    sets = tuple(choices([g for g in groups if g["split"] == split]) for split in ("train", "val"))
    assert isinstance(stage.plan, WarmPlan)
    begun = {**asdict(stage.plan), **made_of, "examples": loop.digest(sets)}
    begun |= {"weights": loop.digest_tensors(student.learnt())}
    known = facts_of(folder)
    if known.get("begun") == begun and (folder / LEARNT).is_file():
        take(student, folder / LEARNT)
        return {key: known[key] for key in ("choices", "val_right", "begun")}
    with flushed_denormals():
        right = warm_start(
            student, tokenizer, (sets[0], sets[1]), lambda d: pictures.tokens(d, paths[d]), stage.plan, told.epoch
        )
    return {"choices": {"train": len(sets[0]), "val": len(sets[1])}, "val_right": right, "begun": begun}


def _train(student: Student, tokenizer: Any, groups: Sequence[Any], stage: Stage, with_: _Run) -> dict[str, Any]:
    pictures, folder, told, made_of = with_
    writer = Writer(tokenizer)
    examples = {
        split: [writer.example(group, stage.blind) for group in groups if group["split"] == split]
        for split in ("train", "val")
    }
    if not examples["train"]:
        raise DataError(f"stage {stage.name} has nothing to learn from: {', '.join(stage.mix)} hold no train group.")
    assert isinstance(stage.plan, loop.Plan)
    trained = student.learns("projector" in stage.learns, "lora" in stage.learns)
    per_image = llava.tokens_per_image(student.config.vision_config)
    run = loop.Run(student, trained, examples["train"], pictures, folder / "run", per_image, made_of)
    before = {name: tensor.clone() for name, tensor in student.learnt().items()}
    loop.train(run, stage.plan, told.step)
    if stage.keep < 1:
        student.take(_part_of_the_way(before, student.learnt(), stage.keep))
    history = loop.read_history(folder / "run")
    loss = val_loss(student, examples["val"], pictures, stage.plan.precision)
    if loss is not None and not math.isfinite(loss):
        raise DataError(
            f"stage {stage.name} ran away: its loss on val is {loss}. Remove {folder / 'run'}, lower the rate (--set "
            f"stages.{stage.name}.rate=...) and run it again; nothing of it is kept."
        )
    return {
        "examples": {split: len(found) for split, found in examples.items()},
        "steps": len(history),
        "tokens": sum(step["tokens"] for step in history),
        "seconds": sum(step["seconds"] for step in history),
        "val_loss": loss,
    }


def _part_of_the_way(before: Mapping[str, Tensor], after: Mapping[str, Tensor], keep: float) -> dict[str, Tensor]:
    """Weights `keep` of the way from before to after; LoRA that added nothing before comes from zero."""
    start = {n: before.get(n, torch.zeros_like(t) if "lora_B" in n else t) for n, t in after.items()}
    return {n: torch.lerp(start[n], t, keep) for n, t in after.items()}


@torch.no_grad()
def val_loss(student: Student, examples: Sequence[Example], features: loop.Features, precision: str) -> float | None:
    """The mean loss in nats over at most _VAL_EXAMPLES val examples with every visual token shown; None without any."""
    per_image = llava.tokens_per_image(student.config.vision_config)
    step = max(1, len(examples) // _VAL_EXAMPLES)
    draw = torch.Generator()
    losses = []
    student.eval()
    with flushed_denormals(), torch.autocast(student.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        for example in examples[::step]:
            laid = tree(example, per_image, per_image, draw)
            shown = shown_features(features(example), laid.kept)
            losses.append(float(student(lay_out([laid]).to(student.device), shown.to(student.device))))
    return sum(losses) / len(losses) if losses else None


def _base(recipe: Recipe) -> tuple[Any, Any]:
    return llava.build(_folder(recipe.vision), _folder(recipe.language), recipe.layer, recipe.activation)


def _folder(name: str) -> Path:
    """A folder as it is, or the folder of named weights."""
    if Path(name).is_dir():
        return Path(name)
    if name in weights.names():
        return weights.folder(name)
    raise WeightsMissingError(
        f"{name!r} is neither a folder nor a named weight; there are: {', '.join(weights.names())}."
    )
