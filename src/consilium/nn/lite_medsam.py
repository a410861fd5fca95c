"""LiteMedSAM (Ma et al. 2024): outlines what a box marks in any picture. TinyViT, then SAM's prompt encoder and
mask decoder as transformers has them.

The picture is seen by its longest side at 256 pixels, black below or to the right, shades stretched from 0 to 1.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as f
from transformers import SamConfig
from transformers.models.sam.modeling_sam import SamMaskDecoder, SamPromptEncoder

from consilium.errors import WeightsError
from consilium.imaging.picture import resize
from consilium.imaging.window import to_display
from consilium.nn.denormals import flushed_denormals
from consilium.nn.tiny_vit import TinyVit
from consilium.types import Array, Image

SIDE, GRID = 256, 64
_KEPT = 8
_SIDES = (16, 36, 80, 180)  # of the squares around a point, in pixels of the 256


@dataclass(frozen=True, eq=False)
class Outline:
    """masks (k, rows, columns) bool, one a prompt; `quality` (k,) float32: each mask's intersection over union with what was
    meant, as the decoder foresees it."""

    masks: Array
    quality: Array


class LiteMedSam(nn.Module):
    """The three networks under one roof, so that one file fills them."""

    def __init__(self) -> None:
        super().__init__()
        config: Any = sam_config()
        self.image_encoder = TinyVit()
        self.prompt_encoder = SamPromptEncoder(config)
        self.mask_decoder = SamMaskDecoder(config.mask_decoder_config)

    def decode(self, embedding: torch.Tensor, boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (k, 256, 256) and foreseen quality (k,) of one picture's embedding (1, 256, 64, 64) and boxes (k, 4) as
        x0, y0, x1, y1 in pixels of the 256 x 256 picture."""
        sparse, dense = self.prompt_encoder(None, None, boxes[None], None)
        logits, quality = self.mask_decoder(embedding, self._places(), sparse, dense, multimask_output=False)
        return logits[0, :, 0], quality[0, :, 0]

    def _places(self) -> torch.Tensor:
        """(1, 256, 64, 64): where each feature lies."""
        along = (torch.arange(GRID) + 0.5) / GRID
        down, across = torch.meshgrid(along, along, indexing="ij")
        encoded = self.prompt_encoder.shared_embedding(torch.stack([across, down], dim=-1))
        return encoded.permute(2, 0, 1)[None]


def sam_config() -> SamConfig:
    """SAM's settings for a picture of 256 pixels. The norms' epsilon is that of the authors' code, not transformers' default."""
    config: Any = SamConfig(
        prompt_encoder_config={"image_size": SIDE, "patch_size": SIDE // GRID},
        mask_decoder_config={"layer_norm_eps": 1e-5},
    )
    config.mask_decoder_config._attn_implementation = "sdpa"  # else each pass warns that nobody chose one
    return config


def restored(folder: Path) -> LiteMedSam:
    """The network of `folder`/model.safetensors, ready to judge; WeightsError where the file does not fill it exactly."""
    net = LiteMedSam()
    try:
        net.load_state_dict(load_file(folder / "model.safetensors"), strict=True)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise WeightsError(f"{folder} does not hold LiteMedSAM's weights: {error}. Fetch them again.") from error
    # The same numbers, in a ninth less time on a CPU.
    net.image_encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net.eval().requires_grad_(False)


@dataclass(frozen=True)
class Fit:
    """How a picture of `rows` x `columns` lies in the square: its longest side is 256 pixels."""

    rows: int
    columns: int

    @property
    def scale(self) -> float:
        return SIDE / max(self.rows, self.columns)

    @property
    def shape(self) -> tuple[int, int]:
        return max(1, round(self.rows * self.scale)), max(1, round(self.columns * self.scale))


def square(image: Image) -> torch.Tensor:
    """(1, 3, 256, 256) float32 in [0, 1]: the picture as it is shown, its darkest shade 0 and its brightest 1."""
    rgb = to_display(image)
    small = resize(rgb, *Fit(*rgb.shape[:2]).shape).astype(np.float32)
    spread = max(float(np.ptp(small)), 1e-8)
    filled = np.zeros((SIDE, SIDE, 3), np.float32)
    filled[: small.shape[0], : small.shape[1]] = (small - small.min()) / spread
    return torch.from_numpy(filled).permute(2, 0, 1)[None]


@dataclass(eq=False)
class Prompted:
    """Outlines with one encoder pass a picture: the embeddings of the last pictures are kept (4 MB each). Threads may share
    it. `passes` counts the pictures that really went through the encoder."""

    net: LiteMedSam
    passes: int = 0
    _kept: OrderedDict[str, torch.Tensor] = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)

    def boxed(self, image: Image, boxes: Array) -> Outline:
        """What each box (k, 4: x0, y0, x1, y1) marks, in pixels of the image (columns, rows)."""
        fit = Fit(*image.pixels.shape[:2])
        scaled = torch.from_numpy(np.asarray(boxes, np.float32) * fit.scale)
        with self._lock, torch.inference_mode(), flushed_denormals():
            logits, quality = self.net.decode(self._embedding(image), scaled)
            rows, columns = fit.shape
            inside = logits[None, :, :rows, :columns]
            full = f.interpolate(inside, (fit.rows, fit.columns), mode="bilinear", align_corners=False)[0]
        return Outline((full > 0).numpy(), quality.numpy())

    def pointed(self, image: Image, points: Array) -> Outline:
        """What lies around each point (k, 2: x, y), in pixels of the image (columns, rows).

        The network was trained on boxes: given a point as SAM encodes it, it outlines nothing. So each point stands for
        squares around it, of which the one with the best foreseen quality is taken.
        """
        rows, columns = image.pixels.shape[:2]
        reach = np.array(_SIDES) / (2 * Fit(rows, columns).scale)
        middle = np.repeat(np.asarray(points, float), len(_SIDES), axis=0)
        reaches = np.tile(reach, len(points))[:, None]
        last = np.array([columns - 1, rows - 1])
        squares = np.hstack([np.clip(middle - reaches, 0, last), np.clip(middle + reaches, 0, last)])
        found = self.boxed(image, squares)
        best = found.quality.reshape(-1, len(_SIDES)).argmax(axis=1) + len(_SIDES) * np.arange(len(points))
        return Outline(found.masks[best], found.quality[best])

    def _embedding(self, image: Image) -> torch.Tensor:
        key = image.digest
        if key not in self._kept:
            self._kept[key] = self.net.image_encoder(square(image))
            self.passes += 1
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]
