"""The files of a dataset's folder: one sub-folder per class (ImageFolder), and pictures that lie elsewhere than a table says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from consilium.datasets.index_table import SPLIT_WORDS, Table, unread
from consilium.errors import DataError, ReadError
from consilium.formats.sniff import HEAD_BYTES, sniff

PICTURES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".nii", ".gz", ".nrrd"}


def class_folders(folder: Path) -> Table:
    """folder/class/picture, or folder/split/class/picture, as a table; without rows where there is neither. Pictures are known by
    their content, and what was passed over is noted. DataError where pictures lie beside the folders of the splits, or in these
    without a folder for their class."""
    top = _folders(folder)
    split_of = {p: SPLIT_WORDS[p.name.lower()] for p in top if p.name.lower() in SPLIT_WORDS}
    found = [(c, split_of[p]) for p in split_of for c in _folders(p)] or [(c, "") for c in top]
    beside = [p.name for p in top if split_of and p not in split_of and any(map(is_picture, p.rglob("*")))]
    if beside:
        raise DataError(
            f"{folder} has folders for splits, and pictures in {', '.join(beside)} too. Call it train, val or test, or move it."
        )
    pictures = {c: [file for file in sorted(c.rglob("*")) if is_picture(file)] for c, _ in found}
    bare = [c.name for c, _ in found if c in split_of and pictures[c]]
    if bare:
        raise DataError(
            f"{folder} has pictures in {', '.join(bare)}, but no sub-folder there for each class.{unread(folder)} Give it class "
            "folders, or an index.csv."
        )
    rows = tuple(
        {"path": str(file.relative_to(folder)), "label": c.name, "split": split}
        for c, split in found
        for file in pictures[c]
    )
    loose = [f for place in (folder, *split_of) for f in sorted(place.iterdir()) if is_picture(f)]
    empty = [str(c.relative_to(folder)) for c, _ in found if not pictures[c]]
    notes = (
        [f"pictures beside the class folders, so of no class: {len(loose)}, the first {loose[0].name}"] if loose else []
    )
    notes += [f"folders without a picture, passed over: {', '.join(empty)}"] if empty else []
    notes += [f"read from the class folders.{unread(folder)}"] if unread(folder) else []
    called = {name: name for name in ("path", "label", "split")}
    return Table(folder, rows, tuple(called), called, "the folders' names", tuple(notes))


def _folders(place: Path) -> list[Path]:
    return sorted(p for p in place.iterdir() if p.is_dir() and not p.name.startswith((".", "_")))


def is_picture(file: Path) -> bool:
    """By its name, else by its first bytes."""
    if file.name.startswith(".") or not file.is_file():
        return False
    if file.suffix.lower() in PICTURES:
        return True
    with file.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    try:
        return sniff(head) not in {"ZIP", "gzip"}
    except ReadError:
        return False


def located(folder: Path, cells: Iterable[str]) -> dict[str, Path]:
    """Each cell of a table's path column -> the picture: at folder/cell, else the one file of that name under the folder, or,
    where the cell has no extension, the one picture that is called so before its extension.

    DataError where a cell could mean several, two cells the same file, or a picture is not there.
    """
    places = {cell: folder / cell for cell in cells}
    absent = [cell for cell, path in places.items() if not path.is_file()]
    if not absent:
        return places
    by_name: dict[str, list[Path]] = {}
    for file in sorted(folder.rglob("*")):
        for name in {file.name, _stem(file.name)} if not file.name.startswith(".") else ():
            by_name.setdefault(name, []).append(file)
    found = {cell: path for cell in absent if (path := _one(folder, cell, by_name)) is not None}
    missing = [places[cell] for cell in absent if cell not in found]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(places)} pictures of {folder} are not there, the first {missing[0]}. Correct the paths, or "
            "take the rows out."
        )
    places |= found
    meant = {path: cell for cell, path in places.items() if cell not in found}
    for cell, path in found.items():
        if meant.setdefault(path, cell) != cell:
            raise DataError(
                f"{meant[path]!r} and {cell!r} would both be {path}, so that one of them is not there. Correct the path."
            )
    return places


def _stem(name: str) -> str:
    """Without its extension, .nii.gz and the like as one."""
    return Path(name[: -len(".gz")] if name.lower().endswith(".gz") else name).stem


def _one(folder: Path, cell: str, by_name: dict[str, list[Path]]) -> Path | None:
    """The file that the cell means, None where there is none. Of several, the one that shares most of the cell's folders."""
    asked = Path(cell)
    found = [file for file in by_name.get(asked.name, ()) if file.name == asked.name and file.is_file()]
    if not found and asked.suffix.lower() not in PICTURES:
        found = [file for file in by_name.get(asked.name, ()) if is_picture(file)]
    shared = [_shared(asked.parts[:-1], file.relative_to(folder).parts[:-1]) for file in found]
    best = [file for file, count in zip(found, shared, strict=True) if count == max(shared)]
    if len(best) > 1:
        raise DataError(
            f"{cell!r} could be any of {', '.join(str(f.relative_to(folder)) for f in best[:5])}. Write the folder into the "
            "table too."
        )
    return best[0] if best else None


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """How many folders the two end with in common."""
    pairs = enumerate(zip(reversed(one), reversed(other), strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))
