"""Principal components of ancestry from a panel, written as weights: a person's components are scores like any other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from consilium.errors import DataError
from consilium.genomics.alleles import Alleles, X, key_chromosome
from consilium.genomics.frequency import count_frequencies
from consilium.genomics.genotypes import Genotypes, Variants
from consilium.genomics.ld import prune
from consilium.genomics.run import take_variants
from consilium.types import Array

LEAST_FREQUENCY = 0.05
LEAST_VARIANTS = 100
_MOST_VARIANTS = 100_000


@dataclass(frozen=True, eq=False)
class Components:
    """Loadings: `weights` (components, variants) of each copy of the alternate allele, over the `variants`, and their `frequency`
    in the panel; a component is the sum of weight times (dosage - 2 frequency)."""

    variants: Variants
    frequency: Array
    weights: Array


def fit_components(genotypes: Genotypes, book: Alleles, index: Array, components: int = 10) -> Components:
    """The leading principal components of the people `index` of a panel, from common, unlinked, unambiguous variants of the
    autosomes. Raises DataError where these are too few."""
    variants = _common(genotypes, genotypes.variants(book), book, index)
    frequency = count_frequencies(genotypes, variants, index)
    usable = np.isfinite(frequency) & (np.minimum(frequency, 1 - frequency) >= LEAST_FREQUENCY)
    variants, frequency = take_variants(variants, usable), frequency[usable]
    kept = prune(genotypes, variants, index)
    variants, frequency = take_variants(variants, kept), frequency[kept]
    if len(variants) < LEAST_VARIANTS:
        raise DataError(
            f"the panel has {len(variants)} common, unlinked variants, too few for components of ancestry (at least "
            f"{LEAST_VARIANTS}). Take a panel of more variants, or --components 0."
        )
    components = min(components, len(index) - 1, len(variants) - 1)
    kinship = np.zeros((len(index), len(index)))
    for values, _ in _standardised(genotypes, variants, frequency, index):
        kinship += values.T @ values
    size, vectors = np.linalg.eigh(kinship)
    vectors = vectors[:, ::-1][:, :components] / np.sqrt(size[::-1][:components])
    weights = np.empty((components, len(variants)))
    for values, at in _standardised(genotypes, variants, frequency, index):
        weights[:, at] = (values @ vectors).T / np.sqrt(2 * frequency[at] * (1 - frequency[at]))
    return Components(variants, frequency, weights / np.sqrt(len(variants)))


def _common(genotypes: Genotypes, variants: Variants, book: Alleles, index: Array) -> Variants:
    """Those that may serve, thinned evenly where there are very many."""
    ambiguous = book.complements(variants.ref) == variants.alt
    single = book.complements(variants.ref) >= 0
    single &= book.complements(variants.alt) >= 0
    autosome = (key_chromosome(variants.key) > 0) & (key_chromosome(variants.key) < X)
    kept = np.flatnonzero(autosome & single & ~ambiguous & ~variants.several)
    mask = np.zeros(len(variants), bool)
    mask[kept[:: max(1, -(-len(kept) // _MOST_VARIANTS))]] = True
    return take_variants(variants, mask)


def _standardised(
    genotypes: Genotypes, variants: Variants, frequency: Array, index: Array
) -> Iterator[tuple[Array, slice]]:
    """Blocks of (dosage - 2p) / sqrt(2p(1-p)), missing calls at 0, each with the slice of variants that it covers."""
    at = 0
    for block in genotypes.blocks(variants.row, variants.allele.astype(np.int64), index):
        own = slice(at, at + len(block))
        p = frequency[own, None]
        yield np.where(block < 0, 0, (block - 2 * p) / np.sqrt(2 * p * (1 - p))), own
        at += len(block)
