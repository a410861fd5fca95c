"""The ladder of different specialists: how each is fitted, what it says of pictures it was not fitted on, what that costs.

linear      a linear head on the shared encoder's features
mlp         a head with one hidden layer on the same
neighbours  the class shares of the 11 nearest known pictures by the same
dino        a linear head on the features of a second encoder
convnet     a small convolutional network, trained end to end on train alone; its held-out judgements are those of val
texture     gradient-boosted trees on classical radiomics

Cost: wall and processor seconds of the fits, without the passes of encoders (features are kept); operations (a multiply-add
is two) by the formulas below, of the network as torch counts them. Of a second encoder and of texture the passes over all
pictures are added, of the shared encoder none, since it looks at every picture anyway.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from consilium.errors import DataError
from consilium.imaging import texture
from consilium.nn import fit_head, neighbours, trees
from consilium.nn.fit_head import Shape
from consilium.nn.light_head import calibrated, raw_logits, to_probabilities
from consilium.nn.trees import Boost
from consilium.protocols import Encoder
from consilium.train.suite_ground import Ground, Table
from consilium.types import Array, Image

Fit = Callable[[Array, Array, bool, Any, int], dict[str, Array]]
"""(features, targets, exclusive, setting, seed) -> tensors."""

Asked = Callable[[Mapping[str, Array], Array, bool], Array]
"""(tensors, features, exclusive) -> logits (n, c)."""


@dataclass(frozen=True)
class Near:
    """How neighbours are sought: by the cosine of features as they are, or of standardised ones."""

    standardised: bool
    k: int = neighbours.K


@dataclass(frozen=True, eq=False)
class Method:
    """A member that is fitted on a table of features. `operations(setting, known, asked, width, concepts)`: of one fit on
    `known` rows and of judging `asked` rows."""

    loader: str
    source: str
    ladder: tuple[Any, ...]
    fit: Fit
    logits: Asked
    operations: Callable[[Any, int, int, int, int], float]


# L-BFGS looks at all rows so often until it stops (58 to 76 times on 633 pictures), Adam always 200 times.
EVALUATIONS, STEPS = 70, 200


def _head(shape: Shape, known: int, asked: int, width: int, concepts: int) -> float:
    """Forward and backward by each weight; the gradient by the features is not needed."""
    if not shape.hidden:
        return (4.0 * EVALUATIONS * known + 2 * asked) * width * concepts
    return (4.0 * STEPS * known + 2 * asked) * width * shape.hidden + 6.0 * STEPS * known * shape.hidden * concepts


def _boosting(boost: Boost, known: int, asked: int, width: int, concepts: int) -> float:
    """Each level of a tree sorts the rows by sqrt(width) features."""
    return boost.trees * concepts * boost.depth * np.sqrt(width) * known * np.log2(max(2, known))


METHODS: dict[str, Method] = {
    "linear": Method(
        "light",
        "shared",
        tuple(s for s in fit_head.LADDER if not s.hidden),
        fit_head.fit,
        lambda t, x, _: raw_logits(t, x),
        _head,
    ),
    "mlp": Method(
        "light",
        "shared",
        tuple(s for s in fit_head.LADDER if s.hidden),
        fit_head.fit,
        lambda t, x, _: raw_logits(t, x),
        _head,
    ),
    "neighbours": Method(
        "neighbours",
        "shared",
        (Near(False), Near(True)),
        lambda x, y, exclusive, near, seed: neighbours.fit(x, y, near.standardised, near.k),
        neighbours.raw_logits,
        lambda near, known, asked, width, concepts: 2.0 * known * asked * width,
    ),
    "dino": Method(
        "second_encoder",
        "second",
        tuple(s for s in fit_head.LADDER if not s.hidden),
        fit_head.fit,
        lambda t, x, _: raw_logits(t, x),
        _head,
    ),
    "texture": Method(
        "trees",
        "texture",
        (Boost(60, 2), Boost(150, 3)),
        trees.fit,
        lambda t, x, _: trees.raw_logits(t, x),
        _boosting,
    ),
}
MEMBERS = ("linear", "mlp", "neighbours", "dino", "convnet", "texture")
LOADERS = {name: method.loader for name, method in METHODS.items()} | {"convnet": "convnet"}


@dataclass(frozen=True)
class Cost:
    seconds: float
    cpu_seconds: float
    flops: float


@dataclass(frozen=True, eq=False)
class Run:
    """One member, one seed. `held_out`, `shifted` (n, c) and `test` (t, c) are calibrated probabilities, NaN where there is no
    held-out judgement; `tensors` are the member's own with its calibration."""

    setting: dict[str, Any]
    tensors: dict[str, Array]
    held_out: Array
    shifted: Array
    test: Array
    cost: Cost


def ladder(name: str) -> list[dict[str, Any]]:
    """The settings that a member chooses among; of the network the one it has."""
    if name in METHODS:
        return [asdict(setting) for setting in METHODS[name].ladder]
    from consilium.nn import convnet

    return [
        {
            n.lower(): getattr(convnet, n)
            for n in ("SIZE", "WIDTH", "BATCH", "RATE", "DECAY", "EPOCHS", "SHOWN", "PATIENCE")
        }
    ]


