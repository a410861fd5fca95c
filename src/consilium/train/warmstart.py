"""Stage 0: before the language model is asked to read pictures, the projector learns to write them in its vocabulary, and,
where the recipe adapts the encoder, the last blocks of the vision tower learn with it.

For every closed question the projected picture should lie nearer to the embedding of the right option's words than to those
of the other options (a contrast of picture and text, as in CLIP, arXiv 2103.00020, against the frozen input embeddings of
the language model). No pass through the language model is needed, so that an epoch takes seconds where the
alignment through it takes a quarter of an hour.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from consilium.errors import DataError
from consilium.nn.student import Student

_OPTIONS = re.compile(r"^Options: (.+)\. Answer with one option only\.$", re.MULTILINE)
_VERDICTS = {"yes", "no"}
# Pictures from which the size of the features is learnt.
_SEEN = 512


@dataclass(frozen=True)
class WarmPlan:
    """epochs over the closed questions, `batch` of them at once, peak `rate`, `shown` visual tokens a picture.

    blocks_rate  peak rate of the vision tower's adapted blocks: low, for they know much that is not to be lost.
    """

    epochs: int = 20
    batch: int = 64
    rate: float = 1e-3
    blocks_rate: float = 3e-5
    decay: float = 0.05
    shown: int = 33
    seed: int = 20240


@dataclass(frozen=True)
class Choice:
    """A closed question: whose picture, its options' words, which is right."""

    digest: str
    options: tuple[str, ...]
    right: int


def choices(groups: Sequence[Mapping[str, Any]]) -> list[Choice]:
    """Every closed question of one picture whose options are words for what is seen (yes and no are not)."""
    found = {}
    for group in groups:
        if len(group["images"]) != 1:
            continue
        for branch in group["branches"]:
            (_, asked), (_, said) = branch["messages"][:2]
            listed = _OPTIONS.search(asked)
            options = tuple(sorted(listed.group(1).split(", "))) if listed else ()
            if said in options and not set(options) & _VERDICTS:
                choice = Choice(group["images"][0]["digest"], options, options.index(said))
                found[choice.digest, choice.options] = choice
    return list(found.values())


