"""Part of the polygenic study: TCGA-LGG, whether what the shared encoder sees of a glioma tells its molecular cluster, alone and
with clinical fields. Not a command itself. The pictures may not be passed on (CC BY-NC-SA): the figures alone are kept."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from consilium import registry
from consilium.consult.panel import DEFAULT_ENCODER
from consilium.datasets.folder import read_folder
from consilium.metrics.bootstrap import interval
from consilium.metrics.classification import mean_auroc
from consilium.metrics.paired import holm
from consilium.train.features import encode
from consilium.types import Array
from polygenic_metrics import RESAMPLES

SET = "lgg_mri_genomics"
TARGETS = ("COCCluster", "RNASeqCluster", "MethylationCluster")
"""The cluster of clusters is the question; the other two were fixed before any figure was seen."""

BEFORE_SURGERY = ("gender", "tumor_location", "laterality")
AFTER_SURGERY = (*BEFORE_SURGERY, "histological_type", "neoplasm_histologic_grade")
AGE = "age_at_initial_pathologic"
LEAST = 8
_REPEATS, _FOLDS, _COMPONENTS = 5, 5, 15


def stage(data: Path) -> dict[str, Any]:
    """Every target, patients as units."""
    patients, images = _images(data / SET)
    with (data / SET / "patients_genomics.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["patient_id"]: row for row in csv.DictReader(file)}
    found = {target: _studied(target, patients, images, rows) for target in TARGETS}
    differences = [found[t]["clinical before surgery + imaging, less clinical alone"] for t in TARGETS]
    corrected = holm([one["p"] for one in differences])
    return {
        "features": "mean over a patient's slices with tumour of the shared encoder's pooled features; which slices show "
        "tumour was marked by hand",
        "method": f"{_FOLDS} folds by patient, {_REPEATS} times; {_COMPONENTS} components, logistic regression; joined: the mean "
        "of both probabilities; mean AUROC of one cluster against the rest; bootstrap over patients",
        "targets": found,
        "p of joined less clinical before surgery, Holm": dict(zip(TARGETS, corrected, strict=True)),
    }


def _images(folder: Path) -> tuple[list[str], Array]:
    """Patients and (patients, d) features, from the encoder's cache where it has them."""
    records = [record for record in read_folder(folder).records if "tumour" in record.labels]
    features = encode(records, registry.get("encoders", DEFAULT_ENCODER).load()).features
    of = np.array([record.patient for record in records])
    patients = sorted(set(of))
    return patients, np.stack([features[of == patient].mean(axis=0) for patient in patients])


def _studied(target: str, patients: Sequence[str], images: Array, rows: dict[str, dict[str, str]]) -> dict[str, Any]:
    label = np.array([rows[patient][target] for patient in patients])
    classes = [c for c in sorted(set(label) - {""}) if (label == c).sum() >= LEAST]
    own = np.flatnonzero(np.isin(label, classes))
    chosen = [patients[i] for i in own]
    y = (label[own][:, None] == np.array(classes)[None]).astype(float)
    told = {
        "imaging": _out_of_fold(images[own], y, compress=True),
        "clinical before surgery": _out_of_fold(_clinical(chosen, rows, BEFORE_SURGERY), y),
        "clinical with histology and grade": _out_of_fold(_clinical(chosen, rows, AFTER_SURGERY), y),
    }
    for name in ("clinical before surgery", "clinical with histology and grade"):
        told[f"{name} + imaging"] = (told[name] + told["imaging"]) / 2
    result: dict[str, Any] = {
        "patients": len(own),
        "classes": {c: int(n) for c, n in zip(classes, y.sum(axis=0), strict=True)},
    }
    for name, p in told.items():
        score = interval("AUROC", lambda drawn, p=p: mean_auroc(y[drawn], p[drawn]), chosen, resamples=RESAMPLES)  # type: ignore[misc]
        result[name] = {"AUROC": round(score.value, 4), "low": round(score.low, 4), "high": round(score.high, 4)}
    for name in ("clinical before surgery", "clinical with histology and grade"):
        result[f"{name} + imaging, less clinical alone"] = _difference(y, told[f"{name} + imaging"], told[name])
    return result


def _difference(y: Array, first: Array, second: Array) -> dict[str, float]:
    random = np.random.default_rng(20240)
    draws = [np.arange(len(y)), *(random.integers(len(y), size=len(y)) for _ in range(RESAMPLES))]
    gaps = np.array([mean_auroc(y[rows], first[rows]) - mean_auroc(y[rows], second[rows]) for rows in draws])
    low, high = np.percentile(gaps[1:], [2.5, 97.5])
    p = 2 * min(float((gaps[1:] <= 0).mean()), float((gaps[1:] >= 0).mean()))
    return {
        "value": round(float(gaps[0]), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
        "p": min(1.0, p),
    }


def _clinical(patients: Sequence[str], rows: dict[str, dict[str, str]], fields: Sequence[str]) -> Array:
    """(n, columns): age, and a column of 1 and 0 for each value of each field; a blank is in none of them."""
    age = np.array([float(rows[p][AGE] or "nan") for p in patients])
    columns = [np.where(np.isnan(age), np.nanmean(age), age)]
    for field in fields:
        values = [rows[p][field] for p in patients]
        columns += [np.array([float(v == one) for v in values]) for one in sorted(set(values) - {""})]
    return np.stack(columns, axis=1)


def _out_of_fold(x: Array, y: Array, compress: bool = False) -> Array:
    """(n, classes) probabilities, each by a model that did not see the patient, averaged over repeats."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    steps = [StandardScaler(), *([PCA(_COMPONENTS, random_state=0), StandardScaler()] if compress else [])]
    said, label = np.zeros(y.shape), y.argmax(axis=1)
    for seed in range(_REPEATS):
        for train, test in StratifiedKFold(_FOLDS, shuffle=True, random_state=seed).split(x, label):
            model = make_pipeline(*steps, LogisticRegression(C=0.1, max_iter=500)).fit(x[train], label[train])
            said[test] += model.predict_proba(x[test]) / _REPEATS
    return said
