"""Is our sliding-window inference as fast as MONAI's, does it say the same, and how much memory does a large CT take?

python benchmarks/sliding.py [--side 144] [--planes 64]

Both sides run in this process, in turn, on one network and the same windows: a body (an ellipsoid of noise) in air, as a CT is,
and noise to the rim, where nothing can be skipped. The large CT, 400 slices of 512 x 512, goes through a network of one layer: of
that the memory of this process is measured. Writes results/sliding.json.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from monai.inferers import sliding_window_inference

from consilium.nn import sliding
from consilium.nn.sliding import Windows
from consilium.nn.unet import Description, build
from consilium.types import Array

RESULTS = Path("results/sliding.json")
WINDOWS = Windows((32, 48, 48), overlap=0.5, at_once=1)
ROUNDS = 3


def body(shape: tuple[int, int, int], air: bool) -> Array:
    """int16 (slices, rows, columns): noise about 0, in air of -1024 where that is asked for."""
    noise = np.random.default_rng(0).integers(-200, 200, shape, dtype=np.int16)
    if not air:
        return noise
    places = np.meshgrid(*(np.linspace(-1, 1, side) for side in shape), indexing="ij", sparse=True)
    inside = (places[0] / 1.2) ** 2 + (places[1] / 0.55) ** 2 + (places[2] / 0.6) ** 2 < 1
    return np.where(inside, noise, np.int16(-1024))


def ours(net: torch.nn.Module, volume: Array) -> Array:
    return sliding.labels(volume, lambda windows: net(windows.float() / 1000), WINDOWS)


def monais(net: torch.nn.Module, volume: Array) -> Array:
    with torch.inference_mode():
        seen = torch.from_numpy(volume)[None, None].float() / 1000
        found = sliding_window_inference(
            seen, WINDOWS.size, WINDOWS.at_once, net, overlap=WINDOWS.overlap, mode="gaussian"
        )
        return found[0].argmax(0).to(torch.uint8).numpy()


def timed(run: Callable[[], Array]) -> tuple[float, float, Array]:
    """Seconds of wall and of processor time, and what came out."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = run()
    return time.perf_counter() - wall, time.process_time() - cpu, found


def compared(net: torch.nn.Module, volume: Array) -> dict[str, object]:
    """Both sides in turn, after the network has seen one window; medians over the rounds, and how many labels agree."""
    with torch.inference_mode():
        net(torch.zeros(1, 1, *WINDOWS.size))
    took: dict[str, list[tuple[float, float]]] = {"consilium": [], "monai": []}
    for _ in range(ROUNDS):
        wall, cpu, mine = timed(lambda: ours(net, volume))
        took["consilium"].append((wall, cpu))
        wall, cpu, theirs = timed(lambda: monais(net, volume))
        took["monai"].append((wall, cpu))
    found: dict[str, object] = {"shape": list(volume.shape), "labels that agree": float((mine == theirs).mean())}
    for name, rounds in took.items():
        found[f"{name}, median seconds"] = float(np.median([wall for wall, _ in rounds]))
        found[f"{name}, median processor seconds"] = float(np.median([cpu for _, cpu in rounds]))
    return found


def large() -> dict[str, object]:
    """The peak of this process's memory while a large CT is outlined."""
    volume = body((400, 512, 512), air=True)
    layer = torch.nn.Conv3d(1, 3, 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu, labels = timed(
        lambda: sliding.labels(volume, lambda w: layer(w.float() / 1000), Windows((96, 128, 128)))
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "shape": list(volume.shape),
        "answers": 3,
        "peak of the process, MiB": round(peak / 1024),
        "of that before, MiB": round(before / 1024),
        "seconds": wall,
        "processor seconds": cpu,
        "labels": str(labels.dtype),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=144)
    parser.add_argument("--planes", type=int, default=64)
    given = parser.parse_args()
    torch.manual_seed(0)
    net = build(Description("dynunet", 3, 1, 3, (8, 16, 32))).eval()
    shape = (given.planes, given.side, given.side)
    found = {
        "command": f"python benchmarks/sliding.py --side {given.side} --planes {given.planes}",
        "threads": torch.get_num_threads(),
        "rounds": ROUNDS,
        "windows": {"size": list(WINDOWS.size), "overlap": WINDOWS.overlap, "at once": WINDOWS.at_once},
        "body in air": compared(net, body(shape, air=True)),
        "noise to the rim": compared(net, body(shape, air=False)),
        "large CT": large(),
    }
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
