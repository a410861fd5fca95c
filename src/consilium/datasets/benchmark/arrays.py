"""Pictures in arrays: MedMNIST's .npz and PatchCamelyon's .h5, each picture written once as PNG (see cache.py).

Settings of an "npz" layout: files, of which the first that is there is read (the largest size first); {split}_images and
{split}_labels lie in it. Settings of an "h5" layout: splits (split -> [pictures, labels] files, keys "x" and "y").
A record's row says whence it came: "pathmnist.npz#train_images[7]".
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from consilium.datasets.benchmark.cache import made_once
from consilium.datasets.benchmark.description import Description, Layout
from consilium.datasets.benchmark.rows import SPLITS
from consilium.datasets.benchmark.splits import known, settled
from consilium.datasets.folder import FolderDataset, Record
from consilium.errors import DataError, UsageError
from consilium.types import Array


def from_npz(description: Description, layout: Layout, place: Path, split: str | None) -> FolderDataset:
    """Reads an "npz" layout; only the pictures of the asked split are written out."""
    known(split)
    source = next(place / file for file in layout.settings["files"] if (place / file).is_file())
    records: list[Record] = []
    for part in [split] if split else SPLITS:
        labels = next(_members(source, f"{part}_labels", whole=True))
        folder = made_once(description.name, source, part, partial(_write_npz, source, f"{part}_images"))
        records += _records(description, source, f"{part}_images", folder, labels)
    return settled(description, place, records, split, spread=not description.exclusive)


def from_h5(description: Description, layout: Layout, place: Path, split: str | None) -> FolderDataset:
    """Reads an "h5" layout; UsageError where h5py is not installed."""
    known(split)
    if _without_h5py():
        raise UsageError(f"{place} holds HDF5 files, which need the package h5py: pip install h5py.")
    records: list[Record] = []
    for part in [split] if split else SPLITS:
        pictures, labels = (place / file for file in layout.settings["splits"][part])
        truth = np.concatenate([*_members_h5(labels, "y")])
        folder = made_once(description.name, pictures, part, partial(_write_h5, pictures))
        records += _records(description, pictures, "x", folder, truth)
    return settled(description, place, records, split)


def _write_npz(source: Path, name: str, folder: Path) -> None:
    _write(_members(source, name), folder)


def _write_h5(source: Path, folder: Path) -> None:
    _write(_members_h5(source, "x"), folder)


def _without_h5py() -> bool:
    try:
        import h5py  # noqa: F401
    except ImportError:
        return True
    return False


def _members_h5(source: Path, name: str) -> Iterator[Array]:
    """The items of the array `name` one after another."""
    import h5py

    try:
        with h5py.File(source) as file:
            yield from (np.asarray(item) for item in file[name])
    except (OSError, KeyError) as error:
        raise DataError(f"{source} has no readable array {name}: {error}. Download it again.") from error


def _write(images: Iterable[Array], folder: Path) -> None:
    from PIL import Image as Pillow

    for number, image in enumerate(images):
        Pillow.fromarray(np.ascontiguousarray(image)).save(folder / f"{number:06d}.png")


def _records(description: Description, source: Path, member: str, folder: Path, labels: Array) -> Iterator[Record]:
    paths = sorted(folder.iterdir())
    if len(paths) != len(labels):
        raise DataError(f"{source} has {len(paths)} pictures but {len(labels)} labels of {member}. Download it again.")
    flat = labels.reshape(len(labels), int(np.prod(labels.shape[1:])))
    for number, (path, row) in enumerate(zip(paths, flat, strict=True)):
        name = f"{source.name}#{member}[{number}]"
        found, cells = _labels(description, source, row)
        yield Record(path, found, folder.name, name, {"source": name, **cells})


def _labels(description: Description, source: Path, row: Array) -> tuple[tuple[str, ...], dict[str, str]]:
    if description.exclusive:
        if len(row) != 1:
            raise DataError(
                f"{source} has {len(row)} labels a picture where {description.name} has one. Is it another set?"
            )
        return (description.label_of(str(int(row[0])), source),), {}
    if len(row) != len(description.classes):
        raise DataError(f"{source} has {len(row)} labels a picture, {description.name} has {len(description.classes)}.")
    cells = {label: str(int(value)) for label, value in zip(description.classes, row, strict=True)}
    return tuple(label for label, value in cells.items() if value == "1"), cells


def _members(source: Path, name: str, whole: bool = False) -> Iterator[Array]:
    """The items of the array `name` one after another, or the array at once: an .npz of 224-pixel pictures exceeds memory."""
    try:
        with zipfile.ZipFile(source) as archive, archive.open(f"{name}.npy") as stream:
            shape, fortran, kind = _header(stream)
            if fortran or kind.hasobject:
                raise DataError(f"{source} stores {name} in a way that is not read (Fortran order or objects).")
            item = shape if whole else shape[1:]
            size = int(np.prod(item, dtype=np.int64)) * kind.itemsize
            for _ in range(1 if whole else shape[0]):
                data = stream.read(size)
                if len(data) != size:
                    raise DataError(f"{source} ends in the middle of {name}. Download it again.")
                yield np.frombuffer(data, kind).reshape(item)
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{source} has no readable array {name}: {error}. Download it again.") from error


def _header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(stream)
