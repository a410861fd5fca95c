"""Speed and exactness of polygenic scoring against plink2, into results/prs_speed.json.

    python benchmarks/prs_speed.py --people 10000 1000 --variants 100000 --scores 1 10 100

Random genotypes (0.1 % of the calls missing) as .bed and .pgen, a plink table of weights. Each side is a process of its own
that reads files and writes files, one thread each, run in turn; of --repeats the run with the least CPU time counts. CPU and
wall time, and the peak of resident memory, are those of the process (the peak at least that of
this script as it started it). Needs plink2 (Debian's package).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

PAIRS = np.array([("A", "G"), ("C", "T"), ("A", "C"), ("G", "T")])
CHUNK = 1000


def main() -> None:
    options = arguments()
    report: dict[str, Any] = {"command": " ".join(["python", *sys.argv]), "repeats": options.repeats, "runs": []}
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        for people in options.people:
            folder = Path(scratch) / str(people)
            folder.mkdir()
            write_cohort(folder, people, options.variants, options.scores)
            plink(folder, "--bfile", "g", "--make-pgen", "--out", "g")
            for scores in options.scores:
                for kind in options.kinds:
                    report["runs"].append(compare(folder, kind, people, scores, options))
                    print(json.dumps(report["runs"][-1]), flush=True)
                    options.out.write_text(json.dumps(report, indent=1) + "\n")
    report["limits"] = limits(max(options.people), options.variants, max(options.scores))
    report["versions"] = {name: version(name) for name in ("consilium", "pgenlib", "numpy", "pyarrow")} | {
        "python": platform.python_version(),
        "plink2": subprocess.run(["plink2", "--version"], capture_output=True, text=True).stdout.strip(),
    }
    report["load_average"] = os.getloadavg()
    options.out.write_text(json.dumps(report, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, nargs="+", default=[10_000, 1000])
    parser.add_argument("--variants", type=int, default=100_000)
    parser.add_argument("--scores", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--kinds", nargs="+", default=["bed", "pgen"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scratch", help="where the genotypes are written for a while")
    parser.add_argument("--out", type=Path, default=Path("results/prs_speed.json"))
    return parser.parse_args()


def compare(folder: Path, kind: str, people: int, scores: int, options: argparse.Namespace) -> dict[str, Any]:
    """Both sides on the same files, in turn."""
    table = f"s{scores}.tsv"
    span = "3" if scores == 1 else f"3-{scores + 2}"
    source = ["--bfile" if kind == "bed" else "--pfile", "g"]
    theirs = ["plink2", *source, "--threads", "1", "--score", table, "1", "2", "header-read", "cols=+scoresums"]
    theirs += ["--score-col-nums", span, "--out", "plink"]
    start = "from consilium.cli import genome; genome.app()"
    ours = [sys.executable, "-c", start, "score", f"g.{kind}", "--score", table, "--out", "ours", "--json"]
    runs: dict[str, list[dict[str, float]]] = {"consilium": [], "plink2": []}
    timed(ours, folder)  # Python keeps its compiled files from the first run on, as in any installation.
    for _ in range(options.repeats):
        runs["plink2"].append(timed(theirs, folder))
        runs["consilium"].append(timed(ours, folder))
    best = {side: min(found, key=lambda one: one["cpu_s"]) for side, found in runs.items()}
    return {
        "people": people,
        "variants": options.variants,
        "scores": scores,
        "format": kind,
        **best,
        "cpu_ratio": round(best["plink2"]["cpu_s"] / best["consilium"]["cpu_s"], 2),
        "wall_ratio": round(best["plink2"]["wall_s"] / best["consilium"]["wall_s"], 2),
        **agreement(folder, scores),
    }


def timed(words: list[str], folder: Path) -> dict[str, float]:
    """CPU and wall seconds and peak memory of one process."""
    env = os.environ | {
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPYCACHEPREFIX": str(folder / "compiled"),
    }
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    start = time.perf_counter()
    process = subprocess.Popen(words, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)}: {said.decode()}")
    return {
        "cpu_s": round(used.ru_utime + used.ru_stime, 3),
        "wall_s": round(time.perf_counter() - start, 3),
        "peak_mb": round(used.ru_maxrss / 1024, 1),
    }


def agreement(folder: Path, scores: int) -> dict[str, float]:
    """How far the two are apart, in units of half of plink2's last printed digit (6 are printed), and in standard deviations."""
    from pyarrow import csv, parquet

    theirs = csv.read_csv(folder / "plink.sscore", parse_options=csv.ParseOptions(delimiter="\t"))
    ours = parquet.read_table(folder / "ours/scores.parquet")
    halves, deviations = [], []
    for k in range(scores):
        # A table of one score is called by its file.
        a, b = ours["s1_sum" if scores == 1 else f"S{k}_sum"].to_numpy(), theirs[f"S{k}_SUM"].to_numpy()
        half = 0.5 * 10.0 ** (np.floor(np.log10(np.maximum(np.abs(b), 1e-300))) - 5)
        halves.append(np.abs(a - b).max() / half[np.abs(a - b).argmax()])
        deviations.append(np.abs(a - b).max() / a.std())
    return {"most_half_digits_apart": round(float(max(halves)), 3), "most_sd_apart": float(f"{max(deviations):.3g}")}


