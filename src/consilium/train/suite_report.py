"""The report of a suite: suite.json, and one static page that needs nothing from anywhere."""

from __future__ import annotations

import base64
import io
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from consilium.train.suite_vote import Diversity
from consilium.types import Score

FIGURES = ("AUROC", "macro-F1")


@dataclass(frozen=True)
class Measured:
    """One member: where it ended up and what was measured. `scores`: of its card, on test, first seed, with intervals; `runs`:
    a seed each (setting, held_out, shifted, test, cost)."""

    name: str
    loader: str
    kept: bool
    reason: str
    scores: tuple[Score, ...]
    runs: tuple[dict[str, Any], ...]

    def over_seeds(self, where: str, figure: str) -> tuple[float, float]:
        """(mean, standard deviation) of a figure over the seeds, `where`: "held_out" or "test"; one seed has no spread, NaN."""
        values = [run[where][figure] for run in self.runs]
        return fmean(values), stdev(values) if len(values) > 1 else math.nan


@dataclass(frozen=True, eq=False)
class Suite:
    """All that a suite's training found. `counts`: of the data, as on a card; `vote`: held-out figures of the mean vote, of all
    members and of those kept; `pool`: kept member -> its weights beside the others, near and afar (names as in `nn.judging`);
    `index`: the precedents written, {} where none were asked for."""

    name: str
    data: str
    encoders: tuple[str, ...]
    counts: Mapping[str, object]
    members: tuple[Measured, ...]
    diversity: Diversity
    vote: Mapping[str, Mapping[str, float]]
    pool: Mapping[str, Mapping[str, float]]
    index: Mapping[str, Any]
    seconds: float

    @property
    def kept(self) -> tuple[str, ...]:
        return tuple(member.name for member in self.members if member.kept)


def as_json(suite: Suite) -> dict[str, Any]:
    """Plain data for JSON: NaN is null."""
    plain: dict[str, Any] = _plain(suite)
    for member, found in zip(suite.members, plain["members"], strict=True):
        found["over_seeds"] = {
            where: {
                figure: dict(zip(("mean", "spread"), _plain(member.over_seeds(where, figure)), strict=True))
                for figure in FIGURES
            }
            for where in ("held_out", "test")
        }
    plain["diversity"] |= _plain({"mean_phi": suite.diversity.mean_phi, "double_fault": suite.diversity.double_fault})
    return plain


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def write(suite: Suite, folder: Path) -> None:
    """Writes suite.json and suite.html, each whole or not at all."""
    texts = {"suite.json": json.dumps(as_json(suite), indent=1, allow_nan=False) + "\n", "suite.html": page(suite)}
    for name, text in texts.items():
        fresh = folder / f".{name}.part"
        fresh.write_text(text, encoding="utf-8")
        os.replace(fresh, folder / name)


def page(suite: Suite) -> str:
    """The report as HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    rooms = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined)
    rooms.filters |= {"number": _number, "flops": lambda value: f"{value:.2g}"}
    template = rooms.get_template("suite.html")
    picture = heat_map(suite.diversity)
    return template.render(
        suite=suite, figures=FIGURES, scored=(*FIGURES, "ECE"), picture=picture, phi=suite.diversity.phi.tolist()
    )


def _number(value: float) -> str:
    return "-" if not math.isfinite(value) else f"{value:.3f}"


def heat_map(diversity: Diversity) -> str | None:
    """The error correlations as a picture (a data URI), None where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    names, table = diversity.names, diversity.phi
    side = 1.8 + 0.7 * len(names)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    shown = axes.imshow(np.ma.masked_invalid(table), cmap="cividis", vmin=-0.2, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    for (i, j), value in np.ndenumerate(table):
        axes.text(j, i, _short(value), ha="center", va="center", color="black" if value > 0.4 else "white")
    figure.colorbar(shown, label="correlation of held-out errors (phi)")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def _short(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def table(suite: Suite) -> list[tuple[str, ...]]:
    """Rows of text for a terminal: member, held-out macro-F1, test macro-F1, test AUROC, processor seconds, whether kept."""
    rows: list[tuple[str, ...]] = [("member", "held-out F1", "test F1", "test AUROC", "cpu s", "kept")]
    for member in suite.members:
        cells = [
            _mean(*member.over_seeds(*of)) for of in (("held_out", "macro-F1"), ("test", "macro-F1"), ("test", "AUROC"))
        ]
        seconds = sum(run["cost"]["cpu_seconds"] for run in member.runs)
        rows.append((member.name, *cells, f"{seconds:.1f}", "yes" if member.kept else f"no: {member.reason}"))
    return rows


def _mean(value: float, spread: float) -> str:
    return f"{value:.3f}" if math.isnan(spread) else f"{value:.3f} ± {spread:.3f}"