def warm_start(
    student: Student,
    tokenizer: Any,
    sets: tuple[Sequence[Choice], Sequence[Choice]],
    features: Callable[[str], Tensor],
    plan: WarmPlan,
    report: Callable[[int, float, float], None] | None = None,
) -> float:
    """Trains the projector in place and keeps the epoch that judges the val choices best; returns its share of right ones.

    sets      (train, val) choices.
    features  digest -> (per_image, channels) visual tokens.
    report    (epoch, train loss in nats, share of val choices that are right).
    """
    train, val = sets
    if not train or not val:
        raise DataError("the warm start needs closed questions in both train and val; the recipe has none.")
    words = _Words(student, tokenizer)
    _standardise(student, features, [c.digest for c in train[:_SEEN]], words.scale)
    student.trunk.requires_grad_(True)
    temperature = nn.Parameter(torch.tensor(2.5, device=student.device))
    groups = [
        {"params": list(student.projector.parameters()), "weight_decay": plan.decay, "lr": plan.rate},
        {"params": [temperature], "lr": 10 * plan.rate},
        {"params": list(student.trunk.parameters()), "weight_decay": plan.decay, "lr": plan.blocks_rate},
    ]
    optimiser = torch.optim.AdamW([group for group in groups if group["params"]])
    peaks = [group["lr"] for group in optimiser.param_groups]
    total = max(3, plan.epochs * -(-len(train) // plan.batch))
    rise = max(0.1, 2 / total)  # torch divides by a rise of one step
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, peaks, total, pct_start=rise)
    draw = torch.Generator().manual_seed(plan.seed)
    best, kept = -1.0, {}
    for epoch in range(plan.epochs):
        order = torch.randperm(len(train), generator=draw).tolist()
        losses = []
        for start in range(0, len(order), plan.batch):
            batch = [train[i] for i in order[start : start + plan.batch]]
            shown = torch.stack([_some(features(c.digest), plan.shown, draw) for c in batch]).to(student.device)
            loss = _loss(student, words, batch, shown, temperature)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise DataError(
                    f"the loss of the warm start is {losses[-1]} in epoch {epoch + 1}. Lower its rate "
                    "(--set stages.warmstart.rate=...); nothing of it is kept."
                )
        right = _right(student, words, val, features)
        if right >= best:
            best = right
            kept = {name: tensor.clone() for name, tensor in student.learnt().items()}
        if report:
            report(epoch + 1, sum(losses) / len(losses), right)
    student.take(kept)
    student.trunk.requires_grad_(False)
    return best


class _Words:
    """Unit vectors of options: the mean of their tokens' embeddings, less the mean of all embeddings."""

    def __init__(self, student: Student, tokenizer: Any) -> None:
        self._table = student.vocabulary.detach().float()
        self._centre = self._table.mean(0)
        self._tokenizer = tokenizer
        self._known: dict[str, Tensor] = {}
        self._sets: dict[tuple[str, ...], Tensor] = {}
        self.scale = float(self._table.std())

    def __call__(self, option: str) -> Tensor:
        if option not in self._known:
            ids = self._tokenizer.encode(option, add_special_tokens=False)
            self._known[option] = functional.normalize(self._table[ids].mean(0) - self._centre, dim=0)
        return self._known[option]

    def of(self, choice: Choice) -> Tensor:
        """(options, d)."""
        if choice.options not in self._sets:
            self._sets[choice.options] = torch.stack([self(option) for option in choice.options])
        return self._sets[choice.options]


@torch.no_grad()
def _standardise(student: Student, features: Callable[[str], Tensor], digests: Sequence[str], scale: float) -> None:
    """Folds the features' mean and deviation into the first layer, and the size of a word's embedding into the second: a
    vision transformer's hidden channels differ a hundredfold in size, and a language model reads vectors of one size."""
    seen = torch.cat([student.see(features(digest).float()[None].to(student.device))[0] for digest in digests])
    mean, deviation = seen.mean(0), seen.std(0).clamp_min(1e-3)
    first, second = student.projector.linear_1, student.projector.linear_2
    nn.init.normal_(first.weight, std=first.in_features**-0.5)
    first.weight /= deviation
    first.bias.copy_(-(first.weight @ mean))
    nn.init.normal_(second.weight, std=1.5 * scale * second.in_features**-0.5)
    nn.init.zeros_(second.bias)


def _some(tokens: Tensor, shown: int, draw: torch.Generator) -> Tensor:
    places = torch.randperm(len(tokens) - 1, generator=draw)[: shown - 1] + 1
    return torch.cat([tokens[:1], tokens[places]]).float()


def _similar(student: Student, shown: Tensor) -> tuple[Tensor, Tensor]:
    """(n, d) unit vectors of [CLS] and of the mean patch."""
    written = student.projector(student.see(shown))
    return functional.normalize(written[:, 0], dim=-1), functional.normalize(written[:, 1:].mean(1), dim=-1)


def _loss(student: Student, words: _Words, batch: Sequence[Choice], shown: Tensor, temperature: Tensor) -> Tensor:
    options = nn.utils.rnn.pad_sequence([words.of(choice) for choice in batch], batch_first=True)
    counts = torch.tensor([len(choice.options) for choice in batch], device=options.device)
    absent = torch.arange(options.shape[1], device=options.device) >= counts[:, None]
    right = torch.tensor([choice.right for choice in batch], device=options.device)
    likeness = [torch.einsum("nod,nd->no", options, view) for view in _similar(student, shown)]
    scores = [(temperature.exp() * like).masked_fill(absent, -torch.inf) for like in likeness]
    return torch.stack([functional.cross_entropy(of, right) for of in scores]).mean()


@torch.no_grad()
def _right(student: Student, words: _Words, val: Sequence[Choice], features: Callable[[str], Tensor]) -> float:
    right = 0
    for choice in val:
        whole, patches = _similar(student, features(choice.digest).float()[None].to(student.device))
        right += int((words.of(choice) @ (whole + patches)[0]).argmax()) == choice.right
    return right / len(val)
