"""Builds an index of known cases from a folder: features, label, thumbnail, and a key instead of the patient's id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from consilium import formats, registry
from consilium.consult.panel import DEFAULT_ENCODER, index_folder
from consilium.consult.several import NOT_LABELLED
from consilium.datasets.folder import FolderDataset, Record, read_folder
from consilium.errors import DataError
from consilium.imaging.picture import thumbnail_jpeg, views
from consilium.protocols import Encoder, Entry
from consilium.retrievers import patient_key
from consilium.train.features import CHUNK, Progress
from consilium.types import Precedent


def build(
    folder: Path,
    name: str | None = None,
    *,
    modality: str | None = None,
    body_part: str = "",
    where: Mapping[str, str] | None = None,
    splits: Sequence[str] = ("train",),
    licence: str = "",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Adds the cases of `folder` in `splits` to the index `name` (LanceDB), chunk by chunk, each acknowledged when added.

    Returns {"name", "added", "size"}. Raises DataError where the folder has no case in those splits.
    """
    data = read_folder(folder, where=where)
    encoder = registry.get("encoders", DEFAULT_ENCODER).load()
    name = name or data.name
    retriever = registry.get("retrievers", "lance").load(
        folder=index_folder(name), encoder_key=encoder.card.version, create=True
    )
    records = [record for record in data.records if record.split in splits]
    if not records:
        raise DataError(f"{folder} has no case in {', '.join(splits)}; its splits can be chosen with --splits.")
    added = 0
    for start in range(0, len(records), CHUNK):
        part = records[start : start + CHUNK]
        added += retriever.add(entries(data, part, encoder, (modality, body_part), licence))
        if progress:
            progress(start + len(part), len(records))
    return {"name": name, "added": added, "size": len(retriever)}


def label_of(record: Record) -> str:
    """What an index calls a known case."""
    return ", ".join(record.labels) or NOT_LABELLED


def entries(
    data: FolderDataset, records: Sequence[Record], encoder: Encoder, seen: tuple[str | None, str], licence: str
) -> list[Entry]:
    """One entry a record, of its first view. `seen` is (modality, body part) where the headers do not say them."""
    studies = [formats.read(record.path)[0] for record in records]
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
