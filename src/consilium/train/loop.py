"""One training loop for every stage. accelerate carries it to one GPU or many; on a CPU it is the same code.

The whole of a run is a function of its plan: batch order, shown patches and learning rate follow from the seed and the
step, so that a run which was killed goes on from its last checkpoint to the same last bit.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from consilium.errors import DataError, UsageError
from consilium.nn.denormals import flushed_denormals
from consilium.nn.pretrained import pick_device
from consilium.nn.student import Student, shown_features
from consilium.nn.tree import Rows, Tree, lay_out
from consilium.train import checkpoint, spread
from consilium.train.examples import Example, Order, tree

Features = Callable[[Example], list[torch.Tensor]]
"""The visual tokens (per_image, channels) of each picture of an example."""
Report = Callable[["Step"], None]


@dataclass(frozen=True)
class Plan:
    """How one stage is run.

    rate         peak learning rate; it warms up over `warm_up` of the steps, then falls as a cosine to a tenth.
    tokens       most tokens of a batch, padding included; `shown` visual tokens a picture while training.
    epochs       passes over the examples (a fraction stops within one); `save_every` steps a checkpoint is written.
    precision    "float32" or "bfloat16" (products of the forward and backward pass; what is trained stays float32).
    track        "trackio" or "mlflow": the steps are logged there too, through accelerate; "" for neither.
    fsdp         where several processes train, each holds a share of the frozen language model alone (`spread.cut`).
    """

    rate: float
    tokens: int
    shown: int
    epochs: float = 1.0
    warm_up: float = 0.05
    decay: float = 0.0
    clip: float = 1.0
    seed: int = 20240
    save_every: int = 100
    precision: str = "float32"
    device: str = "cpu"
    track: str = ""
    fsdp: bool = False


@dataclass(frozen=True)
class Step:
    """What one step did: its number of `of`, loss in nats, tokens through the network, seconds, rate."""

    number: int
    of: int
    loss: float
    tokens: int
    seconds: float
    rate: float


@dataclass
class Run:
    """A student, its examples and where the run is kept; `made_of`: what else the student hangs on, by name."""

    student: Student
    trained: list[torch.nn.Parameter]
    examples: Sequence[Example]
    features: Features
    folder: Path
    per_image: int
    made_of: Mapping[str, Any] = field(default_factory=dict)


def train(run: Run, plan: Plan, report: Report | None = None) -> None:
    """Trains `run.student` in place, from the last checkpoint in `run.folder` where there is one.

    Raises DataError where the loss is not a number, naming the examples of the batch; the last checkpoint is kept.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()  # the stage before may have had another precision
    accelerator = Accelerator(
        cpu=plan.device == "cpu",
        mixed_precision="bf16" if plan.precision == "bfloat16" else "no",
        log_with=plan.track or None,
        project_dir=run.folder,
    )
    if accelerator.distributed_type.value in {"FSDP", "DEEPSPEED", "MEGATRON_LM"}:
        raise UsageError(
            f"started under {accelerator.distributed_type.value}, whose checkpoints are others than those here. Start with "
            "accelerate launch --multi_gpu; where the frozen model does not fit on each device, say fsdp = true in the stage "
            "and its layers are spread over all (FSDP2)."
        )
    if plan.track:
        accelerator.init_trackers("consilium")
    optimiser = torch.optim.AdamW(run.trained, lr=plan.rate, weight_decay=plan.decay, betas=(0.9, 0.98))
    names = {id(p): n for n, p in run.student.named_parameters()}
    world = accelerator.num_processes
    per_epoch = math.ceil(len(_order(run, plan).batches(run.examples, 0)) / world)
    total = max(1, round(per_epoch * plan.epochs))
    begun = _begun(run, plan, world)
    first = _resume(run, optimiser, names, begun)
    spreads = plan.fsdp and world > 1
    student: Any = spread.cut(run.student, run.trained, accelerator.device) if spreads else None
    if student is None:
        student, optimiser = accelerator.prepare(run.student, optimiser)
    student.train()
    with flushed_denormals(), _history(run.folder, accelerator.is_main_process, first) as history:
        for number, batch in _batches(run, plan, (first, total), (accelerator.process_index, world)):
            start = time.perf_counter()
            rate = _rate(plan, number, total)
            for group in optimiser.param_groups:
                group["lr"] = rate
            rows, features = _materialise(run, plan, batch, number)
            with accelerator.autocast():
                loss = student(rows.to(accelerator.device), features.to(accelerator.device))
            _demand_finite(loss, [run.examples[i] for i in batch], number)
            accelerator.backward(loss)
            if spreads:
                spread.average(run.trained)
            slope = accelerator.clip_grad_norm_(run.trained, plan.clip)
            _demand_finite(slope, [run.examples[i] for i in batch], number, "gradient")
            optimiser.step()
            optimiser.zero_grad()
            done = Step(
                number + 1, total, loss.item(), int(rows.segments.ge(0).sum()), time.perf_counter() - start, rate
            )
            if accelerator.is_main_process:
                history(done)
                accelerator.log({"loss": done.loss, "rate": rate}, step=done.number)
                if report:
                    report(done)
                if done.number % plan.save_every == 0 or done.number == total:
                    _save(run, optimiser, names, (done.number, begun))
    for tracker in accelerator.trackers:
        tracker.finish()


