"""Originals that already are a Hugging Face folder."""

from __future__ import annotations

import shutil
from pathlib import Path


def convert(original: Path, out: Path) -> None:
    """Copies every file of `original` to `out`."""
    shutil.copytree(original, out, dirs_exist_ok=True)
