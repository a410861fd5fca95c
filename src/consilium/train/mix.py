"""Which groups of the shards a stage learns from."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from consilium.errors import UsageError
from consilium.train.plan import Stage
from consilium.train.shards import read as read_shards


def groups(stage: Stage, shards: Path) -> Iterator[Mapping[str, Any]]:
    """The groups that a stage's mix takes: each by a hash of its id, so that the choice does not hang on their order.

    UsageError at the end where the stage names groups that there are not.
    """
    unknown = set(stage.up) | set(stage.only)
    for name, share in stage.mix.items():
        for group in read_shards(shards, name):
            unknown -= set(_known_by(group))
            if stage.only and group["dataset"] not in stage.only:
                continue
            place = int(hashlib.sha256(f"{stage.name} {group['id']}".encode()).hexdigest()[:8], 16) / 2**32
            wanted = share * math.prod(stage.up.get(name, 1.0) for name in _known_by(group))
            times = 1 if group["split"] == "val" else int(wanted) + (place < wanted - int(wanted))
            yield from [group] * times
    if unknown:
        raise UsageError(
            f"stage {stage.name} names {', '.join(sorted(unknown))} under up or only, which no group of "
            f"{', '.join(stage.mix)} is: neither set, kind nor condition."
        )


def _known_by(group: Mapping[str, Any]) -> tuple[str, ...]:
    """What `up` may name a group by: its set, its kind, the condition of its evidence, whether its eyes are misled."""
    first = group["branches"][0]
    return (group["dataset"], *(first[key] for key in ("kind", "condition", "eyes") if key in first))
