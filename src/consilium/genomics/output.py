"""Results on disk: TSV and Parquet with every digit, a report, a log; each file whole or not there."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from consilium.genomics.genotypes import People
from consilium.genomics.report import ScoreReport
from consilium.types import Array

if TYPE_CHECKING:
    import pyarrow


def score_table(
    people: People, columns: Mapping[str, Array], filled: Array, digits: int | None = None
) -> pyarrow.Table:
    """A row for each person: FID where there is one, IID, `filled_in` (missing calls that were filled in), then `columns`.

    Values are in full precision, or rounded to `digits` significant ones."""
    import pyarrow

    made: dict[str, Any] = {} if people.families is None else {"FID": list(people.families)}
    made |= {"IID": list(people.ids), "filled_in": filled}
    made |= {name: values if digits is None else _rounded(values, digits) for name, values in columns.items()}
    return pyarrow.table(made)


def _rounded(values: Array, digits: int) -> Array:
    return np.array([float(f"{value:.{digits}g}") for value in values])


def write_all(folder: Path, tables: Mapping[str, pyarrow.Table], texts: Mapping[str, str]) -> list[Path]:
    """Write `tables` (names end in .tsv or .parquet) and `texts` into `folder`: all beside their places first, then moved in."""
    from pyarrow import csv

    folder.mkdir(parents=True, exist_ok=True)
    halves: list[tuple[Path, Path]] = []
    try:
        for name, table in tables.items():
            half = folder / f"{name}.writing"
            halves.append((half, folder / name))
            if name.endswith(".parquet"):
                from pyarrow import parquet

                parquet.write_table(table, half, compression="zstd")
            else:
                csv.write_csv(
                    table, half, csv.WriteOptions(delimiter="\t", quoting_style="none", quoting_header="none")
                )
        for name, text in texts.items():
            half = folder / f"{name}.writing"
            halves.append((half, folder / name))
            half.write_text(text, encoding="utf-8")
        for half, place in halves:
            half.replace(place)
    finally:
        for half, _ in halves:
            half.unlink(missing_ok=True)
    return [place for _, place in halves]


def report_table(found: tuple[ScoreReport, ...]) -> pyarrow.Table:
    """A row for each score: what matched, and how many variants have each reason."""
    import pyarrow

    reasons = sorted({reason for report in found for reason in report.reasons})
    rows = [
        {
            "score": report.name,
            "file": report.file,
            "build": report.build or "",
            "refused": report.refused,
            "variants": report.variants,
            "matched": report.matched,
            "overlap": report.overlap,
            "weight_overlap": report.weight_overlap,
            **{reason: report.reasons.get(reason, 0) for reason in reasons},
        }
        for report in found
    ]
    return pyarrow.Table.from_pylist(rows)


def report_json(facts: Mapping[str, Any], found: tuple[ScoreReport, ...]) -> str:
    """What was done, with which versions, and every score's report."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for name in ("consilium", "pgenlib", "numpy", "pyarrow", "cyvcf2"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    scores = [dataclasses.asdict(dataclasses.replace(report, facts=dict(report.facts))) for report in found]
    return json.dumps({**facts, "versions": versions, "scores": scores}, indent=1, ensure_ascii=False) + "\n"
