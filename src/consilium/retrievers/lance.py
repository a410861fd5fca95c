"""Approximate search on disk, in an embedded LanceDB folder: for many cases, and for indices that grow in use.

`add` and `delete_patient` are committed when they return; a process killed in between loses nothing that was returned.
Other processes see a commit at their next search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import reduce
from operator import and_
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from consilium.errors import DataError, UsageError
from consilium.protocols import Card, Entry
from consilium.retrievers import check_keys, check_query, check_schema, from_column, nearest, to_rows
from consilium.types import Array, Precedent

if TYPE_CHECKING:
    import pyarrow as pa
    from lancedb.db import DBConnection
    from lancedb.expr import Expr
    from lancedb.query import LanceVectorQueryBuilder
    from lancedb.table import Table

CARD = Card(
    kind="retriever",
    name="lance",
    version="1",
    summary="Approximate search (IVF_HNSW_SQ, refined with the full vectors) in a LanceDB folder on disk.",
    licence="Apache-2.0",
    evidence="results/retrieval.json",
    not_for=("naming a diagnosis: a similar picture is not a similar disease",),
)
_TABLE = "entries"
_BATCH = 4096
_SAID = ("label", "modality", "body_part")
# Search: candidates kept in the graph, and how many times more of them are compared by their full vectors. Measured by
# benchmarks/retrieval.py; a wider margin than k lets ties at the k-th place be seen.
_EF, _REFINE, _MARGIN = 256, 4, 16
# Two rows whose float32 distances differ by less than this may be in either order.
_ROUNDING = 1e-5


def load(
    folder: str | Path, encoder_key: str | None = None, create: bool = False, index_from: int = 10_000
) -> LanceRetriever:
    """The index in `folder`.

    encoder_key  card version of the encoder that will ask; DataError if the index was built with another. None
                 accepts any: `LanceRetriever.encoder_key` then says which.
    create       begin an empty index where there is none; without it that is a DataError.
    index_from   how many rows without a graph are searched one by one before `add` builds or extends the graph.
    """
    if not create and not (Path(folder) / f"{_TABLE}.lance").is_dir():
        raise DataError(f"there is no index in {folder}. Build one, or pass create=True to begin an empty one.")
    if create and not encoder_key:
        raise UsageError("a new index needs encoder_key, the card version of the encoder of its features.")
    import lancedb

    database = lancedb.connect(folder, read_consistency_interval=timedelta(0))
    return LanceRetriever(database, str(folder), encoder_key, index_from)


class LanceRetriever:
    """Known cases in a LanceDB folder. `encoder_key` names the encoder of its features."""

    card = CARD

    def __init__(self, database: DBConnection, where: str, encoder_key: str | None, index_from: int) -> None:
        self._database = database
        self._where = where
        self._index_from = index_from
        self.encoder_key = encoder_key or ""
        self._dimensions: int | None = None
        self._table: Table | None = None
        self._opened()

    def __len__(self) -> int:
        return 0 if (table := self._opened()) is None else table.count_rows()

    def add(self, entries: Sequence[Entry]) -> int:
        """Adds the entries whose digest is new, in batches, and says how many; raises as `to_rows` does.

        All are on disk when it returns. If it is interrupted, the batches before are kept: adding the same entries
        again adds the rest.
        """
        if not entries:
            return 0
        table = self._opened()
        rows = to_rows(entries, self._dimensions, self.encoder_key)
        table = table or self._begin(rows.schema)
        added = 0
        for start in range(0, rows.num_rows, _BATCH):
            batch = rows.slice(start, _BATCH)
            added += table.merge_insert("digest").when_not_matched_insert_all().execute(batch).num_inserted_rows
        self._extend_graph(table)
        return added

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

        Filters are applied before the search, so that it finds k cases wherever k are left; rows that the graph does
        not hold yet are compared one by one. Raises DataError where the query has another dimension or is not finite.
        """
        table = self._opened()
        unit = check_query(query, k, self._dimensions)
        patients = [patient for patient in exclude_patients if patient]
        check_keys(patients)
        if table is None or (k := min(k, table.count_rows())) == 0:
            return ()
        rows = _candidates(table, unit, k, _allowed(modality, label, exclude_digests, patients))
        return nearest(rows, from_column(rows["features"]), unit, k)

    def delete_patient(self, patient_id: str) -> int:
        """Removes every entry of the patient with this key, and says how many.

        No search finds them from now on; `rebuild` removes their bytes from the disk.
        """
        from lancedb.expr import col, lit

        check_keys([patient_id])
        if (table := self._opened()) is None:
            return 0
        return table.delete(col("patient_id") == lit(patient_id)).num_deleted_rows  # type: ignore[attr-defined]

    def correct(self, known: Mapping[str, Precedent | None]) -> int:
        """Removes the entries with a digest in `known` whose label, modality or body part is another than stands there (None:
        that must not be known), and says how many; `add` puts them back as they should be."""
        from lancedb.expr import col

        if (table := self._opened()) is None:
            return 0
        asked, gone = list(known), []
        for start in range(0, len(asked), _BATCH):
            some = asked[start : start + _BATCH]
            query = table.search().where(col("digest").isin(some)).select(["digest", *_SAID]).limit(len(some))
            gone += [row["digest"] for row in query.to_arrow().to_pylist() if not _agrees(row, known[row["digest"]])]
        for start in range(0, len(gone), _BATCH):
            table.delete(col("digest").isin(gone[start : start + _BATCH]))
        return len(gone)

    def columns(self, names: Sequence[str]) -> pa.Table:
        """These columns of every case; no rows where nobody has added any."""
        import pyarrow as pa

        if (table := self._opened()) is None:
            return pa.table({name: pa.array([], pa.string()) for name in names})
        return table.search().select(list(names)).limit(max(1, table.count_rows())).to_arrow()

    def rebuild(self) -> None:
        """Writes all rows anew, trains the graph anew, and drops all older versions: nothing deleted stays on disk.

        Run it while no other process uses the folder: a search that is under way there would lose its files.
        """
        if (table := self._opened()) is None:
            return
        # Compaction alone leaves deleted rows in a file of which they are less than a tenth; an update moves every row.
        table.update(where="true", values_sql={"digest": "digest"})
        if table.count_rows() >= self._index_from:
            _build_graph(table)
        # Not zero, for which LanceDB warns of what the docstring says.
        table.optimize(cleanup_older_than=timedelta(milliseconds=1), delete_unverified=True)

    def _opened(self) -> Table | None:
        """The table; None as long as nobody, here or in another process, has added to the index."""
        if self._table is None and _TABLE in self._database.list_tables().tables:
            self._use(self._database.open_table(_TABLE))
        return self._table

    def _begin(self, schema: pa.Schema) -> Table:
        try:
            table = self._database.create_table(_TABLE, schema=schema)
        except ValueError:  # another process has begun it since
            table = self._database.open_table(_TABLE)
        return self._use(table)

    def _use(self, table: Table) -> Table:
        self._dimensions, self.encoder_key = check_schema(table.schema, self.encoder_key or None, self._where)
        self._table = table
        return table

    def _extend_graph(self, table: Table) -> None:
        graphs = [index for index in table.list_indices() if index.columns == ["features"]]
        if not graphs:
            if table.count_rows() >= self._index_from:
                _build_graph(table)
        elif (graphs[0].num_unindexed_rows or 0) >= self._index_from:
            table.optimize()


