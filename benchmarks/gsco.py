"""The GSCo study: do generalist, specialists and known cases do better together than each alone, at home and elsewhere?

python benchmarks/gsco.py [--only kermany brain] [--cases 60] [--seeds 1]

For each set: a suite of specialists and an index of its train part; weights of `arbitrated` fitted on held-out val cases of all
sets; every policy on the test split. For each pair, the left set's council on the right set. Everything is kept under
CONSILIUM_HOME and goes on after a kill. "Best specialist" is the one that was best on the held-out judgements of val. Writes
results/gsco.json; with --only or --cases beside the records.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from consilium import registry
from consilium.consult import arbiter
from consilium.consult.arbiter import Arbiter
from consilium.consult.panel import DEFAULT_ENCODER
from consilium.consult.prompt import Evidence
from consilium.datasets.folder import FolderDataset, Record, read_folder
from consilium.evaluate import plain
from consilium.evaluate import score as scoring
from consilium.evaluate.answers import Answers, System, systems
from consilium.evaluate.compare import compare_all
from consilium.evaluate.council import Council
from consilium.evaluate.plan import Wishes, plan
from consilium.evaluate.records import Row, read_run
from consilium.evaluate.run import Evaluation, run
from consilium.metrics import classification
from consilium.metrics.paired import holm
from consilium.protocols import Encoder
from consilium.settings import settings
from consilium.train.arbiter import Weighed, fit
from consilium.train.arbiter_cases import Asked, gather
from consilium.train.specialist import Recipe
from consilium.train.suite import Options, train_suite
from consilium.train.suite_store import read_held_out
from consilium.types import Case, Code, Finding, Opinion, Precedent, Score

OURS, BEST, WITHOUT = "arbitrated", "best specialist", "arbitrated without the generalist"
POLICIES = ("solo", "panel_vote", "moed", "rad", "gsco", OURS)


@dataclass(frozen=True, eq=False)
class Place:
    """One set or pair as the file tells it, with its data and the council that is asked."""

    name: str
    told: Mapping[str, Any]
    data: FolderDataset
    suite: str
    members: tuple[str, ...]
    split: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("configs/gsco.toml"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", nargs="*", help="these sets and pairs alone")
    parser.add_argument("--cases", type=int, help="so many of each split, evenly thinned")
    parser.add_argument("--seeds", type=int, default=1, help="of the suites")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    told = tomllib.loads(options.config.read_text(encoding="utf-8"))
    chosen = [s for s in told["sets"] if not options.only or s["name"] in options.only]
    pairs = [p for p in told["pairs"] if p["left"] in {s["name"] for s in chosen}]
    pairs = [p for p in pairs if not options.only or p["name"] in options.only or len(options.only) > 1]
    homes = [_home(s, options) for s in chosen]
    cases = {place.name: _held_out(place, options) for place in homes}
    room = settings().home / "gsco"
    weights = _fit([case for of in cases.values() for case in of], room / "arbiter.json")
    by_name = {place.name: place for place in homes}
    away = [_away(p, by_name[p["left"]], options) for p in pairs]
    found = {place.name: _measure(place, room, options) for place in [*homes, *away]}
    _corrected(found)
    report = {
        "command": "python benchmarks/gsco.py" + (f" --cases {options.cases}" if options.cases else ""),
        "seeds": options.seeds,
        "arbiter": dataclasses.asdict(weights),
        "places": found,
    }
    out = options.out or (room if options.only or options.cases else Path("results")) / "gsco.json"
    out.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(f"written to {out}")


@functools.cache
def _encoder() -> Encoder:
    return registry.get("encoders", DEFAULT_ENCODER).load()


def _home(told: Mapping[str, Any], options: argparse.Namespace) -> Place:
    """The set with its suite, trained now where it was not before."""
    data = read_folder(options.data / told["folder"], where=told.get("where"))
    name = f"gsco_{told['name']}"
    recipe = Recipe(
        name,
        (told["modality"],),
        tuple(filter(None, [told.get("body_part")])),
        groups={group: tuple(members) for group, members in told.get("groups", {}).items()},
    )
    print(f"suite of {told['name']}", flush=True)
    suite = train_suite(data, recipe, _encoder(), settings().home, Options(seeds=options.seeds))
    return Place(told["name"], told, data, name, suite.kept, "test")


def _away(told: Mapping[str, Any], left: Place, options: argparse.Namespace) -> Place:
    data = read_folder(options.data / told["folder"], where=told.get("where"))
    records = tuple(r for r in (_relabelled(r, told) for r in data.records) if r is not None)
    data = replace(data, records=records, classes=tuple(told["labels"]), exclusive=True, label_columns=())
    return Place(told["name"], told, data, left.suite, left.members, "test")


def _relabelled(record: Record, told: Mapping[str, Any]) -> Record | None:
    """The record under the first option that stands for one of its labels, all in the split test; None where there is none."""
    option = next((o for o, labels in told["labels"].items() if set(labels) & set(record.labels)), None)
    if option is None or record.split not in told["splits"]:
        return None
    return replace(record, labels=(option,), split="test")


def _records(place: Place, policies: Sequence[str], split: str, council: Council, options: argparse.Namespace) -> Path:
    told = place.told
    wishes = Wishes(
        question=told["question"],
        modality=told["modality"],
        body_part=told.get("body_part"),
        split=split,
        cases=options.cases,
        normal=told.get("normal"),
    )
    folder = settings().home / "gsco" / "records" / f"{place.name.replace(' ', '_')}-{split}"
    print(f"{place.name}, {split}: {', '.join(policies)}", flush=True)
    run(Evaluation(plan(place.data, wishes), council, tuple(policies), folder, plain.STUDY, skip_unreadable=False))
    return folder


def _held_out(place: Place, options: argparse.Namespace) -> list[Weighed]:
    council = Council(place.members, index=place.suite)
    folder = _records(place, ["solo"], "val", council, options)
    rows = read_run(folder / "solo.jsonl").rows
    rated = {int(row["row"]): row["probabilities"] for row in rows if row["probabilities"]}
    asked = Asked(place.told["question"], {label: label.replace("_", " ") for label in place.data.classes})
    folders = [settings().home / "specialists" / member for member in place.members]
    cases = gather(place.data, asked, folders, rated, _encoder())
    return [replace(case, name=place.name) for case in cases]


def _fit(cases: Sequence[Weighed], path: Path) -> Arbiter:
    found = fit(cases)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dataclasses.asdict(found), indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found.made["left_out_loss"]), flush=True)
    return found


def _measure(place: Place, room: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of every policy, of the best specialist, and of `arbitrated` with the generalist taken away, on one place."""
    weights = room / "arbiter.json"
    council = Council(place.members, index=place.suite, arbiter=weights)
    folder = _records(place, POLICIES, place.split, council, options)
    rows = {policy: read_run(folder / f"{policy}.jsonl").rows for policy in POLICIES}
    found = {system.policy: replace(system, name=system.policy) for system in systems([folder])}
    best, ours = _best(place), found[OURS]
    found[BEST] = _another(ours, BEST, _of_specialist(ours.first, rows["panel_vote"], best))
    found[WITHOUT] = _another(ours, WITHOUT, _alone(ours.first, rows[OURS], arbiter.load(weights)))
    tests = [_against(ours, found[other]) for other in (BEST, WITHOUT, "solo", "panel_vote", "gsco")]
    return {
        "n": len(ours.first),
        "members": place.members,
        BEST: best,
        "generalist was asked": sum("generalist" in row["seconds"] for row in rows[OURS]),
        "systems": {name: scoring.score(system, 500).json()["figures"] for name, system in found.items()},
        "tests": tests,
    }


