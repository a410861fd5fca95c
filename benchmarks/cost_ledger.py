"""What a suite of specialists costs to train against one stage of the generalist: operations and seconds, both in this run.

python benchmarks/cost_ledger.py [--set breast_ultrasound_busi] [--shards FOLDER] [--steps 8] [--counted 3]

The suite: one seed, trained anew from kept features, timed as it is served (`train.suite.train_suite`). Operations (a
multiply-add is two) are those of matrix products and convolutions: of heads and of the network as torch counts them while they
are fitted, of neighbours and boosted trees and of what numpy decomposes by a closed form, which is stated. The generalist: the
first steps of the stage as `train.loop` takes them, on the real student with the shipped adapter, some timed, some counted; the
stage is that times its number of steps, which follows from its shards. Passes of encoders are told apart on both sides: a
picture passes once, and what it leaves serves specialists, retriever and generalist. Writes results/cost_ledger.json.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import gsco_places
from consilium import registry
from consilium.imaging import texture
from consilium.nn import convnet, llava
from consilium.protocols import Card, Encoder
from consilium.settings import settings
from consilium.train import background, loop, mix, shards, specialist, stages
from consilium.train.examples import Example, Order, Writer
from consilium.train.features import encode
from consilium.train.plan import Recipe, Stage, read_recipe
from consilium.train.suite import Options, train_suite
from consilium.train.suite_ground import Ground, TextureEncoder
from consilium.train.suite_members import MEMBERS, METHODS, run
from consilium.types import Image

ROOT = Path(__file__).parents[1]
STAGE, SECOND, BAR, NOISE = "instruction", "dinov2_small", 100.0, 32
HEADS = ("linear", "mlp", "dino")
FORMS = {
    **dict.fromkeys(HEADS, "matrix products of the fits as torch counts them; judging: 2 x rows x weights"),
    "convnet": "a step as torch counts it, times the pictures of all passes; a forward pass likewise, times those it judges",
    "neighbours": "2 x known x asked x features, each fold",
    "texture": "scikit-learn's boosting: trees x classes x depth x sqrt(features) x rows x log2(rows), each fold",
}
LIMITS = (
    "what all members share, to know foreign pictures and folds apart: singular values 6 m n^2 + 20 n^3 (m >= n; Golub and Van "
    "Loan, R-SVD), equations 2/3 n^3 + 2 n^2 k, their Gram matrix 2 m n^2; k-means and intervals are not counted, but timed"
)
WORDS = {
    "measured": "seconds of the suite, whole: pictures read, fits, limits, intervals, cards, index; features were kept before",
    "extrapolated": "operations and seconds of the stage: the mean of its first steps times its number of steps (by_tokens: "
    "times its tokens instead, padding included); seconds of passes: those of a few pictures times all",
    "not counted": "element-wise work, sorting and optimisers, on both sides",
    "the paper": "GSCo: all specialists about two orders of magnitude less compute than adapting its generalist, of 40 B "
    "parameters. Ours has a 300th of that, so this is the ratio of this council, not of theirs",
    "interval": "of the bars: were every step as cheap, or as dear, as the cheapest and the dearest of those taken",
}


def suite(told: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Trains the suite, timed; then counts its operations on the same pictures."""
    data = gsco_places.read({**told, "thin": options.thin}, options.data)
    groups = {name: tuple(members) for name, members in told.get("groups", {}).items()}
    recipe = specialist.Recipe(
        "ledger", (told["modality"],), tuple(filter(None, [told.get("body_part")])), groups=groups
    )
    eyes: dict[str, Any] = {"shared": gsco_places.encoder()}
    eyes |= {"dino": registry.get("encoders", SECOND).load()} if "dino" in options.members else {}
    eyes |= {"texture": TextureEncoder()} if "texture" in options.members else {}
    for eye in eyes.values():
        encode(data.records, eye)
    print(f"suite of {told['name']}: {len(data.records)} pictures", flush=True)
    with tempfile.TemporaryDirectory() as home:
        start, cpu = time.perf_counter(), time.process_time()
        made = train_suite(data, recipe, eyes["shared"], Path(home), Options(tuple(options.members), 1, SECOND))
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    ground = Ground(specialist.prepare(data, recipe, eyes["shared"]), eyes["shared"], eyes.get("dino"), lambda *_: None)
    limits = limits_operations(ground)
    members: dict[str, dict[str, Any]] = {}
    for of in made.members:
        name, one = of.name.removeprefix("ledger_"), of.runs[0]
        members[name] = {**one["cost"], "flops": operations(name, ground, one), "form": FORMS[name], "shipped": of.kept}
    flops = limits + sum(of["flops"] for of in members.values())
    for entry in members.values():
        entry["share_of_flops"], entry["share_of_seconds"] = entry["flops"] / flops, entry["seconds"] / seconds
    return {
        "set": told["folder"],
        "pictures": len(data.records),
        "members": members,
        "limits": {"flops": limits, "form": LIMITS, "share_of_flops": limits / flops},
        "flops": flops,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "seconds_of_fits": sum(entry["seconds"] for entry in members.values()),
        "passes": {name: {"pictures": len(data.records), **glance(name, eye)} for name, eye in eyes.items()},
    }


