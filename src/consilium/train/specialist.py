"""Trains a light specialist on a folder: features once, head chosen on val, calibrated and bounded on held-out folds, its
card filled from the untouched test split.

1. A picture that lies in two splits is kept in the later one (test, then val) alone.
2. Train and val are cut into five folds by patient; where no patient is known, into blocks of neighbouring files of one
   label, since neighbours often show one patient. Every head of the ladder judges each fold unseen.
3. The head with the least calibrated loss on the folds is chosen. The same held-out judgements give its calibration and,
   with the background of other modalities, the limit beyond which a picture is foreign.
4. That head is fitted on train and val; the test split is scored once.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from consilium.datasets.folder import FolderDataset, Record
from consilium.errors import DataError
from consilium.metrics import classification as metric
from consilium.metrics.bootstrap import interval
from consilium.nn import fit_head
from consilium.nn.fit_head import HeldOut, Shape
from consilium.nn.light_head import LightHead, distance, save
from consilium.protocols import Card, Encoder
from consilium.registry import read_card
from consilium.train import background
from consilium.train.features import Encoded, Progress, encode
from consilium.train.kind import kind_of
from consilium.types import Array, Code, Score

FOLDS = 5
# Cosine of features above which two pictures count as nearly the same when the leak between splits is stated.
NEAR = 0.995


@dataclass(frozen=True)
class Recipe:
    """What the data cannot say. Empty modalities and body parts are filled from the headers, else by the router; `margin`
    widens the limit for foreign pictures."""

    name: str
    modalities: tuple[str, ...] = ()
    body_parts: tuple[str, ...] = ()
    summary: str = ""
    licence: str = ""
    data_licence: str = ""
    not_for: tuple[str, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    codes: Mapping[str, Code] = field(default_factory=dict)
    command: str = ""
    margin: float = 1.0


@dataclass(frozen=True, eq=False)
class _Part:
    """Rows of one or more splits."""

    features: Array
    targets: Array
    patients: tuple[str, ...]
    folds: Array


def train(data: FolderDataset, recipe: Recipe, encoder: Encoder, room: Path, progress: Progress | None = None) -> Card:
    """Trains and writes `room`/<name>/{card.json, model.safetensors}; returns the card.

    Raises DataError where a split is empty or a class has no picture to learn from, UsageError where nobody knows the
    modality. An older specialist of that name is replaced only when the new one is complete.
    """
    encoded = encode(data.records, encoder, progress)
    if not recipe.modalities:
        modalities, body_parts = kind_of(encoded, encoder)
        recipe = replace(recipe, modalities=modalities, body_parts=recipe.body_parts or body_parts)
    kept, dropped = _apart(data.records, encoded)
    data, unlearnt = _learnable(data, kept)
    both, test = (_part(data, encoded, kept, splits) for splits in (("train", "val"), ("test",)))
    if not len(both.features) or not len(test.features):
        raise DataError(f"{data.folder} has no pictures to learn from, or none to be tested on.")
    shape, held_out = choose(both, data.exclusive)
    tensors = fit_head.fit(both.features, both.targets, data.exclusive, shape)
    tensors |= fit_head.calibrate(held_out.logits, both.targets, data.exclusive)
    tensors |= fit_head.foreign(tensors, both.features)
    card = Card("specialist", recipe.name, "", "", recipe.modalities, recipe.body_parts)
    others = background.foreign_to(card, encoder.card.version)
    far = distance(tensors, others) if len(others) else np.empty(0, np.float32)
    tensors |= fit_head.limits(held_out.distances, far, recipe.margin)
    scores = evaluate(LightHead(tensors, data.exclusive), test, data.classes, recipe.groups)
    near = _near_duplicates(both.features, test.features)
    counts = _counts(data, kept, dropped, near) | {"labels_without_train_pictures": unlearnt}
    made = _card(data, recipe, encoder, scores) | {"fit": {**asdict(shape), **counts}}
    return _write(made, tensors, room / recipe.name)


def choose(part: _Part, exclusive: bool) -> tuple[Shape, HeldOut]:
    """The head of the ladder with the least calibrated loss on held-out folds, and what it said of them; the earlier
    (simpler) one at a tie."""

    def loss(held_out: HeldOut) -> float:
        calibration = fit_head.calibrate(held_out.logits, part.targets, exclusive)
        logits = held_out.logits * calibration["calibration.slope"] + calibration["calibration.offset"]
        return fit_head.negative_log_likelihood(logits, part.targets, exclusive)

    tried = [
        (shape, fit_head.out_of_fold(part.features, part.targets, exclusive, shape, part.folds))
        for shape in fit_head.LADDER
    ]
    return min(tried, key=lambda pair: loss(pair[1]))


def folds(records: Sequence[Record], patients_known: bool) -> Array:
    """(n,) fold of each record, 0 to FOLDS - 1: all pictures of a patient in one; without patients, neighbouring files of
    one label in one."""
    if patients_known:
        return np.array([int(hashlib.sha256(r.patient.encode()).hexdigest()[:8], 16) % FOLDS for r in records])
    place: dict[tuple[str, ...], list[int]] = {}
    for i in sorted(range(len(records)), key=lambda i: _natural(records[i].path.name)):
        place.setdefault(records[i].labels, []).append(i)
    found = np.zeros(len(records), int)
    for rows in place.values():
        found[rows] = np.arange(len(rows)) * FOLDS // len(rows)
    return found


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Orders slice_2 before slice_10."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)]


def evaluate(
    head: LightHead, test: _Part, classes: Sequence[str], groups: Mapping[str, Sequence[str]] | None = None
) -> tuple[Score, ...]:
    """Every figure of the card, with bootstrap intervals over patients. Foreign pictures are scored too: the share of the
    specialist's own test pictures on which it would abstain stands beside."""
    p, y, exclusive = head.probabilities(test.features), test.targets, head.exclusive
    foreign = head.foreignness(test.features) > head.limit
    figures: dict[str, Callable[[Array], float]] = {
        "AUROC": lambda rows: metric.mean_auroc(y[rows], p[rows]),
        "macro-F1": lambda rows: metric.macro_f1(y[rows], p[rows], exclusive),
        "ECE": lambda rows: metric.calibration_error(y[rows], p[rows], exclusive),
        "Brier": lambda rows: metric.brier(y[rows], p[rows]),
        "abstained": lambda rows: float(foreign[rows].mean()),
    }
    if exclusive:
        figures["accuracy"] = lambda rows: metric.accuracy(y[rows], p[rows])
        figures["classwise ECE"] = lambda rows: metric.classwise_error(y[rows], p[rows])
    columns = {label: [i] for i, label in enumerate(classes)}
    columns |= {group: [classes.index(m) for m in members] for group, members in (groups or {}).items()}
    for label, members in columns.items():
        figures[f"AUROC {label}"] = _one_against_rest(y, p, members)
    floor = Score("ECE if perfectly calibrated", *metric.perfect_calibration_error(p, exclusive), len(p))
    return (*(interval(name, figure, test.patients) for name, figure in figures.items()), floor)