def run(name: str, ground: Ground, seed: int, setting: Mapping[str, Any] | None = None, shifted: bool = True) -> Run:
    """Fits the member with the seed's folds and start. `setting`: of an earlier seed, to be kept; None: chosen on the folds.
    `shifted`: judge the clusters of feature space too."""
    if name == "convnet":
        return _convnet(ground, seed)
    method = METHODS[name]
    table: Table = getattr(ground, f"{method.source}_table")
    folds = [ground.folds(seed), *([ground.shifted] if shifted else [])]
    with _Meter() as meter:
        chosen = None if setting is None else next(s for s in method.ladder if asdict(s) == dict(setting))
        chosen, held = _choose(method, table.both, ground, folds[0], seed, chosen, meter)
        calibration = fit_head.calibrate(held, ground.targets, ground.exclusive)
        moved = np.full_like(held, np.nan)
        if shifted:
            moved = _out_of_fold(method, table.both, ground, ground.shifted, chosen, seed, meter)
        tensors = method.fit(table.both, ground.targets, ground.exclusive, chosen, _start(seed)) | calibration
        test = method.logits(tensors, table.test, ground.exclusive)
        meter.add(method, chosen, len(table.both), len(table.test), _wide(table.both, ground.targets))
    said = [to_probabilities(calibrated(calibration, logits), ground.exclusive) for logits in (held, moved, test)]
    looked = _looked(method.source, ground) if seed == 0 else 0.0
    return Run(asdict(chosen), tensors, said[0], said[1], said[2], meter.cost(looked))


def _choose(
    method: Method, x: Array, ground: Ground, folds: Array, seed: int, given: Any, meter: _Meter
) -> tuple[Any, Array]:
    """The setting with the least calibrated loss on the folds, the earlier at a tie, and its held-out logits."""
    tried = []
    for setting in (given,) if given is not None else method.ladder:
        held = _out_of_fold(method, x, ground, folds, setting, seed, meter)
        fitted = calibrated(fit_head.calibrate(held, ground.targets, ground.exclusive), held)
        loss = fit_head.negative_log_likelihood(fitted, ground.targets, ground.exclusive)
        tried.append((loss, setting, held))
    _, setting, held = min(tried, key=lambda one: one[0])
    return setting, held


def _out_of_fold(
    method: Method, x: Array, ground: Ground, folds: Array, setting: Any, seed: int, meter: _Meter
) -> Array:
    held: Array = np.zeros(ground.targets.shape, np.float32)
    for fold in np.unique(folds):
        out = folds == fold
        tensors = method.fit(x[~out], ground.targets[~out], ground.exclusive, setting, _start(seed))
        held[out] = method.logits(tensors, x[out], ground.exclusive)
        meter.add(method, setting, int((~out).sum()), int(out.sum()), _wide(x, held))
    return held


def _wide(features: Array, targets: Array) -> tuple[int, int]:
    """(features, concepts)."""
    return int(features.shape[1]), int(targets.shape[1])


def _start(seed: int) -> int:
    """Seed 0 starts as every light specialist does."""
    return fit_head.SEED + seed


def _convnet(ground: Ground, seed: int) -> Run:
    from consilium.nn import convnet

    squares, owner = ground.pictures
    in_val, n, total = ground.in_val, len(ground.targets), len(ground.targets) + len(ground.ready.test.targets)
    if not in_val.any() or in_val.all():
        raise DataError(
            f"{ground.ready.data.folder} has no {'val' if not in_val.any() else 'train'} picture of its own, and a convnet "
            "needs both. Leave it out with --members, or mend the split."
        )
    parts = [np.isin(owner, np.flatnonzero(rows)) for rows in (~in_val, in_val)]
    train, val = (convnet.Pictures(squares[part], ground.targets[owner[part]]) for part in parts)
    with _Meter() as meter:
        fitted = convnet.fit(
            train, val, ground.exclusive, _start(seed), lambda part: ground.tell(f"convnet, seed {seed}", part)
        )
        shown = (owner >= n) | parts[1]
        logits = np.zeros((total, ground.targets.shape[1]), np.float32)
        said = convnet.raw_logits(convnet.restored(fitted.tensors), squares[shown])
        np.add.at(logits, owner[shown], said / np.bincount(owner)[owner[shown]][:, None])
        calibration = fit_head.calibrate(logits[:n][in_val], ground.targets[in_val], ground.exclusive)
        meter.flops += fitted.flops
    p = to_probabilities(calibrated(calibration, logits), ground.exclusive)
    held = np.where(in_val[:, None], p[:n], np.nan)
    setting = {"epochs": fitted.epochs, "best_epoch": fitted.best_epoch, "width": convnet.WIDTH}
    return Run(setting, fitted.tensors | calibration, held, np.full_like(held, np.nan), p[n:], meter.cost(0.0))


def _looked(source: str, ground: Ground) -> float:
    """Operations of the passes over all pictures by a way of seeing that this member alone needs."""
    pictures = len(ground.targets) + len(ground.ready.test.targets)
    if source == "texture":
        return float(texture.OPERATIONS * pictures)
    return _pass(ground.second) * pictures if source == "second" and ground.second is not None else 0.0


def _pass(encoder: Encoder) -> float:
    """Operations of the encoder's pass over one picture, counted by torch on noise that it has not seen; 0 of one that works
    without torch."""
    from torch.utils.flop_counter import FlopCounterMode

    noise = np.random.default_rng().integers(0, 256, (224, 224), np.uint8)
    with FlopCounterMode(display=False) as counter:
        encoder.embed([Image(noise, "sha256:noise")])
    return float(counter.get_total_flops())


class _Meter:
    """Times what happens inside `with`, and sums the operations it is told of."""

    flops = 0.0

    def __enter__(self) -> _Meter:
        self._begun = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *error: object) -> None:
        self.seconds = time.perf_counter() - self._begun[0]
        self.cpu_seconds = time.process_time() - self._begun[1]

    def add(self, method: Method, setting: Any, known: int, asked: int, shape: tuple[int, int]) -> None:
        self.flops += method.operations(setting, known, asked, *shape)

    def cost(self, looked: float) -> Cost:
        return Cost(round(self.seconds, 2), round(self.cpu_seconds, 2), float(f"{self.flops + looked:.4g}"))
