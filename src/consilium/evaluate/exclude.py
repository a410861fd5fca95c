"""Precedents of an evaluation: never the picture itself, its patient, or a near-duplicate of it.

An index may hold the case under test: as itself, in another picture of the same patient, or copied under another name with
a few pixels changed. Each would hand over the answer. What is passed over is counted, and the count stands in the record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from consilium.protocols import Card, Entry, Retriever
from consilium.types import Array, Precedent

# Above this cosine two pictures are taken for one: re-encoded, resized, or neighbouring slices.
MOST_ALIKE = 0.995
_DEEPER = 16


@dataclass
class Excluding:
    """A retriever that passes over the patient (a key of `retrievers.patient_key`, "" where unknown) that `begin` named, and
    whatever is more alike than `most_alike`. `left_out`: how many nearer cases were passed over since."""

    inner: Retriever
    most_alike: float = MOST_ALIKE
    patient: str = ""
    left_out: int = field(default=0, init=False)
    card: Card = field(init=False)

    def __post_init__(self) -> None:
        self.card = self.inner.card

    def __len__(self) -> int:
        return len(self.inner)

    def begin(self, patient: str) -> None:
        self.patient, self.left_out = patient, 0

    def add(self, entries: Sequence[Entry]) -> int:
        return self.inner.add(entries)

    def delete_patient(self, patient_id: str) -> int:
        return self.inner.delete_patient(patient_id)

    def search(
        self,
        query: Array,
        k: int = 5,
        *,
        modality: str | None = None,
        label: str | None = None,
        exclude_digests: Sequence[str] = (),
        exclude_patients: Sequence[str] = (),
    ) -> tuple[Precedent, ...]:
        """As `Retriever.search`, of what is left; k cases wherever k are left."""
        patients = [*exclude_patients, *filter(None, [self.patient])]

        def found(depth: int, banned: bool) -> tuple[Precedent, ...]:
            digests, of = (exclude_digests, patients) if banned else ((), ())
            return self.inner.search(
                query, depth, modality=modality, label=label, exclude_digests=digests, exclude_patients=of
            )

        depth = k + _DEEPER
        while True:
            allowed = found(depth, banned=True)
            kept = [precedent for precedent in allowed if precedent.similarity <= self.most_alike][:k]
            floor = kept[-1].similarity if len(kept) == k else -2.0
            everything = found(depth, banned=False)
            # Deep enough: every case nearer than the last one kept was seen.
            if len(everything) < depth or everything[-1].similarity < floor:
                break
            depth *= 4
        nearer = [precedent for precedent in everything if precedent.similarity > floor]
        self.left_out += len(nearer) - sum(precedent.similarity > floor for precedent in kept)
        return tuple(kept)
