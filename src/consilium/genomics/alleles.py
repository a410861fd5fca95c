"""Chromosomes and alleles as whole numbers, so that hundreds of thousands of variants compare at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from consilium.types import Array

if TYPE_CHECKING:
    import pyarrow

NONE = -1
"""The code of an allele that is not given, and of the complement of one that has none."""

X, Y, MT = 23, 24, 26
_COMPLEMENT = {"A": "T", "T": "A", "C": "G", "G": "C"}
_NAMES = {"X": X, "23": X, "XY": X, "25": X, "PAR1": X, "PAR2": X, "Y": Y, "24": Y, "M": MT, "MT": MT, "26": MT}


def chromosome(name: str | None) -> int:
    """1 to 22, X 23 (with its pseudo-autosomal parts), Y 24, MT 26; 0 for any other name. `chr1` is 1, `01` is 1."""
    if not name:
        return 0
    bare = name[3:] if name[:3].lower() == "chr" else name
    if bare.isdecimal() and 1 <= int(bare) <= 22:
        return int(bare)
    return _NAMES.get(bare.upper(), 0)


def chromosome_name(code: int) -> str:
    """1 -> "1", 23 -> "X"; "" for 0."""
    return {0: "", X: "X", Y: "Y", MT: "MT"}.get(code, str(code))


def chromosomes(names: pyarrow.Array) -> Array:
    """Codes (n,) int64 of a column of names."""
    values, indices = _distinct(names)
    codes = np.array([chromosome(value) for value in values] + [0], np.int64)
    return codes[indices]


def site_keys(chromosome_codes: Array, positions: Array) -> Array:
    """One int64 for each place: chromosome in the upper, position in the lower 32 bits; NONE where either is not known."""
    keys = (chromosome_codes.astype(np.int64) << 32) | np.maximum(positions, 0)
    return np.where((chromosome_codes > 0) & (positions > 0), keys, NONE)


def key_chromosome(keys: Array) -> Array:
    return np.where(keys >= 0, keys >> 32, 0)


def key_position(keys: Array) -> Array:
    return np.where(keys >= 0, keys & 0xFFFFFFFF, NONE)


class Alleles:
    """Allele texts and their codes; one such book serves the genotypes and the scores that are compared."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._texts: list[str] = []
        for text in "ACGT":
            self.code(text)

    def __len__(self) -> int:
        return len(self._texts)

    def code(self, text: str | None) -> int:
        """The code of an allele, in any case of letters; NONE for no allele."""
        if not text:
            return NONE
        upper = text.upper()
        if upper not in self._codes:
            self._codes[upper] = len(self._texts)
            self._texts.append(upper)
        return self._codes[upper]

    def encode(self, texts: pyarrow.Array) -> Array:
        """Codes (n,) int32 of a column of alleles."""
        values, indices = _distinct(texts)
        codes = np.array([self.code(value) for value in values] + [NONE], np.int32)
        return codes[indices]

    def texts(self, codes: Array) -> list[str]:
        """The alleles of codes; "" for NONE."""
        known = [*self._texts, ""]
        return [known[code] for code in codes]

    def complements(self, codes: Array) -> Array:
        """The other strand's codes of single bases. Longer alleles have none: an indel's anchor base changes with the strand."""
        table = [self._codes.get(_COMPLEMENT.get(text, ""), NONE) for text in self._texts]
        return np.array([*table, NONE], np.int32)[codes]

    def are_bases(self, codes: Array) -> Array:
        """Which codes are made of A, C, G and T alone."""
        return np.array([*(not set(text) - set("ACGT") for text in self._texts), False])[codes]


def _distinct(column: Any) -> tuple[list[str | None], Array]:
    """The distinct values of a column, and where each row finds its own; -1 for null."""
    import pyarrow
    from pyarrow import compute

    if isinstance(column, pyarrow.ChunkedArray):
        column = column.combine_chunks()
    if isinstance(column, pyarrow.ChunkedArray):
        column = pyarrow.concat_arrays(column.chunks) if column.num_chunks else pyarrow.array([], pyarrow.string())
    coded = column.dictionary_encode()
    indices = compute.fill_null(coded.indices, NONE).to_numpy(zero_copy_only=False)
    return coded.dictionary.to_pylist(), indices
