"""Volumes judged as a whole: a 2-D encoder over slices with attention, with a plain mean, and a small 3-D network.

python benchmarks/volumes.py [--data ../shared/data] [--train 240] [--val 80] [--test 200] [--slices 3] [--passes 30]

AdrenalMNIST3D (CC BY 4.0): the shape of an adrenal gland in 64 x 64 x 64 places, normal or with hyperplasia or a mass. A seeded
draw of the official parts, since the encoder takes 0.06 s of one CPU core a slice. All three learn from the same train volumes
and choose on the same val volumes (penalty of the heads; the pass of the network); test is scored once. The 3-D network is
MONAI's ResNet of four basic blocks at 32 x 32 x 32. Writes results/volumes.json.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from consilium.encoders import dinov2_small
from consilium.metrics import classification as metric
from consilium.metrics.bootstrap import interval
from consilium.metrics.paired import compare, holm
from consilium.nn import fit_head
from consilium.nn.light_head import to_probabilities
from consilium.train import volume_pool
from consilium.train.volume_pool import Labelled
from consilium.types import Array, Volume

SEED, BATCH, RATE = 20240, 16, 2e-3
CLASSES = ("normal", "hyperplasia or mass")
WIDTHS = [16, 32, 64, 128]


@dataclass(frozen=True, eq=False)
class System:
    """What one system says of the test volumes (n, 2), what it was chosen as, and the CPU seconds it took to learn; of the heads
    without the encoder, whose features may be kept from before."""

    probabilities: Array
    chosen: dict[str, object]
    cpu_s: float


def drawn(folder: Path, counts: dict[str, int]) -> dict[str, Labelled]:
    """A seeded draw of each official part."""
    kept = np.load(folder / "adrenalmnist3d_64.npz")
    parts = {}
    for split, most in counts.items():
        voxels, labels = kept[f"{split}_images"], kept[f"{split}_labels"].ravel()
        rows = np.sort(np.random.default_rng(SEED).permutation(len(labels))[:most])
        volumes = [Volume(voxels[i], f"{split}{i}", (1.0, 1.0, 1.0), np.eye(4)) for i in rows]
        patients = tuple(f"{split}{i}" for i in rows)
        parts[split] = Labelled(volumes, np.eye(2, dtype=np.float32)[labels[rows]], patients)
    return parts


def pooled(parts: dict[str, Labelled], slices: int) -> dict[str, System]:
    """The heads on slices: with attention, and with the plain mean."""
    encoder = dinov2_small.load(batch=8)
    sliced = {split: volume_pool.encoded(part, encoder, slices) for split, part in parts.items()}
    found = {}
    for name, gated in (("attention over slices", True), ("mean of slices", False)):
        start = time.process_time()
        ladder = [shape for shape in volume_pool.LADDER if bool(shape.hidden) == gated]
        fitted = volume_pool.fit(sliced["train"], sliced["val"], True, ladder)
        said = volume_pool.probabilities(fitted.tensors, sliced["test"], True)
        told = {"encoder": encoder.card.version, "slices": slices, **asdict(fitted.shape)}
        found[name] = System(said, told, time.process_time() - start)
    return found


def small(part: Labelled) -> torch.Tensor:
    """(n, 1, 32, 32, 32) float32 in [0, 1]: the mean of 2 x 2 x 2 places."""
    voxels = np.stack([volume.voxels for volume in part.volumes]).astype(np.float32) / 255
    return torch.from_numpy(voxels.reshape(-1, 1, 32, 2, 32, 2, 32, 2).mean(axis=(3, 5, 7)))


def moved(x: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """The batch shifted by up to two places an axis."""
    shifts = torch.randint(-2, 3, (3,), generator=draw).tolist()
    return torch.roll(x, shifts, dims=(2, 3, 4))


def network(parts: dict[str, Labelled], passes: int) -> System:
    """The 3-D network of the pass with the least loss on val, calibrated there."""
    from monai.networks.nets import ResNet

    torch.manual_seed(SEED)
    draw = torch.Generator().manual_seed(SEED)
    start = time.process_time()
    x = {split: small(part) for split, part in parts.items()}
    y = torch.from_numpy(parts["train"].targets)
    net = ResNet(
        "basic",
        [1, 1, 1, 1],
        WIDTHS,
        n_input_channels=1,
        num_classes=2,
        conv1_t_size=3,
        conv1_t_stride=2,
        no_max_pool=True,
    )
    steps = passes * -(-len(y) // BATCH)
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.2)
    best, kept = (float("inf"), 0), {}
    for number in range(1, passes + 1):
        net.train()
        for rows in torch.randperm(len(y), generator=draw).split(BATCH):
            loss = fit_head.loss(net(moved(x["train"][rows], draw)), y[rows], True)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        said = fit_head.negative_log_likelihood(logits(net, x["val"]), parts["val"].targets, True)
        if said < best[0]:
            best, kept = (said, number), {name: value.clone() for name, value in net.state_dict().items()}
        print(f"pass {number}: val loss {said:.3f}, {time.process_time() - start:.0f} s", flush=True)
    net.load_state_dict(kept)
    slope = fit_head.calibrate(logits(net, x["val"]), parts["val"].targets, True)["calibration.slope"]
    told = {"weights": sum(p.numel() for p in net.parameters()), "passes": passes, "best_pass": best[1]}
    return System(to_probabilities(logits(net, x["test"]) * slope, True), told, time.process_time() - start)


def logits(net: torch.nn.Module, x: torch.Tensor) -> Array:
    net.eval()
    with torch.inference_mode():
        return np.concatenate([net(part).numpy() for part in x.split(BATCH)])


def auroc(targets: Array, rows: Array, p: Array) -> float:
    return metric.auroc(targets[rows, 1], p[rows, 1])


def judged(system: System, test: Labelled) -> dict[str, object]:
    y, p = test.targets, system.probabilities
    scores = (
        interval("AUROC", lambda rows: auroc(y, rows, p), test.patients),
        interval("accuracy", lambda rows: metric.accuracy(y[rows], p[rows]), test.patients),
        interval("ECE", lambda rows: metric.calibration_error(y[rows], p[rows], True), test.patients),
        interval("Brier", lambda rows: metric.brier(y[rows], p[rows]), test.patients),
    )
    return {"scores": [asdict(score) for score in scores], "chosen": system.chosen, "cpu_s": round(system.cpu_s, 1)}


def compared(systems: dict[str, System], test: Labelled) -> list[dict[str, object]]:
    """AUROC of each pair, tested on the same volumes, with Holm's correction."""
    names = list(systems)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    figure = partial(auroc, test.targets)
    said = [
        compare("AUROC", lambda rows, p: figure(rows, p), *(systems[n].probabilities for n in pair), test.patients)
        for pair in pairs
    ]
    adjusted = holm([one.p for one in said])
    return [
        {"first": a, "second": b, "difference": asdict(one.score), "p": one.p, "p_holm": p}
        for (a, b), one, p in zip(pairs, said, adjusted, strict=True)
    ]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, default=Path("../shared/data"))
    for name, value in (("train", 240), ("val", 80), ("test", 200), ("slices", 3), ("passes", 30)):
        options.add_argument(f"--{name}", type=int, default=value)
    options.add_argument("--out", type=Path, default=Path("results/volumes.json"))
    args = options.parse_args()
    torch.set_num_threads(1)
    counts = {split: getattr(args, split) for split in ("train", "val", "test")}
    parts = drawn(args.data / "adrenalmnist3d", counts)
    systems = {"3-D network": network(parts, args.passes), **pooled(parts, args.slices)}
    test = parts["test"]
    result = {
        "command": "python benchmarks/volumes.py",
        "data": "AdrenalMNIST3D, 64 x 64 x 64 shapes, a seeded draw of the official parts",
        "licence": "CC BY 4.0",
        "counts": {
            split: dict(zip(CLASSES, part.targets.sum(axis=0).astype(int).tolist(), strict=True))
            for split, part in parts.items()
        },
        "systems": {name: judged(system, test) for name, system in systems.items()},
        "comparisons": compared(systems, test),
        "left_out": "hippocampus_mri3d carries no label of a volume: neither disease nor side, so there is nothing to tell apart",
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
