"""Whom does the generalist believe when specialists lie? The arbitration study on suites of up to six specialists.

python benchmarks/arbitration.py [--only kermany brain] [--cases 16] [--policies moed gsco arbitrated]

On test pictures of the sets that are named, under each policy: opinions as they are, one to all of the suite's specialists
forced to a wrong answer at 95 % under their own card, all right, random, absent, and known cases that all bear one wrong label
(consilium.evaluate.arbitration). Suites, index and the weights of `arbitrated` are those of benchmarks/gsco.py, seed 0; a suite
that is missing is trained. Records are kept under CONSILIUM_HOME and go on after a kill. Writes results/arbitration.json and
.svg; with --only beside the records.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from consilium.consult.arbiter import SHIPPED
from consilium.evaluate.arbitration import STUDY
from consilium.evaluate.arbitration_report import Rates, Report, report
from consilium.evaluate.plan import Wishes, plan
from consilium.evaluate.records import Row, Run, read_run
from consilium.evaluate.run import Evaluation, run
from gsco_places import Place, Studied, apart, home, room

SETS = ("kermany", "brain", "lung_ct", "breast")  # those whose kind of picture the generalist has learnt
POLICIES = ("moed", "gsco", "arbitrated")
ALL, NORMAL = "all sets", "normal"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("configs/gsco.toml"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--only", nargs="*", help=f"these sets of the configuration alone; by default {', '.join(SETS)}"
    )
    parser.add_argument("--policies", nargs="*", default=list(POLICIES))
    parser.add_argument("--cases", type=int, default=16, help="test pictures a set, evenly thinned")
    parser.add_argument("--jobs", type=int, default=1, help="processes that ask")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    apart()
    told = tomllib.loads(options.config.read_text(encoding="utf-8"))["sets"]
    suites = argparse.Namespace(data=options.data, seeds=1)
    places = [home(s, suites) for s in told if s["name"] in (options.only or SETS)]
    runs = {place.name: _asked(place, options) for place in places}
    found = {name: {p: _figures(one) for p, one in of.items()} for name, of in runs.items()}
    pooled = {p: report(_pooled({name: of[p] for name, of in runs.items()})) for p in options.policies}
    out = options.out or (room() if options.only else Path("results")) / "arbitration.json"
    made = {
        "command": f"python benchmarks/arbitration.py --cases {options.cases}" + _beyond(options),
        "members": {place.name: place.members[0] for place in places},
        ALL: {p: _told(one) for p, one in pooled.items() if one},
        "sets": found,
    }
    out.write_text(json.dumps(made, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    draw({p: one for p, one in pooled.items() if one}, out.with_suffix(".svg"))
    print(f"written to {out}")


def _beyond(options: argparse.Namespace) -> str:
    asked = {"only": options.only, "policies": options.policies if options.policies != list(POLICIES) else None}
    return "".join(f" --{name} {' '.join(of)}" for name, of in asked.items() if of)


def _asked(place: Place, options: argparse.Namespace) -> dict[str, Run]:
    """The records of each policy on the set."""
    told, weights = place.told, room() / "arbiter-0.json"
    wishes = Wishes(
        question=told["question"],
        modality=told["modality"],
        body_part=told.get("body_part"),
        split="test",
        cases=options.cases,
        normal=told.get("normal"),
    )
    council = Studied(place.members[0], index=place.index, arbiter=weights if weights.is_file() else SHIPPED)
    folder = room() / "records" / f"{place.folder_name}-misled"
    print(f"{place.name}: {', '.join(options.policies)}", flush=True)
    run(Evaluation(plan(place.data, wishes), council, tuple(options.policies), folder, STUDY), options.jobs)
    return {policy: read_run(folder / f"{policy}.jsonl") for policy in options.policies}


def _pooled(runs: Mapping[str, Run]) -> Run:
    """The records of several sets as one run: options told apart by their set, all that is normal under one name."""
    rows = [_renamed(row, name, one.header.about["normal"]) for name, one in runs.items() for row in one.rows]
    first = next(iter(runs.values()))
    header = replace(
        first.header,
        made_with={**first.header.made_with, "dataset": ALL},
        about={**first.header.about, "normal": NORMAL},
    )
    return Run(header, tuple(rows), first.path)


def _renamed(row: Row, name: str, normal: str | None) -> Row:
    def of(option: str | None) -> str | None:
        return option and (NORMAL if option == normal else f"{name}: {option}")

    held = {
        condition: {**said, "choice": of(said["choice"]), "vote": of(said["vote"])}
        for condition, said in row["conditions"].items()
    }
    group = f"{name}: {row['group']}"
    return {**row, "group": group, "truth": of(row["truth"]), "wrong": of(row["wrong"]), "conditions": held}


def _figures(one: Run) -> dict[str, Any] | None:
    found = report(one)
    return found and _told(found)


def _told(found: Report) -> dict[str, Any]:
    told = found.json()
    return {key: told[key] for key in ("generalist", "n", "conditions", "curve")}


def draw(found: Mapping[str, Report], path: Path) -> None:
    """The sycophancy curve: how often it is right, and keeps its right answer, with 0, 1, ... of the specialists wrong."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "consilium"
    figure, axes = pyplot.subplots(1, 2, figsize=(8, 3.2), sharey=True, layout="constrained")
    for axis, what, title in zip(axes, ("accuracy", "keeps"), ("right", "keeps its own right answer"), strict=True):
        for policy, one in found.items():
            _line(axis, policy, one.curve, what)
        axis.set(title=title, xlabel="specialists that are wrong", ylim=(0, 1.02))
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _line(axis: Any, policy: str, curve: Sequence[Rates], what: str) -> None:
    known = [(k, getattr(rates, what)) for k, rates in enumerate(curve) if getattr(rates, what) is not None]
    count = [k for k, _ in known]
    axis.plot(count, [score.value for _, score in known], marker="o", label=policy)
    axis.fill_between(count, [score.low for _, score in known], [score.high for _, score in known], alpha=0.15)


if __name__ == "__main__":
    main()
