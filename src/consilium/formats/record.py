"""A Consultation as one JSON text and back, without loss: ``from_json(to_json(c)) == c``, but for the genotypes of a genome. They
are never written: `genomics.sealed` says what is (build, number of variants, digest), and what is read back in their place.

    {"format": "consilium.consultation/1",
     "consultation": {"$type": "Consultation", "case": {"$type": "Case", "question": ...}, "answer": ..., ...},
     "blobs": {sha256: {"size": bytes, "zlib": base64}}}

What a person reads stands first. Bulk (arrays, bytes, long lists of texts) lies once each in `blobs`, under the sha256 of
its bytes. Keys that start with "$" are ours: "$type" a class of `consilium.types`, "$array", "$bytes" and "$strings" a blob,
"$float" a number that JSON has no word for, "$map" a table whose own keys start with "$".
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

import numpy as np

from consilium import types
from consilium.errors import DamagedFileError, UsageError
from consilium.formats.limits import check_total, guarded
from consilium.genomics.sealed import SealedGenome, seal
from consilium.types import Array, Case, Consultation, Genome

FORMAT = "consilium.consultation/1"
_CLASSES = {name: value for name, value in vars(types).items() if isinstance(value, type) and is_dataclass(value)}
_CLASSES["SealedGenome"] = SealedGenome
_READ_FIRST = {Consultation: ("case", "answer", "opinions", "notes"), Case: ("question", "options", "history")}
_NUMERIC_KINDS = "biufc"
_LONG = 64
_FAST = 1  # level 6 takes up to a hundred times longer on X-rays, for a fifth less
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def to_json(consultation: Consultation) -> str:
    """The Consultation as strict JSON. Raises UsageError where it holds a value that `consilium.types` does not foresee."""
    writer = _Writer()
    body = writer.encode(consultation)
    document = {"format": FORMAT, "consultation": body, "blobs": writer.blobs}
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1)
    return _LONE_SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def from_json(text: str) -> Consultation:
    """The Consultation that `to_json` wrote. Its arrays are read-only, and equal ones share their memory.

    Raises DamagedFileError where the text is no such record, is incomplete or was altered, UnsafeFileError where its blobs
    are larger than one read may take.
    """
    with guarded("read the consultation as JSON", quote=False):
        document = json.loads(text, parse_constant=_refuse_constant)
        found = document.get("format") if isinstance(document, dict) else None
        if found != FORMAT:
            _damaged(f"it says format {str(found)[:60]!r}, not {FORMAT!r}")
        consultation = _Reader(document.get("blobs")).decode(document.get("consultation"))
    if not isinstance(consultation, Consultation):
        _damaged("it holds no Consultation")
    return consultation


def write(consultation: Consultation, path: str | Path) -> None:
    """Writes `to_json` as UTF-8."""
    Path(path).write_text(to_json(consultation), encoding="utf-8")


def read(path: str | Path) -> Consultation:
    """Reads what `write` wrote; UsageError where there is no file, else as `from_json`."""
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"there is no file {path}. Give the consultation.json that `consilium ask --out` wrote.")
    with guarded("read the consultation as UTF-8 text", quote=False):
        text = path.read_text(encoding="utf-8")
    return from_json(text)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _damaged(reason: str) -> NoReturn:
    raise DamagedFileError(
        f"cannot read the consultation: {reason}. Copy the file again, or read it with the consilium that wrote it."
    )


class _Writer:
    """Encodes values, moving their bulk into `blobs`."""

    def __init__(self) -> None:
        self.blobs: dict[str, dict[str, int | str]] = {}

    def encode(self, value: Any) -> Any:
        if isinstance(value, np.generic):
            value = value.item()
        match value:
            case None | bool() | int() | str():
                return value
            case float():
                return value if math.isfinite(value) else {"$float": str(value)}
            case bytes():
                return {"$bytes": self._store(value)}
            case np.ndarray() if value.dtype.kind in _NUMERIC_KINDS:
                return {"$array": self._store(value.tobytes()), "dtype": value.dtype.str, "shape": list(value.shape)}
            case tuple() | list():
                return self._sequence(value)
            case Mapping() if all(isinstance(key, str) for key in value):
                return self._mapping(value)
            case Genome() if not isinstance(value, SealedGenome):
                return self.encode(seal(value))
            case _ if type(value) in _CLASSES.values():
                body = {name: self.encode(getattr(value, name)) for name in _order(type(value))}
                return {"$type": type(value).__name__, **body}
        kind = f"array of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
        raise UsageError(f"a record cannot hold a value of type {kind}: use numbers, texts, bytes and consilium.types.")

    def _sequence(self, values: tuple[Any, ...] | list[Any]) -> Any:
        if len(values) > _LONG and all(isinstance(value, str) for value in values):
            return {"$strings": self._store(json.dumps(values).encode())}
        return [self.encode(value) for value in values]

    def _mapping(self, table: Mapping[str, Any]) -> dict[str, Any]:
        if any(key.startswith("$") for key in table):
            return {"$map": [[key, self.encode(value)] for key, value in table.items()]}
        return {key: self.encode(value) for key, value in table.items()}

    def _store(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        if digest not in self.blobs:
            packed = base64.b64encode(zlib.compress(data, _FAST)).decode("ascii")
            self.blobs[digest] = {"size": len(data), "zlib": packed}
        return digest


def _order(cls: type) -> tuple[str, ...]:
    first = _READ_FIRST.get(cls, ())
    return (*first, *(f.name for f in fields(cls) if f.name not in first))


class _Reader:
    """Decodes values, unpacking each blob once."""

    def __init__(self, blobs: Any) -> None:
        if not isinstance(blobs, dict):
            _damaged("its table of blobs is missing")
        self._packed = blobs
        self._unpacked: dict[str, bytes] = {}
        self._size = 0

    def decode(self, value: Any) -> Any:
        match value:
            case list():
                return tuple(self.decode(item) for item in value)
            case {"$type": str(name)}:
                return self._object(name, {key: item for key, item in value.items() if key != "$type"})
            case {"$array": str(digest), "dtype": str(dtype), "shape": list(shape)}:
                return self._array(digest, dtype, shape)
            case {"$bytes": str(digest)}:
                return self._blob(digest)
            case {"$strings": str(digest)}:
                return tuple(json.loads(self._blob(digest)))
            case {"$float": "nan" | "inf" | "-inf" as word}:
                return float(word)
            case {"$map": list(pairs)} if all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
                return {str(key): self.decode(item) for key, item in pairs}
            case dict() if any(key.startswith("$") for key in value):
                _damaged(f"nothing is known by the keys {', '.join(sorted(value))[:60]!r}")
            case dict():
                return {key: self.decode(item) for key, item in value.items()}
        return value

    def _object(self, name: str, given: dict[str, Any]) -> Any:
        cls = _CLASSES.get(name)
        if cls is None:
            _damaged(f"no type is called {name[:60]!r}")
        hints = _hints(cls)
        required = {f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING}
        if required - given.keys() or given.keys() - hints.keys():
            wrong = sorted(required - given.keys()) + sorted(given.keys() - hints.keys())
            _damaged(f"fields are missing or unknown in a {name}: {', '.join(wrong)[:60]}")
        values = {key: self.decode(item) for key, item in given.items()}
        for key, value in values.items():
            if not _fits(value, hints[key]):
                _damaged(f"{name}.{key} holds a {type(value).__name__} that does not belong there")
        return cls(**values)

    def _array(self, digest: str, dtype: str, shape: list[Any]) -> Array:
        data = self._blob(digest)
        kind = np.dtype(dtype)
        if kind.kind not in _NUMERIC_KINDS:
            _damaged(f"an array is of type {dtype[:20]!r}, which holds no numbers")
        return np.frombuffer(data, kind).reshape(shape)

    def _blob(self, digest: str) -> bytes:
        if digest not in self._unpacked:
            self._unpacked[digest] = self._unpack(digest, self._packed.get(digest))
        return self._unpacked[digest]

    def _unpack(self, digest: str, entry: Any) -> bytes:
        match entry:
            case {"size": int(size), "zlib": str(packed)} if size >= 0:
                self._size += size
                check_total(self._size)
            case _:
                _damaged(f"blob {digest[:12]} is missing")
        data = zlib.decompressobj().decompress(base64.b64decode(packed, validate=True), size + 1)
        if hashlib.sha256(data).hexdigest() != digest:
            _damaged(f"blob {digest[:12]} is not what its checksum says")
        return data


@cache
def _hints(cls: type) -> dict[str, Any]:
    return {f.name: get_type_hints(cls)[f.name] for f in fields(cls)}


def _fits(value: Any, hint: Any) -> bool:
    """Whether `value` is what an annotation of `consilium.types` promises."""
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        return any(_fits(value, choice) for choice in inner)
    if kind is Literal:
        return value in inner
    if kind is tuple:
        if not isinstance(value, tuple):
            return False
        expected = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        return len(value) == len(expected) and all(map(_fits, value, expected))
    if kind is Mapping:
        return isinstance(value, dict) and all(_fits(item, inner[1]) for item in value.values())
    if kind is float:
        return isinstance(value, float | int)
    return isinstance(value, NoneType if kind is None else kind)
