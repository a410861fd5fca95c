"""What stage 3 shows of one set: its pictures of train and val, specialists' opinions out of fold, similar train cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from consilium.consult.table import PRECEDENTS
from consilium.datasets.folder import Record, read_folder
from consilium.protocols import Encoder, Entry
from consilium.retrievers import exact, patient_key
from consilium.retrievers.exact import ExactRetriever
from consilium.train.conversations import out_of_fold, spoken
from consilium.train.conversations.out_of_fold import Judged
from consilium.train.conversations.plan import later_split
from consilium.train.features import encode
from consilium.train.mixture import Source
from consilium.train.specialist import NEAR
from consilium.types import Array, Precedent

# Precedents looked at to find some that are no near-duplicates: neighbouring slices come in runs.
_DEPTH = 60


@dataclass(frozen=True, eq=False)
class Bench:
    """One set: `records`, `digests` and `features` (n, d) row by row, its specialist, bystanders, the index of its train part."""

    source: Source
    records: tuple[Record, ...]
    digests: tuple[str, ...]
    features: Array
    judged: Judged
    bystanders: tuple[Judged, ...]
    index: ExactRetriever
    patients: bool

    @cached_property
    def words(self) -> Mapping[str, Any]:
        """What its classes are called; DataError where the mixture's words do not fit them."""
        classes = [code.meaning for code in self.judged.card.concepts]
        spoken.check(self.source, classes)
        return spoken.of(self.source, classes)

    def precedents(self, row: int) -> tuple[Precedent, ...]:
        """The most similar train cases: never the picture, its patient, or one that is all but the same picture."""
        patient = self.patient(row)
        found = self.index.search(
            self.features[row],
            _DEPTH,
            exclude_digests=[self.digests[row]],
            exclude_patients=[patient] if patient else [],
        )
        return tuple(precedent for precedent in found if precedent.similarity <= NEAR)[:PRECEDENTS]

    def patient(self, row: int) -> str:
        return patient_key(self.source.name, self.records[row].patient) if self.patients else ""

    def path(self, row: int) -> str:
        return f"{self.source.folder}/{self.records[row].row['path']}"


def lay(source: Source, members: tuple[str, ...], data: Path, encoder: Encoder) -> Bench:
    """The bench of `source`: the first of `members` was trained on it, the others on other sets.

    A picture that lies in two splits is kept in the later alone, as the specialist was trained.
    """
    folder = read_folder(data / source.folder, where=source.where)
    encoded = encode(folder.records, encoder)
    latest = later_split((d, r.split) for d, r in zip(encoded.digests, folder.records, strict=True))
    rows = [
        i for i, r in enumerate(folder.records) if r.split in ("train", "val") and latest[encoded.digests[i]] == r.split
    ]
    records, features = tuple(folder.records[i] for i in rows), encoded.features[rows]
    digests = tuple(encoded.digests[i] for i in rows)
    judged = out_of_fold.judge(members[0], folder, records, features, encoder)
    others = tuple(out_of_fold.bystander(name, features, encoder) for name in members[1:])
    index = exact.load(encoder_key=encoder.card.version)
    bench = Bench(source, records, digests, features, judged, others, index, bool(folder.patient_column))
    index.add([_entry(bench, row) for row, record in enumerate(records) if record.split == "train"])
    return bench


def _entry(bench: Bench, row: int) -> Entry:
    digest = bench.digests[row]
    precedent = Precedent(
        case_id=f"{bench.source.name}-{digest[:12]}",
        label=", ".join(bench.records[row].labels),
        similarity=1.0,
        modality=bench.source.modality or "",
        body_part=bench.source.body_part,
        source=bench.source.name,
        licence=bench.source.licence,
    )
    return Entry(bench.features[row], precedent, bench.patient(row), digest)
