"""How a weight of a scoring file counts: for each copy, for a carrier, for two copies, by dosage; and what cannot be scored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from consilium.genomics.alleles import Alleles
from consilium.types import Array

if TYPE_CHECKING:
    import pyarrow

KINDS = ("additive", "dominant", "recessive", "dosage", "interaction", "haplotype", "hla", "not_bases")
ADDITIVE, DOMINANT, RECESSIVE, DOSAGE, INTERACTION, HAPLOTYPE, HLA, NOT_BASES = range(len(KINDS))
FIRST_UNSCORABLE = INTERACTION

DOSAGES = ("dosage_0_weight", "dosage_1_weight", "dosage_2_weight")
_FLAGS = {
    "is_dominant": DOMINANT,
    "is_recessive": RECESSIVE,
    "is_haplotype": HAPLOTYPE,
    "is_diplotype": HAPLOTYPE,
    "is_interaction": INTERACTION,
}
COLUMNS = (*_FLAGS, *DOSAGES)
_TYPES = {"additive": ADDITIVE, "dominant": DOMINANT, "recessive": RECESSIVE, "nonadditive": DOSAGE}


def kinds_of(
    lower: Mapping[str, str], table: pyarrow.Table, effect: Array, book: Alleles
) -> tuple[Array, Array | None]:
    """Kinds (n,) uint8, and the weights of 0, 1 and 2 copies (n, 3) where any variant has its own.

    `lower` maps column names in small letters to the table's; `effect` are the effect alleles' codes.
    """
    kinds = np.full(table.num_rows, ADDITIVE, np.uint8)
    by_dosage = None
    if set(DOSAGES) <= set(lower):
        by_dosage = np.stack([np.asarray(table.column(lower[name]).to_numpy(), float) for name in DOSAGES], axis=1)
        kinds[np.isfinite(by_dosage).all(axis=1)] = DOSAGE
    if "effect_type" in lower:
        for text, kind in _TYPES.items():
            kinds[_equals(table.column(lower["effect_type"]), text) & (kinds == ADDITIVE)] = kind
    not_bases = ~book.are_bases(effect)
    kinds[not_bases] = NOT_BASES
    if not_bases.any():
        # P and N: that an HLA allele is present or not, as the PGS Catalog writes it.
        presence = np.isin(effect, [book.code("P"), book.code("N")])
        kinds[not_bases & (presence | _mentions_hla(table))] = HLA
    for name, kind in _FLAGS.items():
        if name in lower:
            kinds[_equals(table.column(lower[name]), "true")] = kind
    return kinds, by_dosage


def _equals(column: Any, text: str) -> Array:
    from pyarrow import compute

    return compute.equal(compute.utf8_lower(column), text).fill_null(False).to_numpy()


def _mentions_hla(table: pyarrow.Table) -> Array:
    from pyarrow import compute

    found = np.zeros(table.num_rows, bool)
    for column in table.columns:
        if str(column.type) == "string":
            found |= compute.match_substring(column, "HLA", ignore_case=True).fill_null(False).to_numpy()
    return found
