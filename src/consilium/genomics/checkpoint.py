"""What a long scoring has done so far, on disk, so that an interrupted one goes on where it stopped."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from consilium.genomics.genotypes import Genotypes
from consilium.genomics.plan import Plan
from consilium.types import Array

if TYPE_CHECKING:
    from consilium.genomics.score import ScoreWork


@dataclass(frozen=True, eq=False)
class Progress:
    """`items` of the plan done; `sums` (scores, people), `filled` (people,) and the items without any call among them."""

    items: int
    sums: Array
    filled: Array
    no_calls: Array


class Checkpoint:
    """One file, written whole or not at all, and believed only where genotypes, people, plan and precision are the same."""

    def __init__(self, path: Path, work: Plan, genotypes: Genotypes, index: Array | None, how: ScoreWork) -> None:
        self.path = path
        self._work, self._genotypes, self._index, self._how = work, genotypes, index, how
        self._key = ""

    def load(self) -> Progress | None:
        """What was done, or None where nothing that fits is there."""
        if not self.path.is_file():
            return None
        try:
            with np.load(self.path, allow_pickle=False) as saved:
                if str(saved["key"]) != self.key:
                    return None
                return Progress(int(saved["items"]), saved["sums"], saved["filled"], saved["no_calls"])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return None

    def save(self, done: Progress) -> None:
        """Write beside, then put in place."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        half = self.path.with_name(self.path.name + ".writing")
        with half.open("wb") as file:
            np.savez(file, key=self.key, items=done.items, sums=done.sums, filled=done.filled, no_calls=done.no_calls)
        half.replace(self.path)

    @property
    def key(self) -> str:
        """sha256 of all that decides the sums; the genotypes by path, size and time of change."""
        if not self._key:
            stat = self._genotypes.path.stat()
            made = hashlib.sha256(f"{self._genotypes.path.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode())
            field = getattr(self._genotypes, "field", "")
            made.update(f"{self._work.digest()} {self._how.precision} {field}".encode())
            for array in (self._index, self._how.frequency, self._genotypes.people.founder):
                made.update(b"all" if array is None else np.ascontiguousarray(array).data)
            self._key = made.hexdigest()
        return self._key
