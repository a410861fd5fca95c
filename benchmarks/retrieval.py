"""Recall, latency, build time and size of the retrievers on clustered synthetic features, into results/retrieval.json.

    python benchmarks/retrieval.py --n 100000 --dimensions 1536

Features are a mixture of gaussians (200 clusters, 32 directions within a cluster, a little noise in all), as encoder
features of a few hundred kinds of picture are, and unlike uniform noise, where no neighbour means anything. Each query
is asked without a filter, with a wide one (a modality: a quarter of the rows) and a narrow one (a label: 1 row in 200).
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np

from consilium.protocols import Entry, Retriever
from consilium.retrievers import exact, lance, patient_key
from consilium.types import Array, Precedent, Score

CLUSTERS, DIRECTIONS, CHUNK, K = 200, 32, 5000, 10
MODALITIES = ("CT", "MR", "DX", "US")
ENCODER = "synthetic/1/pooled"


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory() as scratch:
        report = measure(options.n, options.dimensions, options.queries, Path(scratch))
    report = {"command": " ".join(["python", *sys.argv]), **report}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100_000, help="known cases")
    parser.add_argument("--dimensions", type=int, default=1536, help="features of a case")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("results/retrieval.json"))
    return parser.parse_args()


def measure(n: int, dimensions: int, queries: int, scratch: Path) -> dict[str, object]:
    """Builds both indices over the same entries, one after the other, and asks both the same questions."""
    approximate = lance.load(scratch / "lance", ENCODER, create=True, index_from=n)
    lance_s = build(approximate, n, dimensions)
    oracle = exact.load(encoder_key=ENCODER)
    exact_s = build(oracle, n, dimensions)
    oracle.save(scratch / "exact.parquet")

    asked = [entry.features for chunk in entries(queries, dimensions, seed=1) for entry in chunk]
    metrics: list[Score] = []
    for name, filters in {"": {}, " modality filter": {"modality": "CT"}, " label filter": {"label": "kind 7"}}.items():
        truth, exact_ms = ask(oracle, asked, filters)
        found, lance_ms = ask(approximate, asked, filters)
        recall = np.array([len(t & f) / len(t) for t, f in zip(truth, found, strict=True)])
        metrics.append(score(f"lance recall@{K}{name}", recall, np.mean))
        for who, taken in (("exact", exact_ms), ("lance", lance_ms)):
            metrics.append(score(f"{who} p50 ms{name}", taken, np.median))
            metrics.append(score(f"{who} p95 ms{name}", taken, lambda sample: np.quantile(sample, 0.95)))
    return {
        "n": n,
        "dimensions": dimensions,
        "queries": queries,
        "metrics": [asdict(metric) for metric in metrics],
        "build_s": {"lance": round(lance_s, 1), "exact": round(exact_s, 1)},
        "disk_bytes": {"lance": size(scratch / "lance"), "exact": size(scratch / "exact.parquet")},
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "versions": {name: version(name) for name in ("consilium", "lancedb", "pyarrow", "numpy")}
        | {"python": platform.python_version()},
    }


def entries(n: int, dimensions: int, seed: int) -> Iterator[list[Entry]]:
    """n entries in chunks; every seed draws from the same clusters."""
    shape = np.random.default_rng(0)
    centres = shape.normal(size=(CLUSTERS, dimensions))
    directions = shape.normal(size=(DIRECTIONS, dimensions)) / np.sqrt(DIRECTIONS)
    draw = np.random.default_rng([seed, 1])
    for start in range(0, n, CHUNK):
        m = min(CHUNK, n - start)
        kinds = draw.integers(CLUSTERS, size=m)
        spread = draw.normal(size=(m, DIRECTIONS)) @ directions + 0.1 * draw.normal(size=(m, dimensions))
        features = (centres[kinds] + spread).astype(np.float32)
        yield [known_case(seed, start + i, f"kind {kinds[i]}", features[i]) for i in range(m)]


def known_case(seed: int, number: int, label: str, features: Array) -> Entry:
    modality = MODALITIES[number % len(MODALITIES)]
    shown = Precedent(f"case {number:07}", label, 0.0, modality=modality, source="synthetic", licence="CC0-1.0")
    return Entry(features, shown, patient_key("synthetic", str(number // 2)), f"{seed}-{number}")


def build(retriever: Retriever, n: int, dimensions: int) -> float:
    """Seconds to add n entries, without those that it takes to draw them."""
    taken = 0.0
    for chunk in entries(n, dimensions, seed=0):
        start = time.perf_counter()
        retriever.add(chunk)
        taken += time.perf_counter() - start
    return taken


def ask(retriever: Retriever, queries: list[Array], filters: dict[str, str]) -> tuple[list[set[str]], Array]:
    """The case ids that each query found, and the milliseconds that it took; the first query is asked once before."""
    retriever.search(queries[0], K, **filters)
    found, taken = [], []
    for query in queries:
        start = time.perf_counter()
        precedents = retriever.search(query, K, **filters)
        taken.append(1e3 * (time.perf_counter() - start))
        found.append({precedent.case_id for precedent in precedents})
    return found, np.array(taken)


def score(metric: str, values: Array, statistic, rounds: int = 2000) -> Score:
    """The statistic with its 95 % bootstrap interval over queries."""
    draw = np.random.default_rng(0)
    again = [statistic(values[draw.integers(len(values), size=len(values))]) for _ in range(rounds)]
    low, high = np.quantile(again, [0.025, 0.975])
    return Score(metric, round(float(statistic(values)), 4), round(float(low), 4), round(float(high), 4), len(values))


def size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


if __name__ == "__main__":
    main()
