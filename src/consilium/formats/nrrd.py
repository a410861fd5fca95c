"""NRRD with attached data, upright. Detached data are refused: their header names another file on this computer."""

from __future__ import annotations

import bz2
import gzip
import io
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from consilium.errors import DamagedFileError, UnsafeFileError
from consilium.formats.limits import check_claim, guarded
from consilium.formats.space import LPS_TO_RAS, upright
from consilium.formats.volume import study_of
from consilium.types import Array, Study

_UNITS = {
    "mm": 1.0,
    "millimeter": 1.0,
    "millimeters": 1.0,
    "cm": 10.0,
    "m": 1000.0,
    "um": 1e-3,
    "\u00b5m": 1e-3,
    "micron": 1e-3,
    "nm": 1e-6,
}
_TO_RAS = {
    "left-posterior-superior": LPS_TO_RAS,
    "lps": LPS_TO_RAS,
    "right-anterior-superior": np.eye(4),
    "ras": np.eye(4),
    "left-anterior-superior": np.diag([-1.0, 1.0, 1.0, 1.0]),
    "las": np.diag([-1.0, 1.0, 1.0, 1.0]),
}


def read_nrrd(data: bytes) -> Study:
    """One Study with one Volume, or with Images where it is flat or coloured.

    Raises DamagedFileError where the file is not what its header says, UnsafeFileError for detached data or a claim
    that is too large.
    """
    notes: list[str] = []
    with guarded("read the NRRD file", quote=False):
        header, values = _read(data)
        voxels, axes = _spatial(header, values, notes)
        pixels, turned = upright(voxels, _affine(header, axes, notes))
    return study_of(pixels, turned, "NRRD", notes)


def _read(data: bytes) -> tuple[Mapping[str, Any], Array]:
    import nrrd

    stream = io.BytesIO(data)
    header = dict(nrrd.read_header(stream))
    if {"data file", "datafile"} & header.keys():
        raise UnsafeFileError("the NRRD keeps its data in another file; save it with attached data.")
    if header["type"] == "block":
        raise DamagedFileError("the NRRD holds opaque blocks, not numbers; save it with a numeric type.")
    check_claim([int(n) for n in header["sizes"]], 1, _bytes_of(header))
    packed = stream.read()
    if header["encoding"] in {"gzip", "gz", "bzip2", "bz2"}:
        packed = _unpacked(packed, header)
        header["encoding"] = "raw"
    return header, nrrd.read_data(header, io.BytesIO(packed))


def _bytes_of(header: Mapping[str, Any]) -> int:
    """Of one sample, by the name of its type: uint16, unsigned short, uchar, double ..."""
    name = str(header["type"]).lower()
    if bits := re.search(r"\d+", name):
        return int(bits[0]) // 8
    return 1 if "char" in name else 2 if "short" in name else 8 if "long" in name or name == "double" else 4


def _unpacked(packed: bytes, header: Mapping[str, Any]) -> bytes:
    """The data section unpacked, and never more of it than the header claims, which pynrrd would."""
    limit = math.prod(int(n) for n in header["sizes"]) * _bytes_of(header) + max(0, int(header.get("byte skip", 0)))
    stream = io.BytesIO(packed)
    with bz2.open(stream) if header["encoding"] in {"bzip2", "bz2"} else gzip.open(stream) as unpacked:
        return unpacked.read(limit)


def _spatial(header: Mapping[str, Any], values: Array, notes: list[str]) -> tuple[Array, list[int]]:
    """The first volume as (i, j, k[, 3]) and which of the header's axes are i, j and k."""
    kinds = header.get("kinds", ["domain"] * values.ndim)
    lists = [axis for axis, kind in enumerate(kinds) if kind not in {"domain", "space", "???", "none"}]
    axes = [axis for axis in range(values.ndim) if axis not in lists]
    for axis in reversed(lists):
        is_colour = values.shape[axis] == 3 and values.dtype == np.uint8 and "color" in kinds[axis].lower()
        if is_colour and axis == lists[0]:
            values = np.moveaxis(values, axis, -1)
        else:
            notes.append(f"first of {values.shape[axis]} volumes along axis {axis + 1}")
            values = values.take(0, axis=axis)
    while len(axes) > 3:
        notes.append(f"first of {values.shape[len(axes) - 1]} volumes along axis {axes[-1] + 1}")
        values = values.take(0, axis=len(axes) - 1)
        axes.pop()
    if not axes:
        raise DamagedFileError("the NRRD has no axis in space; export the file again.")
    while len(axes) < 3:
        values = np.expand_dims(values, len(axes))
        axes.append(-1)
    kind = np.float32 if values.dtype.kind == "f" else values.dtype.newbyteorder("=")
    return values.astype(kind), axes


def _affine(header: Mapping[str, Any], axes: list[int], notes: list[str]) -> Array:
    """RAS+ millimetres from (i, j, k) indices."""
    space = str(header.get("space", "")).lower().removesuffix("-time")
    directions = header.get("space directions")
    affine = np.eye(4)
    scale = _millimetres(header, notes)
    if directions is None or space not in _TO_RAS:
        notes.append("the header says no orientation: left and right are not known")
        lengths = [_length(header, axis) for axis in axes]
        if any(length is None for length, axis in zip(lengths, axes, strict=True) if axis >= 0):
            notes.append("the header says no spacing: 1 mm taken, so that no measured size is real")
        diagonal = [1.0 if length is None else length * scale for length in lengths]
        return LPS_TO_RAS @ np.diag([*diagonal, 1.0])
    for column, axis in enumerate(axes):
        if axis >= 0:
            affine[:3, column] = np.asarray(directions[axis], float)[:3] * scale
    if axes[-1] < 0:
        affine[:3, 2] = np.cross(affine[:3, 0], affine[:3, 1])
        affine[:3, 2] /= np.linalg.norm(affine[:3, 2])
    affine[:3, 3] = np.asarray(header.get("space origin", np.zeros(3)), float)[:3] * scale
    return _TO_RAS[space] @ affine


def _length(header: Mapping[str, Any], axis: int) -> float | None:
    """How far apart the header says two samples of an axis are, by direction, spacing or thickness; None where by none."""
    directions = header.get("space directions")
    if axis < 0:
        return None
    told = [np.nan if directions is None else np.linalg.norm(np.asarray(directions[axis], float)[:3])]
    told += [header[name][axis] for name in ("spacings", "thicknesses") if name in header]
    return next((float(length) for length in told if np.isfinite(length) and length > 0), None)


def _millimetres(header: Mapping[str, Any], notes: list[str]) -> float:
    """What the header's unit of length is in millimetres."""
    units = {
        str(unit).strip().lower() for unit in header.get("space units", header.get("units", ())) if str(unit).strip()
    }
    known = {unit: _UNITS[unit] for unit in units if unit in _UNITS}
    if len(known) == 1:
        (unit,) = known
        if known[unit] != 1:
            notes.append(f"lengths in the header are in {unit}: taken as such")
        return known[unit]
    if units:
        notes.append("the header's unit of length is not known: millimetres taken")
    return 1.0
