"""One person's genotypes in memory, as a Case holds them; read from a file, and then matched and scored like a file.

Variants are named `chromosome:position:reference:alternate`; dosages count the alternate allele, 0 to 2, and are negative or NaN
where there is no call.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from consilium.errors import BuildError, GenotypeError, UsageError
from consilium.genomics import build as builds
from consilium.genomics.alleles import Alleles, chromosome_name, chromosomes, key_chromosome, key_position, site_keys
from consilium.genomics.genotypes import People, Variants, Wanted, block_starts, open_genotypes
from consilium.genomics.plink import entries
from consilium.types import Array, Genome

_NO_CALL = -9


@dataclass(frozen=True, eq=False)
class InMemory:
    """Genotypes of a Genome, offered as the readers of files offer theirs (genotypes.Genotypes)."""

    genome: Genome
    path: Path = Path("the genome")
    file_format: str = "in memory"

    @property
    def people(self) -> People:
        return People(None, self.genome.samples, np.ones(len(self.genome.samples), bool))

    @property
    def build(self) -> str | None:
        return builds.build_named(self.genome.build)

    def variants(self, book: Alleles, wanted: Wanted | None = None) -> Variants:
        """Raises GenotypeError where variants are not named by place and alleles."""
        import pyarrow

        parts = [name.split(":") for name in self.genome.variants]
        wrong = next((i for i, part in enumerate(parts) if len(part) != 4 or not part[1].isdigit()), None)
        if wrong is not None:
            raise GenotypeError(
                f"variant {wrong + 1} of {len(parts)} of the genome is not named chromosome:position:reference:alternate. Read "
                "the genotypes with `genomics.genome.read_genome`."
            )
        names = pyarrow.array(self.genome.variants, pyarrow.string())
        columns = {"REF": [part[2] for part in parts], "ALT": [part[3] for part in parts]}
        table = {name: pyarrow.array(column, pyarrow.string()) for name, column in columns.items()} | {"ID": names}
        code = chromosomes(pyarrow.array([part[0] for part in parts], pyarrow.string()))
        keys = site_keys(code, np.array([int(part[1]) for part in parts], np.int64))
        rows = np.arange(len(parts))
        if wanted is not None:
            kept = wanted.mask(keys, names)
            rows, keys = rows[kept], keys[kept]
            table = {name: column.filter(pyarrow.array(kept)) for name, column in table.items()}
        return entries(book, rows, keys, table)

    def blocks(self, rows: Array, alleles: Array, index: Array | None = None) -> Iterator[Array]:
        dosages = self.genome.dosages if index is None else self.genome.dosages[index]
        starts = block_starts(len(rows), len(dosages))
        for low, high in itertools.pairwise(starts):
            block = dosages[:, rows[low:high]].T
            counts: Array = np.where(np.isnan(block) | (block < 0), _NO_CALL, block).astype(_block_type(block))
            turned = (alleles[low:high] == 0)[:, None] & (counts >= 0)
            yield np.where(turned, 2 - counts, counts).astype(counts.dtype)


def read_genome(
    path: Path, wanted: Wanted | None = None, person: str | None = None, build: str | None = None
) -> Genome:
    """The genotypes of one person of a file, at the places `wanted` (None: all); sites of several alternate alleles are left out,
    as when scoring against a reference.

    person  its id in the file, needed where there are several; it is not kept: the Genome calls it "person".
    Raises UsageError where the person is not told or not there, BuildError where the build is not known.
    """
    genotypes = open_genotypes(path)
    index = _one(genotypes.people, person, path)
    book = Alleles()
    said = builds.build_named(build)
    if said and genotypes.build and said != genotypes.build:
        raise BuildError(f"{path.name} says {genotypes.build} in its header, not {said}. Leave the build out.")
    known = genotypes.build or said
    if known is None:
        known = builds.build_of_positions(genotypes.variants(book, Wanted(builds.all_known_keys())), book)
    if known is None:
        raise BuildError(
            f"the build of {path.name} is not stated and its positions do not tell it. Say GRCh37 or GRCh38."
        )
    variants = genotypes.variants(book, wanted)
    kept = np.flatnonzero(~variants.several & (variants.key >= 0))
    blocks = genotypes.blocks(variants.row[kept], variants.allele[kept].astype(np.int64), index)
    counts = np.concatenate([np.empty(0, np.float32), *(block[:, 0].astype(np.float32) for block in blocks)])
    places = zip(key_chromosome(variants.key[kept]), key_position(variants.key[kept]), strict=True)
    alleles = zip(book.texts(variants.ref[kept]), book.texts(variants.alt[kept]), strict=True)
    names = tuple(f"{chromosome_name(c)}:{p}:{r}:{a}" for (c, p), (r, a) in zip(places, alleles, strict=True))
    return Genome(("person",), names, np.where(counts < 0, np.nan, counts)[None], known)


def _one(people: People, person: str | None, path: Path) -> Array:
    if person is None and len(people) == 1:
        return np.array([0])
    found = [i for i, name in enumerate(people.ids) if name == person]
    if len(found) == 1:
        return np.array(found)
    # The id asked for is not repeated: ids may be names.
    told = "no person is named" if person is None else f"the person named is there {len(found)} times"
    raise UsageError(f"{path.name} holds {len(people)} people, and {told}. Say which one, by the id in the file.")


def _block_type(block: Array) -> type:
    return np.float32 if np.issubdtype(block.dtype, np.floating) else np.int8
