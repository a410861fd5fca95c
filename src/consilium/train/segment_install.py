"""Makes a member of what `segment_run` trained: the expected Dice from its signs, credible sizes, what is foreign, the card."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from consilium.errors import DataError
from consilium.imaging.stack import amounts
from consilium.nn import fit_head
from consilium.nn.light_head import distance
from consilium.nn.mask_judge import SIGNS
from consilium.nn.outline import expected_dice, logits
from consilium.protocols import Card, Encoder
from consilium.train import background
from consilium.train.segment_canvas import labels_of, shown
from consilium.train.segment_data import Row, rows_of, unlabelled_of
from consilium.train.segment_run import task_of
from consilium.train.trained_folder import write
from consilium.types import Array, Code, Score, Volume

NET = "net."
_FOLDS = 5
# Weight of a picture as it is against that of each spoilt copy.
_CLEAN = 4.0
# Room beyond what the training pictures show, for sizes and for lengths of volumes.
_SMALLER, _LARGER = 0.5, 1.6
_SHORTER, _LONGER = 0.8, 1.3


@dataclass(frozen=True, eq=False)
class Run:
    """What a training run left: float16 weights by name, held-out judgements, and its report."""

    tensors: dict[str, Array]
    signs: Array
    dice: Array
    spoilt: Array
    report: Mapping[str, Any]


def read_run(folder: Path, name: str) -> Run:
    """<folder>/<name>.npz and .json; DataError where they are not what a run writes."""
    try:
        with np.load(folder / f"{name}.npz", allow_pickle=False) as found:
            tensors = {key.removeprefix("weight:"): found[key] for key in found.files if key.startswith("weight:")}
            judged = [found[f"judged:{part}"] for part in ("signs", "dice", "spoilt")]
        report = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{folder} holds no run of {name}: {error}. Run consilium.train.segment_run again.") from error
    return Run(tensors, judged[0], judged[1], judged[2], report)


def install(run: Run, table: Mapping[str, Any], data: Path, encoder: Encoder | None, room: Path) -> Card:
    """Writes `room`/<task>/{card.json, model.safetensors} from a run, its task's `table` of the config, and the data's folder.

    With an encoder, pictures unlike those it learnt from are told by its features. The scores of the card are those on held-out
    pictures until `scored` gives it those of the test split.
    """
    rows = [row for source in table["sources"] for row in rows_of(source, data) if row.split in ("train", "val")]
    expected, fit = fitted_dice(run)
    limits = {"expected": expected.tolist(), "least": table.get("least", 0.6), "always": table.get("always", False)}
    limits["one_body"] = table.get("one_body", False)
    limits |= credible(rows, table)
    tensors: dict[str, Array] = {NET + name: value for name, value in run.tensors.items()}
    told = encoder is not None and table["canvas"]["dims"] == 2
    if told and encoder is not None:
        tensors |= foreign(rows, unlabelled_of(table, data), table, encoder)
    task = task_of(table)
    card = Card(
        kind="specialist",
        name=table["name"],
        version="",
        summary=table["summary"],
        modalities=tuple(table["modalities"]),
        body_parts=tuple(table["body_parts"]),
        concepts=tuple(Code.local(label) for label in table["labels"]),
        trained_on={
            source["folder"]: source["licence"] for source in (*table["sources"], *table.get("unlabelled", ()))
        },
        licence=table["licence"],
        evidence="results/segmentation.json (python benchmarks/segmentation.py)",
        scores=held_out(run, table["labels"]),
        not_for=("use on patients: it is not a medical device", *table.get("not_for", ())),
        outlines=True,
    )
    made = asdict(card) | {
        "loader": "segmenter",
        "exclusive": False,
        "encoder": encoder.card.version if told and encoder is not None else "",
        "segmenter": {
            "network": {**asdict(task.network), "deep": False},
            "canvas": table["canvas"],
            "swap": list(task.swap),
            "limits": limits,
        },
        "fit": {"expected Dice": fit, **{k: run.report[k] for k in ("chosen", "device", "seconds")}},
    }
    return write(made, tensors, room / table["name"])


def scored(folder: Path, scores: Sequence[Score]) -> Card:
    """Gives an installed segmenter the scores of its test split."""
    from consilium.nn.light_head import read

    made = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    made["scores"] = [asdict(score) for score in scores]
    return write(made, read(folder / "model.safetensors", ()), folder)


def fitted_dice(run: Run) -> tuple[Array, dict[str, object]]:
    """((labels, 4) coefficients of `outline.expected_dice`, how well they tell the Dice of pictures not fitted on).

    Pictures as they are weigh more than their spoilt copies. Where a label is nowhere and nothing was outlined, the Dice is 1.
    """
    dice = np.nan_to_num(run.dice, nan=1.0).astype(float)
    clean = ~run.spoilt.astype(bool)
    weight = np.where(clean, _CLEAN, 1.0)
    folds = np.random.default_rng(0).permutation(len(dice)) % _FOLDS
    found, told = [], np.empty_like(dice)
    for label in range(dice.shape[1]):
        x, y = run.signs[:, label].astype(float), dice[:, label]
        found.append(_fitted(x, y, weight))
        for fold in range(_FOLDS):
            out = folds == fold
            told[out, label] = expected_dice(_fitted(x[~out], y[~out], weight[~out]), x[out])
    return np.array(found), {
        "signs": list(SIGNS),
        "mean absolute error": float(np.abs(told - dice)[clean].mean()),
        "mean absolute error, spoilt copies": float(np.abs(told - dice)[~clean].mean()),
        "correlation": float(np.corrcoef(told.ravel(), dice.ravel())[0, 1]),
        "n": int(clean.sum()),
    }


def _fitted(x: Array, y: Array, weight: Array) -> Array:
    """Weighted least squares of log-odds. No slope is negative: no sign of a good mask may lower what is expected of it."""
    from scipy.optimize import lsq_linear

    root = np.sqrt(weight)
    design = np.concatenate([np.ones((len(x), 1)), logits(x)], axis=1) * root[:, None]
    return lsq_linear(design, logits(y) * root, bounds=([-np.inf, 0, 0, 0], np.inf)).x


def held_out(run: Run, labels: Sequence[str]) -> tuple[Score, ...]:
    """Dice a label of the held-out pictures as they are; intervals over pictures."""
    from consilium.metrics.bootstrap import interval

    dice = run.dice[~run.spoilt.astype(bool)]
    rows = [str(i) for i in range(len(dice))]
    return tuple(
        interval(f"Dice {label} (held out)", _mean_of(dice[:, column]), rows) for column, label in enumerate(labels)
    )


def _mean_of(values: Array):  # type: ignore[no-untyped-def]
    return lambda rows: float(np.nanmean(values[rows]))


def credible(rows: Sequence[Row], table: Mapping[str, Any]) -> dict[str, object]:
    """`sizes` (mL of volumes, shares of a picture's area) where every part is always there, `extent_mm` of volumes."""
    sizes, extents = [], []
    for row in rows:
        labels, item = labels_of(row, table["canvas"]), shown(row.image, table["canvas"])
        sizes.append(amounts(labels, item, len(table["labels"])))
        if isinstance(item, Volume):
            extents.append(_lengths(item))
    found: dict[str, object] = {}
    if table.get("always"):
        found["sizes"] = [
            [_SMALLER * low, _LARGER * high] for low, high in zip(np.min(sizes, 0), np.max(sizes, 0), strict=True)
        ]
    if extents:
        found["extent_mm"] = [
            [_SHORTER * low, _LONGER * high] for low, high in zip(np.min(extents, 0), np.max(extents, 0), strict=True)
        ]
    return found


def _lengths(volume: Volume) -> list[float]:
    from consilium.imaging.canvas import turn_of

    return [volume.voxels.shape[axis] * volume.spacing_mm[axis] for axis in turn_of(volume).axes]


def foreign(rows: Sequence[Row], more: Sequence[Path], table: Mapping[str, Any], encoder: Encoder) -> dict[str, Array]:
    """What tells its own kind of picture by the shared encoder's features, as light specialists do: from the pictures that it
    learnt from, labelled or not, and the shipped background of other modalities and body parts."""
    paths = [row.image for row in rows] + list(more)
    groups = np.unique([row.patient for row in rows] + [str(path) for path in more], return_inverse=True)[1] % _FOLDS
    features = np.concatenate([encoder.embed([shown(path, table["canvas"])]).pooled for path in paths])  # type: ignore[list-item]
    tensors = fit_head.spread(features)
    own = np.empty(len(features))
    for fold in range(_FOLDS):
        out = groups == fold
        without = fit_head.spread(features[~out])
        own[out] = distance(without | fit_head.foreign(without, features[~out]), features[out])
    tensors |= fit_head.foreign(tensors, features)
    card = Card("specialist", table["name"], "", "", tuple(table["modalities"]), tuple(table["body_parts"]))
    others, kinds = background.foreign_to(card, encoder.card.version)
    if len(others):
        tensors |= fit_head.kinds(features, others, kinds) | fit_head.known(features, others)
    tensors |= fit_head.limits(own, fit_head.FARTHEST if len(others) else 1.0)
    halves = ("foreign.basis", "known.basis")
    return {name: value.astype(np.float16 if name in halves else np.float32) for name, value in tensors.items()}
