"""What a suite keeps while it is trained, so that a kill costs one member at most: CONSILIUM_HOME/suites/<suite>/

    members/<member>/    card.json, model.safetensors, held_out.safetensors of the first seed
    seeds/<member>-<seed>.json   what was measured of that member with that seed
    suite.json, suite.html       the report

Each bears a fingerprint of the data (digests, splits, patients, labels), the settings and the code's version; one that bears
another is trained again.

held_out.safetensors, one row for each picture of train and val:
    probabilities (n, c)   calibrated, from a fit that did not see the picture; NaN where there is none
    foreignness (n,)       by the pictures of the other folds
    local_accuracy (n,)    how often the member was right on the 25 pictures of other folds most like it
    folds (n,)             int32
    shifted.*              the same four, the folds being clusters of feature space (see suite_ground)
and in its header, as JSON: digests, splits, labels (class -> 1, 0 or null for each row), classes, seed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from consilium.errors import DataError
from consilium.nn import region
from consilium.train.suite_ground import Ground
from consilium.train.suite_members import METHODS, Run, ladder
from consilium.types import Array

# Raised whenever what is trained or kept changes; older members are then trained again.
CODE = "2"
FILE = "held_out.safetensors"


@dataclass(frozen=True, eq=False)
class HeldOutFile:
    """A member's held-out judgements, read back; `labels` (n, c) with NaN for not labelled."""

    probabilities: Array
    foreignness: Array
    local_accuracy: Array
    folds: Array
    shifted: Mapping[str, Array]
    labels: Array
    digests: tuple[str, ...]
    splits: tuple[str, ...]
    classes: tuple[str, ...]
    seed: int


def fingerprint(ground: Ground, member: str, seed: int, first: int = 0) -> str:
    """sha256 of all that decides what is trained: the pictures and what is known of them, the recipe, the encoders, the code, and
    which seed is the `first`, whose setting the others inherit."""
    ready = ground.ready
    rows = [*ready.both.rows, *ready.test.rows]
    records = [ready.data.records[i] for i in rows]
    method = METHODS.get(member)
    recipe = {**asdict(ready.recipe), "command": ""}
    known = np.concatenate([ready.both.targets, ready.test.targets])
    said: list[object] = [
        CODE,
        member,
        seed,
        ready.data.name,
        ready.data.classes,
        ready.data.exclusive,
        recipe,
        repr(ready.data.patient_column),
    ]
    said += [[ready.encoded.digests[i] for i in rows], np.nan_to_num(known, nan=-1).tolist()]
    said += [[(r.path.name, r.split, r.patient) for r in records], ground.encoder.card.version]
    said.append(ladder(member))
    said += [["first", first]] if first else []
    if method and method.source == "second" and ground.second is not None:
        said.append([ground.second.card.name, ground.second.card.version])
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def write_held_out(run: Run, ground: Ground, right: Array, path: Path, seed: int = 0) -> None:
    """Writes held_out.safetensors of the first seed. `right` (n,): of the ordinary held-out judgements."""
    from safetensors.numpy import save_file

    tensors: dict[str, Array] = {}
    cuts = {"": (ground.folds(seed), ground.held_distances, run.held_out)}
    cuts["shifted."] = (ground.shifted, ground.shifted_distances, run.shifted)
    for prefix, (cut, distances, said) in cuts.items():
        far = distances / ground.gate["foreign.own"]
        near = region.held_out_scores(ground.gate, ground.ready.both.features, right, cut)
        local = np.array([score.value for score in near])
        own = {"probabilities": said, "foreignness": far, "local_accuracy": local}
        tensors |= {prefix + name: np.ascontiguousarray(value, np.float32) for name, value in own.items()}
        tensors[f"{prefix}folds"] = cut.astype(np.int32)
    labels = {
        name: [None if np.isnan(value) else int(value) for value in column]
        for name, column in zip(ground.ready.data.classes, ground.targets.T, strict=True)
    }
    header: dict[str, object] = {
        "digests": ground.digests,
        "splits": [r.split for r in ground.records],
        "labels": labels,
    }
    header |= {"classes": ground.ready.data.classes, "seed": seed}
    save_file(tensors, path, {name: json.dumps(value) for name, value in header.items()})


def read_held_out(folder: Path) -> HeldOutFile:
    """The held-out judgements in a member's folder; DataError where there are none or the file is damaged."""
    from safetensors import SafetensorError, safe_open

    path = folder / FILE
    try:
        with safe_open(path, "numpy") as file:
            kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            header = {name: json.loads(text) for name, text in file.metadata().items()}
        labels = np.array([header["labels"][name] for name in header["classes"]], np.float32).T
        return HeldOutFile(
            probabilities=kept["probabilities"],
            foreignness=kept["foreignness"],
            local_accuracy=kept["local_accuracy"],
            folds=kept["folds"],
            shifted={
                name.removeprefix("shifted."): value for name, value in kept.items() if name.startswith("shifted.")
            },
            labels=labels,
            digests=tuple(header["digests"]),
            splits=tuple(header["splits"]),
            classes=tuple(header["classes"]),
            seed=int(header["seed"]),
        )
    except (SafetensorError, OSError, KeyError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path} cannot be read as held-out judgements: {error}. Train the suite again: consilium specialist suite FOLDER."
        ) from error


def finished(path: Path, wanted: str, also: Sequence[Path] = ()) -> dict[str, Any] | None:
    """What was measured before by a run with this fingerprint; None where there is none, or a file of it is missing."""
    if not all(other.is_file() for other in (path, *also)):
        return None
    try:
        measured = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # cut short by a kill: it is measured again
    return measured if isinstance(measured, dict) and measured.get("fingerprint") == wanted else None
