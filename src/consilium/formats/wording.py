"""How figures are written wherever a person reads them: on the page and in the terminal."""

from __future__ import annotations

import math
import re

from consilium.types import Finding, Image, Opinion, Score, Volume

DISCLAIMER = "Not a medical device."
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def percent(probability: float | None) -> str:
    """'93 %'. Only certainty reads 0 % or 100 %: what lies short of it reads '<1 %' or '>99 %'. '-' where unknown."""
    if probability is None or math.isnan(probability):
        return "-"
    rounded = round(100 * probability)
    if rounded == 0 and probability > 0:
        return "<1\N{NO-BREAK SPACE}%"
    if rounded == 100 and probability < 1:
        return ">99\N{NO-BREAK SPACE}%"
    return f"{rounded}\N{NO-BREAK SPACE}%"


def interval(score: Score) -> str:
    """The value with its 95 % interval: '0.93 [0.91, 0.95]'."""
    return f"{score.value:.2f} [{score.low:.2f}, {score.high:.2f}]"


def amount(finding: Finding) -> str:
    """A finding's probability or its quantity with unit."""
    if finding.quantity is not None:
        unit = {"[hnsf'U]": "HU", "mm2": "mm²", "1": ""}.get(finding.unit, finding.unit)
        return f"{finding.quantity:.4g}\N{NO-BREAK SPACE}{unit}".rstrip()
    return percent(finding.probability)


def calibration(opinion: Opinion) -> str:
    """'calibrated', 'not calibrated' or 'partly calibrated', of the findings with a probability; '' where none has one."""
    said = {finding.calibrated for finding in opinion.findings if finding.probability is not None}
    if not said:
        return ""
    return "partly calibrated" if len(said) == 2 else "calibrated" if said == {True} else "not calibrated"


def dimensions(item: Image | Volume) -> str:
    """'224 x 224 pixels' or '120 slices of 256 x 200 pixels', with the distance between their centres where known."""
    shape = item.pixels.shape[:2] if isinstance(item, Image) else item.voxels.shape
    *slices, rows, columns = shape
    size = f"{columns} × {rows} pixels"
    if slices:
        size = f"{slices[0]} slices of {size}"
    spacing = f", {' × '.join(f'{step:.3g}' for step in reversed(item.spacing_mm))} mm apart" if item.spacing_mm else ""
    return size + spacing


def printable(text: str) -> str:
    """`text` without control characters and halves of characters, which could command a terminal or end a file."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))
