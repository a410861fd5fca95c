"""Builds an index of known cases from a folder: features, label, thumbnail, and a key instead of the patient's id."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from consilium import formats, registry
from consilium.consult.panel import DEFAULT_ENCODER, index_folder
from consilium.consult.several import NOT_LABELLED
from consilium.datasets.folder import FolderDataset, Record, read_folder
from consilium.errors import DataError, ReadError
from consilium.imaging.picture import thumbnail_jpeg, views
from consilium.protocols import Encoder, Entry
from consilium.retrievers import patient_key
from consilium.train.features import CHUNK, Progress
from consilium.types import Precedent, Study


def build(
    folder: Path,
    name: str | None = None,
    *,
    modality: str | None = None,
    body_part: str = "",
    where: Mapping[str, str] | None = None,
    splits: Sequence[str] = ("train",),
    licence: str = "",
    label_columns: Sequence[str] = (),
    progress: Progress | None = None,
    tell: Callable[[str], None] = lambda note: None,
) -> dict[str, Any]:
    """Adds the cases of `folder` in `splits` to the index `name` (LanceDB), chunk by chunk, each acknowledged when added; one
    that is there with another label, modality or body part is replaced. `tell` is told how the folder was read.

    Returns {"name", "added", "replaced", "size"}. Raises DataError where the folder has no case in those splits, or nobody
    knows the modality of one: no case would find it.
    """
    data = read_folder(folder, where=where, label_columns=label_columns)
    for note in data.notes:
        tell(note)
    encoder = registry.get("encoders", DEFAULT_ENCODER).load()
    name = name or data.name
    retriever = registry.get("retrievers", "lance").load(
        folder=index_folder(name), encoder_key=encoder.card.version, create=True
    )
    records = named(data, [record for record in data.records if record.split in splits])
    if not records:
        raise DataError(f"{folder} has no case in {', '.join(splits)}; its splits can be chosen with --splits.")
    added = replaced = 0
    for start in range(0, len(records), CHUNK):
        part = records[start : start + CHUNK]
        made = entries(data, part, encoder, (modality, body_part), licence)
        if any(not entry.precedent.modality for entry in made):
            raise DataError(
                f"the pictures of {folder} do not say their modality, so that no case would find them. Say --modality."
            )
        replaced += retriever.correct({entry.digest: entry.precedent for entry in made})
        added += retriever.add(made)
        if progress:
            progress(start + len(part), len(records))
    return {"name": name, "added": added - replaced, "replaced": replaced, "size": len(retriever)}


def named(data: FolderDataset, records: Sequence[Record]) -> list[Record]:
    """The records with their labels by name; where labels do not exclude each other, those of which nothing is noted are left
    out."""
    if data.exclusive:
        return list(records)
    targets = data.targets(records)
    if not data.label_columns:
        return [record for record, row in zip(records, targets, strict=True) if not np.isnan(row).all()]
    said = [tuple(c for c, y in zip(data.classes, row, strict=True) if y == 1) for row in targets]
    return [
        replace(record, labels=own or ("none of the labels",))
        for record, own, row in zip(records, said, targets, strict=True)
        if not np.isnan(row).all()
    ]


def _read(record: Record) -> Study:
    try:
        return formats.read(record.path)[0]
    except ReadError as error:
        raise DataError(f"{record.path} cannot be indexed: {error} Mend the file, or take its row out.") from error


def label_of(record: Record) -> str:
    """What an index calls a known case."""
    return ", ".join(record.labels) or NOT_LABELLED


def entries(
    data: FolderDataset, records: Sequence[Record], encoder: Encoder, seen: tuple[str | None, str], licence: str
) -> list[Entry]:
    """One entry a record, of its first view. `seen` is (modality, body part) where the headers do not say them."""
    studies = [_read(record) for record in records]
    pictures = [views(study.images[0])[0] for study in studies]
    pooled = encoder.embed(pictures).pooled
    made = []
    for record, study, picture, features in zip(records, studies, pictures, pooled, strict=True):
        precedent = Precedent(
            case_id=f"{data.name}-{picture.digest[:12]}",
            label=label_of(record),
            similarity=1.0,
            report=record.row.get("report", ""),
            modality=study.modality or seen[0] or "",
            body_part=study.body_part or seen[1],
            source=data.name,
            licence=licence or record.row.get("licence", ""),
            thumbnail=thumbnail_jpeg(picture),
        )
        patient = patient_key(data.name, record.patient) if data.patient_column else ""
        made.append(Entry(features, precedent, patient, picture.digest))
    return made
