"""Retrievers: members that find similar known cases. Here lies what all of them share.

- `patient_key` turns a patient identifier into the only form in which a retriever takes one. `Entry.patient_id`,
  `exclude_patients` and `delete_patient` are such keys; an identifier that is not a key is refused, so that none can
  reach an index by accident. An empty `patient_id` means that the patient is not known: it excludes and deletes nobody.
- A row is one entry: the fields of its Precedent, the patient's key, the digest of the picture, the unit features.
- `nearest` ranks rows. Every retriever ends with it, so that all give the same similarity and the same order of ties.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from consilium.errors import DataError, UsageError
from consilium.protocols import Entry
from consilium.types import Array, Precedent

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN = ("case_id", "label", "report", "modality", "body_part", "source", "licence", "thumbnail")
_ENCODER = b"consilium.encoder"
_KEY = re.compile(r"p:[0-9a-f]{32}")


def patient_key(dataset: str, patient_id: str, secret: bytes = b"") -> str:
    """The pseudonym under which a patient of `dataset` is stored: "p:" and 128 bits of HMAC-SHA256.

    The same patient number in two datasets gives two keys. Without a `secret` whoever holds the dataset's list of
    identifiers can recompute its keys: that is enough for public datasets; a clinic passes a secret of its own.
    """
    if not patient_id:
        return ""
    return "p:" + hmac.digest(secret, f"{dataset}\0{patient_id}".encode(), "sha256").hex()[:32]


def check_keys(patients: Sequence[str]) -> None:
    """Raises UsageError where a patient is not named by a key; the message repeats no identifier."""
    if not all(_KEY.fullmatch(patient) for patient in patients):
        raise UsageError(
            "a patient is named by something that is not a key. Retrievers take patients as "
            "consilium.retrievers.patient_key(dataset, patient_id) gives them, so that no identifier is stored."
        )


def schema(dimensions: int, encoder_key: str, half: bool = False) -> pa.Schema:
    """The columns of an index of `dimensions` features, float32 or (`half`) float16, marked with its encoder."""
    import pyarrow as pa

    number = pa.float16() if half else pa.float32()
    fields = [pa.field(name, pa.string()) for name in ("digest", "patient_id", *SHOWN) if name != "thumbnail"]
    fields += [pa.field("thumbnail", pa.binary()), pa.field("features", pa.list_(number, dimensions))]
    return pa.schema(fields, metadata={_ENCODER: encoder_key.encode()})


def check_schema(found: pa.Schema, encoder_key: str | None, where: str) -> tuple[int, str]:
    """The (dimensions, encoder key) of an index; DataError if it is none, or was built with another encoder."""
    import pyarrow as pa

    built_with = (found.metadata or {}).get(_ENCODER, b"").decode()
    features = found.field("features").type if "features" in found.names else pa.null()
    if not built_with or not pa.types.is_fixed_size_list(features):
        raise DataError(f"{where} is not an index of known cases: it has no features, or does not name their encoder.")
    half = features.value_type == pa.float16()
    if not found.equals(schema(features.list_size, built_with, half)):
        raise DataError(f"{where} is an index with other columns ({', '.join(found.names)}). Build it again.")
    if encoder_key is not None and encoder_key != built_with:
        raise DataError(
            f"{where} was built with the encoder {built_with!r}, and {encoder_key!r} asks: their features cannot be "
            "compared. Use the encoder it was built with, or build it again."
        )
    return features.list_size, built_with


def to_rows(entries: Sequence[Entry], dimensions: int | None, encoder_key: str) -> pa.Table:
    """Entries as rows with unit features, the first of each digest only.

    Raises DataError where features are not (dimensions,) finite numbers of some length, or an entry has no digest, and
    UsageError where a patient is not named by a key.
    """
    import pyarrow as pa

    unique = list({entry.digest: entry for entry in reversed(entries)}.values())[::-1]
    if not all(entry.digest for entry in unique):
        raise DataError("an entry has no digest, so it could not be kept from being its own precedent. Give every one.")
    check_keys([entry.patient_id for entry in unique if entry.patient_id])
    size = np.size(unique[0].features) if dimensions is None else dimensions
    features = np.stack([unit(entry.features, size, f"entry {entry.digest}") for entry in unique])
    columns = {name: [getattr(entry.precedent, name) for entry in unique] for name in SHOWN}
    columns |= {"digest": [e.digest for e in unique], "patient_id": [e.patient_id for e in unique]}
    target = schema(size, encoder_key)
    arrays = [pa.array(columns[field.name], field.type) for field in target if field.name != "features"]
    return pa.Table.from_arrays([*arrays, to_column(features, target.field("features").type)], schema=target)


def to_column(features: Array, kind: pa.DataType) -> pa.Array:
    """Features (n, d) as a column of fixed-size lists."""
    import pyarrow as pa

    flat = pa.array(features.astype(kind.value_type.to_pandas_dtype(), copy=False).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, type=kind)


def from_column(column: pa.ChunkedArray) -> Array:
    """A column of fixed-size lists as features (n, d) float32."""
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return flat.astype(np.float32, copy=False).reshape(len(column), column.type.list_size)


def unit(features: Array, dimensions: int | None, what: str) -> Array:
    """Features (d,) at length 1, float32; DataError unless they are `dimensions` finite numbers, not all zero."""
    given = np.asarray(features, dtype=np.float64)
    if given.ndim != 1 or given.size == 0 or (dimensions is not None and given.size != dimensions):
        raise DataError(f"{what} has features of shape {given.shape}; ({dimensions or 'd'},) is needed.")
    length = np.linalg.norm(given)
    if not np.isfinite(length) or length == 0:
        raise DataError(f"{what} has features that point nowhere (NaN, infinite or all zero). Embed the picture again.")
    return (given / length).astype(np.float32)


def check_query(query: Array, k: int, dimensions: int | None) -> Array:
    """The query (d,) as unit float32; DataError for features that cannot be compared, UsageError for k below 1."""
    if k < 1:
        raise UsageError(f"{k} precedents were asked for; ask for 1 or more.")
    return unit(query, dimensions, "the query")


def nearest(rows: pa.Table, features: Array, query: Array, k: int) -> tuple[Precedent, ...]:
    """The k rows most similar to `query` (d,), unit float32; features (n, d) float32 belong to the rows.

    The cosine is summed row by row in float64, so that equal features tie exactly, wherever they lie; ties are ordered
    by case id, then digest.
    """
    wide = features.astype(np.float64)
    cosine = (wide * query).sum(axis=1) / np.sqrt((wide * wide).sum(axis=1)) / np.linalg.norm(query.astype(np.float64))
    cosine = np.clip(cosine, -1.0, 1.0)
    names = [np.asarray(rows[name].to_pylist(), dtype=object) for name in ("digest", "case_id")]
    order = np.lexsort((*names, -cosine))[:k]
    shown = rows.select(SHOWN).take(order).to_pylist()
    return tuple(Precedent(**row, similarity=float(cosine[i])) for row, i in zip(shown, order, strict=True))
