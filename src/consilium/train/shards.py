"""Training data on disk: shards of groups, one JSON line each, with a manifest that names the hash of every shard.

<out>/<stage>/shard-00000.jsonl ...   at most `shard` groups of the mixture each
<out>/<stage>/manifest.json           what it was made from, sha256 of every shard, counts by set, licence, kind and split

`build` goes on where it was stopped: a shard that is there with its hash, made from the same, is not made again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from consilium.consult import cards_prompt, prompt
from consilium.datasets.index_table import tables
from consilium.errors import DataError
from consilium.train import conversations, guided
from consilium.train import mixture as mixtures
from consilium.train.conversations.group import Group
from consilium.train.conversations.plan import Digests, plan
from consilium.train.mixture import STAGES, Mixture

Progress = Callable[[int, int], None]
COUNTED = ("dataset", "licence", "kind", "split", "condition")


def build(config: Path, data: Path, out: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Makes the shards of every stage of the mixture `config` from the sets under `data`; returns stage -> counts.

    Byte for byte the same from the same mixture and sets. Raises DataError where a set or picture does not read.
    """
    mixture, digests = mixtures.read(config), Digests(data)
    return {stage: _stage(stage, mixture, data, out / stage, digests, progress) for stage in _stages(mixture)}


def build_stage(stage: str, config: Path, data: Path, out: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Makes one stage alone, as `build` does."""
    mixture = mixtures.read(config)
    return _stage(stage, mixture, data, out / stage, Digests(data), progress)


def write(folder: Path, stage: str, groups: Iterable[Group]) -> dict[str, Any]:
    """Writes groups of one's own as shards of `stage`, for `read` and the stages of a recipe; returns their counts."""
    place = Path(folder) / stage
    place.mkdir(parents=True, exist_ok=True)
    shards = [_write(place / "shard-00000.jsonl", groups)]
    counts = _counts(place, shards)
    _save(place / "manifest.json", {"stage": stage, "complete": True, "shards": shards, "counts": counts})
    return counts


def read(folder: Path, stage: str) -> Iterator[dict[str, Any]]:
    """The groups of a stage, in their order.

    DataError naming the shard that is not there, does not read, or is not what the manifest says: none is skipped.
    """
    place = Path(folder) / stage
    manifest = _manifest(place)
    if not manifest.get("complete"):
        raise DataError(f"{place} is not complete; run `consilium train data` again to finish it.")
    for shard in manifest["shards"]:
        path = place / shard["name"]
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}. Run `consilium train data` again.") from error
        if hashlib.sha256(content).hexdigest() != shard["sha256"]:
            raise DataError(f"{path} is not what its manifest says (sha256 differs). Run `consilium train data` again.")
        try:
            groups = [json.loads(line) for line in content.decode("utf-8").split("\n") if line]
        except ValueError as error:
            raise DataError(
                f"{path} holds a line that is not JSON: {error}. Run `consilium train data` again."
            ) from error
        yield from groups


def table(counts: Mapping[str, Any]) -> str:
    """The counts of `build` as text: per stage groups and branches by set and licence, branches by kind and condition."""
    lines = []
    for stage, of in counts.items():
        lines.append(f"{stage}: {of['groups']} groups, {of['branches']} branches")
        for what in COUNTED:
            rows = of["by"][what].items()
            width = max((len(name) for name, _ in rows), default=0)
            lines += [f"  {what}"] if rows else []
            lines += [f"    {name:<{width}}  {n['groups']:>6} groups  {n['branches']:>6} branches" for name, n in rows]
    return "\n".join(lines)


def _stages(mixture: Mixture) -> list[str]:
    return [stage for stage in STAGES if mixture.of(stage) and (stage != "guided" or mixture.guided)]


def _stage(
    stage: str, mixture: Mixture, data: Path, place: Path, digests: Digests, progress: Progress | None
) -> dict[str, Any]:
    made_from = fingerprint(stage, mixture, data)
    known = _kept(place, made_from)
    if (
        known.get("complete")
        and known["shards"]
        and "counts" in known
        and all(_intact(place, shard) for shard in known["shards"])
    ):
        return known["counts"]
    planned = guided.plan(mixture, data) if stage == "guided" else plan(stage, mixture, data, digests)
    parts = [planned[start : start + mixture.shard] for start in range(0, len(planned), mixture.shard)]
    place.mkdir(parents=True, exist_ok=True)
    old = {shard["name"]: shard for shard in known.get("shards", ())}
    shards: list[dict[str, Any]] = []
    manifest = {"stage": stage, "made_from": made_from, "complete": False, "mixture": mixture.text, "shards": shards}
    for number, part in enumerate(parts):
        name = f"shard-{number:05d}.jsonl"
        kept = name in old and _intact(place, old[name])
        shards.append(old[name] if kept else _write(place / name, (entry.make() for entry in part)))
        _save(place / "manifest.json", manifest)
        if progress:
            progress(min(len(planned), (number + 1) * mixture.shard), len(planned))
    for stale in set(place.glob("shard-*.jsonl")) - {place / shard["name"] for shard in shards}:
        stale.unlink()
    counts = _counts(place, shards)
    _save(place / "manifest.json", manifest | {"complete": True, "counts": counts})
    return counts


