"""Pictures that lie inside one large file, written once as files of their own, so that every reader of pictures can open them.

They lie under CONSILIUM_CACHE/benchmark/NAME/DIGEST/SPLIT. The digest is of the source's content, so a changed source is written
anew; a folder appears under its name only when it is complete, so a kill leaves nothing half-made.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from consilium.errors import DataError, UsageError
from consilium.settings import settings

_DIGITS = 16


def made_once(name: str, source: Path, part: str, write: Callable[[Path], None]) -> Path:
    """The folder that `write` filled from `source`, now or at an earlier call; UsageError where the disk refuses."""
    target = settings().cache / "benchmark" / name / _digest(source) / part
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{part}-", dir=target.parent))
        try:
            write(fresh)
            fresh.chmod(0o755)
            _rename(fresh, target)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    except OSError as error:
        raise UsageError(
            f"the pictures of {source} cannot be written to {target}: {error.strerror}. Free space, or set CONSILIUM_CACHE."
        ) from error
    return target


def _rename(fresh: Path, target: Path) -> None:
    try:
        fresh.rename(target)
    except OSError:
        # Another process was faster: what it wrote is the same.
        if not target.is_dir():
            raise


def _digest(source: Path) -> str:
    """Of an .npz the checksums in its directory, which spares reading gigabytes; of any other file its bytes."""
    try:
        if source.suffix == ".npz":
            with zipfile.ZipFile(source) as archive:
                facts = [f"{m.filename} {m.CRC:08x} {m.file_size}" for m in archive.infolist()]
            return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:_DIGITS]
        with source.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:_DIGITS]
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{source} cannot be read: {error}. Download it again.") from error
