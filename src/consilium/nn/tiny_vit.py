"""TinyViT (Wu et al., ECCV 2022), as LiteMedSAM's image encoder: a picture of 256 x 256 becomes a grid of 64 x 64 features.

It differs from the published classifier: the stem and the last reduction keep their resolution, and a neck gives 256
channels. Batch norms are folded into the convolutions before them, which is exact once training is over.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as f

CHANNELS = 3
EXPANSION = 4
_STRIP_ROWS = 32


@dataclass(frozen=True)
class Stage:
    """One stage: blocks of attention in windows of `window` x `window` places, or of convolution alone where it is 0.

    stride  by how much the reduction after the stage shrinks the grid; 0: no reduction.
    """

    channels: int
    blocks: int
    heads: int = 0
    window: int = 0
    stride: int = 0


LITE_MEDSAM = (
    Stage(64, 2, stride=2),
    Stage(128, 2, heads=4, window=7, stride=2),
    Stage(160, 6, heads=5, window=14, stride=1),
    Stage(320, 2, heads=10, window=7),
)


def _conv(inward: int, outward: int, size: int = 1, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inward, outward, size, stride, size // 2, groups=groups)


class Bottleneck(nn.Module):
    """Widens, mixes neighbours channel by channel, narrows, and adds what came in: (n, c, rows, columns) to the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = EXPANSION * channels
        self.widen = _conv(channels, inner)
        self.mix = _conv(inner, inner, 3, groups=inner)
        self.narrow = _conv(inner, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """In strips of rows, each computed with the row above and below: the same numbers in half the time, for the wide tensor
        of a strip stays in the processor's cache."""
        rows = x.shape[2]
        strips = [self._strip(x, start, min(start + _STRIP_ROWS, rows)) for start in range(0, rows, _STRIP_ROWS)]
        return torch.cat(strips, dim=2)

    def _strip(self, x: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        above = max(0, start - 1)
        mixed = self.mix(f.gelu(self.widen(x[:, :, above : stop + 1])))
        inner = mixed[:, :, start - above : stop - above]
        return f.gelu(x[:, :, start:stop] + self.narrow(f.gelu(inner)))


class Reduction(nn.Module):
    """(n, inward, rows, columns) to (n, outward, rows / stride, columns / stride)."""

    def __init__(self, inward: int, outward: int, stride: int) -> None:
        super().__init__()
        self.widen = _conv(inward, outward)
        self.shrink = _conv(outward, outward, 3, stride, groups=outward)
        self.project = _conv(outward, outward)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.project(f.gelu(self.shrink(f.gelu(self.widen(x)))))


class WindowAttention(nn.Module):
    """Attention among the places of a window, with a learnt bias for each distance in rows and columns: (n, places, c)."""

    offsets: torch.Tensor

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        self.biases = nn.Parameter(torch.zeros(heads, window**2))
        along = torch.arange(window)
        apart = (along[:, None] - along).abs()
        offsets = window * apart[:, None, :, None] + apart[None, :, None, :]
        self.register_buffer("offsets", offsets.reshape(window**2, window**2), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, places, channels = x.shape
        # The authors keep query, key and value of a head side by side: (head, three, width), not (three, head, width).
        query, key, value = self.qkv(self.norm(x)).view(n, places, self.heads, -1).transpose(1, 2).chunk(3, dim=-1)
        mixed = f.scaled_dot_product_attention(query, key, value, self.biases[:, self.offsets])
        return self.project(mixed.transpose(1, 2).reshape(n, places, channels))


class AttentionBlock(nn.Module):
    """Attention in windows, a convolution for what lies across their borders, a perceptron: (n, c, rows, columns)."""

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attention = WindowAttention(channels, heads, window)
        self.local = _conv(channels, channels, 3, groups=channels)
        self.mlp = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, EXPANSION * channels),
            nn.GELU(),
            nn.Linear(EXPANSION * channels, channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        places = x.permute(0, 2, 3, 1)
        places = places + self._in_windows(places)
        places = self.local(places.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return (places + self.mlp(places)).permute(0, 3, 1, 2)

    def _in_windows(self, places: torch.Tensor) -> torch.Tensor:
        """Zeros fill the windows at the far borders, before the norm and unmasked: so the weights were trained."""
        n, rows, columns, channels = places.shape
        w = self.window
        filled = f.pad(places, (0, 0, 0, -columns % w, 0, -rows % w))
        down, across = filled.shape[1] // w, filled.shape[2] // w
        cut = filled.view(n, down, w, across, w, channels).transpose(2, 3).reshape(-1, w * w, channels)
        mixed = self.attention(cut).view(n, down, across, w, w, channels).transpose(2, 3)
        return mixed.reshape(n, down * w, across * w, channels)[:, :rows, :columns]


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of (n, c, rows, columns)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class TinyVit(nn.Module):
    """(n, 3, side, side) float pixels in [0, 1] to (n, `out`, side / 4, side / 4), the grid shrunk by the stages' strides."""

    def __init__(self, stages: tuple[Stage, ...] = LITE_MEDSAM, out: int = 256) -> None:
        super().__init__()
        first = stages[0].channels
        self.stem = nn.Sequential(_conv(CHANNELS, first // 2), nn.GELU(), _conv(first // 2, first))
        self.stages = nn.ModuleList()
        for stage, following in zip(stages, (*stages[1:], None), strict=True):
            parts: list[nn.Module] = [_block(stage) for _ in range(stage.blocks)]
            if following is not None:
                parts.append(Reduction(stage.channels, following.channels, stage.stride))
            self.stages.append(nn.Sequential(*parts))
        self.neck = nn.Sequential(
            nn.Conv2d(stages[-1].channels, out, 1, bias=False),
            ChannelNorm(out, eps=1e-6),
            nn.Conv2d(out, out, 3, padding=1, bias=False),
            ChannelNorm(out, eps=1e-6),
        )

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = self.stem(pixels)
        for stage in self.stages:
            x = stage(x)
        return self.neck(x)


def _block(stage: Stage) -> nn.Module:
    if not stage.window:
        return Bottleneck(stage.channels)
    return AttentionBlock(stage.channels, stage.heads, stage.window)
