"""Trains a suite: several cheap and different specialists on one folder, each measured over seeds, with their held-out
judgements kept. This is the ladder of specialists that a generalist arbitrates between.

The first seed is what ships; the others fit again with other folds, starts and augmentation, and are measured only. A
member that adds nothing at twice the cost is reported but not installed.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from consilium import registry
from consilium.datasets.folder import FolderDataset
from consilium.errors import UsageError
from consilium.metrics import classification as metric
from consilium.nn import judging, light_head, region
from consilium.protocols import Encoder
from consilium.train import suite_pool, suite_report, suite_store, trained_folder
from consilium.train.precedents import entries, named
from consilium.train.specialist import Ready, Recipe, card_of, evaluate, prepare
from consilium.train.suite_ground import Ground, Tell
from consilium.train.suite_members import LOADERS, MEMBERS, Run, run
from consilium.train.suite_report import Measured, Suite
from consilium.train.suite_vote import diversity, left_out, log_loss, vote
from consilium.types import Array

CHUNK = 32


@dataclass(frozen=True)
class Options:
    """How to train. `members`: which of the ladder; `seeds`: how many from `first_seed` on, the first of which ships;
    `second_encoder`: what the member `dino` looks through; `index`: write the precedents of the train part."""

    members: tuple[str, ...] = MEMBERS
    seeds: int = 3
    second_encoder: str = "dinov2_small"
    index: bool = True
    tell: Tell = field(default=lambda stage, part: None)
    first_seed: int = 0


def train_suite(
    data: FolderDataset, recipe: Recipe, encoder: Encoder, home: Path, options: Options | None = None
) -> Suite:
    """Trains what is not yet trained, installs who is kept under `home`/specialists/, and writes the report, under
    `home`/suites/<recipe.name>/, and the index, under `home`/indices/<recipe.name>.

    Raises what `train.specialist.train` raises; UsageError on an unknown member, on no seed, or where another training of this
    suite runs; WeightsError where the second encoder's weights cannot be had.
    """
    from filelock import FileLock, Timeout

    options = options or Options()
    _check(options)
    room = home / "suites" / recipe.name
    room.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(room / ".lock", timeout=0):
            return _train(data, recipe, encoder, home, options)
    except Timeout as error:
        raise UsageError(
            f"another training of suite {recipe.name} is at work in {room}. Wait for it, or stop it."
        ) from error


def _check(options: Options) -> None:
    unknown = [name for name in options.members if name not in MEMBERS]
    if unknown or not options.members:
        raise UsageError(f"no member is called {', '.join(unknown) or 'so'}; there are: {', '.join(MEMBERS)}.")
    if options.seeds < 1:
        raise UsageError(f"--seeds is {options.seeds}; at least one is needed, the one that ships.")


def _train(data: FolderDataset, recipe: Recipe, encoder: Encoder, home: Path, options: Options) -> Suite:
    begun = time.perf_counter()
    second = registry.get("encoders", options.second_encoder).load() if "dino" in options.members else None
    ready = prepare(data, recipe, encoder, lambda done, n: options.tell(f"encoding {data.name}", done / n))
    ground, room = Ground(ready, encoder, second, options.tell), home / "suites" / recipe.name
    measured = {name: _member(name, ground, room, options) for name in dict.fromkeys(options.members)}
    held = {name: suite_store.read_held_out(room / "members" / f"{recipe.name}_{name}") for name in measured}
    said = {name: of.probabilities for name, of in held.items()}
    costs = {name: found[0]["cost"]["flops"] for name, found in measured.items()}
    gone = left_out(said, ground.targets, ground.exclusive, costs)
    seated = {name: of for name, of in held.items() if name not in gone} | _seated(home, ground, measured)
    pool = _pool(seated, ground)
    for name in dict.fromkeys((*measured, *seated)):
        _install(room / "members", home / "specialists", f"{recipe.name}_{name}", recipe.name, pool.get(name))
    index = _precedents(ground, home / "indices" / recipe.name) if options.index else {}
    members = tuple(
        Measured(
            f"{recipe.name}_{name}",
            LOADERS[name],
            name not in gone,
            gone.get(name, ""),
            registry.read_card(room / "members" / f"{recipe.name}_{name}" / "card.json").scores,
            tuple(found),
        )
        for name, found in measured.items()
    )
    voters = {name: p for name, p in said.items() if name not in gone}
    suite = Suite(
        name=recipe.name,
        data=data.name,
        encoders=tuple(f"{e.card.name} {e.card.version}" for e in (encoder, second) if e is not None),
        counts=ready.counts,
        members=members,
        diversity=diversity(said, ground.targets, ground.exclusive),
        pool={f"{recipe.name}_{name}": weight for name, weight in pool.items()},
        vote={
            who: _figures(vote(of), ground.targets, ground.exclusive) for who, of in (("all", said), ("kept", voters))
        },
        index=index,
        seconds=round(time.perf_counter() - begun, 1),
    )
    suite_report.write(suite, room)
    return suite


def _member(name: str, ground: Ground, room: Path, options: Options) -> list[dict[str, Any]]:
    """What was measured of the member, a seed each; trained where it was not before."""
    member, found = f"{ground.ready.recipe.name}_{name}", []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        first = seed == options.first_seed
        wanted = suite_store.fingerprint(ground, name, seed, options.first_seed)
        path, folder = room / "seeds" / f"{member}-{seed}.json", room / "members" / member
        also = [folder / file for file in ("card.json", "model.safetensors", suite_store.FILE)] if first else []
        before = suite_store.finished(path, wanted, also)
        if before is not None:
            found.append(before | {"trained_before": True})
            continue
        options.tell(f"{name}, seed {seed}", 0.0)
        setting = None if first else found[0]["setting"]
        made = run(name, ground, seed, setting, shifted=first)
        measured = _measured(made, ground) | {"seed": seed, "fingerprint": wanted, "trained_before": False}
        path.parent.mkdir(parents=True, exist_ok=True)
        if first:
            path.unlink(missing_ok=True)  # the folder and what was measured of it change together
            _write(name, made, measured, ground, folder)
        _write_json(measured, path)
        found.append(measured)
    return found


def _measured(made: Run, ground: Ground) -> dict[str, Any]:
    test = ground.ready.test.targets
    found: dict[str, Any] = {
        "setting": made.setting,
        "held_out": _figures(made.held_out, ground.targets, ground.exclusive),
        "test": _figures(made.test, test, ground.exclusive),
        "cost": asdict(made.cost),
    }
    if not np.isnan(made.shifted).all():
        found["shifted"] = _figures(made.shifted, ground.targets, ground.exclusive)
    return found


def _figures(p: Array, targets: Array, exclusive: bool) -> dict[str, float]:
    rows = ~np.isnan(p).any(axis=1)
    p, y = p[rows], targets[rows]
    found = {"AUROC": metric.mean_auroc(y, p), "macro-F1": metric.macro_f1(y, p, exclusive)}
    return found | {"log-loss": log_loss(p, y, exclusive), "n": int(rows.sum())}


def _write(name: str, made: Run, measured: dict[str, Any], ground: Ground, folder: Path) -> None:
    ready, gate = ground.ready, ground.gate
    right = region.correct(made.held_out, ground.targets, ground.exclusive)
    tensors = {**made.tensors, **gate, **region.tensors(gate, ready.both.features, right)}
    if LOADERS[name] == "light":  # its own standardisation is that of the foreign tensors
        tensors = {key: value for key, value in tensors.items() if key not in ("foreign.centre", "foreign.scale")}
    foreign = light_head.foreignness(gate, ready.test.features) > light_head.limit(gate)
    own = replace(
        ready.recipe,
        name=folder.name,
        summary=ready.recipe.summary or f"Tells apart {', '.join(ready.data.classes)} ({name}).",
        command=ready.recipe.command or f"consilium specialist suite {ready.data.name} --name {ready.recipe.name}",
    )
    card = card_of(replace(ready, recipe=own), ground.encoder, evaluate(made.test, foreign, ready))
    more: dict[str, object] = {"loader": LOADERS[name], "suite": ready.recipe.name}
    if name == "dino" and ground.second is not None:
        more["second_encoder"] = {"name": ground.second.card.name, "version": ground.second.card.version}
    if name == "texture":
        from consilium.imaging import texture

        more["texture"] = texture.VERSION
    fit = {**made.setting, "cost": measured["cost"], "cost_is": COST, **ready.counts}
    if name == "convnet":
        fit["held_out"] = (
            "val, by a network trained on train; that val also stopped it and calibrates it flatters it a little"
        )
    trained_folder.write(
        card | more | {"fit": fit},
        tensors,
        folder,
        lambda fresh: suite_store.write_held_out(made, ground, right, fresh / suite_store.FILE, measured["seed"]),
    )


COST = (
    "seconds and processor seconds of all fits of this seed, encoders' passes apart; flops by the formulas of "
    "train/suite_members.py, those of the network as torch counts them, with the passes of a second encoder or of texture"
)


def _pool(held: Mapping[str, suite_store.HeldOutFile], ground: Ground) -> dict[str, dict[str, float]]:
    """Member -> how much it counts among these, near and afar."""
    near = suite_pool.weights({n: of.probabilities for n, of in held.items()}, ground.targets, ground.exclusive)
    afar = suite_pool.weights(
        {n: of.shifted["probabilities"] for n, of in held.items()}, ground.targets, ground.exclusive
    )
    return {name: {judging.NEAR: near[name], judging.AFAR: afar[name]} for name in held}


def _seated(home: Path, ground: Ground, measured: Collection[str]) -> dict[str, suite_store.HeldOutFile]:
    """Members of this suite that an earlier run installed and this one was not asked for: they are weighed anew with the others,
    if they judged the same pictures."""
    name, found = ground.ready.recipe.name, {}
    for other in (member for member in MEMBERS if member not in measured):
        folder = home / "suites" / name / "members" / f"{name}_{other}"
        if (home / "specialists" / folder.name / "card.json").is_file() and (folder / suite_store.FILE).is_file():
            held = suite_store.read_held_out(folder)
            if held.digests == ground.digests and held.classes == tuple(ground.ready.data.classes):
                found[other] = held
    return found


def _install(work: Path, room: Path, member: str, suite: str, weight: Mapping[str, float] | None) -> None:
    """Puts a member that is kept, with its weights in the pool, into the specialists' room; without any, one of this suite that
    was there is taken out."""
    target = room / member
    card = target / "card.json"
    if weight is None:
        if card.is_file() and json.loads(card.read_text(encoding="utf-8")).get("suite") == suite:
            shutil.rmtree(target)
        return
    made = json.loads((work / member / "card.json").read_text(encoding="utf-8"))
    tensors = light_head.read(work / member / "model.safetensors", ())
    tensors |= {name: np.array([value], np.float32) for name, value in weight.items()}

    def also(fresh: Path) -> None:
        shutil.copy(work / member / suite_store.FILE, fresh)

    trained_folder.write(made, tensors, target, also)


def _precedents(ground: Ground, folder: Path) -> dict[str, Any]:
    """Adds the train part to the index; a case already there is not added twice, one whose label or split was corrected since is
    taken out first. What others added stays."""
    ready: Ready = ground.ready
    retriever = registry.get("retrievers", "lance").load(
        folder=folder, encoder_key=ground.encoder.card.version, create=True
    )
    records = named(ready.data, [record for record in ground.records if record.split == "train"])
    learnt = {d for d, record in zip(ground.digests, ground.records, strict=True) if record.split == "train"}
    retriever.correct(dict.fromkeys(set(ready.encoded.digests) - learnt))
    recipe, added = ready.recipe, 0
    seen = (recipe.modalities[0] if recipe.modalities else None, (recipe.body_parts or ("",))[0])
    for start in range(0, len(records), CHUNK):
        part: Sequence[Any] = records[start : start + CHUNK]
        made = entries(ready.data, part, ground.encoder, seen, recipe.data_licence)
        corrected = retriever.correct({entry.digest: entry.precedent for entry in made})
        added += retriever.add(made) - corrected
        ground.tell("precedents", (start + len(part)) / len(records))
    return {"name": folder.name, "added": added, "size": len(retriever)}


def _write_json(value: dict[str, Any], path: Path) -> None:
    """Whole or not at all."""
    fresh = path.with_suffix(".part")
    fresh.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    fresh.replace(path)