def fingerprint(stage: str, mixture: Mixture, data: Path) -> str:
    """sha256 over all that decides what is written: mixture, indices of the sets, the names and sizes of their files, wordings
    and the code that tells them; for stage guided also the specialists that are heard."""
    here = Path(conversations.__file__).parent
    code = [*sorted(here.glob("*.py")), *sorted(here.glob("*.toml"))]
    code += [Path(module.__file__) for module in _modules(stage) if module.__file__]
    indices = [path for s in mixture.sources for path in _indices(data / s.folder)]
    heard = _heard(mixture) if stage == "guided" else []
    made = hashlib.sha256(f"{stage}\0{mixture.text}".encode())
    for path in [*code, *indices, *heard]:
        made.update(f"\0{path.name}\0".encode() + path.read_bytes())
    for source in mixture.sources:
        made.update("".join(f"\0{name}\0{size}" for name, size in _files(data / source.folder)).encode())
    return made.hexdigest()


def _heard(mixture: Mixture) -> list[Path]:
    """The files of the trained specialists whose opinions stage 3 tells."""
    folders = [member.folder for member in guided.experts(mixture) if member.folder is not None]
    return [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]


def _files(folder: Path) -> list[tuple[str, int]]:
    """Every file of a set with its size: pictures that were replaced under their names mostly differ in it."""
    return sorted((str(f.relative_to(folder)), f.stat().st_size) for f in folder.rglob("*") if f.is_file())


def _indices(folder: Path) -> list[Path]:
    """What says what the pictures of a set are."""
    return [*(tables(folder) if folder.is_dir() else ()), *folder.glob("qa.jsonl")]


def _modules(stage: str) -> tuple[ModuleType, ...]:
    return (prompt, guided, cards_prompt) if stage == "guided" else (prompt,)


def _write(path: Path, groups: Iterable[Group]) -> dict[str, Any]:
    lines = [json.dumps(group.to_json(), ensure_ascii=False) + "\n" for group in groups]
    content = "".join(lines).encode("utf-8")
    _replace(path, content)
    return {"name": path.name, "groups": len(lines), "sha256": hashlib.sha256(content).hexdigest()}


def _save(path: Path, manifest: Mapping[str, Any]) -> None:
    _replace(path, (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode("utf-8"))


def _replace(path: Path, content: bytes) -> None:
    """The file appears whole or not at all, so that a kill leaves no half shard."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _intact(place: Path, shard: Mapping[str, Any]) -> bool:
    path = place / shard["name"]
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == shard["sha256"]


def _kept(place: Path, made_from: str) -> dict[str, Any]:
    """The manifest of an earlier run, {} where there is none or it was made from something else."""
    try:
        manifest = _manifest(place)
    except DataError:
        return {}
    return manifest if manifest.get("made_from") == made_from else {}


def _manifest(place: Path) -> dict[str, Any]:
    try:
        found = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        there = sorted(path.parent.name for path in place.parent.glob("*/manifest.json"))
        raise DataError(
            f"there are no shards {place.name} in {place.parent}; there are: {', '.join(there) or 'none'}. Run `consilium train "
            "data`, or mend the mix."
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{place} has no manifest that reads ({error}). Run `consilium train data`.") from error
    shards = found.get("shards") if isinstance(found, dict) else None
    named = [
        s for s in shards or () if isinstance(s, dict) and all(isinstance(s.get(k), str) for k in ("name", "sha256"))
    ]
    if not isinstance(shards, list) or len(named) < len(shards):
        raise DataError(f"{place / 'manifest.json'} names no shards. Run `consilium train data` again.")
    return found


def _counts(place: Path, shards: list[dict[str, Any]]) -> dict[str, Any]:
    """Groups and branches in all and by each of COUNTED; a group counts for each kind and condition that it has."""
    groups, branches = ({what: Counter[str]() for what in COUNTED} for _ in range(2))
    total = Counter[str]()
    for shard in shards:
        for line in (place / shard["name"]).read_text(encoding="utf-8").rstrip("\n").split("\n"):
            group = json.loads(line)
            told = group["branches"]
            total.update(groups=1, branches=len(told), synthetic=sum(b["synthetic"] for b in told))
            for what in COUNTED:
                names = [group.get(what) or branch.get(what) for branch in told]
                branches[what].update(name for name in names if name)
                groups[what].update({name for name in names if name})
    by = {w: {n: {"groups": groups[w][n], "branches": branches[w][n]} for n in sorted(groups[w])} for w in COUNTED}
    return {**total, "by": by}
