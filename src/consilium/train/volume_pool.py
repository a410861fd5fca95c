"""Trains a specialist for volumes: the encoder's features of a few slices each, a head with attention over them chosen and
calibrated on val, its card filled from the test volumes, which are scored once.

The ladder holds the plain mean of the slices as well: attention is taken only where it judges val better.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from consilium.datasets.folder import FolderDataset
from consilium.datasets.index_table import SPLITS
from consilium.errors import DataError
from consilium.metrics import classification as metric
from consilium.metrics.bootstrap import interval
from consilium.nn import attention_pool, fit_head
from consilium.nn.fit_head import Shape
from consilium.nn.light_head import calibrated, distance, foreignness, limit, to_probabilities
from consilium.protocols import Card, Encoder
from consilium.train.specialist import Recipe
from consilium.train.trained_folder import write
from consilium.types import Array, Code, Score, Volume

SLICES, BATCH = 6, 8
LADDER = tuple(Shape(hidden, decay) for hidden in (0, 16) for decay in (1e-2, 3e-2, 1e-1, 3e-1, 1.0))


@dataclass(frozen=True, eq=False)
class Labelled:
    """Volumes of one split with their targets (n, c), NaN for not labelled, and whose they are."""

    volumes: Sequence[Volume]
    targets: Array
    patients: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Volumes:
    """A labelled set: its name, its classes, whether exactly one of them holds, and its parts train, val and test."""

    name: str
    classes: tuple[str, ...]
    exclusive: bool
    parts: Mapping[str, Labelled]


@dataclass(frozen=True, eq=False)
class Sliced:
    """What is learnt from: features (n, k, d) of the slices, which of them are there (n, k), targets (n, c), patients."""

    features: Array
    present: Array
    targets: Array
    patients: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Fitted:
    """The calibrated tensors of the chosen head, and its place on the ladder."""

    tensors: dict[str, Array]
    shape: Shape


def train(data: Volumes, recipe: Recipe, encoder: Encoder, room: Path, slices: int = SLICES) -> Card:
    """Trains on train, chooses and calibrates on val, scores test; writes `room`/<name>/ and returns the card. DataError where a
    part is missing or empty, or the recipe does not say the modality."""
    _check(data, recipe)
    sliced = {split: encoded(data.parts[split], encoder, slices) for split in SPLITS}
    fitted = fit(sliced["train"], sliced["val"], data.exclusive)
    tensors, test = fitted.tensors, sliced["test"]
    far = foreignness(tensors, attention_pool.mean_slice(test.features, test.present)) > limit(tensors)
    scores = figures(probabilities(tensors, test, data.exclusive), far, test, data)
    made = _made(data, recipe, scores) | {
        "loader": "volume_pool",
        "exclusive": data.exclusive,
        "encoder": encoder.card.version,
        "slices": slices,
        "fit": {**asdict(fitted.shape), "counts": {split: len(sliced[split].targets) for split in SPLITS}},
    }
    return write(made, tensors, room / recipe.name)


def of_folder(data: FolderDataset) -> Volumes:
    """The volumes of a folder, each file one volume. DataError where a file holds none, or several."""
    from consilium import formats

    parts = {}
    for split in SPLITS:
        records = data.of(split)
        volumes: list[Volume] = []
        for record in records:
            items = [i for study in formats.read(record.path) for i in study.images if isinstance(i, Volume)]
            if len(items) != 1:
                raise DataError(f"a file of {data.folder} holds {len(items)} volumes; one for each label was expected.")
            volumes += items
        parts[split] = Labelled(volumes, data.targets(records), tuple(record.patient for record in records))
    return Volumes(data.name, data.classes, data.exclusive, parts)


def encoded(part: Labelled, encoder: Encoder, k: int = SLICES) -> Sliced:
    """The features of the part's slices, `BATCH` volumes at a time."""
    cuts = [part.volumes[i : i + BATCH] for i in range(0, len(part.volumes), BATCH)]
    seen = [attention_pool.slice_features(cut, encoder, k) for cut in cuts]
    features, present = (np.concatenate(of_all) for of_all in zip(*seen, strict=True))
    return Sliced(features, present, part.targets, part.patients)


def fit(train: Sliced, val: Sliced, exclusive: bool, ladder: Sequence[Shape] = LADDER) -> Fitted:
    """The head of the ladder with the least calibrated loss on val, the earlier (simpler) one at a tie, with its calibration and
    its limits for foreign volumes from val."""
    tried = []
    for shape in ladder:
        tensors = attention_pool.fit(train.features, train.present, train.targets, exclusive, shape)
        raw = attention_pool.raw_logits(tensors, val.features, val.present)
        tensors |= fit_head.calibrate(raw, val.targets, exclusive)
        loss = fit_head.negative_log_likelihood(calibrated(tensors, raw), val.targets, exclusive)
        tried.append((loss, shape, tensors))
    _, shape, tensors = min(tried, key=lambda one: one[0])
    tensors |= fit_head.foreign(tensors, attention_pool.mean_slice(train.features, train.present))
    own = distance(tensors, attention_pool.mean_slice(val.features, val.present))
    return Fitted(tensors | fit_head.limits(own), shape)


def probabilities(tensors: Mapping[str, Array], part: Sliced, exclusive: bool) -> Array:
    """(n, c) calibrated probabilities of a part's volumes."""
    raw = attention_pool.raw_logits(tensors, part.features, part.present)
    return to_probabilities(calibrated(tensors, raw), exclusive)


def figures(p: Array, foreign: Array, test: Sliced, data: Volumes) -> tuple[Score, ...]:
    """AUROC (all, and of each class), accuracy where classes exclude each other, calibration error, and the share of its own
    test volumes on which it would abstain; intervals by the bootstrap over patients."""
    y, exclusive = test.targets, data.exclusive
    found: dict[str, Callable[[Array], float]] = {
        "AUROC": lambda rows: metric.mean_auroc(y[rows], p[rows]),
        "ECE": lambda rows: metric.calibration_error(y[rows], p[rows], exclusive),
        "abstained": lambda rows: float(foreign[rows].mean()),
    }
    if exclusive:
        found["accuracy"] = lambda rows: metric.accuracy(y[rows], p[rows])
    for i, label in enumerate(data.classes):
        found[f"AUROC {label}"] = partial(_auroc, y[:, i], p[:, i])
    return tuple(interval(name, figure, test.patients) for name, figure in found.items())


def _auroc(truth: Array, said: Array, rows: Array) -> float:
    return metric.auroc(truth[rows], said[rows])


def _check(data: Volumes, recipe: Recipe) -> None:
    empty = [split for split in SPLITS if split not in data.parts or not len(data.parts[split].volumes)]
    if empty:
        raise DataError(f"{data.name} has no volumes in {', '.join(empty)}; train, val and test are needed.")
    if not recipe.modalities:
        raise DataError(f"the modality of {data.name} is not stated; name it in the recipe (CT, MR, PT).")


def _made(data: Volumes, recipe: Recipe, scores: Sequence[Score]) -> dict[str, object]:
    card = Card(
        kind="specialist",
        name=recipe.name,
        version="",
        summary=recipe.summary or f"Tells apart {', '.join(data.classes)} in a volume.",
        modalities=recipe.modalities,
        body_parts=recipe.body_parts,
        concepts=tuple(recipe.codes.get(label, Code.local(label)) for label in data.classes),
        trained_on={data.name: recipe.data_licence or "not stated"},
        licence=recipe.licence or "as the data's",
        evidence=recipe.command,
        scores=tuple(scores),
        not_for=("use on patients: it is not a medical device", *recipe.not_for),
    )
    return asdict(card)
