"""Trains a segmentation network on one device within a given time: own data in, weights and measured confidence out.

Where `folds` are asked for, as many networks are first trained, each without one part of the patients, and judge that part:
their signs of confidence beside the Dice they reached say later what a mask is worth. Together they label the pictures that
nobody outlined, and the final network learns from both. Without folds the val split gives the signs and is not learnt from.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from consilium.nn.mask_judge import both_ways, entered, signs
from consilium.nn.unet import build, kept
from consilium.train.segment_data import Packed
from consilium.train.segment_judge import AT_ONCE, Judged, joined, judge
from consilium.train.segment_task import Task, autocast, prepared
from consilium.types import Array

if TYPE_CHECKING:
    from torch import Tensor, nn

_WARM_UP = 0.04
_AVERAGED = 0.998
# Below this self-Dice the folds' labels of a picture that nobody outlined are not learnt from.
_WORTH_LEARNING = 0.9
Tell = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Trained:
    """Weights (float16), the held-out judgements, the course of the losses (seconds, step, loss), and what was chosen."""

    tensors: dict[str, Array]
    judged: Judged
    course: list[tuple[float, int, float]]
    chosen: dict[str, object]


@dataclass(frozen=True, eq=False)
class _Pool:
    """What is learnt from, on the device; `weight` (n,) says how often each is drawn."""

    images: Tensor
    masks: Tensor
    weight: Tensor


def train(data: Packed, task: Task, seconds: float, device: str, tell: Tell) -> Trained:
    """Trains within `seconds`. Needs no other package than torch, numpy and MONAI."""
    import torch

    torch.manual_seed(0)
    images = torch.from_numpy(data.images).to(device)
    masks = torch.from_numpy(data.masks).to(device)
    learnt = np.flatnonzero(data.split == "train")
    held = np.flatnonzero(data.split == "val")
    if not task.folds:
        return _with_val(images, masks, learnt, held, task, seconds, tell)
    rows = np.sort(np.concatenate([learnt, held]))
    fold_of = np.unique(data.group[rows], return_inverse=True)[1] % task.folds
    nets, parts = [], []
    for fold in range(min(task.folds, int(fold_of.max()) + 1)):
        out = rows[fold_of == fold]
        rest = np.setdiff1d(rows, out)
        net, _, _ = _fit(_pool(images, masks, rest), task, seconds / 2 / task.folds, tell)
        nets.append(net)
        parts.append(judge(net, images, masks, out, task))
        tell(f"{task.name}: fold {fold} of {len(out)} held out: Dice {_mean(parts[-1]):.4f}")
    pool = _with_pseudo(_pool(images, masks, rows), nets, torch.from_numpy(data.unlabelled).to(device), task, tell)
    net, course, _ = _fit(pool, task, seconds / 2, tell)
    chosen: dict[str, object] = {
        "weights": "averaged",
        "learnt from": len(rows),
        "labelled by folds": len(pool.images) - len(rows),
    }
    return Trained(kept(net), joined(parts), course, chosen)


def _with_val(
    images: Tensor, masks: Tensor, learnt: Array, held: Array, task: Task, seconds: float, tell: Tell
) -> Trained:
    averaged, course, last = _fit(_pool(images, masks, learnt), task, seconds, tell)
    tried = {name: judge(net, images, masks, held, task) for name, net in (("averaged", averaged), ("last", last))}
    figures = {name: _mean(judged) for name, judged in tried.items()}
    best = max(figures, key=lambda name: figures[name])
    tell(f"{task.name}: Dice on {len(held)} of val: {figures}")
    net = {"averaged": averaged, "last": last}[best]
    chosen: dict[str, object] = {"weights": best, "val Dice": figures, "learnt from": len(learnt)}
    return Trained(kept(net), tried[best], course, chosen)


def _pool(images: Tensor, masks: Tensor, rows: Array) -> _Pool:
    import torch

    where = torch.from_numpy(rows).to(images.device)
    return _Pool(images[where], masks[where], torch.ones(len(rows), device=images.device))


def _with_pseudo(pool: _Pool, nets: Sequence[nn.Module], unlabelled: Tensor, task: Task, tell: Tell) -> _Pool:
    """The pool and the pictures that the networks together label surely; each half is drawn equally often."""
    import torch

    images, masks = [], []
    for start in range(0, len(unlabelled), AT_ONCE):
        batch = unlabelled[start : start + AT_ONCE]
        with torch.inference_mode(), autocast(batch):
            ways = [both_ways(net, entered(batch), task.swap) for net in nets]
        plain, mirrored = (torch.stack(way).mean(0) for way in zip(*ways, strict=True))
        sure = signs(plain, mirrored)[..., 0].amin(1) > _WORTH_LEARNING
        images.append(batch[sure])
        masks.append((plain + mirrored).argmax(1)[sure].to(torch.uint8))
    if not sum(len(part) for part in images):
        return pool
    more, labels = torch.cat(images), torch.cat(masks)
    tell(f"{task.name}: {len(more)} of {len(unlabelled)} pictures that nobody outlined are labelled surely")
    weight = torch.cat([pool.weight / len(pool.weight), torch.ones(len(more), device=more.device) / len(more)])
    return _Pool(torch.cat([pool.images, more]), torch.cat([pool.masks, labels]), weight)


def _fit(
    pool: _Pool, task: Task, seconds: float, tell: Tell
) -> tuple[nn.Module, list[tuple[float, int, float]], nn.Module]:
    """(averaged network, course, network as it was last). The learning rate follows the clock, not the steps."""
    import torch

    # All batches have one shape, so that choosing the fastest kernels pays; elsewhere it would cost more than it saves.
    with torch.backends.cudnn.flags(enabled=True, benchmark=True):
        return _fitted(pool, task, seconds, tell)


def _fitted(
    pool: _Pool, task: Task, seconds: float, tell: Tell
) -> tuple[nn.Module, list[tuple[float, int, float]], nn.Module]:
    import torch

    device = pool.images.device
    net = build(task.network).to(device)
    averaged = copy.deepcopy(net)
    optimiser = torch.optim.AdamW(net.parameters(), lr=task.rate * 1e-3, weight_decay=1e-2, fused=device.type == "cuda")
    own, mean = ([p.data for p in n.parameters()] for n in (net, averaged))
    # The first step chooses kernels; its time is not the schedule's.
    _step(net, optimiser, pool, task)
    start, step, course = time.monotonic(), 1, []
    while (done := (time.monotonic() - start) / max(seconds, 1e-6)) < 1:
        factor = min(1.0, done / _WARM_UP) * (1 + math.cos(math.pi * done)) / 2
        for group in optimiser.param_groups:
            group["lr"] = task.rate * max(factor, 1e-3)
        loss = _step(net, optimiser, pool, task)
        step += 1
        with torch.no_grad():
            torch._foreach_lerp_(mean, own, 1 - min(_AVERAGED, step / (10 + step)))
        if step % 25 == 0:
            # Reading the loss waits for the device, so that the clock is true.
            course.append((time.monotonic() - start, step, float(loss)))
            if step % 250 == 0:
                tell(f"{task.name}: {course[-1][0]:.1f} s, step {step}, loss {course[-1][2]:.4f}")
    tell(f"{task.name}: {step} steps in {time.monotonic() - start:.1f} s")
    return averaged.eval(), course, net.eval()


def _step(net: nn.Module, optimiser: object, pool: _Pool, task: Task) -> Tensor:
    import torch

    rows = torch.multinomial(pool.weight, task.batch, replacement=True)
    with torch.no_grad():
        image, labels = prepared(pool.images[rows], pool.masks[rows], task, task.augment)
    with autocast(image):
        answers = net(image)
    if answers.ndim == image.ndim:
        answers = answers[:, None]
    shares = [0.5**level for level in range(answers.shape[1])]
    losses = [share * _loss(answers[:, level].float(), labels) for level, share in enumerate(shares)]
    loss = torch.stack(losses).sum() / sum(shares)
    optimiser.zero_grad(set_to_none=True)  # type: ignore[attr-defined]
    loss.backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
    optimiser.step()  # type: ignore[attr-defined]
    return loss.detach()


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    from monai.losses.dice import DiceCELoss

    return DiceCELoss(softmax=True, batch=True)(logits, labels)


def _mean(judged: Judged) -> float:
    return float(np.nanmean(judged.dice[~judged.spoilt]))
