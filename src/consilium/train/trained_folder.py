"""Writes the folder of a trained specialist: whole, or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from consilium.nn.light_head import save
from consilium.protocols import Card
from consilium.registry import read_card
from consilium.types import Array


def write(
    made: dict[str, object], tensors: Mapping[str, Array], target: Path, more: Callable[[Path], None] | None = None
) -> Card:
    """Writes card.json and model.safetensors, and what `more` writes into the same folder, beside the target and swaps the
    folder in, so that a kill leaves the old one or the new one. The version is a digest of the tensors."""
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        save(tensors, fresh / "model.safetensors")
        made["version"] = hashlib.sha256((fresh / "model.safetensors").read_bytes()).hexdigest()[:12]
        (fresh / "card.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
        if more:
            more(fresh)
        swap(fresh, target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return read_card(target / "card.json")


def copy(folder: Path, target: Path) -> None:
    """Puts a copy of a trained folder in the place of `target`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        shutil.copytree(folder, fresh, dirs_exist_ok=True)
        swap(fresh, target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def swap(fresh: Path, target: Path) -> None:
    """Puts the folder `fresh`, which lies beside `target`, in its place. Until it is there, `registry` finds the old one."""
    fresh.chmod(0o755)
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
        target.rename(old / target.name)
    fresh.rename(target)
    for old in target.parent.glob(f".{target.name}-old-*"):  # this one's, and what a kill left
        shutil.rmtree(old)
