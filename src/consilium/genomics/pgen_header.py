"""The header of a PLINK 2 .pgen: what its records hold, and how long the file must be."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from consilium.errors import GenotypeError
from consilium.genomics import tables

_FIXED = (0x02, 0x03, 0x04)
_VARIABLE = (0x10, 0x11)
_BLOCK_VARIANTS = 2**16
_LEAST_BYTES = 12


@dataclass(frozen=True)
class PgenHeader:
    """`variants` and `people` in the file; whether any record holds dosages, and whether a variant may have more than two
    alleles. Whether one has, the .pvar says: plink2 leaves the counts of alleles out."""

    variants: int
    people: int
    dosages: bool
    many_alleles: bool


def read_pgen_header(path: Path) -> PgenHeader:
    """Raises GenotypeError where the file does not begin as a .pgen does, or ends before its last record."""
    with tables.open_file(path) as file:
        head = file.read(_LEAST_BYTES)
        if head[:2] != b"\x6c\x1b" or len(head) < _LEAST_BYTES or head[2] not in (*_FIXED, *_VARIABLE):
            raise GenotypeError(f"{path.name} does not begin as a PLINK 2 .pgen does (6c 1b 10). Export it again.")
        variants, people = struct.unpack("<II", head[3:11])
        if head[2] in _FIXED:
            return PgenHeader(variants, people, head[2] != 0x02, False)
        with tables.guarded(path):
            dosages, end = _records(file, variants, head[11])
    size = path.stat().st_size
    if end > size:
        raise GenotypeError(
            f"{path.name} is truncated: {size} bytes, and its last record ends at {end}. Copy it again."
        )
    return PgenHeader(variants, people, dosages, True)


def _records(file: BinaryIO, variants: int, control: int) -> tuple[bool, int]:
    """Whether a record holds dosages, and where the last one ends. The control byte says how wide the tables are: bits 0 to 1 the
    length of a record less one, bit 2 8-bit types (else 4-bit, which hold whole calls alone), bits 4 to 5 the counts of alleles,
    bits 6 to 7 whether a bit a variant says that its reference is provisional. Types with bit 5 or 6 hold dosages."""
    width, wide, counts, flags = (control & 0x03) + 1, bool(control & 0x04), (control >> 4) & 0x03, control >> 6 == 3
    blocks = -(-variants // _BLOCK_VARIANTS)
    starts = np.frombuffer(file.read(8 * blocks), "<u8")
    dosages, end = False, 0
    for block in range(blocks):
        n = min(_BLOCK_VARIANTS, variants - block * _BLOCK_VARIANTS)
        types = np.frombuffer(file.read(n if wide else (n + 1) // 2), np.uint8)
        lengths = np.frombuffer(file.read(n * width), np.uint8).reshape(n, width).astype(np.int64)
        file.seek(n * counts + (flags * (n + 7)) // 8, 1)
        dosages |= wide and bool(np.any(types & 0x60))
        end = int(starts[block]) + int((lengths << (8 * np.arange(width))).sum())
    return dosages, end
