"""Goes on training an installed segmenter on the masks that it learnt from, and writes the member that comes of it.

    python -m consilium.train.segment_tune --config configs/segment.toml --member cxr_lungs --data ../shared/data --minutes 20

It starts from the installed weights and learns the train split, and val where folds stand in for it; the test split is never
read. A kill loses half a minute: the same command goes on. OUT/<member> is a whole member folder: its version is new, what it
knows of foreign pictures, credible sizes and its own confidence is kept, and its scores are gone, as they were measured on
other weights. Put it in place with consilium.train.trained_folder.copy and measure it: python benchmarks/segmentation.py --card.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from consilium import registry
from consilium.errors import ConsiliumError, DataError
from consilium.nn import light_head
from consilium.nn.unet import described, kept, restored
from consilium.protocols import Card
from consilium.settings import settings
from consilium.train.segment import Tell
from consilium.train.segment_data import Packed, pack
from consilium.train.segment_fit import Fit, Schedule, fitted, pool_of, started
from consilium.train.segment_install import NET
from consilium.train.segment_judge import judge
from consilium.train.segment_make import tables
from consilium.train.segment_run import task_of
from consilium.train.segment_task import Task
from consilium.train.trained_folder import write
from consilium.types import Array

if TYPE_CHECKING:
    from torch import Tensor, nn

_KEEP_EVERY_S = 30.0
# A short schedule: the weights are averaged over fewer steps than in a training from nothing.
_AVERAGED = 0.99


@dataclass(frozen=True)
class Tuning:
    """How long, how fast, how many pictures a step. Minutes are of processor time on a CPU, which others may share, and of
    wall time elsewhere."""

    minutes: float
    rate: float = 7e-4
    batch: int = 4
    device: str = "cpu"

    @property
    def schedule(self) -> Schedule:
        cpu = self.device == "cpu"
        return Schedule(60 * self.minutes, time.process_time if cpu else time.monotonic, _AVERAGED, bfloat16=True)


def tune(folder: Path, table: Mapping[str, Any], data: Path, how: Tuning, out: Path, tell: Tell) -> Card:
    """Tunes the segmenter in `folder`, which the config's `table` describes, and writes `out`/<name>; or goes on with what a
    kill left there. DataError where the config describes another segmenter or what is left was begun otherwise."""
    import torch

    made = _made(folder, table)
    task = replace(task_of(table), batch=how.batch, rate=how.rate)
    packed = pack({**table, "unlabelled": ()}, data, ("train", "val"))
    images, masks = (torch.from_numpy(values).to(how.device) for values in (packed.images, packed.masks))
    learnt, held = _rows(packed, task)
    tensors = light_head.read(folder / "model.safetensors", ())
    net = restored(
        described(made["segmenter"]["network"]),
        {name.removeprefix(NET): value for name, value in tensors.items() if name.startswith(NET)},
    ).to(how.device)
    before = _dice(net, images, masks, held, task)
    begun = {"from": made["version"], "minutes": how.minutes, "rate": how.rate, "batch": how.batch}
    keeper = _Keeper(out / f".{table['name']}-unfinished", begun | {"pictures": len(learnt)}, how, tell)
    fit = keeper.taken_up(started(net, task, how.device))
    fitted(fit, pool_of(images, masks, learnt), task, how.schedule, keeper)
    after = _dice(fit.averaged, images, masks, held, task)
    said = {**keeper.begun, "steps": fit.step, "loss": keeper.losses(fit), "device": _named(how.device)}
    if len(held):
        said["val Dice"] = {"before": before, "after": after, "n": len(held)}
    made["fit"]["fine-tuned"] = [*made["fit"].get("fine-tuned", ()), said]
    made["scores"] = []
    card = write(made, tensors | {NET + n: v for n, v in kept(fit.averaged).items()}, out / table["name"])
    shutil.rmtree(keeper.folder, ignore_errors=True)
    return card


def _made(folder: Path, table: Mapping[str, Any]) -> dict[str, Any]:
    """The installed card.json; DataError where it is of another task than the config's."""
    made = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    task = task_of(table)
    has = made.get("segmenter", {})
    wanted = {"network": replace(task.network, deep=False), "canvas": table["canvas"], "swap": list(task.swap)}
    found = {**has, "network": replace(described(has["network"]), deep=False)} if "network" in has else {}
    other = [name for name, value in wanted.items() if found.get(name) != value]
    if other:
        raise DataError(
            f"the installed {table['name']} has another {', '.join(other)} than the config says; name the config that it was "
            "trained by, or train it anew: python -m consilium.train.segment_run."
        )
    return made


