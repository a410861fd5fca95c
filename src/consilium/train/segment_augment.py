"""Augmentation on the device, for pictures and volumes alike: every sample its own warp, mirror and intensities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Augment:
    """Largest changes: angles in degrees, `zoom` and `gamma` as natural logarithms, lengths as shares of the half side,
    intensities as shares of black to white; `mirror`, `invert`, `blur`, `cutout` are probabilities."""

    rotate: float = 15.0
    zoom: float = 0.2
    shift: float = 0.1
    bend: float = 0.03
    mirror: float = 0.5
    gamma: float = 0.4
    brightness: float = 0.15
    contrast: float = 0.25
    shading: float = 0.2
    noise: float = 0.05
    blur: float = 0.2
    cutout: float = 0.1
    invert: float = 0.0


def augmented(image: Tensor, onehot: Tensor, how: Augment, swap: Sequence[int]) -> tuple[Tensor, Tensor]:
    """(b, channels, ...) in [0, 1] and (b, labels, ...) -> both warped alike, the image's intensities changed too."""
    mirrored = _chance(len(image), how.mirror, image)
    grid = _grid(image, how, mirrored)
    both = _sampled(_cat(image, onehot[:, 1:]), grid)
    seen, parts = both[:, : image.shape[1]], both[:, image.shape[1] :]
    labels = _cat(1 - parts.sum(1, keepdim=True), parts)
    labels = _where(mirrored, labels[:, list(swap)], labels)
    return _intensities(seen, how), labels


def _grid(image: Tensor, how: Augment, mirrored: Tensor) -> Tensor:
    """(b, ..., dims) places to sample. The linear part is made in pixels, so that a rotation stays one on oblong canvases."""
    import torch
    from torch.nn import functional

    b, dims = len(image), image.ndim - 2
    half = torch.tensor(image.shape[:1:-1], device=image.device) / 2.0
    linear = _rotation(b, dims, how.rotate, image) * torch.exp(_even((b, 1, dims), how.zoom, image))
    linear = linear * torch.where(mirrored[:, None, None], _first_negative(dims, image), 1.0)
    linear = linear * half[None, None, :] / half[None, :, None]
    theta = torch.cat([linear, _even((b, dims, 1), how.shift, image)], 2)
    grid = functional.affine_grid(theta, list(image.shape), align_corners=False)
    bend = torch.randn((b, dims, *(5,) * dims), device=image.device) * how.bend
    return grid + _stretched(bend, image.shape[2:]).movedim(1, -1)


def _rotation(b: int, dims: int, degrees: float, like: Tensor) -> Tensor:
    """(b, dims, dims): about the one axis of a picture, about all three of a volume."""
    import torch

    whole = torch.eye(dims, device=like.device).expand(b, dims, dims)
    for first, second in [(0, 1)] if dims == 2 else [(0, 1), (0, 2), (1, 2)]:
        angle = _even((b,), math.radians(degrees), like)
        turn = torch.eye(dims, device=like.device).repeat(b, 1, 1)
        turn[:, first, first] = turn[:, second, second] = torch.cos(angle)
        turn[:, first, second], turn[:, second, first] = -torch.sin(angle), torch.sin(angle)
        whole = whole @ turn
    return whole


def _first_negative(dims: int, like: Tensor) -> Tensor:
    import torch

    return torch.tensor([-1.0] + [1.0] * (dims - 1), device=like.device)[None, None, :]


def _intensities(image: Tensor, how: Augment) -> Tensor:
    import torch

    b, wide = len(image), (1,) * (image.ndim - 1)
    image = image.clamp(0, 1)
    image = _where(_chance(b, how.invert, image), 1 - image, image)
    image = (image + 1e-4) ** torch.exp(_even((b, *wide), how.gamma, image))
    image = (
        (image - 0.5) * (1 + _even((b, *wide), how.contrast, image)) + 0.5 + _even((b, *wide), how.brightness, image)
    )
    field = torch.randn((b, 1, *(3,) * (image.ndim - 2)), device=image.device) * how.shading
    image = image * torch.exp(_stretched(field, image.shape[2:]))
    coarse = _stretched(_stretched(image, [max(4, side // 3) for side in image.shape[2:]]), image.shape[2:])
    image = _where(_chance(b, how.blur, image), coarse, image)
    image = image + torch.randn_like(image) * how.noise * torch.rand((b, *wide), device=image.device)
    return _where(_chance(b, how.cutout, image), image * _hole(image), image).clamp(0, 1)


def _hole(image: Tensor) -> Tensor:
    """(b, 1, ...): 0 in one box a sample, at most 0.3 of each side, 1 elsewhere."""
    import torch

    inside = torch.ones((), device=image.device)
    for axis, side in enumerate(image.shape[2:]):
        shape = (len(image), *(side if i == axis else 1 for i in range(image.ndim - 2)))
        place = torch.arange(side, device=image.device).view([1, *shape[1:]]) / side
        start, width = (torch.rand((len(image), *(1,) * (image.ndim - 2)), device=image.device) for _ in range(2))
        inside = inside * ((place >= start) & (place < start + 0.3 * width))
    return 1 - inside.float()[:, None]


def _sampled(values: Tensor, grid: Tensor) -> Tensor:
    from torch.nn import functional

    return functional.grid_sample(values, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _stretched(values: Tensor, size: Sequence[int]) -> Tensor:
    from torch.nn import functional

    mode = "bilinear" if values.ndim == 4 else "trilinear"
    return functional.interpolate(values, tuple(size), mode=mode, align_corners=False)


def _even(shape: tuple[int, ...], most: float, like: Tensor) -> Tensor:
    import torch

    return (torch.rand(shape, device=like.device) * 2 - 1) * most


def _chance(b: int, probability: float, like: Tensor) -> Tensor:
    import torch

    return torch.rand(b, device=like.device) < probability


def _where(chosen: Tensor, one: Tensor, other: Tensor) -> Tensor:
    import torch

    return torch.where(chosen.view(-1, *(1,) * (one.ndim - 1)), one, other)


def _cat(one: Tensor, other: Tensor) -> Tensor:
    import torch

    return torch.cat([one, other], 1)
