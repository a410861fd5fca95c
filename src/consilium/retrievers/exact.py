"""Exact search in memory over one Parquet file: every known case is compared. The small default, and the oracle.

The cost grows with the cases: right up to some 10,000; beyond that, `lance`. An index is loaded whole and is written by
`save` alone, in one step: whoever reads the file meanwhile sees the old index or the new one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from consilium.errors import DamagedFileError, DataError, UsageError
from consilium.protocols import Card, Entry
from consilium.retrievers import check_keys, check_query, check_schema, from_column, nearest, schema, to_column, to_rows
from consilium.types import Array, Precedent

if TYPE_CHECKING:
    import pyarrow as pa

CARD = Card(
    kind="retriever",
    name="exact",
    version="1",
    summary="Compares the query with every known case; the index is one Parquet file held in memory.",
    licence="Apache-2.0",
    evidence="results/retrieval.json",
    not_for=(
        "more than some 10,000 cases: use lance",
        "naming a diagnosis: a similar picture is not a similar disease",
    ),
)
# A dot product in float32 is off by less than this; rows so close to the k-th are ranked again in float64.
_ROUNDING = 1e-5


def load(path: str | Path | None = None, encoder_key: str | None = None, create: bool = False) -> ExactRetriever:
    """The index in the Parquet file `path`; an empty one in memory where there is no path.

    encoder_key  card version of the encoder that will ask; DataError if the index was built with another. None
                 accepts any: `ExactRetriever.encoder_key` then says which.
    create       begin an empty index where `path` does not exist yet; without it that is a DataError.
    """
    if path is None or (create and not Path(path).exists()):
        return ExactRetriever(encoder_key or "")
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not Path(path).is_file():
        raise DataError(f"there is no index at {path}. Build one, or pass create=True to begin an empty one.")
    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            rows = file.read()
    except (pa.ArrowException, OSError) as error:
        raise DamagedFileError(f"{path} cannot be read as a Parquet file ({error}). Build the index again.") from error
    _, built_with = check_schema(rows.schema, encoder_key, str(path))
    features = from_column(rows["features"])
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and lengths.all()):
        raise DamagedFileError(f"{path} holds features that are not numbers, or all zero. Build the index again.")
    return ExactRetriever(built_with, rows.drop_columns(["features"]), features / lengths)


class ExactRetriever:
    """Known cases in memory: `add` and `delete_patient` change it alone, `save` writes the file."""

    card = CARD

    def __init__(self, encoder_key: str, rows: pa.Table | None = None, features: Array | None = None) -> None:
        self.encoder_key = encoder_key
        self._rows = rows
        self._features = features

    def __len__(self) -> int:
        return 0 if self._rows is None else self._rows.num_rows

    def add(self, entries: Sequence[Entry]) -> int:
        """Adds the entries whose digest is new, and says how many; DataError and UsageError as in `to_rows`."""
        import pyarrow as pa

        if not entries:
            return 0
        new = to_rows(entries, self._dimensions, self.encoder_key)
        if self._rows is not None:
            new = new.filter(~_among(new, "digest", self._rows["digest"]))
        features, new = from_column(new["features"]), new.drop_columns(["features"])
        if self._rows is None or self._features is None:
            self._rows, self._features = new, features
        else:
            self._rows = pa.concat_tables([self._rows, new]).combine_chunks()
            self._features = np.concatenate([self._features, features])
        return new.num_rows

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
        """The k known cases most similar to `query` (d,), most similar first, ties by case id; () where none is left.

        Raises DataError where the query has another dimension or is not finite.
        """
        unit = check_query(query, k, self._dimensions)
        patients = [patient for patient in exclude_patients if patient]
        check_keys(patients)
        if self._rows is None or self._features is None:
            return ()
        keep = np.ones(len(self), dtype=bool)
        for column, wanted in (("modality", modality), ("label", label)):
            keep &= True if wanted is None else _among(self._rows, column, [wanted])
        for column, banned in (("digest", exclude_digests), ("patient_id", patients)):
            keep &= ~_among(self._rows, column, banned) if banned else True
        scores = np.where(keep, self._features @ unit, -np.inf)
        k = min(k, int(keep.sum()))
        if k == 0:
            return ()
        (close,) = np.nonzero(scores >= np.partition(scores, -k)[-k] - _ROUNDING)
        return nearest(self._rows.take(close), self._features[close], unit, k)

    def delete_patient(self, patient_id: str) -> int:
        """Removes every entry of the patient with this key from memory, and says how many; `save` makes it last."""
        check_keys([patient_id])
        if self._rows is None or self._features is None:
            return 0
        keep = ~_among(self._rows, "patient_id", [patient_id])
        self._rows, self._features = self._rows.filter(keep), self._features[keep]
        return int((~keep).sum())

    def save(self, path: str | Path, half: bool = True) -> None:
        """Writes the index, zstd-compressed; `half` keeps the features as float16 (cosines then move by < 0.001)."""
        import pyarrow.parquet as pq

        if not self.encoder_key or self._rows is None or self._features is None:
            raise UsageError("an index is saved with an encoder_key (pass it to load) and after entries were added.")
        kind = schema(self._features.shape[1], self.encoder_key, half)
        column = to_column(self._features, kind.field("features").type)
        rows = self._rows.append_column("features", column).cast(kind)
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with part.open("wb") as file:
                # A dictionary of numbers that hardly repeat would make the file larger and five times slower to read.
                strings = [name for name in kind.names if name not in ("features", "thumbnail")]
                split = ["features.list.element"]
                pq.write_table(rows, file, compression="zstd", use_dictionary=strings, use_byte_stream_split=split)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    @property
    def _dimensions(self) -> int | None:
        return None if self._features is None else self._features.shape[1]


def _among(rows: pa.Table, column: str, values: Sequence[str] | pa.ChunkedArray) -> Array:
    """Which rows (n,) bool have one of the values in this column."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not isinstance(values, pa.ChunkedArray):
        values = pa.array(values, pa.string())
    return pc.is_in(rows[column], value_set=values).to_numpy()
