"""Genotype files as all formats offer them: who, which variants, and how often each allele was called, by blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from consilium.errors import GenotypeError, UnknownFormatError, UsageError
from consilium.genomics import tables
from consilium.genomics.alleles import Alleles
from consilium.types import Array

if TYPE_CHECKING:
    import pyarrow

_BLOCK_CALLS = 2 * 2**20
_LEAST_VARIANTS, _MOST_VARIANTS = 256, 8192


@dataclass(frozen=True, eq=False)
class People:
    """The people of a file in its order: family ids (None where it has none), ids, and who is a founder (has no parent in the
    file); allele frequencies are those of founders, as in plink2."""

    families: tuple[str, ...] | None
    ids: tuple[str, ...]
    founder: Array

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, index: Array) -> People:
        families = None if self.families is None else tuple(self.families[i] for i in index)
        return People(families, tuple(self.ids[i] for i in index), self.founder[index])


@dataclass(frozen=True, eq=False)
class Variants:
    """Variants of a file, one entry for each alternate allele; arrays are (n,).

    row      which variant of the file, from 0; rising.
    allele   1 for the first alternate allele, 2 for the second ...
    key      alleles.site_keys of the place.
    ref, alt alleles.Alleles codes.
    ids      names, "." or null where there are none.
    several  whether the row has more than one alternate allele.
    total    variants in the file, those not kept included.
    """

    row: Array
    allele: Array
    key: Array
    ref: Array
    alt: Array
    ids: pyarrow.Array
    several: Array
    total: int

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, eq=False)
class Wanted:
    """Which variants to keep while reading: those at one of `keys` (rising int64) or called one of `ids`."""

    keys: Array
    ids: pyarrow.Array | None = None

    def mask(self, keys: Array, ids: pyarrow.Array) -> Array:
        import pyarrow
        from pyarrow import compute

        kept = np.zeros(len(keys), bool)
        if len(self.keys):
            kept |= compute.is_in(pyarrow.array(keys), pyarrow.array(self.keys)).to_numpy(zero_copy_only=False)
        if self.ids is not None and len(self.ids):
            kept |= compute.is_in(ids, self.ids).to_numpy(zero_copy_only=False)
        return kept


class Genotypes(Protocol):
    """An open genotype file.

    `blocks` reads the variants `rows` (rising, int64), counting in each the allele `alleles` (0 the reference, 1 the first
    alternate ...) in the people `index` (rising; None: all): arrays (some variants, people) of int8 counts 0 to 2 or
    float32 dosages, in the order asked for; negative where there is no call. One file is never whole in memory.
    `build` is what the file's header says, None where it says nothing.
    """

    @property
    def path(self) -> Path: ...

    @property
    def file_format(self) -> str: ...

    @property
    def people(self) -> People: ...

    @property
    def build(self) -> str | None: ...

    def variants(self, book: Alleles, wanted: Wanted | None = None) -> Variants: ...

    def blocks(self, rows: Array, alleles: Array, index: Array | None = None) -> Iterator[Array]: ...


def open_genotypes(path: Path, variants: Path | None = None, people: Path | None = None) -> Genotypes:
    """Open PLINK 1 (.bed, or its prefix), PLINK 2 (.pgen) or VCF/BCF, plain or compressed.

    `variants` and `people` are the .bim or .pvar and the .fam or .psam where they do not lie beside it. Raises
    UnknownFormatError for anything else."""
    path = _with_suffix(path)
    with tables.open_file(path) as file:
        head = file.read(3)
    if path.suffix == ".bed" or head == b"\x6c\x1b\x01":
        from consilium.genomics.plink import open_bed

        return open_bed(path, variants, people)
    if path.suffix == ".pgen" or head[:2] == b"\x6c\x1b":
        from consilium.genomics.plink import open_pgen

        return open_pgen(path, variants, people)
    with tables.guarded(path), tables.open_text(path) as stream:
        head = stream.read(16)
    if head.startswith((b"##fileformat=VCF", b"BCF\x02")):
        from consilium.genomics.vcf import open_vcf

        return open_vcf(path)
    raise UnknownFormatError(f"{path.name} is none of PLINK .bed, PLINK 2 .pgen, VCF or BCF. Give one of these.")


def _with_suffix(path: Path) -> Path:
    if path.is_file():
        return path
    found = [
        p for suffix in (".pgen", ".bed", ".vcf.gz", ".bcf") if (p := path.with_name(path.name + suffix)).is_file()
    ]
    if not found:
        raise GenotypeError(f"{path} is not there, nor {path.name} with .pgen, .bed, .vcf.gz or .bcf. Check the path.")
    if len(found) > 1:
        raise UsageError(f"{path} could be {' or '.join(p.name for p in found)}. Say which.")
    return found[0]


def block_starts(n: int, people: int) -> list[int]:
    """Where blocks of n variants begin, and the end: about two million calls each, which a processor's cache holds."""
    size = max(_LEAST_VARIANTS, min(_MOST_VARIANTS, _BLOCK_CALLS // max(1, people)))
    return [*range(0, n, size), n]


def demand_unique(families: tuple[str, ...] | None, ids: tuple[str, ...], path: Path) -> None:
    """Raises GenotypeError where two people have the same id (with its family id)."""
    named = ids if families is None else tuple(zip(families, ids, strict=True))
    if len(set(named)) == len(named):
        return
    seen: dict[object, int] = {}
    for number, name in enumerate(named, 1):
        if name in seen:
            raise GenotypeError(
                f"{path.name} names the same person in rows {seen[name]} and {number}. Give every person an id of their own."
            )
        seen[name] = number


def select_people(people: People, keep: Path | None) -> Array | None:
    """Indices (rising) of the people named in `keep`: a line each, `IID` or `FID IID`; None for all. Raises UsageError where
    none of them, or one that is not in the file, is named."""
    if keep is None:
        return None
    shape = tables.layout(keep, header=False)
    with tables.guarded(keep), tables.open_text(keep) as stream:
        lines = [line.decode().split() for line in stream if line.strip() and not line.startswith(b"#")]
    iid_first = bool(shape.names) and shape.names[0].upper() == "IID"
    wanted = {tuple(line[:1] if iid_first or len(line) == 1 else line[:2]) for line in lines}
    pairs = zip(people.families or people.ids, people.ids, strict=True)
    known = [{(iid,), (fid, iid), ("0", iid)} for fid, iid in pairs]
    index = np.array([i for i, names in enumerate(known) if names & wanted], np.int64)
    absent = len(wanted) - len(wanted & set().union(*known))
    if absent or not len(index):
        raise UsageError(
            f"{keep.name} names {len(wanted)} people, of whom {absent} are not among the {len(people)} genotyped. "
            "Correct the list (IID, or FID and IID, a line each)."
        )
    return index
