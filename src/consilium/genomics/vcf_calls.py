"""The genotype columns of one VCF line as counts or dosages of an allele."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from consilium.types import Array

MISSING = -9
"""What stands for a missing call, as in pgenlib."""

_TAB, _COLON, _DOT, _ZERO, _NINE = b"\t:.09"
# So far beyond 0 to 2 a dosage may be by the rounding of what it is the sum of.
ROUNDED = 0.02
_SEPARATORS = (ord("/"), ord("|"))


def genotypes_of(calls: bytes, keys: Sequence[bytes], allele: int) -> Array:
    """Counts (people,) int8 of `allele` in the GT of each column of `calls`; `keys` are FORMAT's. A call of one allele (a male's
    X) counts twice; one that is known in part (./1) is missing."""
    if keys[0] != b"GT":
        return np.full(calls.count(b"\t") + 1, MISSING, np.int8)
    counts = _two_digits(calls, allele)
    if counts is not None:
        return counts
    return np.array([_count(cell.partition(b":")[0], allele) for cell in calls.split(b"\t")], np.int8)


def _two_digits(calls: bytes, allele: int) -> Array | None:
    """All columns at once where every call is of two alleles of one digit; None where one is not."""
    text = np.frombuffer(calls + b"\t\t\t\t", np.uint8)
    if len(calls) % 4 == 3 and (text[3 : len(calls) + 1 : 4] == _TAB).all():
        starts = np.arange(0, len(calls), 4)
    else:
        starts = np.r_[0, np.flatnonzero(text[: len(calls)] == _TAB) + 1]
    first, between, second, after = (text[starts + i] for i in range(4))
    if not (np.isin(between, _SEPARATORS).all() and ((after == _TAB) | (after == _COLON)).all()):
        return None
    for digit in (first, second):
        if not (((digit >= _ZERO) & (digit <= _NINE)) | (digit == _DOT)).all():
            return None
    wanted = _ZERO + allele
    counts = (first == wanted).astype(np.int8) + (second == wanted)
    counts[(first == _DOT) | (second == _DOT)] = MISSING
    return counts


def _count(call: bytes, allele: int) -> int:
    """ValueError where it is no call of one or two alleles."""
    names = call.replace(b"|", b"/").split(b"/")
    if len(names) > 2 or not all(name.isdigit() or name in (b".", b"") for name in names):
        raise ValueError("a call is not of one or two alleles")
    if b"." in names or b"" in names:
        return MISSING
    if len(names) == 1:
        names *= 2
    return sum(int(name) == allele for name in names)


def dosages_of(calls: bytes, keys: Sequence[bytes], allele: int, field: str) -> Array:
    """Dosages (people,) float64 of `allele` from DS (one for each alternate allele) or GP (two alleles alone); where a person has
    none, the count in GT. Where GT is of one allele (a male's X) the dosage is of one copy and counts twice, as the call does.
    ValueError where one is outside what a person can have."""
    called = genotypes_of(calls, keys, allele).astype(np.float64)
    if field.encode() not in keys:
        return called
    at, has_calls = list(keys).index(field.encode()), keys[0] == b"GT"
    for person, cell in enumerate(calls.split(b"\t")):
        cells = cell.split(b":")
        copies = 1 if has_calls and cells[0].isdigit() else 2
        if len(cells) <= at or (dosage := _dosage(cells[at], allele, field, copies)) is None:
            continue
        called[person] = dosage
    return called


def _dosage(cell: bytes, allele: int, field: str, copies: int) -> float | None:
    """Of two copies, whatever the person has; None where it is not given, or is no finite number."""
    parts = cell.split(b",")
    if b"." in parts or b"" in parts or (field == "GP" and len(parts) != 3):
        return None
    values = [float(part) for part in parts]
    if not all(map(math.isfinite, values)):
        return None
    if field == "GP":
        dosage = values[1] + 2 * values[2]
        return in_range(dosage if allele else 2 - dosage)
    own = values[allele - 1] if allele else copies - sum(values)
    return in_range(own * 2 / copies)


def in_range(dosage: float) -> float:
    """The dosage, rounded into 0 to 2; ValueError where it is not about there."""
    if not -ROUNDED <= dosage <= 2 + ROUNDED:
        raise ValueError("a dosage is outside 0 to 2")
    return min(max(dosage, 0.0), 2.0)
