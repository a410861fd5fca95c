"""NRRD with attached data, upright. Detached data are refused: their header names another file on this computer."""

from __future__ import annotations

import bz2
import gzip
import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from consilium.errors import DamagedFileError, UnsafeFileError
from consilium.formats.limits import check_claim, guarded
from consilium.formats.space import LPS_TO_RAS, upright
from consilium.formats.volume import study_of
from consilium.types import Array, Study

_WIDEST_BYTES = 8
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
        raise UnsafeFileError("the NRRD keeps its data in another file; save it with attached data")
    if header["type"] == "block":
        raise DamagedFileError("the NRRD holds opaque blocks, not numbers; save it with a numeric type")
    check_claim([int(n) for n in header["sizes"]], 1, _WIDEST_BYTES)
    packed = stream.read()
    if header["encoding"] in {"gzip", "gz", "bzip2", "bz2"}:
        packed = _unpacked(packed, header)
        header["encoding"] = "raw"
    return header, nrrd.read_data(header, io.BytesIO(packed))


def _unpacked(packed: bytes, header: Mapping[str, Any]) -> bytes:
    """The data section unpacked, and never more of it than the header claims, which pynrrd would."""
    limit = math.prod(int(n) for n in header["sizes"]) * _WIDEST_BYTES + max(0, int(header.get("byte skip", 0)))
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
        raise DamagedFileError("the NRRD has no axis in space; export the file again")
    while len(axes) < 3:
        values = np.expand_dims(values, len(axes))
        axes.append(-1)
    kind = np.float32 if values.dtype.kind == "f" else values.dtype.newbyteorder("=")
    return values.astype(kind), axes


def _affine(header: Mapping[str, Any], axes: list[int], notes: list[str]) -> Array:
    """RAS+ millimetres from (i, j, k) indices."""
    space = str(header.get("space", "")).lower()
    directions = header.get("space directions")
    affine = np.eye(4)
    if directions is None or space not in _TO_RAS:
        notes.append("the header says no orientation: left and right are not known")
        spacings = header.get("spacings", np.full(header["dimension"], np.nan))
        lengths = [1.0 if axis < 0 or not np.isfinite(spacings[axis]) else float(spacings[axis]) for axis in axes]
        return LPS_TO_RAS @ np.diag([*lengths, 1.0])
    for column, axis in enumerate(axes):
        if axis >= 0:
            affine[:3, column] = directions[axis]
    if axes[-1] < 0:
        affine[:3, 2] = np.cross(affine[:3, 0], affine[:3, 1])
        affine[:3, 2] /= np.linalg.norm(affine[:3, 2])
    affine[:3, 3] = header.get("space origin", np.zeros(3))
    return _TO_RAS[space] @ affine
