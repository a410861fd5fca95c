"""What may be written of a genome: its build, how many variants were read, and a digest. Never the genotypes, never who it is,
and not the variants' names either: a file of one person often lists those alone that the person carries."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from consilium.types import Genome

LEAST_CALLS, LEAST_OTHERS = 128, 32
"""With fewer calls, or fewer that differ from the person's commonest call, there is no digest: whoever has it could try genotypes
until one fits."""


@dataclass(frozen=True, eq=False)
class SealedGenome(Genome):
    """A genome that was asked about, without its genotypes: `samples` are numbers, there are no `variants` and no `dosages`.

    read    how many variants it had.
    digest  `digest_of` the genome.
    """

    read: int = 0
    digest: str = ""


def seal(genome: Genome) -> SealedGenome:
    """What a record keeps of `genome`; a sealed one stays as it is."""
    if isinstance(genome, SealedGenome):
        return genome
    people = tuple(str(number) for number, _ in enumerate(genome.samples, 1))
    none = np.empty((len(people), 0), np.float32)
    return SealedGenome(people, (), none, genome.build, len(genome.variants), digest_of(genome))


def digest_of(genome: Genome) -> str:
    """sha256 of build, variants and dosages, the same whatever their number type and whoever it is; "" where one of them has
    fewer calls than LEAST_CALLS, or fewer than LEAST_OTHERS that are other than the commonest (0, 1 or 2 copies)."""
    if isinstance(genome, SealedGenome):
        return genome.digest
    dosages = np.asarray(genome.dosages, np.float32)
    called = dosages >= 0
    copies = np.rint(dosages)
    common = np.max([np.sum(called & (copies == number), axis=1) for number in range(3)], axis=0)
    calls = called.sum(axis=1)
    if called.size == 0 or calls.min() < LEAST_CALLS or (calls - common).min() < LEAST_OTHERS:
        return ""
    digest = hashlib.sha256("\n".join((genome.build, *genome.variants)).encode())
    digest.update(np.where(called, dosages, -1).astype("<f4").tobytes())
    return digest.hexdigest()
