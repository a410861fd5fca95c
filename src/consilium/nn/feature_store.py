"""Features of images that were seen before: in memory, and on disk for the next process. Numbers only, never pixels."""

from __future__ import annotations

import logging
import os
import tempfile
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np

from consilium.types import Array

_log = logging.getLogger(__name__)
MEMORY_BYTES = 64 << 20


@dataclass(frozen=True, eq=False)
class Stored:
    """One image: `pooled` (d,) float32; `patches` (rows, columns, channels) float16, or None where nobody asked for them."""

    pooled: Array
    patches: Array | None = None

    @property
    def bytes(self) -> int:
        return int(self.pooled.nbytes + (0 if self.patches is None else self.patches.nbytes))


class FeatureStore:
    """Keeps features by image digest: the last used in `memory_bytes` of memory, all in `folder` (None: memory alone).

    A file that cannot be read back exactly counts as absent, with a warning that names the digest. Safe for threads; on
    disk also for processes, since a file appears whole or not at all.
    """

    def __init__(self, folder: Path | None, memory_bytes: int = MEMORY_BYTES) -> None:
        self._folder = folder
        self._capacity = memory_bytes
        self._held = 0
        self._memory: OrderedDict[str, Stored] = OrderedDict()
        self._lock = Lock()

    def get(self, digest: str, patches: bool = False) -> Stored | None:
        """The features of the image with this digest, with patches if they are asked for; None when they are not kept."""
        with self._lock:
            stored = self._memory.get(digest)
            if stored is not None and not (patches and stored.patches is None):
                self._memory.move_to_end(digest)
                return stored
        stored = self._read(digest)
        if stored is None or (patches and stored.patches is None):
            return None
        self._remember(digest, stored)
        return stored

    def put(self, digest: str, stored: Stored) -> None:
        """Keeps `stored`; a disk that refuses is a warning, for the features themselves are at hand."""
        self._remember(digest, stored)
        if self._folder is None:
            return
        try:
            _write(self._path(self._folder, digest), stored)
        except OSError as error:
            _log.warning("features of image %s are not kept on disk: %s", digest, error.strerror)

    def _remember(self, digest: str, stored: Stored) -> None:
        with self._lock:
            before = self._memory.pop(digest, None)
            self._held += stored.bytes - (before.bytes if before else 0)
            self._memory[digest] = stored
            while self._held > self._capacity and len(self._memory) > 1:
                _, oldest = self._memory.popitem(last=False)
                self._held -= oldest.bytes

    def _read(self, digest: str) -> Stored | None:
        if self._folder is None:
            return None
        try:
            return _parse(self._path(self._folder, digest).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            _log.warning("kept features of image %s are damaged (%s); computing them again", digest, error)
            return None

    @staticmethod
    def _path(folder: Path, digest: str) -> Path:
        return folder / digest[:2] / f"{digest}.safetensors"


def _parse(data: bytes) -> Stored:
    """The content of one file; ValueError unless it is what `_write` wrote, to the last bit."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(data)
        stored = Stored(arrays["pooled"], arrays.get("patches"))
        expected = int(arrays["crc32"][0])
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"no feature file: {error}") from error
    if _crc32(stored) != expected:
        raise ValueError("its checksum differs")
    return stored


def _write(path: Path, stored: Stored) -> None:
    from safetensors.numpy import save

    arrays = {"pooled": stored.pooled, "crc32": np.array([_crc32(stored)], np.uint32)}
    if stored.patches is not None:
        arrays["patches"] = stored.patches
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, unfinished = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(save(arrays))
        os.replace(unfinished, path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise


def _crc32(stored: Stored) -> int:
    crc = zlib.crc32(stored.pooled.tobytes())
    return crc if stored.patches is None else zlib.crc32(stored.patches.tobytes(), crc)
