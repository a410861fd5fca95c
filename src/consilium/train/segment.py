"""Trains a segmentation network on one device within a given time: own data in, weights and measured confidence out.

Where `folds` are asked for, as many networks are first trained, each without one part of the patients, and judge that part:
their signs of confidence beside the Dice they reached say later what a mask is worth. Together they label the pictures that
nobody outlined, and the final network learns from both. Without folds the val split gives the signs and is not learnt from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from consilium.nn.mask_judge import both_ways, entered, signs
from consilium.nn.unet import build, kept
from consilium.train.segment_data import Packed
from consilium.train.segment_fit import Fit, Pool, Schedule, fitted, pool_of, started
from consilium.train.segment_judge import AT_ONCE, Judged, joined, judge
from consilium.train.segment_task import Task, autocast
from consilium.types import Array

if TYPE_CHECKING:
    from torch import Tensor, nn

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
    nets: list[nn.Module] = []
    parts = []
    for fold in range(min(task.folds, int(fold_of.max()) + 1)):
        out = rows[fold_of == fold]
        rest = np.setdiff1d(rows, out)
        nets.append(_fit(pool_of(images, masks, rest), task, seconds / 2 / task.folds, tell).averaged)
        parts.append(judge(nets[-1], images, masks, out, task))
        tell(f"{task.name}: fold {fold} of {len(out)} held out: Dice {_mean(parts[-1]):.4f}")
    pool = _with_pseudo(pool_of(images, masks, rows), nets, torch.from_numpy(data.unlabelled).to(device), task, tell)
    fit = _fit(pool, task, seconds / 2, tell)
    chosen: dict[str, object] = {
        "weights": "averaged",
        "learnt from": len(rows),
        "labelled by folds": len(pool.images) - len(rows),
    }
    return Trained(kept(fit.averaged), joined(parts), fit.course, chosen)


def _with_val(
    images: Tensor, masks: Tensor, learnt: Array, held: Array, task: Task, seconds: float, tell: Tell
) -> Trained:
    fit = _fit(pool_of(images, masks, learnt), task, seconds, tell)
    nets = {"averaged": fit.averaged, "last": fit.net}
    tried = {name: judge(net, images, masks, held, task) for name, net in nets.items()}
    figures = {name: _mean(judged) for name, judged in tried.items()}
    best = max(figures, key=lambda name: figures[name])
    tell(f"{task.name}: Dice on {len(held)} of val: {figures}")
    chosen: dict[str, object] = {"weights": best, "val Dice": figures, "learnt from": len(learnt)}
    return Trained(kept(nets[best]), tried[best], fit.course, chosen)


def _with_pseudo(pool: Pool, nets: Sequence[nn.Module], unlabelled: Tensor, task: Task, tell: Tell) -> Pool:
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
    return Pool(torch.cat([pool.images, more]), torch.cat([pool.masks, labels]), weight)


def _fit(pool: Pool, task: Task, seconds: float, tell: Tell) -> Fit:
    def after(fit: Fit) -> None:
        if fit.step % 250 == 0:
            tell(f"{task.name}: {fit.course[-1][0]:.1f} s, step {fit.step}, loss {fit.course[-1][2]:.4f}")

    fit = fitted(started(build(task.network), task, pool.images.device), pool, task, Schedule(seconds), after)
    tell(f"{task.name}: {fit.step} steps in {fit.spent:.1f} s")
    return fit


def _mean(judged: Judged) -> float:
    return float(np.nanmean(judged.dice[~judged.spoilt]))