def limits(people: int, variants: int, scores: int) -> dict[str, Any]:
    """What the machine allows at the largest size: reading the .bed, and the multiplications alone at this core's rate."""
    a, b = np.ones((100, 512), np.float32), np.ones((512, 8192), np.float32)
    a @ b
    start, rounds = time.process_time(), 20
    for _ in range(rounds):
        a @ b
    rate = 2 * a.shape[0] * b.size * rounds / (time.process_time() - start)
    operations = 2 * people * variants * scores
    return {
        "bed_bytes": people * variants // 4,
        "float32_operations": operations,
        "gemm_gflops_measured": round(rate / 1e9, 1),
        "gemm_s_at_that_rate": round(operations / rate, 2),
    }


def plink(folder: Path, *words: str) -> None:
    subprocess.run(["plink2", *words, "--threads", "1"], cwd=folder, check=True, capture_output=True)


def write_cohort(folder: Path, people: int, variants: int, scores: list[int], missing: float = 0.001) -> None:
    random = np.random.default_rng(people)
    frequency = random.uniform(0.01, 0.5, variants)
    with (folder / "g.bed").open("wb") as file:
        file.write(b"\x6c\x1b\x01")
        for start in range(0, variants, CHUNK):
            file.write(packed(random, frequency[start : start + CHUNK], people, missing))
    chosen = PAIRS[random.integers(0, len(PAIRS), variants)]
    position = 1000 * (1 + np.arange(variants) % (variants // 22 + 1))
    code = 1 + np.arange(variants) // (variants // 22 + 1)
    rows = [f"{code[j]}\trs{j}\t0\t{position[j]}\t{chosen[j, 0]}\t{chosen[j, 1]}\n" for j in range(variants)]
    (folder / "g.bim").write_text("".join(rows))
    (folder / "g.fam").write_text("".join(f"F{i}\tP{i}\t0\t0\t0\t-9\n" for i in range(people)))
    effect = chosen[np.arange(variants), random.integers(0, 2, variants)]
    for k in scores:
        weights = random.normal(0, 0.01, (variants, k))
        with (folder / f"s{k}.tsv").open("w") as file:
            file.write("ID\tA1\t" + "\t".join(f"S{i}" for i in range(k)) + "\n")
            for j in range(variants):
                file.write(f"rs{j}\t{effect[j]}\t" + "\t".join(f"{w:.6g}" for w in weights[j]) + "\n")


def packed(random: np.random.Generator, frequency: np.ndarray, people: int, missing: float) -> bytes:
    """Two draws an allele, in plink's two bits a call."""
    bar = (256 * frequency[:, None]).astype(np.uint8)
    counts = sum((random.integers(0, 256, (len(bar), people), np.uint8) < bar).astype(np.uint8) for _ in range(2))
    code = np.array([3, 2, 0], np.uint8)[counts]
    code.ravel()[random.integers(0, code.size, random.binomial(code.size, missing))] = 1
    code = np.pad(code, ((0, 0), (0, -people % 4))).reshape(len(bar), -1, 4)
    return (code[..., 0] | code[..., 1] << 2 | code[..., 2] << 4 | code[..., 3] << 6).tobytes()


if __name__ == "__main__":
    main()
