"""A weightless encoder: eight plain statistics of each patch. For tests, documentation, and as the floor that a pretrained
encoder has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from consilium.imaging.picture import resize
from consilium.imaging.window import to_display
from consilium.protocols import Card, Features
from consilium.types import Array, Image

GRID, SIDE = 14, 16

CARD = Card(
    kind="encoder",
    name="patch_statistics",
    version="1",
    summary="Mean, spread, quantiles and slopes of 14 x 14 patches: needs no weights",
    modalities=("CR", "CT", "DX", "GM", "MG", "MR", "NM", "OP", "PT", "SM", "US", "XC"),
    licence="Apache-2.0",
    evidence="results/encoder_probe.json",
    not_for=("anything but tests and comparison: it sees no anatomy",),
)


class PatchStatistics:
    """pooled (n, 16): the statistics of the whole picture, then the mean over patches; patches (n, 14, 14, 8)."""

    card = CARD

    def __init__(self) -> None:
        self.passes = 0

    def embed(self, images: Sequence[Image], patches: bool = False) -> Features:
        self.passes += len(images)
        seen = [self._see(image) for image in images]
        whole = np.array([w for w, _ in seen], np.float32).reshape(len(images), 8)
        parts = np.array([p for _, p in seen], np.float32).reshape(len(images), GRID, GRID, 8)
        return Features(np.concatenate([whole, parts.mean(axis=(1, 2))], axis=1), parts if patches else None)

    def _see(self, image: Image) -> tuple[Array, Array]:
        grey = resize(to_display(image), GRID * SIDE, GRID * SIDE).mean(axis=2) / 255
        cut = grey.reshape(GRID, SIDE, GRID, SIDE).swapaxes(1, 2)
        return _statistics(grey[None, None])[0, 0], _statistics(cut)


def _statistics(cut: Array) -> Array:
    """(rows, columns, height, width) -> (rows, columns, 8)."""
    flat = cut.reshape(*cut.shape[:2], -1)
    quantiles = np.quantile(flat, [0.1, 0.5, 0.9], axis=2)
    down = np.diff(cut, axis=2)
    across = np.diff(cut, axis=3)
    columns = [
        flat.mean(2),
        flat.std(2),
        *quantiles,
        down.mean((2, 3)),
        across.mean((2, 3)),
        np.abs(across).mean((2, 3)),
    ]
    return np.stack(columns, axis=2)


def load() -> PatchStatistics:
    """The encoder; needs nothing."""
    return PatchStatistics()