@contextmanager
def first_alone(device: str) -> Iterator[bool]:
    """True in the first process, which writes files; where several run, the others wait until it has."""
    from accelerate import PartialState

    state = PartialState(cpu=pick_device(device) == "cpu")
    yield state.is_main_process
    state.wait_for_everyone()


def part() -> None:
    """At the very end: processes that trained together let go of one another."""
    from accelerate import PartialState

    PartialState().destroy_process_group()


def _batches(run: Run, plan: Plan, steps: tuple[int, int], process: tuple[int, int]) -> Iterator[tuple[int, list[int]]]:
    """(step, indices) from the first step to the last, this process's share of the batches."""
    index, world = process
    number, epoch = 0, 0
    while True:
        batches = _order(run, plan).batches(run.examples, epoch)
        batches += batches[: -len(batches) % world]
        for at in range(0, len(batches), world):
            if number >= steps[1]:
                return
            if number >= steps[0]:
                yield number, batches[at + index]
            number += 1
        epoch += 1


def _order(run: Run, plan: Plan) -> Order:
    return Order(plan.tokens, min(plan.shown, run.per_image), plan.seed)


def _materialise(run: Run, plan: Plan, batch: Sequence[int], number: int) -> tuple[Rows, torch.Tensor]:
    draw = torch.Generator().manual_seed(plan.seed * 1_000_003 + number)
    trees: list[Tree] = []
    shown: list[torch.Tensor] = []
    for index in batch:
        example = run.examples[index]
        trees.append(tree(example, run.per_image, plan.shown, draw))
        shown.append(shown_features(run.features(example), trees[-1].kept))
    filled = [features for features in shown if len(features)]
    return lay_out(trees), torch.cat(filled) if filled else torch.empty(0, 0)


def _rate(plan: Plan, number: int, total: int) -> float:
    warm = max(1, round(plan.warm_up * total))
    if number < warm:
        return plan.rate * (number + 1) / warm
    return plan.rate * (0.1 + 0.45 * (1 + math.cos(math.pi * (number - warm) / max(1, total - warm))))


def _demand_finite(value: torch.Tensor, batch: Sequence[Example], number: int, what: str = "loss") -> None:
    if not torch.isfinite(value):
        raise DataError(
            f"the {what} of step {number + 1} is {value.item()}, of the examples {', '.join(e.id for e in batch)}. "
            "Look at those, or lower the learning rate; the checkpoint before stays."
        )


def _begun(run: Run, plan: Plan, processes: int) -> dict[str, Any]:
    """What a run cannot change on its way without being another run: how it learns, what from, and from which weights."""
    free = ("epochs", "save_every", "device", "track", "fsdp")
    return {
        **{name: value for name, value in asdict(plan).items() if name not in free},
        **run.made_of,
        "processes": processes,
        "trained": sum(parameter.numel() for parameter in run.trained),
        "examples": digest(run.examples),
        "weights": digest_tensors(run.student.learnt()),
    }


def digest(what: Sequence[Any]) -> str:
    """Tells one sequence of plain values from another."""
    return hashlib.sha256("\n".join(map(repr, what)).encode()).hexdigest()[:16]


def digest_tensors(tensors: Mapping[str, torch.Tensor]) -> str:
    """Tells named float32 tensors from others, bit by bit."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def _save(run: Run, optimiser: Any, names: dict[int, str], at: tuple[int, dict[str, Any]]) -> None:
    inner = getattr(optimiser, "optimizer", optimiser)
    tensors = {f"learnt.{name}": tensor for name, tensor in run.student.learnt().items()}
    checkpoint.save(run.folder, at[0], tensors | checkpoint.of_adamw(inner, names), {"begun": at[1]})


def _resume(run: Run, optimiser: torch.optim.AdamW, names: dict[int, str], begun: dict[str, Any]) -> int:
    found = checkpoint.latest(run.folder)
    if found is None:
        return 0
    tensors, facts = found
    before = facts.get("begun", begun)
    other = [f"{name} {before.get(name)}, now {now}" for name, now in begun.items() if before.get(name) != now]
    if other:
        raise UsageError(
            f"{run.folder} holds a run that was begun otherwise ({'; '.join(other)}). Remove that folder to begin anew, put "
            "the settings back to go on with it, or name another --out."
        )
    prefix = "learnt."
    run.student.take({n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)})
    checkpoint.to_adamw(optimiser, names, tensors)
    return int(facts["step"])


class _history:
    """Appends each step to history.jsonl; what a killed run wrote after its last checkpoint is cut off."""

    def __init__(self, folder: Path, writes: bool, first: int) -> None:
        self._path = folder / "history.jsonl"
        self._writes = writes
        self._first = first

    def __enter__(self) -> Callable[[Step], None]:
        if not self._writes:
            return lambda step: None
        self._path.parent.mkdir(parents=True, exist_ok=True)
        kept = read_history(self._path.parent)[: self._first]
        self._file = self._path.open("w", encoding="utf-8")
        self._file.writelines(json.dumps(line) + "\n" for line in kept)
        return self._write

    def _write(self, step: Step) -> None:
        self._file.write(json.dumps(vars(step)) + "\n")
        self._file.flush()

    def __exit__(self, *_: object) -> None:
        if self._writes:
            self._file.close()


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The steps of a run, oldest first; [] where there is none. A last line that a kill cut short is left out."""
    path = folder / "history.jsonl"
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]