def operations(name: str, ground: Ground, measured: Mapping[str, Any]) -> float:
    """Of the fits of the member's first seed, folds, ladder and all, and of what it judges."""
    rows, concepts, kept = len(ground.targets), ground.targets.shape[1], float(measured["cost"]["flops"])
    if name == "texture":  # what is kept holds its passes too
        return kept - texture.OPERATIONS * float(rows + len(ground.ready.test.targets))
    if name == "convnet":
        squares, owner = ground.pictures
        in_val = np.isin(owner, np.flatnonzero(ground.in_val))
        judged = in_val.sum() * measured["setting"]["epochs"] + (in_val | (owner >= rows)).sum()
        few, net = squares[: convnet.BATCH], convnet.network(concepts)
        return kept + counted(lambda: convnet.raw_logits(net, few)) / len(few) * float(judged)
    if name not in HEADS:
        return kept
    table, ladder = getattr(ground, f"{METHODS[name].source}_table"), METHODS[name].ladder
    width = table.both.shape[1]
    weights = [s.hidden * (width + concepts) if s.hidden else width * concepts for s in ladder]
    judging = 2.0 * rows * sum(weights) + 2.0 * (rows + len(table.test)) * max(weights)
    return counted(lambda: run(name, ground, 0)) + judging


def limits_operations(ground: Ground) -> float:
    """Of the decompositions behind the limits for foreign pictures and the clusters, by closed forms of the sizes they have."""
    spent: list[float] = []

    def svd(x: Any, **how: Any) -> Any:
        n, m = sorted(x.shape)
        spent.append(6.0 * m * n**2 + 20.0 * n**3)
        return plain_svd(x, **how)

    def solve(a: Any, b: Any) -> Any:
        spent.append(2 / 3 * len(a) ** 3 + 2.0 * len(a) ** 2 * b.shape[1])
        return plain_solve(a, b)

    plain_svd, plain_solve = np.linalg.svd, np.linalg.solve
    with patch.object(np.linalg, "svd", svd), patch.object(np.linalg, "solve", solve):
        _ = ground.gate, ground.shifted, ground.shifted_distances
    ready = ground.ready
    card = Card("specialist", "", "", "", ready.recipe.modalities, ready.recipe.body_parts)
    others = len(background.foreign_to(card, ground.encoder.card.version)[0])
    rows, width = ready.both.features.shape
    return sum(spent) + (2.0 * (rows + others) * width**2 if others else 0.0)


