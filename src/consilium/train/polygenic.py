"""Makes a polygenic_risk specialist of a cohort: its reference, its layout, its head, and what it measures on people held out.

A table of people (TSV: IID, age, sex, split, and a column of 1, 0 or blank for each outcome) says who is `reference`
(frequencies, ancestry, percentiles), `train` and `test`. The association studies behind the scores must have had none of the
train and test people: what they had flatters.
"""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from consilium.errors import DataError, UsageError
from consilium.genomics import adjust, risk_image
from consilium.genomics.genotypes import Genotypes, open_genotypes
from consilium.genomics.risk_table import SCORES, RiskTable, read_risk_table
from consilium.genomics.run import Request
from consilium.metrics.bootstrap import interval
from consilium.metrics.classification import auroc, classwise_error, mean_auroc
from consilium.nn import light_head
from consilium.nn.risk_head import RiskHead, demographic_terms
from consilium.protocols import Card
from consilium.specialists.polygenic_risk import ARGUMENTS, HEAD, LAYOUT
from consilium.train import polygenic_fit
from consilium.types import Array, Code, Score

SPLITS = ("reference", "train", "test")
NOT_FOR = (
    "people of other ancestries than its reference's: it abstains where it can tell, and it cannot always",
    "a diagnosis, or a decision on treatment: a polygenic score says little of one person",
    "children, embryos, insurers or employers",
)


@dataclass(frozen=True)
class Recipe:
    """What the files do not say. scores: one file a trait, of three bars of p (`consilium genome threshold`); ancestry: of the
    reference people, in words, for the card; components: of ancestry, 0 for none; build: where the genotypes do not say it."""

    name: str
    genotypes: Path
    scores: Sequence[Path]
    people: Path
    ancestry: str
    licence: str
    data_licence: str
    components: int = 10
    build: str | None = None
    summary: str = ""


@dataclass(frozen=True, eq=False)
class _People:
    ids: tuple[str, ...]
    age: Array
    sex: tuple[str, ...]
    split: Array
    outcomes: tuple[str, ...]
    targets: Array


def make(recipe: Recipe, room: Path) -> Card:
    """Writes the specialist's folder under `room`, whole or not at all, and returns its card. DataError where the cohort cannot
    be learnt from, UsageError where its ids are not in the genotypes."""
    if not recipe.name.isidentifier():
        raise UsageError(f"{recipe.name!r} cannot name a specialist: use letters, digits and _.")
    people = _read_people(recipe.people)
    room.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=room, prefix=".making-") as made:
        folder = Path(made) / recipe.name
        (folder / SCORES).mkdir(parents=True)
        card = _fill(folder, recipe, people)
        shutil.rmtree(room / recipe.name, ignore_errors=True)
        folder.replace(room / recipe.name)
    return card


def _fill(folder: Path, recipe: Recipe, people: _People) -> Card:
    copies = _copied(recipe.scores, folder / SCORES)
    keep = folder / "keep.txt"
    chosen = [name for name, split in zip(people.ids, people.split, strict=True) if split == "reference"]
    keep.write_text("#IID\n" + "\n".join(chosen) + "\n", encoding="utf-8")
    request = Request(recipe.genotypes, copies, recipe.build, recipe.build, min_overlap=0.0, keep=keep)
    adjust.make_reference(request, folder, recipe.name, recipe.components)
    keep.unlink()
    table = read_risk_table(folder)
    percentiles = _percentiles(table, recipe, people)
    flat = percentiles.reshape(len(percentiles), len(table.traits), -1)
    of_reference = risk_image.normal_scores(flat[people.split == "reference"][:, :, 1])
    layout = risk_image.by_correlation(table.traits, table.bars, np.corrcoef(of_reference, rowvar=False))
    x = risk_image.normal_scores(risk_image.middle(risk_image.levels(percentiles)))
    head, scores = _taught(x, people)
    light_head.save(head.tensors, folder / HEAD)
    ages = people.age[people.split == "train"]
    sexes = sorted({sex for sex, split in zip(people.sex, people.split, strict=True) if split == "train"})
    told = {"ages": [float(ages.min()), float(ages.max())], "sexes": sexes, "layout": asdict(layout)}
    (folder / LAYOUT).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return _card(folder, recipe, people, table, scores)


def _copied(paths: Sequence[Path], folder: Path) -> tuple[Path, ...]:
    """The scoring files, each under its trait's name."""
    copies = []
    for path in paths:
        copy = folder / f"{path.name.split('.')[0]}.tsv"
        if copy.exists():
            raise UsageError(f"two scoring files are called {copy.stem}. Name each after its trait.")
        shutil.copyfile(path, copy)
        copies.append(copy)
    return tuple(copies)


