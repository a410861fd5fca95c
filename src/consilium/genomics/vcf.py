"""VCF (plain, gzip, bgzip) and BCF: one pass over the lines to list the variants, one to read those that are asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np

from consilium.errors import GenotypeError, UsageError
from consilium.genomics import tables
from consilium.genomics.alleles import NONE, Alleles, chromosome
from consilium.genomics.build import build_of_header
from consilium.genomics.genotypes import People, Variants, Wanted, block_starts, demand_unique
from consilium.genomics.plink import entries, joined
from consilium.genomics.vcf_calls import MISSING, ROUNDED, dosages_of, genotypes_of
from consilium.types import Array

Field = Literal["GT", "DS", "GP"]
_FORMAT = re.compile(r"^##FORMAT=<ID=(\w+),")
_SITES = 2**16
_FIXED_COLUMNS = 9


@dataclass(frozen=True, eq=False)
class VcfFile:
    """genotypes.Genotypes of a VCF or BCF. `field` is what is read of each person: GT (called alleles), DS or GP (dosages; GT
    where a person has none)."""

    path: Path
    file_format: str
    people: People
    build: str | None
    field: Field

    def variants(self, book: Alleles, wanted: Wanted | None = None) -> Variants:
        parts: list[Variants] = []
        sites: list[tuple[int, int, str | None, str, str]] = []
        keys = None if wanted is None else set(wanted.keys.tolist())
        names = set() if wanted is None or wanted.ids is None else set(wanted.ids.to_pylist())
        codes: dict[str, int] = {}
        total = 0
        for total, (chrom, position, name, ref, alt) in enumerate(self._sites(), 1):
            code = codes.setdefault(chrom, chromosome(chrom))
            key = (code << 32) | position if code else NONE
            if keys is not None and key not in keys and name not in names:
                continue
            sites.append((total - 1, key, name, ref, alt))
            if len(sites) == _SITES:
                parts.append(_entries(book, sites))
                sites = []
        return joined([*parts, *([_entries(book, sites)] if sites else [])], total)

    def blocks(self, rows: Array, alleles: Array, index: Array | None = None) -> Iterator[Array]:
        people = len(self.people) if index is None else len(index)
        readings = self._readings(rows, alleles)
        for start, end in pairwise(block_starts(len(rows), people)):
            block = np.empty((end - start, people), np.int8 if self.field == "GT" else np.float64)
            for out in block:
                reading = next(readings)
                out[:] = reading if index is None else reading[index]
            yield block

    def _readings(self, rows: Array, alleles: Array) -> Iterator[Array]:
        """The counts of each (row, allele) asked for, over all people; rows rising."""
        at, n = 0, len(rows)
        read = self._bcf_record if self.file_format == "BCF" else self._vcf_line
        for row, record in enumerate(self._records()):
            while at < n and rows[at] == row:
                with tables.guarded(self.path):
                    reading = read(record, int(alleles[at]))
                yield reading
                at += 1
            if at == n:
                return
        raise GenotypeError(f"{self.path.name} ended before all its variants were read. Copy it again.")

    def _records(self) -> Iterator[Any]:
        if self.file_format == "BCF":
            with tables.guarded(self.path):
                yield from _open_bcf(self.path)
            return
        with tables.guarded(self.path), tables.open_text(self.path) as stream:
            for line in stream:
                if not line.startswith(b"#"):
                    yield line

    def _sites(self) -> Iterator[tuple[str, int, str | None, str, str]]:
        if self.file_format == "BCF":
            for record in self._records():
                yield record.CHROM, record.POS, record.ID, record.REF, ",".join(record.ALT)
            return
        for number, line in enumerate(self._records(), 1):
            cells = line[:4096].split(b"\t", 5) if len(line) > 4096 else line.split(b"\t", 5)
            if len(cells) < 6:
                cells = line.split(b"\t", 5)
            if len(cells) < 6 or not cells[1].isdigit():
                raise GenotypeError(f"{self.path.name}: variant {number} is not a line of VCF. Export the file again.")
            chrom, _, name, ref, alt = (cell.decode(errors="backslashreplace") for cell in cells[:5])
            yield chrom, int(cells[1]), name, ref, alt

    def _vcf_line(self, line: bytes, allele: int) -> Array:
        cells = line.rstrip(b"\r\n").split(b"\t", _FIXED_COLUMNS)
        if len(cells) <= _FIXED_COLUMNS:
            raise GenotypeError(f"{self.path.name}: a variant has no genotypes. Export the file again.")
        keys = cells[_FIXED_COLUMNS - 1].split(b":")
        calls = cells[_FIXED_COLUMNS]
        if calls.count(b"\t") + 1 != len(self.people):
            raise GenotypeError(
                f"{self.path.name}: a variant has {calls.count(bytes([9])) + 1} genotypes, the header names {len(self.people)} "
                "people. The file is truncated or damaged; copy it again."
            )
        if self.field == "GT":
            return genotypes_of(calls, keys, allele)
        return dosages_of(calls, keys, allele, self.field)

    def _bcf_record(self, record: Any, allele: int) -> Array:
        called = _bcf_calls(record, allele)
        values = None if self.field == "GT" else record.format(self.field)
        if values is None:
            return called
        values = np.asarray(values, np.float64)
        if self.field == "GP":
            dosage = values[:, 1] + 2 * values[:, 2] if values.shape[1] == 3 else called.astype(float)
            dosage = dosage if allele else 2 - dosage
        else:
            copies = _copies(record, len(values))
            dosage = (values[:, allele - 1] if allele else copies - values.sum(axis=1)) * 2 / copies
        known = np.isfinite(dosage)
        if np.any((dosage[known] < -ROUNDED) | (dosage[known] > 2 + ROUNDED)):
            raise GenotypeError(f"{self.path.name}: a dosage is outside 0 to 2. Export the file again.")
        return np.where(known, np.clip(dosage, 0, 2), called)


def open_vcf(path: Path, field: Field | None = None) -> VcfFile:
    """`field` None: DS where the header declares it, else GT, else GP. Raises UsageError where the field asked for is not
    declared, GenotypeError where nobody is genotyped or two people share an id."""
    tables.demand_whole(path)
    with tables.guarded(path), tables.open_text(path) as stream:
        is_bcf = stream.read(3) == b"BCF"
    if is_bcf:
        with tables.guarded(path):
            reader = _open_bcf(path)
            lines, ids = reader.raw_header.splitlines(), tuple(reader.samples)
    else:
        lines = list(tables.layout(path, header=False).comments)
        ids = tuple(lines[-1].split("\t")[_FIXED_COLUMNS:]) if lines and lines[-1].startswith("#CHROM") else ()
    if not ids:
        raise GenotypeError(
            f"{path.name} names no people after FORMAT: it lists sites alone. Give the file with genotypes."
        )
    demand_unique(None, ids, path)
    declared = {match[1] for line in lines if (match := _FORMAT.match(line))}
    if field is not None and field not in declared:
        raise UsageError(f"{path.name} declares no FORMAT {field}, only {', '.join(sorted(declared)) or 'none'}.")
    chosen: Field = field or ("DS" if "DS" in declared else "GP" if "GP" in declared and "GT" not in declared else "GT")
    people = People(None, ids, np.ones(len(ids), bool))
    return VcfFile(path, "BCF" if is_bcf else "VCF", people, build_of_header(lines), chosen)


def _open_bcf(path: Path) -> Any:
    import cyvcf2

    return cyvcf2.VCF(str(path), strict_gt=True)


def _copies(record: Any, people: int) -> Array:
    """(people,) how many copies a person's dosage is of: 1 where the call is of one allele (a male's X), else 2."""
    if record.genotype is None:
        return np.full(people, 2)
    calls = record.genotype.array()[:, :-1]
    single = (calls.shape[1] == 1) | (calls[:, 1:] == -2).all(axis=1)
    return np.where(single & (calls[:, 0] >= 0), 1, 2)


def _bcf_calls(record: Any, allele: int) -> Array:
    """Counts int8: a call of one allele (a male's X) counts twice; one that is known in part is missing."""
    if record.genotype is None:
        return np.full(len(record.gt_types), MISSING, np.int8)
    calls = record.genotype.array()[:, :2]
    if calls.shape[1] == 1:
        calls = np.repeat(calls, 2, axis=1)
    calls = np.where(calls == -2, calls[:, :1], calls)
    counts = (calls == allele).sum(axis=1).astype(np.int8)
    counts[(calls < 0).any(axis=1)] = MISSING
    return counts


def _entries(book: Alleles, sites: Sequence[tuple[int, int, str | None, str, str]]) -> Variants:
    import pyarrow

    rows, keys, names, refs, alts = zip(*sites, strict=True)
    columns: Mapping[str, Any] = {
        "ID": pyarrow.array([None if name == "." else name for name in names], pyarrow.string()),
        "REF": pyarrow.array(refs, pyarrow.string()),
        "ALT": pyarrow.array(alts, pyarrow.string()),
    }
    return entries(book, np.array(rows, np.int64), np.array(keys, np.int64), columns)
