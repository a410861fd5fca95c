"""The GSCo study: do generalist, specialists and known cases do better together than each alone, at home and elsewhere?

python benchmarks/gsco.py [--only kermany brain] [--cases 120] [--dear 16] [--seeds 3]

For each set: a suite of specialists and an index of its train part; weights of `arbitrated` fitted on held-out val cases of all
sets; every policy on the test split. For each pair, the left set's council on the right set. `moed`, `rad` and `gsco`, whose
prompts differ from picture to picture and policy to policy, are asked about fewer cases. Further seeds train the specialists
anew and concern the policies that hang on them alone. Everything is kept under CONSILIUM_HOME and goes on after a kill.
"Best specialist" is the one that was best on the held-out judgements of val. Where several labels may hold, one question asks for
all of them, each is scored as yes or no, and `arbitrated` has weights of its own (benchmarks/gsco_cases.py). Writes
results/gsco.json; with --only beside the records.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from consilium.consult import arbiter
from consilium.consult.arbiter import Arbiter
from consilium.evaluate import plain
from consilium.evaluate import score as scoring
from consilium.evaluate.answers import Answers, System, systems
from consilium.evaluate.compare import compare_all
from consilium.evaluate.plan import Wishes, plan
from consilium.evaluate.records import Row, read_run
from consilium.evaluate.run import Evaluation, run
from consilium.metrics import classification
from consilium.metrics.paired import holm
from consilium.settings import settings
from consilium.train.arbiter import Weighed, fit
from consilium.train.suite_store import read_held_out
from gsco_cases import held_out, recalled
from gsco_places import Place, Studied, apart, away, home, room, with_cases

OURS, BEST, WITHOUT = "arbitrated", "best specialist", "arbitrated without the generalist"
DEAR = ("moed", "rad", "gsco")
SHOTS = (16, 64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("configs/gsco.toml"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", nargs="*", help="these sets and pairs alone")
    parser.add_argument("--cases", type=int, default=120, help="at most so many of each split, evenly thinned")
    parser.add_argument("--held-out", type=int, default=60, help="val cases a set on which `arbitrated` is fitted")
    parser.add_argument("--dear", type=int, default=16, help="at most so many under moed, rad and gsco")
    parser.add_argument("--seeds", type=int, default=3, help="of the suites")
    parser.add_argument("--jobs", type=int, default=1, help="processes that ask")
    parser.add_argument(
        "--fitted", action="store_true", help="weights as an earlier run left them, for parts run side by side"
    )
    parser.add_argument(
        "--parts", nargs="*", type=Path, help="put the reports of parts together (written with --only --out)"
    )
    parser.add_argument("--suites", action="store_true", help="train the suites and stop")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    apart()
    told = tomllib.loads(options.config.read_text(encoding="utf-8"))
    if options.parts:
        parts = [json.loads(part.read_text(encoding="utf-8")) for part in options.parts]
        _write(_together(parts, told), options)
        return
    chosen = [s for s in told["sets"] if not options.only or s["name"] in options.only]
    pairs = [p for p in told["pairs"] if p["left"] in {s["name"] for s in chosen}]
    begun = time.perf_counter()
    homes = [home(s, options) for s in chosen]
    if options.suites:
        return
    by_name = {place.name: place for place in homes}
    places = [*homes, *(away(p, by_name[p["left"]], options) for p in pairs)]
    one_label, several = [[p for p in homes if p.several is kind] for kind in (False, True)]
    fitted = [[_fit(of, seed, options) for seed in range(options.seeds)] if of else [] for of in (one_label, several)]
    found = {place.name: _measure(place, options) for place in places}
    _corrected(found)
    report = {
        "command": f"python benchmarks/gsco.py --held-out {options.held_out} --cases {options.cases} "
        f"--dear {options.dear} --seeds {options.seeds}{_only(options)}",
        "seconds of this run": round(time.perf_counter() - begun),
        "left_out_loss": [of.made["left_out_loss"] for of in fitted[0]],
        **({"left_out_loss, several labels": [of.made["left_out_loss"] for of in fitted[1]]} if several else {}),
        "places": found,
    }
    _write(report, options)


def _write(report: Mapping[str, Any], options: argparse.Namespace) -> None:
    out = options.out or (room() if options.only else Path("results")) / "gsco.json"
    out.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(f"written to {out}")


def _only(options: argparse.Namespace) -> str:
    return f" --only {shlex.join(options.only)}" if options.only else ""


def _together(parts: Sequence[dict[str, Any]], told: Mapping[str, Any]) -> dict[str, Any]:
    """One report of parts that were run with the same numbers, as if in one run: seconds added up, Holm over all tests."""
    commands = {part["command"].partition(" --only")[0] for part in parts}
    if len(commands) > 1:
        raise SystemExit(f"these are no parts of one study: {'; '.join(sorted(commands))}")
    known = {name: place for part in parts for name, place in part["places"].items()}
    places = {p["name"]: known[p["name"]] for p in (*told["sets"], *told["pairs"]) if p["name"] in known}
    _corrected(places)
    losses = {key: value for part in parts for key, value in part.items() if key.startswith("left_out_loss") and value}
    seconds = sum(part["seconds of this run"] for part in parts)
    return {"command": commands.pop(), "seconds of this run": seconds, **losses, "places": places}


def _weights(several: bool, seed: int) -> Path:
    return room() / f"arbiter-{'several-' if several else ''}{seed}.json"


def _records(
    place: Place, policies: Sequence[str], council: Studied, how: str, options: argparse.Namespace, split: str = "test"
) -> Path:
    told = place.told
    cases = options.held_out if split == "val" else options.dear if set(policies) & set(DEAR) else options.cases
    wishes = Wishes(
        question=told["question"],
        modality=told["modality"],
        body_part=told.get("body_part"),
        split=split,
        cases=cases,
        normal=told.get("normal"),
    )
    folder = room() / "records" / f"{place.folder_name}-{split}-{how}"
    print(f"{place.name}, {split}, {how}: {', '.join(policies)}", flush=True)
    run(Evaluation(plan(place.data, wishes), council, tuple(policies), folder, plain.STUDY), options.jobs)
    return folder


def _fit(homes: Sequence[Place], seed: int, options: argparse.Namespace) -> Arbiter:
    """The weights of `arbitrated`, on what the seed's suites said held out of val pictures. `homes`: with one label a picture, or
    all with several."""
    if options.fitted:
        return arbiter.load(_weights(homes[0].several, seed))
    cases: list[Weighed] = []
    for place in homes:
        council = Studied(place.members[0], index=None)
        folder = _records(place, ["solo"], council, "alone", options, split="val")
        cases += held_out(place, seed, _rows(folder, "solo"))
    found = dataclasses.replace(fit(cases), several=homes[0].several)
    made = json.dumps(dataclasses.asdict(found), indent=1)
    _weights(homes[0].several, seed).write_text(made + "\n", encoding="utf-8")
    print(json.dumps(found.made["left_out_loss"]), flush=True)
    return found


def _measure(place: Place, options: argparse.Namespace) -> dict[str, Any]:
    """Every policy, the best specialist, and `arbitrated` with the generalist taken away, on one place."""
    seeds = range(options.seeds)
    councils = [
        Studied(place.members[seed], index=place.index, arbiter=_weights(place.several, seed)) for seed in seeds
    ]
    cheap = [
        _records(place, ["panel_vote", OURS, *(["solo"] if not s else [])], councils[s], f"seed{s}", options)
        for s in seeds
    ]
    found = {name: _over_seeds(name, cheap) for name in ("panel_vote", OURS)}
    found["solo"] = _repeated(_system(cheap[0], "solo"), len(cheap))
    for name, make in ((BEST, _best_answers), (WITHOUT, _alone_answers)):
        runs = tuple(make(place, seed, folder) for seed, folder in zip(seeds, cheap, strict=True))
        found[name] = replace(found[OURS], policy=name, name=name, runs=runs)
    dear = _records(place, DEAR, councils[0], "dear", options)
    few = {name: replace(_system(dear, name), name=name) for name in DEAR}
    ours = replace(found[OURS], runs=found[OURS].runs[:1])
    tests = [_against(found[OURS], found[other]) for other in (BEST, "solo", "panel_vote", WITHOUT)]
    tests += [_against(ours, few[other]) for other in DEAR]
    shots = {}
    if place.pair and place.data.of("train"):
        for k in SHOTS:
            council = replace(councils[0], index=with_cases(place, k))
            system = _system(_records(place, ["panel_vote", OURS], council, f"shots{k}", options), OURS)
            shots[str(k)] = scoring.score(system, 300).json()["figures"]
            tests.append(_against(replace(system, name=f"{OURS}, {k} known cases"), ours))
    return {
        "pair": place.pair,
        "n": len(found[OURS].first),
        **({"pictures": len({row["row"] for row in _rows(cheap[0], OURS)})} if place.several else {}),
        **({"labels left out": place.told["left_out"]} if "left_out" in place.told else {}),
        "members": place.members,
        BEST: [_best(place, seed) for seed in seeds],
        "generalist was asked": len({row["row"] for row in _rows(cheap[0], OURS) if "generalist" in row["seconds"]}),
        "systems": {n: scoring.score(s, 500).json()["figures"] for n, s in {**found, **few}.items()},
        "known cases of the right set": shots,
        "tests": tests,
    }


def _rows(folder: Path, policy: str) -> Sequence[Row]:
    return read_run(folder / f"{policy}.jsonl").rows


def _system(folder: Path, policy: str) -> System:
    return next(replace(s, name=policy) for s in systems([folder / f"{policy}.jsonl"]))


def _over_seeds(policy: str, folders: Sequence[Path]) -> System:
    of = [_system(folder, policy) for folder in folders]
    return replace(of[0], runs=tuple(one.first.on(of[0].first.keys) for one in of))


def _repeated(system: System, times: int) -> System:
    """The same answers once a seed: who asks no specialist does not change with them."""
    return replace(system, runs=system.runs[:1] * times)


def _best(place: Place, seed: int) -> str:
    """The member with the best macro-F1 of its held-out judgements of val pictures."""

    def figure(member: str) -> float:
        held = read_held_out(settings().home / "specialists" / member)
        rows = (np.array(held.splits) == "val") & ~np.isnan(held.probabilities).any(axis=1)
        return classification.macro_f1(held.labels[rows], held.probabilities[rows], exclusive=not place.several)

    return max(place.members[seed], key=figure)


def _best_answers(place: Place, seed: int, folder: Path) -> Answers:
    """What the best specialist alone would have answered; nothing where it abstained."""
    member, answers = _best(place, seed), _system(folder, OURS).first
    said: list[dict[str, float]] = [
        next((o["probabilities"] for o in row["opinions"] if o["specialist"] == member), {})
        for row in _rows(folder, OURS)
    ]
    return _decided(answers, [[of.get(option, np.nan) for option in answers.options] for of in said])


def _alone_answers(place: Place, seed: int, folder: Path) -> Answers:
    """What `arbitrated` would have answered of the same opinions and precedents without the generalist."""
    answers, weights = _system(folder, OURS).first, arbiter.load(_weights(place.several, seed))
    nobody = [np.nan] * len(answers.options)
    rows = _rows(folder, OURS)
    made = [_weighed(row, answers.options, weights) if row["abstained"] is None else nobody for row in rows]
    return _decided(answers, made)


def _weighed(row: Row, options: Sequence[str], weights: Arbiter) -> list[float]:
    pieces, _ = arbiter.weighable(*recalled(row, options))
    return [float(p) for p in weights.probabilities(pieces, asked=False)]


def _decided(answers: Answers, probabilities: Sequence[Sequence[float]]) -> Answers:
    p = np.array(probabilities, float)
    choice = np.where(np.isnan(p).any(axis=1), -1, np.nan_to_num(p).argmax(axis=1))
    return replace(answers, probabilities=p, choice=choice)


def _against(ours: System, other: System) -> dict[str, Any]:
    (test,) = compare_all([ours, other], against=other.name, figures=["macro-F1"], intersect=True)
    told = test.json()
    return {key: told[key] for key in ("first", "second", "difference", "p")}


def _corrected(places: Mapping[str, Any]) -> None:
    """Holm over all tests of the study."""
    known = [test for place in places.values() for test in place["tests"] if test["p"] is not None]
    for test, p in zip(known, holm([test["p"] for test in known]), strict=True):
        test["p_holm"] = p


if __name__ == "__main__":
    main()
