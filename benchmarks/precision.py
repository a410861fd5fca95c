"""Do heads trained on bfloat16 features judge float32 features the same? For CPUs that do not compute in bfloat16.

python benchmarks/precision.py [--data ../shared/data] [--cases 40]

The first `cases` test pictures of each shipped set in a seeded order, encoded in both precisions; writes
results/precision.json: the share of pictures with the same top class, and the largest and mean change of a probability.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import numpy as np

from consilium import registry
from consilium.consult.panel import DEFAULT_ENCODER
from consilium.datasets.folder import read_folder
from consilium.train.features import encode

SETS = {
    "cxr_pneumonia": "cxr_pneumonia_kermany",
    "brain_tumor_mr": "brain_tumor_mri",
    "lung_ct": "lung_ct_iqoth",
    "breast_us": "breast_ultrasound_busi",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cases", type=int, default=40)
    options = parser.parse_args()
    encoders = {p: registry.get("encoders", DEFAULT_ENCODER).load(precision=p) for p in ("bfloat16", "float32")}
    report: dict[str, object] = {"command": f"python benchmarks/precision.py --cases {options.cases}"}
    for name, folder in SETS.items():
        records = list(read_folder(options.data / folder).of("test"))
        random.Random(20240).shuffle(records)
        head = registry.get("specialists", name).load(encoder=encoders["bfloat16"]).head
        features = {p: encode(records[: options.cases], encoder).features for p, encoder in encoders.items()}
        low, full = (head.probabilities(features[p]) for p in ("bfloat16", "float32"))
        report[name] = {
            "n": len(low),
            "same_top_class": float((low.argmax(1) == full.argmax(1)).mean()),
            "largest_change": float(np.abs(low - full).max()),
            "mean_change": float(np.abs(low - full).mean()),
        }
        print(name, report[name])
    Path("results/precision.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
