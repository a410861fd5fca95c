"""Trains a light specialist on a folder: features once, head chosen on val, calibrated and bounded on held-out folds, its
card filled from the untouched test split.

1. A picture that lies in two splits is kept in the later one (test, then val) alone.
2. Train and val are cut into five folds by patient; where no patient is known, into blocks of neighbouring files of one
   label, since neighbours often show one patient. Every head of the ladder judges each fold unseen.
3. The head with the least calibrated loss on the folds is chosen. The same held-out judgements give its calibration, its
   accuracy by region of feature space and, with the background of other modalities, the limit beyond which a picture is
   foreign.
4. That head is fitted on train and val; the test split is scored once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from consilium.datasets.folder import FolderDataset, Record
from consilium.metrics import classification as metric
from consilium.metrics.bootstrap import interval
from consilium.nn import fit_head, region
from consilium.nn.fit_head import HeldOut, Shape
from consilium.nn.light_head import LightHead, calibrated, to_probabilities
from consilium.protocols import Card, Encoder
from consilium.train import background
from consilium.train.features import Encoded, Progress, encode
from consilium.train.folds import checked, folds, labelled
from consilium.train.kind import body_parts_of, kind_of
from consilium.train.trained_folder import write
from consilium.types import Array, Code, Score

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


# Of a label with fewer pictures to learn from, nothing is known that a probability could rest on.
FEW = 10


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of one or more splits: features (n, d), targets (n, c), patients and folds of each; `rows` among the data's
    records."""

    features: Array
    targets: Array
    patients: tuple[str, ...]
    folds: Array
    rows: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Ready:
    """A folder that is read, encoded and checked: what to learn from (train and val together), what to be tested on, and
    `counts` for the card."""

    data: FolderDataset
    recipe: Recipe
    encoded: Encoded
    both: Part
    test: Part
    counts: Mapping[str, object]


def train(data: FolderDataset, recipe: Recipe, encoder: Encoder, room: Path, progress: Progress | None = None) -> Card:
    """Trains and writes `room`/<name>/{card.json, model.safetensors}; returns the card.

    Raises DataError where a split is empty or a class has no picture to learn from, UsageError where nobody knows the
    modality. An older specialist of that name is replaced only when the new one is complete.
    """
    ready = prepare(data, recipe, encoder, progress)
    data, recipe, both, test = ready.data, ready.recipe, ready.both, ready.test
    shape, held_out = choose(both, data.exclusive)
    tensors = fit_head.fit(both.features, both.targets, data.exclusive, shape)
    tensors |= fit_head.calibrate(held_out.logits, both.targets, data.exclusive)
    tensors |= bounds(tensors, ready, encoder, held_out.distances)
    said = to_probabilities(calibrated(tensors, held_out.logits), data.exclusive)
    tensors |= region.tensors(tensors, both.features, region.correct(said, both.targets, data.exclusive))
    head = LightHead(tensors, data.exclusive)
    scores = evaluate(head.probabilities(test.features), head.foreignness(test.features) > head.limit, ready)
    return write(
        card_of(ready, encoder, scores) | {"fit": {**asdict(shape), **ready.counts}}, tensors, room / recipe.name
    )


def prepare(data: FolderDataset, recipe: Recipe, encoder: Encoder, progress: Progress | None = None) -> Ready:
    """Encodes, fills in what the recipe leaves open, keeps the splits apart. Raises as `train` does: what the index alone shows,
    before anything is encoded."""
    checked(data, labelled(data, range(len(data.records))))
    encoded = encode(data.records, encoder, progress)
    if not recipe.modalities:
        modalities, body_parts = kind_of(encoded, encoder)
        recipe = replace(recipe, modalities=modalities, body_parts=recipe.body_parts or body_parts)
    elif not recipe.body_parts:
        recipe = replace(recipe, body_parts=body_parts_of(encoded))
    kept, dropped = _apart(data.records, encoded)
    known = labelled(data, kept)
    blank, kept = len(kept) - len(known), known
    data, unlearnt = checked(data, kept)
    both, test = (_part(data, encoded, kept, splits) for splits in (("train", "val"), ("test",)))
    near = _near_duplicates(both.features, test.features)
    counts = _counts(data, kept, dropped, near) | {"labels_without_train_pictures": unlearnt}
    counts |= {"without_label_left_out": blank} if blank else {}
    with_it = dict(zip(data.classes, np.nansum(both.targets == 1, axis=0).tolist(), strict=True))
    counts |= {"few_pictures": {label: n for label, n in with_it.items() if n < FEW}}
    return Ready(data, recipe, encoded, both, test, counts)


