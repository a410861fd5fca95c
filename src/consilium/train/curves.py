"""Pictures of a training: loss and rate over the steps, and what the model answers on pictures that it did not learn from."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consilium.train.loop import read_history

_SMOOTHED = 0.95


@dataclass(frozen=True)
class Sample:
    """A val question: `picture` (JPEG, b"" for none), what was asked, the reference, the reply."""

    picture: bytes
    asked: str
    reference: str
    reply: str


def draw(run: Path, out: Path) -> None:
    """Writes `out` (PNG): every step's loss in nats, its running mean, and the learning rate."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    history = read_history(run)
    if not history:
        return
    steps = [line["number"] for line in history]
    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    axes.plot(steps, [line["loss"] for line in history], color="#9ecae1", linewidth=0.8, label="loss of each step")
    axes.plot(steps, _smooth([line["loss"] for line in history]), color="#08519c", label="running mean")
    axes.set(xlabel="step", ylabel="loss (nats a token, weighted)", ylim=(0, None))
    rates = axes.twinx()
    rates.plot(steps, [line["rate"] for line in history], color="#a63603", linestyle=":", label="learning rate")
    rates.set_ylabel("learning rate")
    axes.legend(loc="upper right")
    figure.savefig(out, dpi=120, metadata={"Software": None})
    pyplot.close(figure)


def write_samples(samples: Sequence[Sample], facts: Mapping[str, Any], curves: Path, out: Path) -> None:
    """Writes `out`: one HTML page without scripts, with the curves, the facts and the samples."""
    drawn = f'<img class="wide" src="{_data_url(curves.read_bytes(), "png")}" alt="curves">' if curves.is_file() else ""
    rows = "\n".join(_row(sample) for sample in samples)
    listed = "".join(f"<dt>{html.escape(str(k))}</dt><dd>{html.escape(str(v))}</dd>" for k, v in facts.items())
    out.write_text(
        f"""<!doctype html><html lang="en"><meta charset="utf-8">
<title>Stage {html.escape(str(facts.get("stage", "")))}</title>
<style>body{{font:15px/1.45 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}}
table{{border-collapse:collapse}}
td,th{{border-top:1px solid #ccc;padding:.4rem .7rem;vertical-align:top;text-align:left;white-space:pre-wrap}}
img{{max-width:9rem}}img.wide{{max-width:100%}}dl{{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem}}
dd{{margin:0}}.same{{background:#e9f5ec}}</style>
<h1>Stage {html.escape(str(facts.get("stage", "")))}</h1>{drawn}<dl>{listed}</dl>
<h2>On pictures of the val splits</h2><p>Greedy replies; a row is tinted where the reply equals the reference.</p>
<table><tr><th>picture<th>asked<th>reference<th>reply</tr>
{rows}
</table></html>
""",
        encoding="utf-8",
    )


def thumbnail(path: Path) -> bytes:
    """A JPEG of the first view of the file, at most 144 pixels wide and high."""
    from consilium import formats
    from consilium.imaging.picture import thumbnail_jpeg, views

    return thumbnail_jpeg(views(formats.read(path)[0].images[0])[0], 144)


def _row(sample: Sample) -> str:
    picture = f'<img src="{_data_url(sample.picture, "jpeg")}" alt="">' if sample.picture else ""
    same = ' class="same"' if sample.reply.strip().lower() == sample.reference.strip().lower() else ""
    cells = "".join(f"<td>{html.escape(text)}</td>" for text in (sample.asked, sample.reference, sample.reply))
    return f"<tr{same}><td>{picture}</td>{cells}</tr>"


def _smooth(values: Sequence[float]) -> list[float]:
    """The running mean, corrected for its start (as Adam's moments are)."""
    mean, weight, smoothed = 0.0, 0.0, []
    for value in values:
        mean = _SMOOTHED * mean + (1 - _SMOOTHED) * value
        weight = _SMOOTHED * weight + (1 - _SMOOTHED)
        smoothed.append(mean / weight)
    return smoothed


def _data_url(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