def _another(system: System, name: str, answers: Answers) -> System:
    return replace(system, policy=name, name=name, runs=(answers,))


def _best(place: Place) -> str:
    """The member with the best macro-F1 of its held-out judgements of val pictures."""

    def figure(member: str) -> float:
        held = read_held_out(settings().home / "specialists" / member)
        rows = (np.array(held.splits) == "val") & ~np.isnan(held.probabilities).any(axis=1)
        return classification.macro_f1(held.labels[rows], held.probabilities[rows], exclusive=True)

    return max(place.members, key=figure)


def _of_specialist(answers: Answers, rows: Sequence[Row], member: str) -> Answers:
    """What one specialist alone would have answered; nothing where it abstained."""
    said: list[dict[str, float]] = [
        next((o["probabilities"] for o in row["opinions"] if o["specialist"] == member), {}) for row in rows
    ]
    return _decided(answers, [[of.get(option, np.nan) for option in answers.options] for of in said])


def _alone(answers: Answers, rows: Sequence[Row], weights: Arbiter) -> Answers:
    """What `arbitrated` would have answered of the same opinions and precedents without the generalist."""
    nobody = [np.nan] * len(answers.options)
    made = [_weighed(row, answers.options, weights) if row["abstained"] is None else nobody for row in rows]
    return _decided(answers, made)


def _weighed(row: Row, options: Sequence[str], weights: Arbiter) -> list[float]:
    opinions = [_opinion(told) for told in row["opinions"] if told["probabilities"]]
    known = [Precedent("", p["label"] or "", p["similarity"]) for p in row["precedents"]]
    pieces, _ = arbiter.weighable(Case("", "", tuple(options)), Evidence(opinions, known))
    return [float(p) for p in weights.probabilities(pieces, asked=False)]


def _opinion(told: Row) -> Opinion:
    findings = tuple(Finding(Code.local(option), p) for option, p in told["probabilities"].items())
    local = told["local_accuracy"]
    scores = () if local is None else (Score(arbiter.LOCAL, local, local, local, 25),)
    return Opinion(told["specialist"], told["version"], findings, reliability=scores, foreignness=told["foreignness"])


def _decided(answers: Answers, probabilities: Sequence[Sequence[float]]) -> Answers:
    p = np.array(probabilities, float)
    choice = np.where(np.isnan(p).any(axis=1), -1, np.nan_to_num(p).argmax(axis=1))
    return replace(answers, probabilities=p, choice=choice)


def _against(ours: System, other: System) -> dict[str, Any]:
    (test,) = compare_all([ours, other], against=other.name, figures=["macro-F1"])
    told = test.json()
    return {key: told[key] for key in ("first", "second", "difference", "p")}


def _corrected(places: Mapping[str, Any]) -> None:
    """Holm over all tests of the study."""
    known = [test for place in places.values() for test in place["tests"] if test["p"] is not None]
    for test, p in zip(known, holm([test["p"] for test in known]), strict=True):
        test["p_holm"] = p


if __name__ == "__main__":
    main()