def _rows(packed: Packed, task: Task) -> tuple[Array, Array]:
    """(learnt from, held out). As in a training from nothing: with folds val is learnt from too."""
    learnt = np.flatnonzero((packed.split == "train") | (task.folds > 0))
    if not len(learnt):
        raise DataError(f"{task.name} has no picture to learn from: no row's split is train.")
    return learnt, np.setdiff1d(np.arange(len(packed.split)), learnt)


def _dice(net: nn.Module, images: Tensor, masks: Tensor, held: Array, task: Task) -> float | None:
    return float(np.nanmean(judge(net, images, masks, held, replace(task, spoilt=0)).dice)) if len(held) else None


class _Keeper:
    """Tells how far a fit is, and keeps it, every half minute by the wall's clock. `begun`: what makes two tunings the same."""

    def __init__(self, folder: Path, begun: Mapping[str, Any], how: Tuning, tell: Tell) -> None:
        self.folder, self.begun, self.how, self.tell = folder, dict(begun), how, tell
        self.first: float | None = None
        self.last = time.monotonic()

    def taken_up(self, fit: Fit) -> Fit:
        """The fit as the last checkpoint left it, or as it is."""
        import torch

        from consilium.train.checkpoint import latest, to_adamw

        torch.manual_seed(0)
        found = latest(self.folder)
        if found is None:
            return fit
        tensors, facts = found
        if facts["begun"] != self.begun:
            raise DataError(
                f"{self.folder} holds an unfinished tuning begun with {facts['begun']}, not {self.begun}. Finish that one, "
                "remove the folder, or name another --out."
            )
        with torch.no_grad():
            for name, value in _parameters(fit):
                value.copy_(tensors[name])
        to_adamw(fit.optimiser, _names(fit.net), tensors)
        fit.step, fit.spent, self.first = facts["step"], facts["spent"], facts["first"]
        fit.loss = torch.tensor(facts["loss"], device=self.how.device)
        # Other draws than the first part's.
        torch.manual_seed(fit.step)
        self.tell(f"goes on at step {fit.step}, {fit.spent / 60:.1f} of {self.how.minutes:g} minutes")
        return fit

    def __call__(self, fit: Fit) -> None:
        now = time.monotonic()
        if now - self.last < _KEEP_EVERY_S or fit.loss is None:
            return
        from consilium.train.checkpoint import of_adamw, save

        self.last, loss = now, float(fit.loss)
        self.first = loss if self.first is None else self.first
        tensors = {name: value.detach().cpu() for name, value in _parameters(fit)}
        facts = {"begun": self.begun, "spent": fit.spent, "loss": loss, "first": self.first}
        save(self.folder, fit.step, tensors | of_adamw(fit.optimiser, _names(fit.net)), facts)
        left = self.how.minutes - fit.spent / 60
        self.tell(f"step {fit.step}, loss {loss:.4f}, {fit.spent / 60:.1f} minutes done, {left:.1f} left")

    def losses(self, fit: Fit) -> dict[str, float | None]:
        """The recent loss when it was first told and at the end."""
        return {"first": self.first, "last": None if fit.loss is None else float(fit.loss)}


def _parameters(fit: Fit) -> list[tuple[str, Tensor]]:
    nets = {"net": fit.net, "averaged": fit.averaged}
    return [(f"{kind}.{name}", value) for kind, net in nets.items() for name, value in net.named_parameters()]


def _names(net: nn.Module) -> dict[int, str]:
    return {id(value): name for name, value in net.named_parameters()}


def _named(device: str) -> str:
    import torch

    chip = torch.cuda.get_device_name() if device.startswith("cuda") else f"{device}, {torch.get_num_threads()} threads"
    return f"{chip}, bfloat16, torch {torch.__version__}"


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--member", required=True, help="an installed segmenter that the config describes")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--minutes",
        type=float,
        required=True,
        help="of processor time on a CPU (N threads spend N minutes a minute; OMP_NUM_THREADS=1 on a shared machine), of wall "
        "time on a card",
    )
    parser.add_argument("--rate", type=float, default=Tuning.rate, help="the learning rate at its highest")
    parser.add_argument("--batch", type=int, default=Tuning.batch)
    parser.add_argument("--device", default=Tuning.device)
    parser.add_argument(
        "--out", type=Path, help="by default `tuned` under CONSILIUM_HOME, where no member is looked for"
    )
    given = parser.parse_args()
    try:
        table = tables(given.config, [given.member])
        folder = registry.get("specialists", given.member).folder
        if not table or folder is None:
            raise DataError(f"{given.config} describes no trained member {given.member!r}; name one of its tasks.")
        how = Tuning(given.minutes, given.rate, given.batch, given.device)
        out = given.out or settings().home / "tuned"
        card = tune(folder, table[0], given.data, how, out, _tell)
    except ConsiliumError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
    _tell(f"{card.name} {card.version} in {out / card.name}; measure it before it is used")


if __name__ == "__main__":
    main()
