"""The caution of an opinion that measured a volume whose slices do not lie at even distances."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from consilium.imaging.measure import VOLUME
from consilium.imaging.stack import BRIDGED, gaps
from consilium.types import Case, Opinion, Volume


def cautioned(opinion: Opinion, case: Case) -> Opinion:
    """The opinion, with a caution where it outlined or measured such a volume of the case; else as it is."""
    said = tuple(dict.fromkeys(_caution(volume, opinion) for volume in _measured(opinion, case)))
    return replace(opinion, caution="; ".join(filter(None, (opinion.caution, *said)))) if said else opinion


def _measured(opinion: Opinion, case: Case) -> Iterator[Volume]:
    if opinion.basis != "pictures":
        return
    seen = {drawn.image_uid for drawn in opinion.segmentations}
    seen |= {finding.image_uid for finding in opinion.findings if finding.quantity is not None}
    for item in (item for study in case.studies for item in study.images):
        # a quantity without a picture is of the whole case
        if isinstance(item, Volume) and item.heights_mm and seen & {item.uid, ""}:
            yield item


def _caution(volume: Volume, opinion: Opinion) -> str:
    """What is odd, and what that does to volumes: where `imaging.measure` gave them, they are bridged."""
    step = volume.spacing_mm[0]
    steps = np.diff(volume.heights_mm)
    after, missing = gaps(steps, step)
    bridged = any(finding.site == VOLUME for finding in opinion.findings)
    if not len(after):
        odd = f"slices lie {steps.min():.3g} to {steps.max():.3g} mm apart; "
        return odd + ("volumes count each with its own thickness" if bridged else "volumes may come out wrong")
    odd = f"slices are missing: about {missing} in {len(after)} gap{'s' * (len(after) > 1)}; "
    if not bridged or steps.max() > (BRIDGED + 0.5) * step:
        return odd + "volumes and diameters may come out too small"
    return (
        odd + "volumes are estimates (half of a gap counts with each slice beside it), diameters may come out too small"
    )
