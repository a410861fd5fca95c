"""Encodes the pictures of a folder once: features by the shared encoder, read again from its cache on the next run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from consilium import formats
from consilium.datasets.folder import Record
from consilium.errors import DataError, ReadError
from consilium.imaging.picture import views
from consilium.protocols import Encoder
from consilium.types import Array, Image, Study

Progress = Callable[[int, int], None]
CHUNK = 32


@dataclass(frozen=True, eq=False)
class Encoded:
    """Per record, in order: pooled features (n, d) float32, digest of the picture, modality and body part of its header."""

    features: Array
    digests: tuple[str, ...]
    modalities: tuple[str | None, ...]
    body_parts: tuple[str | None, ...]


def encode(records: Sequence[Record], encoder: Encoder, progress: Progress | None = None) -> Encoded:
    """Reads and encodes each record's picture (a volume: the mean over its views).

    Raises DataError naming the first file that cannot be read: a picture is never skipped in silence.
    """
    rows: list[Array] = []
    digests: list[str] = []
    studies: list[Study] = []
    for start in range(0, len(records), CHUNK):
        part = [_read(record) for record in records[start : start + CHUNK]]
        pictures = [_pictures(study) for study in part]
        pooled = encoder.embed([view for own in pictures for view in own]).pooled
        ends = np.cumsum([len(own) for own in pictures])
        rows += [rows_of.mean(axis=0) for rows_of in np.split(pooled, ends[:-1])]
        digests += [own[0].digest for own in pictures]
        studies += part
        if progress:
            progress(len(rows), len(records))
    header = [(s.modality, s.body_part) for s in studies]
    return Encoded(np.stack(rows), tuple(digests), tuple(m for m, _ in header), tuple(b for _, b in header))


def _read(record: Record) -> Study:
    try:
        studies = formats.read(record.path)
    except ReadError as error:
        raise DataError(f"{record.path} cannot be learnt from: {error} Mend the file, or take its row out.") from error
    return Study(studies[0].modality, studies[0].body_part, studies[0].images)


def _pictures(study: Study) -> tuple[Image, ...]:
    return tuple(view for item in study.images for view in views(item))
