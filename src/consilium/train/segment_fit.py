"""The loop that fits a segmentation network within a given time. It can be left after any step and taken up again."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from consilium.train.segment_task import Task, autocast, prepared
from consilium.types import Array

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

_WARM_UP = 0.04
# The told loss is a mean over about so many steps.
_RECENT = 50
_COURSE_EVERY = 25


@dataclass(frozen=True, eq=False)
class Pool:
    """What is learnt from, on the device: uint8 pictures and masks; `weight` (n,) says how often each is drawn."""

    images: Tensor
    masks: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Schedule:
    """`seconds` on `clock`. The averaged weights are those of the last 1 / (1 - `averaged`) steps or so. With `bfloat16`, the
    network computes in it on a CPU too; on a card it always does."""

    seconds: float
    clock: Callable[[], float] = time.monotonic
    averaged: float = 0.998
    bfloat16: bool = False


@dataclass(eq=False)
class Fit:
    """A fitting under way: the network, its averaged weights, the optimiser, what is spent of the schedule (seconds), the
    steps done, the recent loss, and its course (seconds, step, loss of that batch)."""

    net: nn.Module
    averaged: nn.Module
    optimiser: torch.optim.AdamW
    spent: float = 0.0
    step: int = 0
    loss: Tensor | None = None
    course: list[tuple[float, int, float]] = field(default_factory=list)


def pool_of(images: Tensor, masks: Tensor, rows: Array) -> Pool:
    """These rows of the pictures and masks, each drawn equally often."""
    import torch

    where = torch.from_numpy(rows).to(images.device)
    return Pool(images[where], masks[where], torch.ones(len(rows), device=images.device))


def started(net: nn.Module, task: Task, device: str | torch.device) -> Fit:
    """A fitting that begins at the network's weights."""
    import torch

    net = net.to(device).train()
    cuda = torch.device(device).type == "cuda"
    optimiser = torch.optim.AdamW(net.parameters(), lr=task.rate * 1e-3, weight_decay=1e-2, fused=cuda)
    return Fit(net, copy.deepcopy(net), optimiser)


def fitted(fit: Fit, pool: Pool, task: Task, schedule: Schedule, after: Callable[[Fit], None]) -> Fit:
    """Goes on until the schedule's time is spent; `after` sees the fit after each step. The learning rate follows the clock,
    not the steps. Both networks are then ready to answer."""
    import torch

    # All batches have one shape, so that choosing the fastest kernels pays; elsewhere it would cost more than it saves.
    with torch.backends.cudnn.flags(enabled=True, benchmark=True):
        _loop(fit, pool, task, schedule, after)
    fit.net.eval()
    fit.averaged.eval()
    return fit


def _loop(fit: Fit, pool: Pool, task: Task, schedule: Schedule, after: Callable[[Fit], None]) -> None:
    import torch

    own, mean = ([p.data for p in n.parameters()] for n in (fit.net, fit.averaged))
    # The first step chooses kernels; its time is not the schedule's.
    _step(fit, pool, task, schedule.bfloat16)
    fit.step += 1
    start = schedule.clock() - fit.spent
    while (done := (schedule.clock() - start) / max(schedule.seconds, 1e-6)) < 1:
        factor = min(1.0, done / _WARM_UP) * (1 + math.cos(math.pi * done)) / 2
        for group in fit.optimiser.param_groups:
            group["lr"] = task.rate * max(factor, 1e-3)
        loss = _step(fit, pool, task, schedule.bfloat16)
        fit.step += 1
        with torch.no_grad():
            torch._foreach_lerp_(mean, own, 1 - min(schedule.averaged, fit.step / (10 + fit.step)))
        fit.loss = loss if fit.loss is None else fit.loss + (loss - fit.loss) / min(fit.step, _RECENT)
        if fit.step % _COURSE_EVERY == 0:
            # Reading the loss waits for the device, so that the clock is true.
            batch = float(loss)
            fit.course.append((schedule.clock() - start, fit.step, batch))
        fit.spent = schedule.clock() - start
        after(fit)


def _step(fit: Fit, pool: Pool, task: Task, bfloat16: bool) -> Tensor:
    import torch

    rows = torch.multinomial(pool.weight, task.batch, replacement=True)
    with torch.no_grad():
        image, labels = prepared(pool.images[rows], pool.masks[rows], task, task.augment)
    with autocast(image, bfloat16):
        answers = fit.net(image)
    if answers.ndim == image.ndim:
        answers = answers[:, None]
    shares = [0.5**level for level in range(answers.shape[1])]
    losses = [share * _loss(answers[:, level].float(), labels) for level, share in enumerate(shares)]
    loss = torch.stack(losses).sum() / sum(shares)
    fit.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(fit.net.parameters(), 5.0)
    fit.optimiser.step()
    return loss.detach()


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    from monai.losses.dice import DiceCELoss

    return DiceCELoss(softmax=True, batch=True)(logits, labels)
