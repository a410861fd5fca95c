"""A small residual network trained end to end on the pictures of one folder: 0.3 M weights, 0.26 GFLOP a picture (forward
and backward). Batch norm, bfloat16 where the processor computes in it, light augmentation, early stop on val.

Tensors: net.* is the network's state; its width and concepts are read off the shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from consilium.imaging.picture import resize
from consilium.imaging.window import to_display
from consilium.nn.denormals import flushed_denormals
from consilium.nn.fit_head import loss, negative_log_likelihood
from consilium.nn.pretrained import pick_dtype
from consilium.types import Array, Image

SIZE, WIDTH, BATCH = 224, 24, 32
RATE, DECAY = 3e-3, 0.05
# At most so many passes over the pictures, and so many pictures shown in all; patience in passes.
EPOCHS, SHOWN, PATIENCE = 30, 12_000, 10


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(),
            nn.Conv2d(out, out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        same = channels == out and stride == 1
        self.short = nn.Identity() if same else nn.Conv2d(channels, out, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.short(x))


def network(concepts: int, width: int = WIDTH) -> nn.Sequential:
    """(n, 3, 224, 224) -> (n, concepts) logits."""
    return nn.Sequential(
        nn.Conv2d(3, width, 7, 4, 3, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        Block(width, width, 1),
        Block(width, 2 * width, 2),
        Block(2 * width, 4 * width, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(4 * width, concepts),
    ).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def squares(images: Sequence[Image]) -> Array:
    """(n, 224, 224, 3) uint8: each picture as it is shown, squashed to the square."""
    return np.stack([resize(to_display(image), SIZE, SIZE) for image in images])


@dataclass(frozen=True, eq=False)
class Pictures:
    """uint8 squares (n, 224, 224, 3) and targets (n, c), NaN where not labelled."""

    squares: Array
    targets: Array


@dataclass(frozen=True, eq=False)
class Fitted:
    """The weights of the best pass by the loss on val, and what the training took."""

    tensors: dict[str, Array]
    epochs: int
    best_epoch: int
    flops: float


def fit(
    train: Pictures, val: Pictures, exclusive: bool, seed: int, progress: Callable[[float], None] | None = None
) -> Fitted:
    """Trains on `train`; `val` decides when to stop. The same seed on the same machine and threads gives the same network."""
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(seed)
    net = network(train.targets.shape[1])
    epochs = max(3, min(EPOCHS, SHOWN // max(1, len(train.squares))))
    steps = epochs * -(-len(train.squares) // BATCH)
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.15)
    best, best_epoch, kept, flops = float("inf"), 0, {}, 0.0
    for epoch in range(1, epochs + 1):
        net.train()
        with flushed_denormals():
            flops += _epoch(net, train, exclusive, draw, (optimiser, schedule), counted=epoch == 1)
        said = negative_log_likelihood(_logits(net, val.squares), val.targets, exclusive)
        if said < best:
            best, best_epoch, kept = said, epoch, _state(net)
        if progress:
            progress(epoch / epochs)
        if epoch - best_epoch >= PATIENCE:
            break
    return Fitted(kept or _state(net), epoch, best_epoch, flops * epoch)


def _epoch(
    net: nn.Module, train: Pictures, exclusive: bool, draw: torch.Generator, by: tuple[Any, Any], counted: bool
) -> float:
    """One pass in a new order; the operations of the whole pass, from those counted in its first batch (0: not counted)."""
    from torch.utils.flop_counter import FlopCounterMode

    order, flops = torch.randperm(len(train.squares), generator=draw).numpy(), 0.0
    optimiser, schedule = by
    # A batch of one has no variance to norm by: it joins the batch before it.
    cuts = [c for c in range(0, len(order), BATCH) if c == 0 or len(order) - c > 1]
    for start, end in zip(cuts, [*cuts[1:], len(order)], strict=True):
        rows = order[start:end]
        counter = FlopCounterMode(display=False)
        with counter if counted and start == 0 else nullcontext():
            with _mixed():
                logits = net(augmented(_tensor(train.squares[rows]), draw)).float()
            value = loss(logits, torch.from_numpy(train.targets[rows].astype(np.float32)), exclusive)
            optimiser.zero_grad()
            if not value.isnan():  # a batch in which nothing is labelled teaches nothing
                value.backward()
        flops = flops or counter.get_total_flops() / len(rows) * len(order)
        optimiser.step()
        if schedule.last_epoch < schedule.total_steps - 1:
            schedule.step()
    return flops


def augmented(x: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """Each picture turned by up to 10 degrees, shifted and scaled by up to a tenth, mirrored half the time, and made a
    little darker or brighter."""
    n = len(x)
    spin, scale, right, down, gain, lift = (2 * torch.rand(6, n, generator=draw) - 1).unbind()
    angle, zoom = spin * (torch.pi / 18), 1 + 0.1 * scale
    mirror = torch.where(torch.rand(n, generator=draw) < 0.5, -1.0, 1.0)
    rows = [
        torch.stack([zoom * angle.cos() * mirror, -zoom * angle.sin(), 0.1 * right], 1),
        torch.stack([zoom * angle.sin() * mirror, zoom * angle.cos(), 0.1 * down], 1),
    ]
    grid = functional.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    moved = functional.grid_sample(x.contiguous(), grid, padding_mode="border", align_corners=False)
    moved = moved * (1 + 0.15 * gain).view(n, 1, 1, 1) + 0.15 * lift.view(n, 1, 1, 1)
    return moved.contiguous(memory_format=torch.channels_last)


def restored(tensors: Mapping[str, Array]) -> nn.Module:
    """The network of its tensors, ready to judge; KeyError where one is missing, RuntimeError where their shapes do not fit."""
    state = {n.removeprefix("net."): torch.from_numpy(v) for n, v in tensors.items() if n.startswith("net.")}
    net = network(len(state["10.bias"]), len(state["1.weight"]))
    missing = [
        n for n in net.load_state_dict(state, strict=False).missing_keys if not n.endswith("num_batches_tracked")
    ]
    if missing:
        raise KeyError(", ".join(missing))
    return net.eval()


def raw_logits(net: nn.Module, seen: Array) -> Array:
    """uint8 squares (n, 224, 224, 3) -> (n, c) float32 logits before calibration, the same whatever the batch."""
    return _logits(net, seen)


def _logits(net: nn.Module, seen: Array) -> Array:
    net.eval()
    with flushed_denormals(), torch.inference_mode():
        parts = [net(_tensor(seen[i : i + BATCH])).float().numpy() for i in range(0, len(seen), BATCH)]
    return np.concatenate(parts)


def _tensor(seen: Array) -> torch.Tensor:
    x = torch.from_numpy(np.ascontiguousarray(seen)).permute(0, 3, 1, 2)
    return (x.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def _mixed() -> torch.autocast:
    dtype = pick_dtype("auto", "cpu")
    return torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16)


def _state(net: nn.Module) -> dict[str, Array]:
    return {
        f"net.{name}": value.detach().numpy().copy()
        for name, value in net.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
