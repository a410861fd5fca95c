"""Does every shipped specialist abstain on foreign pictures and judge its own? Features alone decide here; routing by card,
which keeps other modalities away before that, is switched off.

python benchmarks/abstention.py [--data ../shared/data]

Foreign: pictures of every other modality (sets marked NC or UNCLEAR serve evaluation only; the shipped background took
train pictures of OPEN sets, so those sets are shown by their test split). Own: the specialist's test split. Beside them, the
same kind of picture from other hospitals. Writes results/abstention.json.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np

from consilium import registry
from consilium.consult.panel import DEFAULT_ENCODER, ROUTER
from consilium.consult.route import SURE
from consilium.datasets.folder import Record
from consilium.metrics.bootstrap import interval
from consilium.protocols import Encoder
from consilium.train.features import encode

# Set -> modality, whether only its test split was kept from training, most pictures shown.
SETS = {
    "cxr_pneumonia_kermany": ("CR", True, 400),
    "nih_cxr14_subset": ("CR", True, 400),
    "covid_cxr_hannover": ("CR", True, 400),
    "brain_tumor_mri": ("MR", True, 400),
    "lgg_mri_genomics": ("MR", False, 300),
    "lung_ct_iqoth": ("CT", True, 400),
    "breast_ultrasound_busi": ("US", True, 400),
    "lung_us_pocus": ("US", True, 400),
    "skin_ham10000": ("DMS", False, 300),
    "lung_histology_lc25000": ("SM", False, 300),
}
OWN = {
    "cxr_pneumonia": "cxr_pneumonia_kermany",
    "cxr_findings": "nih_cxr14_subset",
    "brain_tumor_mr": "brain_tumor_mri",
    "lung_ct": "lung_ct_iqoth",
    "breast_us": "breast_ultrasound_busi",
}


def records(folder: Path, test_only: bool, most: int) -> list[Record]:
    with (folder / "index.csv").open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if not test_only or row["split"] == "test"]
    patient = next((c for c in ("patient_id", "lesion_id", "clip_id") if c in rows[0]), "path")
    step = max(1, -(-len(rows) // most))
    return [Record(folder / r["path"], (), "test", r[patient], r) for r in rows[::step]]


def whole_body(folder: Path, encoder: Encoder) -> dict[str, dict[str, float]]:
    """CT and MR of every part of the body, most of which the router never saw (MedPix, evaluation only): how often it says
    what a picture is, and how often it is then right about the modality."""
    chosen = records(folder, False, 400)
    features = encode(chosen, encoder).features
    router = registry.get("specialists", ROUTER).load(encoder=encoder)
    p = router.head.probabilities(features)
    said = np.array([router.card.concepts[i].meaning.split("/")[0] for i in p.argmax(axis=1)])
    right = said == np.array([record.row["modality"] for record in chosen])
    taken = (router.head.foreignness(features) <= router.head.limit) & (p.max(axis=1) >= SURE)
    cases = [record.row["patient_id"] for record in chosen]
    return {
        "recognised": _share(taken, cases),
        "modality_right_among_them": _share(right[taken], [c for c, t in zip(cases, taken, strict=True) if t]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    options = parser.parse_args()
    encoder = registry.get("encoders", DEFAULT_ENCODER).load()
    shown = {}
    for name, (_, test_only, most) in SETS.items():
        chosen = records(options.data / name, test_only, most)
        shown[name] = (encode(chosen, encoder).features, [f"{name} {r.patient}" for r in chosen])
        print(name, len(chosen))
    report: dict[str, object] = {}
    for specialist, own in OWN.items():
        head = registry.get("specialists", specialist).load(encoder=encoder).head
        away = {name: head.foreignness(features) > head.limit for name, (features, _) in shown.items()}
        modality = SETS[own][0]
        foreign = [name for name, (other, _, _) in SETS.items() if other != modality]
        report[specialist] = {
            "foreign": _share(np.concatenate([away[n] for n in foreign]), [p for n in foreign for p in shown[n][1]]),
            "own_test": _share(away[own], shown[own][1]),
            "by_set": {
                name: {"modality": SETS[name][0], "abstained": float(a.mean()), "n": len(a)} for name, a in away.items()
            },
        }
        print(specialist, report[specialist])
    router = registry.get("specialists", ROUTER).load(encoder=encoder).head
    report[ROUTER] = {name: float((router.foreignness(f) > router.limit).mean()) for name, (f, _) in shown.items()}
    elsewhere = whole_body(options.data / "medpix2_ct_mr", encoder)
    result: dict[str, object] = {
        "command": "python benchmarks/abstention.py",
        "encoder": encoder.card.version,
        "specialists": report,
    }
    result["router_on_whole_body_ct_and_mr"] = elsewhere
    Path("results/abstention.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _share(away: np.ndarray, patients: list[str]) -> dict[str, float]:
    score = interval("share", lambda rows: float(away[rows].mean()), patients)
    return {"value": score.value, "low": score.low, "high": score.high, "n": score.n}


if __name__ == "__main__":
    main()
