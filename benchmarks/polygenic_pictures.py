"""Part of the polygenic study: what the frozen shared vision encoder makes of risk images, against the light heads on the same
people. Not a command itself. The native generalist, which looks through this encoder, was not trained on risk images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

import polygenic_cohort as cohorts
import polygenic_models as models
from consilium import registry
from consilium.consult.panel import DEFAULT_ENCODER
from consilium.genomics import risk_image
from consilium.genomics.risk_image import Layout
from consilium.protocols import Encoder
from consilium.train.polygenic_fit import GateShape, gate, ridge
from consilium.types import Array, Image
from polygenic_cohort import Cohort
from polygenic_metrics import table

SIDE, PATCH = 14, 16
"""The encoder's own grid: a patch of the picture is a patch of the encoder, so that nothing is resized."""
_BATCH = 16
LIGHT = "ridge over the scores, same people"


def stage(cohort: Cohort, data: models.Data, pictures: int) -> dict[str, Any]:
    """The commonest trained outcome of a regime: a quarter of `pictures` each with and without it, of train and of test people
    (the paper's measure too has as many with as without)."""
    encoder: Encoder = registry.get("encoders", DEFAULT_ENCODER).load()
    correlation = np.corrcoef(cohort.trait_z, rowvar=False)
    names = [f"trait {i}" for i in range(len(correlation))]
    orders = {
        "by genetic correlation": risk_image.by_correlation(names, cohorts.BAR_NAMES, correlation, PATCH),
        "in random order": risk_image.at_random(names, cohorts.BAR_NAMES, 0, PATCH),
    }
    outcome = int(data.y[0][:, : cohort.told.trained].mean(axis=0).argmax())
    own = tuple(_balanced(labels[:, outcome], pictures // 4) for labels in data.y)
    first = (cohort.parts["train"].start, cohort.parts["test"].start)
    rows = {part: first[i] + own[i] for i, part in enumerate(("train", "test"))}
    d, y = (
        (data.d[0][own[0]], data.d[1][own[1]]),
        tuple(labels[i][:, [outcome]] for labels, i in zip(data.y, own, strict=True)),
    )
    said = {LIGHT: _linear(data.flat(0)[own[0]], data.flat(1)[own[1]], y[0], d)}
    for order, layout in orders.items():
        wide = widened(layout)
        seen = {
            part: _embedded(encoder, [risk_image.draw(cohort.percentiles[i], wide) for i in chosen])
            for part, chosen in rows.items()
        }
        spread = np.maximum(seen["train"].std(axis=0), 1e-6)
        x, xt = ((seen[part] - seen["train"].mean(axis=0)) / spread for part in ("train", "test"))
        said[f"vision encoder's pooled features, {order}"] = _linear(x, xt, y[0], d)
    base = next(name for name in said if "by genetic correlation" in name)
    others = tuple(name for name in said if name != base)
    return {
        "people": {part: len(chosen) for part, chosen in rows.items()},
        "outcome": outcome,
        "encoder": encoder.card.version,
        "regime": "modified",
        "note": "a linear head with demographics on both; the native generalist was not trained on risk images",
        **table(y[1], said, base, others),
    }


def _balanced(labels: Array, each: int) -> Array:
    """The first `each` people with and without it."""
    return np.sort(np.concatenate([np.flatnonzero(labels == value)[:each] for value in (0, 1)]))


def widened(layout: Layout) -> Layout:
    """The same picture in the upper left of the encoder's own grid."""
    row, column = np.divmod(np.array(layout.cells), layout.columns)
    return replace(layout, cells=tuple(int(cell) for cell in row * SIDE + column), rows=SIDE, columns=SIDE)


def _linear(x: Array, xt: Array, y: Array, d: tuple[Array, Array]) -> Array:
    head = gate(ridge(x, y, d[0]), y, d[0], (0.0, 1.0), GateShape(gated=False))
    return head.probabilities(xt, d[1])


def _embedded(encoder: Encoder, images: list[Image]) -> Array:
    parts = [encoder.embed(images[low : low + _BATCH]).pooled for low in range(0, len(images), _BATCH)]
    return np.concatenate(parts).astype(np.float64)
