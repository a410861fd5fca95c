"""Files of a path: one file, a folder, or the members of a ZIP, each loaded only when asked for."""

from __future__ import annotations

import gzip
import io
import os
import stat
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from consilium.errors import EncryptedFileError, ReadError, UnsafeFileError, UsageError
from consilium.formats.limits import MAX_BYTES, MAX_FILES, check_total, expansion_limit, guarded, read_at_most
from consilium.formats.nifti import gunzip_nifti
from consilium.formats.sniff import HEAD_BYTES, sniff

_ZIP_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


@dataclass(frozen=True)
class Listing:
    """What lies under a path: one loader per file, in name order, and what was left out."""

    loaders: tuple[Callable[[], bytes], ...]
    notes: tuple[str, ...] = ()


def listing(path: Path) -> Listing:
    """The files of `path`. Raises UsageError where there is nothing, ReadError where it may not be read."""
    try:
        there = path.exists()
    except OSError as error:
        raise ReadError(
            f"the path cannot be looked at ({type(error).__name__}); check it and its permissions."
        ) from error
    if not there:
        raise UsageError("there is no such file or folder; check the path.")
    if path.is_dir():
        return _folder(path)
    if _head(path).startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip(_load(path))
    return Listing((partial(_load, path),))


def _head(path: Path) -> bytes:
    with _opened(path) as file:
        return file.read(HEAD_BYTES)


def _load(path: Path) -> bytes:
    with _opened(path) as file:
        check_total(os.fstat(file.fileno()).st_size)
        try:
            return read_at_most(file, MAX_BYTES)
        except OSError as error:
            raise ReadError(f"the file cannot be read ({type(error).__name__}); check the disk it lies on.") from error


def _opened(path: Path) -> io.BufferedReader:
    if not stat.S_ISREG(path.stat().st_mode):
        raise UnsafeFileError("this is a device, a pipe or a socket, not a file; name a regular file.")
    try:
        return path.open("rb")
    except OSError as error:
        raise ReadError(f"the file cannot be opened ({type(error).__name__}); check its permissions.") from error


def _folder(root: Path) -> Listing:
    paths: list[Path] = []
    hidden, linked = 0, 0
    closed: list[OSError] = []
    for folder, subfolders, names in os.walk(root, onerror=closed.append):
        linked += sum(Path(folder, name).is_symlink() for name in subfolders)
        hidden += sum(name.startswith(".") for name in (*names, *subfolders))
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        paths += [Path(folder, name) for name in names if not name.startswith(".")]
        if len(paths) > MAX_FILES:
            raise UnsafeFileError(f"the folder holds more than {MAX_FILES} files; name a folder of one examination.")
    if not paths and closed:
        raise ReadError("the folder, or all within it, may not be read; check the permissions.")
    if not paths:
        raise UsageError("the folder holds no files; name a folder with pictures.")
    paths.sort(key=lambda path: path.relative_to(root).as_posix())
    notes = [f"folders that may not be read left out: {len(closed)}"] if closed else []
    notes += [f"linked folders left out: {linked}"] if linked else []
    loaders = tuple(partial(_load_inside, root, path) for path in paths)
    return Listing(loaders, (*_hidden_note(hidden), *notes))


def _load_inside(root: Path, path: Path) -> bytes:
    try:
        outside = path.is_symlink() and not path.resolve().is_relative_to(root.resolve())
        there = path.exists()
    except (OSError, RuntimeError) as error:  # a link to itself
        raise ReadError("the link leads nowhere; copy the file itself.") from error
    if outside:
        raise UnsafeFileError("the link leads out of the folder; copy the file itself.")
    if not there:
        raise ReadError("the link leads nowhere; copy the file itself.")
    data = _load(path)
    _refuse_nested(data)
    return data


def _refuse_nested(data: bytes) -> None:
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        raise UnsafeFileError("this is a ZIP inside a folder or a ZIP; read it by itself.")


def _zip(data: bytes) -> Listing:
    with guarded("read the table of contents of the ZIP", quote=False):
        archive = zipfile.ZipFile(io.BytesIO(data))
    infos = [info for info in archive.infolist() if not info.is_dir()]
    if len(infos) > MAX_FILES:
        raise UnsafeFileError(f"the ZIP holds {len(infos)} files, more than {MAX_FILES}.")
    if sum(info.compress_size for info in infos) > len(data):
        raise UnsafeFileError("the members of the ZIP overlap, as those of a bomb do.")
    check_total(sum(info.file_size for info in infos))
    for info in infos:
        _check_member(info)
    shown = sorted((info for info in infos if not _is_hidden(info.filename)), key=lambda info: info.filename)
    if not shown:
        raise UsageError("the ZIP holds no files; name one with pictures.")
    loaders = tuple(partial(_load_member, archive, info) for info in shown)
    return Listing(loaders, _hidden_note(len(infos) - len(shown)))


def _check_member(info: zipfile.ZipInfo) -> None:
    name = PurePosixPath(info.filename.replace("\\", "/"))
    if name.is_absolute() or not name.parts or ".." in name.parts or ":" in name.parts[0]:
        raise UnsafeFileError("a member of the ZIP reaches outside its folder; make the ZIP again.")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise UnsafeFileError("a member of the ZIP is a link; put the file itself in.")
    if info.flag_bits & 0x1:
        raise EncryptedFileError("the ZIP is encrypted; unpack it with its password first.")
    if info.compress_type not in _ZIP_METHODS:
        raise UnsafeFileError(f"the ZIP uses compression method {info.compress_type}; make it with deflate.")
    if info.file_size > expansion_limit(info.compress_size):
        raise UnsafeFileError(f"{info.compress_size} bytes of the ZIP claim to hold {info.file_size}, as a bomb does.")


def _load_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with guarded("unpack this member of the ZIP", quote=False), archive.open(info) as stream:
        data = read_at_most(stream, info.file_size)
    _refuse_nested(data)
    return data


def unpacked(data: bytes) -> bytes:
    """What a gzip file holds, bounded by what its content claims; other data as they are."""
    if not data.startswith(b"\x1f\x8b"):
        return data
    with guarded("unpack the gzip file"), gzip.open(io.BytesIO(data)) as stream:
        kind = sniff(stream.read(HEAD_BYTES))
        if kind in {"gzip", "ZIP"}:
            raise UnsafeFileError(f"this is {kind} inside gzip; unpack it first.")
        if kind == "NIfTI":
            return gunzip_nifti(data)
        stream.seek(0)
        return read_at_most(stream, expansion_limit(len(data)))


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def _hidden_note(count: int) -> tuple[str, ...]:
    return (f"hidden files or folders left out: {count}",) if count else ()
