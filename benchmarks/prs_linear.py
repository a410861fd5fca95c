"""Does the cost of polygenic scoring grow in line with people, variants and scores? Into results/prs_linear.json and .svg.

    python benchmarks/prs_linear.py [--most-people 100000]

Random genotypes as .bed, each run a process of its own on one thread, as in prs_speed.py. One of the three sizes grows while the
others stay; of --repeats the run with the least CPU time counts. The figure for each is the exponent of a power law through the
CPU seconds beyond those of a run on almost nothing: 1 is a straight line, 2 would be a square. No other program is run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from prs_speed import timed, write_cohort

BASE = {"people": 10_000, "variants": 20_000, "scores": 10}
GROWN = {
    "people": (3_000, 10_000, 30_000, 100_000),
    "variants": (10_000, 20_000, 50_000, 100_000),
    "scores": (10, 30, 100, 300),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most-people", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--scratch", help="where the genotypes are written for a while (half a gigabyte)")
    parser.add_argument("--out", type=Path, default=Path("results/prs_linear.json"))
    options = parser.parse_args()
    least = run({"people": 10, "variants": 100, "scores": 1}, options)
    report: dict[str, Any] = {
        "command": " ".join(["python", *sys.argv]),
        "base": BASE,
        "start_cpu_s": least["cpu_s"],
        "grown": {},
    }
    for name, sizes in GROWN.items():
        wanted = [size for size in sizes if name != "people" or size <= options.most_people]
        rows = [BASE | {name: size} | run(BASE | {name: size}, options) for size in wanted]
        report["grown"][name] = {"exponent": exponent(name, rows, least["cpu_s"]), "runs": rows}
        print(name, json.dumps(report["grown"][name]), flush=True)
    report["load_average"] = os.getloadavg()
    options.out.write_text(json.dumps(report, indent=1) + "\n")
    draw(report, options.out.with_suffix(".svg"))


def run(size: dict[str, int], options: argparse.Namespace) -> dict[str, float]:
    """The fastest of some runs of one size."""
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        folder = Path(scratch)
        write_cohort(folder, size["people"], size["variants"], [size["scores"]])
        start = "from consilium.cli import genome; genome.app()"
        words = [
            sys.executable,
            "-c",
            start,
            "score",
            "g.bed",
            "--score",
            f"s{size['scores']}.tsv",
            "--out",
            "o",
            "--json",
        ]
        if size["people"] < 50:
            (folder / "f.tsv").write_text(_frequencies(folder), encoding="utf-8")
            words += ["--frequencies", "f.tsv"]
        timed(words, folder)
        best = min((timed(words, folder) for _ in range(options.repeats)), key=lambda one: one["cpu_s"])
        return {name: best[name] for name in ("cpu_s", "wall_s")}


def _frequencies(folder: Path) -> str:
    """So few people have no frequencies of their own."""
    rows = [line.split("\t") for line in (folder / "g.bim").read_text().splitlines()]
    lines = [f"{row[1]}\t{row[4]}\t{row[5]}\t0.3" for row in rows]
    return "\n".join(["id\teffect_allele\tother_allele\tfrequency", *lines]) + "\n"


def exponent(name: str, rows: list[dict[str, Any]], start: float) -> float:
    """The slope of log CPU seconds, start-up taken off, over the log of the size."""
    beyond = np.maximum([row["cpu_s"] - start for row in rows], 1e-3)
    return round(float(np.polyfit(np.log([row[name] for row in rows]), np.log(beyond), 1)[0]), 3)


def draw(report: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(GROWN), figsize=(10, 3), sharey=True)
    for axis, (name, found) in zip(axes, report["grown"].items(), strict=True):
        sizes = [row[name] for row in found["runs"]]
        axis.loglog(sizes, [row["cpu_s"] - report["start_cpu_s"] for row in found["runs"]], "o-", color="#0072b2")
        axis.set_xlabel(f"{name} (exponent {found['exponent']:.2f})")
        axis.grid(True, which="both", alpha=0.3)
    axes[0].set_ylabel("CPU seconds beyond start-up")
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    main()