def bounds(tensors: Mapping[str, Array], ready: Ready, encoder: Encoder, distances: Array) -> dict[str, Array]:
    """The foreign tensors of train and val, standardised as in `tensors`, with limits by the held-out distances (n,) of own
    pictures; where the background shows other modalities and body parts, also what tells those from its own."""
    found = fit_head.foreign(tensors, ready.both.features)
    card = Card("specialist", ready.recipe.name, "", "", ready.recipe.modalities, ready.recipe.body_parts)
    others, kinds = background.foreign_to(card, encoder.card.version)
    if not len(others):
        return found | fit_head.limits(distances, ready.recipe.margin)
    own = ready.both.features
    found |= fit_head.kinds(own, others, kinds) | fit_head.known(own, others)
    return found | fit_head.limits(distances, max(ready.recipe.margin, fit_head.FARTHEST))


def choose(part: Part, exclusive: bool) -> tuple[Shape, HeldOut]:
    """The head of the ladder with the least calibrated loss on held-out folds, and what it said of them; the earlier
    (simpler) one at a tie."""

    def loss(held_out: HeldOut) -> float:
        logits = calibrated(fit_head.calibrate(held_out.logits, part.targets, exclusive), held_out.logits)
        return fit_head.negative_log_likelihood(logits, part.targets, exclusive)

    tried = [
        (shape, fit_head.out_of_fold(part.features, part.targets, exclusive, shape, part.folds))
        for shape in fit_head.LADDER
    ]
    return min(tried, key=lambda pair: loss(pair[1]))


def evaluate(p: Array, foreign: Array, ready: Ready) -> tuple[Score, ...]:
    """Every figure of the card, from the probabilities (n, c) of the test pictures, with bootstrap intervals over patients.
    Those that are `foreign` (n,) are scored too: the share of the specialist's own test pictures on which it would abstain
    stands beside. A figure that the test pictures do not have, as of a label that none of them bears, is left out."""
    y, exclusive, classes = ready.test.targets, ready.data.exclusive, ready.data.classes
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
    columns |= {group: [classes.index(m) for m in members] for group, members in ready.recipe.groups.items()}
    for label, members in columns.items():
        figures[f"AUROC {label}"] = _one_against_rest(y, p, members)
    floor = Score(
        "ECE if perfectly calibrated", *metric.perfect_calibration_error(p, exclusive, known=~np.isnan(y)), len(p)
    )
    measured = (interval(name, figure, ready.test.patients) for name, figure in figures.items())
    return (*(score for score in measured if not np.isnan(score.value)), floor)


def _one_against_rest(y: Array, p: Array, members: Sequence[int]) -> Callable[[Array], float]:
    """A group holds where any member does; where none is known to and one is not labelled, neither is the group."""
    truth, said = np.where((y[:, members] == 1).any(axis=1), 1.0, y[:, members].max(axis=1)), p[:, members].sum(axis=1)
    return lambda rows: metric.auroc(truth[rows], said[rows])


def _apart(records: Sequence[Record], encoded: Encoded) -> tuple[list[int], int]:
    """Rows to keep so that no picture lies in two splits, and how many were left out."""
    rank = {"train": 0, "val": 1, "test": 2}
    latest: dict[str, int] = {}
    for record, digest in zip(records, encoded.digests, strict=True):
        latest[digest] = max(latest.get(digest, 0), rank[record.split])
    kept = [i for i, r in enumerate(records) if rank[r.split] == latest[encoded.digests[i]]]
    return kept, len(records) - len(kept)


def _part(data: FolderDataset, encoded: Encoded, kept: Sequence[int], splits: Sequence[str]) -> Part:
    rows = [i for i in kept if data.records[i].split in splits]
    records = [data.records[i] for i in rows]
    patients = tuple(r.patient for r in records)
    own = folds(records, bool(data.patient_column))
    return Part(encoded.features[rows], data.targets(records), patients, own, tuple(rows))


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


def card_of(ready: Ready, encoder: Encoder, scores: Sequence[Score]) -> dict[str, object]:
    """What card.json holds of a light specialist, but for its version and how it was fitted."""
    data, recipe = ready.data, ready.recipe
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