def _one_against_rest(y: Array, p: Array, members: Sequence[int]) -> Callable[[Array], float]:
    truth, said = y[:, members].max(axis=1), p[:, members].sum(axis=1)
    return lambda rows: metric.auroc(truth[rows], said[rows])


def _apart(records: Sequence[Record], encoded: Encoded) -> tuple[list[int], int]:
    """Rows to keep so that no picture lies in two splits, and how many were left out."""
    rank = {"train": 0, "val": 1, "test": 2}
    latest: dict[str, int] = {}
    for record, digest in zip(records, encoded.digests, strict=True):
        latest[digest] = max(latest.get(digest, 0), rank[record.split])
    kept = [i for i, r in enumerate(records) if rank[r.split] == latest[encoded.digests[i]]]
    return kept, len(records) - len(kept)


def _part(data: FolderDataset, encoded: Encoded, kept: Sequence[int], splits: Sequence[str]) -> _Part:
    rows = [i for i in kept if data.records[i].split in splits]
    records = [data.records[i] for i in rows]
    patients = tuple(r.patient for r in records)
    return _Part(encoded.features[rows], data.targets(records), patients, folds(records, bool(data.patient_column)))


def _learnable(data: FolderDataset, kept: Sequence[int]) -> tuple[FolderDataset, list[str]]:
    """The data without the labels that no train picture shows. Among exclusive classes that is an error: a picture of the
    missing class would be called another."""
    records = [data.records[i] for i in kept if data.records[i].split == "train"]
    seen = np.nansum(data.targets(records), axis=0) if records else np.zeros(len(data.classes))
    missing = [label for label, count in zip(data.classes, seen, strict=True) if not count]
    if missing and (data.exclusive or len(missing) == len(data.classes)):
        raise DataError(f"{data.folder} has no train picture of {', '.join(missing)}; there is nothing to learn from.")
    return replace(data, classes=tuple(c for c in data.classes if c not in missing)), missing


def _near_duplicates(seen: Array, test: Array) -> int:
    """Test pictures whose features all but equal those of a picture that was learnt from."""
    a = seen / np.linalg.norm(seen, axis=1, keepdims=True)
    b = test / np.linalg.norm(test, axis=1, keepdims=True)
    return int(((b @ a.T).max(axis=1) > NEAR).sum())


def _counts(data: FolderDataset, kept: Sequence[int], dropped: int, near: int) -> dict[str, object]:
    by_split: dict[str, Counter[str]] = {split: Counter() for split in ("train", "val", "test")}
    for i in kept:
        record = data.records[i]
        by_split[record.split].update(record.labels or ("(none)",))
    return {
        "counts": {split: dict(sorted(counter.items())) for split, counter in by_split.items()},
        "split": data.split_source,
        "patient_column": data.patient_column or "none: near-duplicates may cross the split",
        "same_picture_left_out": dropped,
        "test_pictures_nearly_seen": near,
    }


def _card(data: FolderDataset, recipe: Recipe, encoder: Encoder, scores: Sequence[Score]) -> dict[str, object]:
    concepts = [recipe.codes.get(label, Code.local(label)) for label in data.classes]
    card = Card(
        kind="specialist",
        name=recipe.name,
        version="",
        summary=recipe.summary or f"Tells apart {', '.join(data.classes)}.",
        modalities=recipe.modalities,
        body_parts=recipe.body_parts,
        concepts=tuple(concepts),
        groups=recipe.groups,
        trained_on={data.name: recipe.data_licence or "not stated"},
        licence=recipe.licence or "as the data's",
        evidence=recipe.command or f"consilium specialist train {data.name} --name {recipe.name}",
        scores=tuple(scores),
        not_for=("use on patients: it is not a medical device", *recipe.not_for),
    )
    return asdict(card) | {"loader": "light", "exclusive": data.exclusive, "encoder": encoder.card.version}


def _write(made: dict[str, object], tensors: Mapping[str, Array], target: Path) -> Card:
    """Writes both files beside the target and swaps the folder in, so that a kill leaves the old one or the new one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        save(tensors, fresh / "model.safetensors")
        made["version"] = hashlib.sha256((fresh / "model.safetensors").read_bytes()).hexdigest()[:12]
        (fresh / "card.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
        fresh.chmod(0o755)
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
            target.rename(old / target.name)
            fresh.rename(target)
            shutil.rmtree(old)
        else:
            fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return read_card(target / "card.json")