def counted(work: Callable[[], Any]) -> float:
    """Operations as torch counts them; attention as plain products, for the fused kernel of a CPU is not counted."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        work()
    return float(counter.get_total_flops())


def glance(name: str, eye: Encoder) -> dict[str, float]:
    """Operations and seconds of one picture's pass, of pictures of noise that nobody has seen."""
    draw = np.random.default_rng()
    noise = [Image(draw.integers(0, 256, (224, 224), np.uint8), str(i)) for i in range(NOISE)]
    with patch.dict(os.environ, {"CONSILIUM_FEATURES": "0"}):  # nothing of it is kept
        fresh = TextureEncoder() if name == "texture" else registry.get("encoders", eye.card.name).load()
    flops = float(texture.OPERATIONS) if name == "texture" else counted(lambda: fresh.embed(noise[:1]))
    fresh.embed(noise[1:16])
    start = time.perf_counter()
    fresh.embed(noise[16:])
    return {"flops_a_picture": flops, "seconds_a_picture": (time.perf_counter() - start) / (NOISE - 16)}


def take(run_of: loop.Run, plan: loop.Plan, steps: int, per_epoch: int, counter: Any = None) -> dict[str, list[float]]:
    """Seconds of each of the first `steps` steps of the stage; with a counter, which slows them, also their operations."""
    told = [(0.0, time.process_time(), 0.0)]

    def report(step: loop.Step) -> None:
        told.append((step.seconds, time.process_time(), float(counter.get_total_flops()) if counter else 0.0))

    how = replace(plan, epochs=steps / per_epoch, device="cpu", save_every=10**9, track="")
    with tempfile.TemporaryDirectory() as folder, counter or nullcontext():
        loop.train(replace(run_of, folder=Path(folder)), how, report)
    seconds, cpu, flops = map(list, zip(*told, strict=True))
    return {"seconds": seconds[1:], "cpu_seconds": list(np.diff(cpu)), "flops": list(np.diff(flops))}


def generalist(recipe: Recipe, stage: Stage, options: argparse.Namespace) -> dict[str, Any]:
    """Times and counts the first steps of the stage; the stage is that times its number of steps."""
    student, processor = stages.make_student(recipe)
    stages.take_shipped(student, recipe)
    trained = student.learns("projector" in stage.learns, "lora" in stage.learns)
    pictures = stages.Pictures(stages.open_encoder(recipe), options.data, student)
    writer, per_image = Writer(processor.tokenizer), llava.tokens_per_image(student.config.vision_config)
    examples = [writer.example(g, stage.blind) for g in mix.groups(stage, options.shards) if g["split"] == "train"]
    assert isinstance(stage.plan, loop.Plan)
    plan, per_epoch, batches = stage.plan, *schedule(stage.plan, examples, per_image)
    if (most := max(options.steps + 1, options.counted)) > len(batches):
        raise SystemExit(f"stage {stage.name} has {len(batches)} steps; take fewer than {most}.")
    for index in {i for batch in batches[:most] for i in batch}:
        pictures(examples[index])  # its features lie in the cache from now on
    run_of = loop.Run(student, trained, examples, pictures, Path(), per_image)
    print(f"stage {stage.name}: {options.steps} steps of {len(batches)} timed, {options.counted} counted", flush=True)
    timed = take(run_of, plan, options.steps + 1, per_epoch)
    by_count = take(run_of, plan, options.counted, per_epoch, FlopCounterMode(display=False))
    long = [e.text_tokens + min(plan.shown, per_image) * len(e.digests) for e in examples]
    padded = [len(batch) * max(long[i] for i in batch) for batch in batches]
    steps = {  # the first step pays for what every process pays once
        "flops": (by_count["flops"], padded[: options.counted]),
        "seconds": (timed["seconds"][1:], padded[1 : options.steps + 1]),
        "cpu_seconds": (timed["cpu_seconds"][1:], padded[1 : options.steps + 1]),
    }
    seen = {digest for batch in batches for i in batch for digest in examples[i].digests}
    return {
        "stage": stage.name,
        "parameters": sum(p.numel() for p in student.parameters()),
        "trained_parameters": sum(p.numel() for p in trained),
        "steps": len(batches),
        "tokens": sum(long[i] for batch in batches for i in batch),
        "tokens_with_padding": sum(padded),
        "pictures": len(seen),
        "a_step": {what: spread(values) for what, (values, _) in steps.items()},
        **{what: float(np.mean(values)) * len(batches) for what, (values, _) in steps.items()},
        "by_tokens": {what: sum(values) / sum(of) * sum(padded) for what, (values, of) in steps.items()},
    }


