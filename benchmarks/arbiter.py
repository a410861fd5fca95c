"""Fits the shipped weights of `arbitrated`: val pictures of the four OPEN sets, what specialists say of them out of fold, their
most similar train cases, and what the native generalist, which never learnt val, makes of them alone.

python benchmarks/arbiter.py [--data ../shared/data] [--cases 60]

Each picture is judged by the shipped specialist, and by the suite of benchmarks/gsco.py, there also as if it came from elsewhere,
without and with known cases of there (train/arbiter_cases.py). The suites must be there:
python benchmarks/gsco.py --suites --seeds 1 --only kermany brain lung_ct breast

Every set counts alike; the losses in the file are those on each set by weights fitted on the other three. Writes
src/consilium/consult/arbiter.json. Interrupted, it goes on: the generalist's readings are kept.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path

import native_common as common
from consilium.consult import arbiter
from consilium.consult.council import case_of, consult
from consilium.consult.prompt import Evidence
from consilium.datasets.folder import read_folder
from consilium.protocols import Generalist
from consilium.settings import settings
from consilium.train.arbiter import Weighed, fit
from consilium.train.arbiter_cases import Asked, gather
from consilium.train.conversations.bench import lay
from consilium.train.features import encode
from consilium.train.mixture import Mixture, read
from consilium.train.suite_members import MEMBERS
from consilium.types import Case

STUDY = "arbiter"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--mixture", type=Path, default=Path("configs/train/data.toml"))
    parser.add_argument("--suites", type=Path, default=Path("configs/gsco.toml"), help="which names their suites bear")
    parser.add_argument("--cases", type=int, help="so many val pictures of each set, evenly thinned")
    parser.add_argument("--records", type=Path, default=Path(".venv/records"))
    options = parser.parse_args()
    mixture, panel = read(options.mixture), common.base()
    panel.generalist_name = "native"
    panel._loaded.clear()
    suites = {s["folder"]: s["name"] for s in tomllib.loads(options.suites.read_text(encoding="utf-8"))["sets"]}
    cases = []
    for diagnosis in common.DIAGNOSES:
        known, readings = _held_out(diagnosis, mixture, panel.generalist, options)
        cases += known + _of_suite(diagnosis, f"gsco_{suites[diagnosis.folder]}", readings, options.data)
    found = fit(cases)
    command = "python benchmarks/arbiter.py" + (f" --cases {options.cases}" if options.cases else "")
    card = panel.generalist.card
    made = {"command": command, "generalist": f"{card.name} {card.version}", **found.made}
    kept = dataclasses.replace(found, made=made)
    arbiter.SHIPPED.write_text(json.dumps(dataclasses.asdict(kept), indent=1) + "\n", encoding="utf-8")
    print(json.dumps(dataclasses.asdict(kept), indent=1))


def _held_out(
    diagnosis: common.Diagnosis, mixture: Mixture, chief: Generalist, options: argparse.Namespace
) -> tuple[list[Weighed], dict[str, dict[str, float]]]:
    """The cases with the shipped specialist, and the generalist's readings by the pictures' digests."""
    source = next(s for s in mixture.sources if s.name == diagnosis.folder)
    members = tuple(mixture.guided["specialists"][source.name])
    bench = lay(source, members, options.data, common.base().encoder)
    rows = common.thin([i for i, r in enumerate(bench.records) if r.split == "val"], options.cases)
    kept = common.Records(
        options.records / STUDY / f"{diagnosis.folder}.jsonl",
        {"question": str(diagnosis), "checkpoint": chief.card.version},
    )
    said = kept.of(
        rows, lambda row: bench.digests[row], lambda row: _reading(diagnosis, bench.records[row].path, chief)
    )
    case = Case(diagnosis.folder, diagnosis.question, tuple(diagnosis.options.values()))
    broader = {label: group for group, labels in bench.judged.card.groups.items() for label in labels}
    made = []
    for row, read_alone in zip(rows, said, strict=True):
        opinions = tuple(judged.opinion(row) for judged in (bench.judged, *bench.bystanders))
        pieces, afar = arbiter.weighable(case, Evidence(opinions, bench.precedents(row), broader), read_alone)
        truth = case.options.index(diagnosis.options[bench.records[row].labels[0]])
        made.append(Weighed(diagnosis.folder, pieces, truth, afar))
    return made, {bench.digests[row]: read for row, read in zip(rows, said, strict=True)}


def _of_suite(
    diagnosis: common.Diagnosis, name: str, readings: Mapping[str, Mapping[str, float]], data: Path
) -> list[Weighed]:
    """The cases with the members of the suite."""
    members = [settings().home / "specialists" / f"{name}_{member}" for member in MEMBERS]
    members = [folder for folder in members if folder.is_dir()]
    if not members:
        raise SystemExit(
            f"there is no suite {name}. Train it: python benchmarks/gsco.py --suites --seeds 1 --only {name[5:]}"
        )
    folder, encoder = read_folder(data / diagnosis.folder), common.base().encoder
    digests = encode(folder.records, encoder).digests
    rated = {row: readings[digest] for row, digest in enumerate(digests) if digest in readings}
    found = gather(folder, Asked(diagnosis.question, diagnosis.options), members, rated, encoder)
    return [dataclasses.replace(case, name=diagnosis.folder) for case in found]


def _reading(diagnosis: common.Diagnosis, path: Path, chief: Generalist) -> dict[str, float]:
    """The generalist's probabilities of the options from the picture alone."""
    studies = common.read(path, diagnosis.modality, diagnosis.body_part)
    held = consult(
        case_of(studies, diagnosis.question, tuple(diagnosis.options.values())), common.bench(lambda: chief), "solo"
    )
    return dict(held.answer.probabilities)


if __name__ == "__main__":
    main()