def _agrees(row: Mapping[str, str], known: Precedent | None) -> bool:
    return known is not None and all(row[name] == getattr(known, name) for name in _SAID)


def _build_graph(table: Table) -> None:
    from lancedb.index import HnswSq

    # One partition: a single graph, so that no probe of partitions costs recall.
    table.create_index("features", config=HnswSq(distance_type="cosine", num_partitions=1, ef_construction=150))


def _allowed(
    modality: str | None, label: str | None, exclude_digests: Sequence[str], exclude_patients: Sequence[str]
) -> Expr | None:
    """The filter of a search. Built from values, never from text, so that no label can change what is asked."""
    from lancedb.expr import col, lit

    wanted = {"modality": modality, "label": label}
    banned = {"digest": exclude_digests, "patient_id": exclude_patients}
    terms = [col(name) == lit(value) for name, value in wanted.items() if value is not None]
    terms += [~col(name).isin(values) for name, values in banned.items() if values]
    return reduce(and_, terms) if terms else None


def _candidates(table: Table, query: Array, k: int, allowed: Expr | None) -> pa.Table:
    """Rows that hold the k nearest and all that tie with the k-th."""
    fetch = k + _MARGIN
    while True:
        rows = _fetch(table, query, fetch, allowed)
        distances = np.sort(rows["_distance"].to_numpy())
        if rows.num_rows < fetch or distances[-1] > distances[k - 1] + _ROUNDING:
            return rows
        fetch *= 2


def _fetch(table: Table, query: Array, fetch: int, allowed: Expr | None) -> pa.Table:
    """The `fetch` nearest rows. Where the graph yields fewer (a narrow filter, a small table) all rows are compared."""

    def ask() -> LanceVectorQueryBuilder:
        request: Any = table.search(query, vector_column_name="features", query_type="vector")
        request = request.distance_type("cosine").limit(fetch)
        return request if allowed is None else request.where(allowed)

    rows = ask().ef(max(_EF, fetch * _REFINE)).refine_factor(_REFINE).to_arrow()
    return rows if rows.num_rows == fetch else ask().bypass_vector_index().to_arrow()