def schedule(plan: loop.Plan, examples: Sequence[Example], per_image: int) -> tuple[int, list[list[int]]]:
    """(steps of an epoch, the batches of the stage in their order), as `train.loop` takes them."""
    order = Order(plan.tokens, min(plan.shown, per_image), plan.seed)
    batches = order.batches(examples, 0)
    per_epoch, total = len(batches), max(1, round(len(batches) * plan.epochs))
    while len(batches) < total:
        batches += order.batches(examples, len(batches) // per_epoch)
    return per_epoch, batches[:total]


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"value": float(np.mean(values)), "low": min(values), "high": max(values), "n": len(values)}


def ratios(ours: Mapping[str, Any], stage: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """How many times the suite the stage costs: without passes, with those that the suite alone needs, with all."""
    each, found = ours["passes"], {}
    for what in ("flops", "seconds"):
        shared = each["shared"][f"{what}_a_picture"]
        own = sum(of[f"{what}_a_picture"] * of["pictures"] for name, of in each.items() if name != "shared")
        every = own + shared * ours["pictures"]
        found[what] = {
            "without encoders' passes": stage[what] / ours[what],
            "with the passes of the second encoder and of texture": stage[what] / (ours[what] + own),
            "with all passes on both sides": (stage[what] + shared * stage["pictures"]) / (ours[what] + every),
        }
    found["cpu_seconds"] = {"without encoders' passes": stage["cpu_seconds"] / ours["cpu_seconds"]}
    return found


def bar(what: str, ours: Mapping[str, Any], stage: Mapping[str, Any]) -> dict[str, Any]:
    """How many times the suite the stage costs, encoders' passes apart; low and high by the cheapest and dearest step."""
    times = {key: value * stage["steps"] / ours[what] for key, value in stage["a_step"][what].items() if key != "n"}
    return {**times, "n": stage["a_step"][what]["n"], "bar": BAR, "met": times["value"] >= BAR}


def main() -> None:
    sets = {s["folder"]: s for s in tomllib.loads((ROOT / "configs/gsco.toml").read_text(encoding="utf-8"))["sets"]}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", default="breast_ultrasound_busi", choices=list(sets))
    parser.add_argument("--members", nargs="*", default=list(MEMBERS))
    parser.add_argument("--thin", type=int, default=1, help="every so-manieth picture of the set, for a quick run")
    parser.add_argument("--config", type=Path, default=ROOT / "configs/train/native.toml")
    parser.add_argument("--shards", type=Path, help="by default those under CONSILIUM_HOME, made if need be")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--steps", type=int, default=8, help="of the stage that are timed")
    parser.add_argument("--counted", type=int, default=3, help="of the stage whose operations are counted")
    parser.add_argument("--out", type=Path, default=ROOT / "results/cost_ledger.json")
    options = parser.parse_args()
    recipe = read_recipe(options.config)
    stage = recipe.stage(STAGE)
    if options.shards is None:
        options.shards = settings().home / "train" / recipe.name / "shards"
        for name in stage.mix:
            shards.build_stage(name, options.config.parent / recipe.mixture, options.data, options.shards / name)
    ours = suite(sets[options.set], options)
    theirs = generalist(recipe, stage, options)
    report = {
        "command": f"python benchmarks/cost_ledger.py --set {options.set} --steps {options.steps} --counted {options.counted}",
        "cores": os.cpu_count(),
        "members_left_out": sorted(set(MEMBERS) - set(options.members)),
        "thin": options.thin,
        "suite": ours,
        "stage": theirs,
        "stage_costs_times_the_suite": ratios(ours, theirs),
        "bar": {what: bar(what, ours, theirs) for what in ("flops", "seconds")},
        "words": WORDS,
    }
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