def _percentiles(table: RiskTable, recipe: Recipe, people: _People) -> Array:
    """(n, traits * 3), in the order of the table of people."""
    genotypes: Genotypes = open_genotypes(recipe.genotypes)
    place = {name: i for i, name in enumerate(genotypes.people.ids)}
    absent = sum(name not in place for name in people.ids)
    if absent:
        raise UsageError(
            f"{absent} of {len(people.ids)} of the table are not in {recipe.genotypes.name}. Correct the IIDs."
        )
    twice = len(set(people.ids) - {name for name, n in Counter(genotypes.people.ids).items() if n == 1})
    if twice:
        raise UsageError(
            f"{twice} of the table's IIDs are of several people in {recipe.genotypes.name} (of different families). Give each "
            "person an IID of their own."
        )
    at = np.array([place[name] for name in people.ids])
    order = np.argsort(at)
    stands = table.standings(genotypes, at[order], recipe.build)
    found = np.empty((len(at), len(table.keys)))
    found[order] = stands.percentiles.reshape(len(at), -1)
    return found


def _taught(x: Array, people: _People) -> tuple[RiskHead, tuple[Score, ...]]:
    """The head fitted on the train people, and its figures on the test people."""
    train, test = people.split == "train", people.split == "test"
    age = (float(people.age[train].mean()), float(people.age[train].std()))
    terms = demographic_terms(people.age, people.sex, *age)
    ridge = polygenic_fit.ridge(x[train], people.targets[train], terms[train])
    head = polygenic_fit.gate(ridge, people.targets[train], terms[train], age, polygenic_fit.GateShape())
    p, y = head.probabilities(x[test], terms[test]), people.targets[test]
    groups = [str(i) for i in range(len(p))]
    scores = [interval("AUROC", lambda rows: mean_auroc(y[rows], p[rows]), groups, resamples=300)]
    for k, name in enumerate(people.outcomes):
        own = partial(_auroc_of, y[:, k], p[:, k])
        scores.append(interval(f"AUROC {name}", own, groups, resamples=300))
    scores.append(interval("ECE", lambda rows: classwise_error(y[rows], p[rows]), groups, resamples=300))
    return head, tuple(scores)


def _auroc_of(y: Array, p: Array, rows: Array) -> float:
    return auroc(y[rows], p[rows])


def _card(folder: Path, recipe: Recipe, people: _People, table: RiskTable, scores: Sequence[Score]) -> Card:
    counts = {split: int((people.split == split).sum()) for split in SPLITS}
    summary = recipe.summary or (
        f"From a genome ({table.reference.build}), age and sex: the probability of {', '.join(people.outcomes)}, by "
        f"{len(table.traits)} traits' polygenic scores at three bars of p. Referenced on {recipe.ancestry}"
    )
    card = Card(
        kind="specialist",
        name=recipe.name,
        version=f"1-{table.reference.people}",
        summary=summary,
        concepts=tuple(Code.local(name) for name in people.outcomes),
        arguments=ARGUMENTS,
        trained_on={f"{recipe.genotypes.name}: {counts['train']} people ({recipe.ancestry})": recipe.data_licence},
        licence=recipe.licence,
        evidence=f"train.polygenic on {counts['test']} people held out",
        scores=tuple(scores),
        not_for=NOT_FOR,
    )
    told = asdict(card) | {"loader": "polygenic_risk", "ancestry": recipe.ancestry, "people": counts}
    (folder / "card.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return card


def _read_people(path: Path) -> _People:
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    fixed = ("IID", "age", "sex", "split")
    missing = [name for name in fixed if not rows or name not in rows[0]]
    if missing:
        raise DataError(
            f"{path.name} has no column {', '.join(missing)}. It needs IID, age, sex, split and the outcomes."
        )
    outcomes = tuple(name for name in rows[0] if name and name not in fixed)
    split = np.array([row["split"] for row in rows])
    wrong = sorted(set(split) - set(SPLITS))
    lacking = [name for name in SPLITS if name not in split]
    if wrong or lacking or not outcomes:
        raise DataError(f"{path.name}: split is one of {', '.join(SPLITS)}, each given, beside one outcome or more.")
    targets = np.array([[_target(row[name], path) for name in outcomes] for row in rows])
    try:
        age = np.array([float(row["age"]) for row in rows])
    except ValueError as error:
        raise DataError(f"{path.name} has an age that is no number of years.") from error
    sex = tuple(row["sex"] for row in rows)
    if not np.isfinite(age).all() or set(sex) - {"female", "male"} or len({row["IID"] for row in rows}) < len(rows):
        raise DataError(f"{path.name}: every person needs an IID of their own, an age, and female or male as sex.")
    return _People(tuple(row["IID"] for row in rows), age, sex, split, outcomes, targets)


def _target(text: str, path: Path) -> float:
    known: Mapping[str, float] = {"1": 1.0, "0": 0.0, "": np.nan, "NA": np.nan}
    if text.strip() not in known:
        raise DataError(f"{path.name} has an outcome that is none of 1, 0 and blank.")
    return known[text.strip()]
