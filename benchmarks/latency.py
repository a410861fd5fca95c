"""How long a consultation takes, and what specialists and retrieval add to the encoder's pass.

python benchmarks/latency.py

Each figure comes from processes started here, on this machine, in one run; the ratios are what travels. Writes
results/latency.json: `consilium --help` (CPU s), a cold `consilium ask` (wall s, peak memory), a batch of 20 pictures (wall
s a case, with specialists, retrieval and the default generalist), and the share that ten light specialists and a search add
to one encoder pass.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "examples" / "chest_xray.jpg"
REPEATS = 5


def measured(*arguments: str, **environment: str) -> dict[str, float]:
    """Wall and CPU seconds and peak memory of one `consilium` process."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("consilium")), *arguments],
        stdout=subprocess.DEVNULL,
        env=os.environ | environment,
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"consilium {' '.join(arguments)} failed")
    cpu = usage.ru_utime + usage.ru_stime
    return {"wall_s": time.perf_counter() - start, "cpu_s": cpu, "peak_gb": usage.ru_maxrss / 1e6}


def spread(values: list[float]) -> dict[str, float]:
    return {"median": float(np.median(values)), "low": min(values), "high": max(values), "n": len(values)}


def share_of_pass() -> dict[str, object]:
    """Ten specialists and a search against the encoder's pass, the same picture with fresh noise each time."""
    from consilium import formats
    from consilium.consult.council import case_of
    from consilium.consult.panel import ROUTER, assemble
    from consilium.types import Image, Study

    panel = assemble(generalist="echo")
    names = [name for name in panel.specialists if "CR" in panel.specialists[name].modalities]
    chosen = [panel.specialist(names[i % len(names)]) for i in range(10)]
    pixels = formats.read(PICTURE)[0].images[0].pixels  # type: ignore[union-attr]
    draw = np.random.default_rng(0)
    encoder_s, rest_s = [], []
    for _ in range(REPEATS * 4):
        noisy = np.clip(pixels + draw.integers(-2, 3, pixels.shape), 0, 255).astype(np.uint8)
        case = case_of([Study("CR", "CHEST", (Image(noisy, "noisy"),))], "?")
        start = time.perf_counter()
        features = panel.encoder.embed(case.studies[0].images, patches=True)  # type: ignore[arg-type]
        middle = time.perf_counter()
        for specialist in chosen:
            specialist.examine(case)
        assert panel.retriever is not None
        panel.retriever.search(features.pooled[0], 5, modality="CR")
        encoder_s.append(middle - start)
        rest_s.append(time.perf_counter() - middle)
    ratios = [b / a for a, b in zip(encoder_s, rest_s, strict=True)]
    return {
        "ratio": spread(ratios),
        "encoder_s": spread(encoder_s),
        "ten_specialists_and_search_s": spread(rest_s),
        "router": ROUTER,
    }


def main() -> None:
    from PIL import Image

    question = ("Does this chest X-ray show pneumonia?", "--options", "normal,pneumonia", "--modality", "CR", "--json")
    runs = {"help_cpu_s": spread([measured("--help")["cpu_s"] for _ in range(REPEATS)])}
    measured("ask", str(PICTURE), *question)
    cold = [measured("ask", str(PICTURE), *question, CONSILIUM_FEATURES="0") for _ in range(REPEATS)]
    runs["cold_ask_wall_s"] = spread([run["wall_s"] for run in cold])
    runs["cold_ask_peak_gb"] = spread([run["peak_gb"] for run in cold])
    with tempfile.TemporaryDirectory() as folder:
        pixels = np.asarray(Image.open(PICTURE)).astype(int)
        paths = []
        for i in range(20):
            noisy = np.clip(pixels + np.random.default_rng(i).integers(-3, 4, pixels.shape), 0, 255)
            paths.append(f"{folder}/{i}.png")
            Image.fromarray(noisy.astype(np.uint8)).save(paths[-1])
        batch = [measured("ask", *paths, *question, CONSILIUM_FEATURES="0") for _ in range(2)]
    runs["batch_of_20_wall_s_a_case"] = spread([run["wall_s"] / 20 for run in batch])
    runs["batch_of_20_peak_gb"] = spread([run["peak_gb"] for run in batch])
    report = {
        "command": "python benchmarks/latency.py",
        "cores": os.cpu_count(),
        **runs,
        "added_to_encoder_pass": share_of_pass(),
    }
    report["own_peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    (ROOT / "results/latency.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
