"""What an index holds, told without its features or an encoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from consilium.retrievers import lance

if TYPE_CHECKING:
    import pyarrow as pa

_TOLD = ("modality", "licence")


def held(place: Path) -> dict[str, Any]:
    """{"cases", "modalities", "licences"} of the Parquet file or LanceDB folder `place`; raises as their `load` does."""
    rows = _file(place) if place.is_file() else lance.load(place).columns(_TOLD)
    modalities, licences = (sorted({str(v) for v in rows[name].to_pylist() if v}) for name in _TOLD)
    return {"cases": rows.num_rows, "modalities": modalities, "licences": licences}


def _file(place: Path) -> pa.Table:
    import pyarrow.parquet as pq

    with pq.ParquetFile(place) as file:
        return file.read(columns=list(_TOLD))
