"""Embeds pictures with a vision transformer of transformers: pre-processing, batches, precision, and no image twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from threading import Lock
from typing import Any

import numpy as np
import torch
from PIL import Image as Picture

from consilium.errors import UsageError
from consilium.imaging.window import to_display
from consilium.nn.denormals import flushed_denormals
from consilium.nn.feature_store import FeatureStore, Stored
from consilium.nn.pretrained import Precision, pick_dtype
from consilium.protocols import Card, Features
from consilium.settings import settings
from consilium.types import Array, Image

Trunk = Callable[[torch.Tensor], torch.Tensor]
"""(n, 3, size, size) normalised pixels -> (n, prefix + rows * columns, channels) hidden tokens."""


@dataclass(frozen=True)
class Sight:
    """How a vision transformer sees: a square of `size` pixels, RGB in [0, 1] minus `mean` over `std`, cut into `grid` x
    `grid` patches that follow `prefix` other tokens ([CLS] first, then registers); tokens of `channels` numbers."""

    size: int
    grid: int
    prefix: int
    channels: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class Run:
    """How to compute: `device` as torch names it, `precision` ("auto": bfloat16 where the device has it), images at once."""

    device: str = "cpu"
    precision: Precision = "auto"
    batch: int = 16

    @property
    def dtype(self) -> torch.dtype:
        """What is multiplied in; UsageError on an unknown precision."""
        return pick_dtype(self.precision, self.device)


class VisionEncoder:
    """An Encoder over the hidden tokens of one layer.

    pooled   (n, 2 * channels) float32: the [CLS] token, then the mean of the patch tokens.
    patches  (n, grid, grid, channels) float32, rounded to float16 as they are kept.

    The whole field of view is squashed to the square: nothing is cropped away, the aspect is not kept. `passes` counts the
    images that really went through the network. Threads may share one encoder.
    """

    def __init__(self, card: Card, trunk: Trunk, sight: Sight, store: FeatureStore, run: Run) -> None:
        self.card = card
        self.passes = 0
        self._trunk = trunk
        self._sight = sight
        self._store = store
        self._device = torch.device(run.device)
        self._batch = run.batch
        self._dtype = run.dtype
        self._mean = torch.tensor(sight.mean, device=self._device).view(3, 1, 1)
        self._std = torch.tensor(sight.std, device=self._device).view(3, 1, 1)
        self._lock = Lock()

    def embed(self, images: Sequence[Image], patches: bool = False) -> Features:
        """Features of `images` in their order; raises what `imaging.window.to_display` raises on pixels it cannot show."""
        with self._lock:
            known = self._known(images, patches)
        rows = [known[image.digest] for image in images]
        width = 2 * self._sight.channels
        pooled = np.stack([row.pooled for row in rows]) if rows else np.empty((0, width), np.float32)
        return Features(pooled, self._patches(rows) if patches else None)

    def recall(self, digest: str) -> Stored | None:
        """What is kept of the picture with this digest, patches too; None where it was not encoded with them."""
        return self._store.get(digest, patches=True)

    def _known(self, images: Sequence[Image], patches: bool) -> dict[str, Stored]:
        wanted = {image.digest: image for image in images}
        known = {}
        for digest in wanted:
            stored = self._store.get(digest, patches)
            if stored is not None:
                known[digest] = stored
        unseen = iter([digest for digest in wanted if digest not in known])
        while chunk := list(islice(unseen, self._batch)):
            for digest, stored in zip(chunk, self._encode([wanted[d] for d in chunk], patches), strict=True):
                self._store.put(digest, stored)
                known[digest] = stored
        return known

    def _patches(self, rows: Sequence[Stored]) -> Array:
        grid, channels = self._sight.grid, self._sight.channels
        if not rows:
            return np.empty((0, grid, grid, channels), np.float32)
        return np.stack([row.patches for row in rows if row.patches is not None]).astype(np.float32)

    def _encode(self, images: Sequence[Image], patches: bool) -> Iterator[Stored]:
        squares = np.stack([self._square(image) for image in images])
        mixed = self._dtype != torch.float32
        autocast = torch.autocast(self._device.type, self._dtype if mixed else None, enabled=mixed)
        with flushed_denormals(), torch.inference_mode(), autocast:
            pixels = torch.from_numpy(squares).to(self._device).permute(0, 3, 1, 2).float().div(255)
            tokens = self._trunk((pixels - self._mean) / self._std).float()
            body = tokens[:, self._sight.prefix :]
            pooled = torch.cat([tokens[:, 0], body.mean(1)], 1).cpu().numpy()
        self.passes += len(images)
        grid, channels = self._sight.grid, self._sight.channels
        kept = body.reshape(-1, grid, grid, channels).half().cpu().numpy() if patches else [None] * len(images)
        return (
            Stored(row.copy(), None if part is None else part.copy()) for row, part in zip(pooled, kept, strict=True)
        )

    def _square(self, image: Image) -> Array:
        size = (self._sight.size, self._sight.size)
        return np.asarray(Picture.fromarray(to_display(image)).resize(size, Picture.Resampling.BICUBIC))


def stamped(card: Card, layer: int, fingerprint: str) -> Card:
    """`card` with a version that names all that decides its features: heads and indices fit this version alone."""
    return replace(card, version=f"{card.version}+layer{layer}.{fingerprint[:8]}")


def open_store(card: Card, run: Run) -> FeatureStore:
    """The kept features of a stamped encoder at one precision; in memory alone where the settings keep none on disk."""
    now = settings()
    key = f"{card.name}-{card.version}-{str(run.dtype).removeprefix('torch.')}"
    return FeatureStore(now.cache / "features" / key if now.keep_features else None)


def keep_layers(layers: Any, layer: int) -> Any:
    """The first `layer` blocks of a network, so that what is not looked at is not computed; UsageError out of range."""
    if not 1 <= layer <= len(layers):
        raise UsageError(f"layer is {layer}; choose 1 to {len(layers)}")
    return layers[:layer]
