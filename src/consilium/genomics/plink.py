"""PLINK 1 (.bed, .bim, .fam) and PLINK 2 (.pgen, .pvar, .psam) files; pgenlib decodes the genotypes of both."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from consilium.errors import GenotypeError
from consilium.genomics import tables
from consilium.genomics.alleles import Alleles, chromosomes, site_keys
from consilium.genomics.build import build_of_header
from consilium.genomics.genotypes import People, Variants, Wanted, block_starts, demand_unique
from consilium.genomics.pgen_header import PgenHeader, read_pgen_header
from consilium.types import Array

_BIM = ("CHROM", "ID", "CM", "POS", "ALT", "REF")
_NEEDED: Mapping[str, str] = {"CHROM": "string", "POS": "int64", "ID": "string", "REF": "string", "ALT": "string"}


@dataclass(frozen=True, eq=False)
class PlinkFile:
    """genotypes.Genotypes of a .bed or .pgen file."""

    path: Path
    file_format: str
    people: People
    build: str | None
    pvar: Path
    header: PgenHeader

    def variants(self, book: Alleles, wanted: Wanted | None = None) -> Variants:
        found = read_variants(self.pvar, book, wanted)
        if found.total != self.header.variants:
            raise GenotypeError(
                f"{self.path.name} holds {self.header.variants} variants, but {self.pvar.name} lists {found.total}. "
                "Give the two that were written together."
            )
        return found

    def blocks(self, rows: Array, alleles: Array, index: Array | None = None) -> Iterator[Array]:
        people = len(self.people) if index is None else len(index)
        starts = block_starts(len(rows), people)
        wanted = rows.astype(np.uint32)
        with tables.guarded(self.path), self._reader(alleles, index) as reader:
            for start, end in itertools.pairwise(starts):
                yield self._block(reader, wanted[start:end], alleles[start:end], people)

    def _block(self, reader: Any, rows: Array, alleles: Array, people: int) -> Array:
        block = np.empty((len(rows), people), np.float32 if self.header.dosages else np.int8)
        read_list, read = (
            (reader.read_dosages_list, reader.read_dosages) if self.header.dosages else (reader.read_list, reader.read)
        )
        read_list(rows, block)
        for i in np.flatnonzero(alleles != 1):
            read(int(rows[i]), block[i], int(alleles[i]))
        return block

    def _reader(self, alleles: Array, index: Array | None) -> Any:
        import pgenlib

        subset = None if index is None else index.astype(np.uint32)
        offsets = allele_offsets(self.pvar) if self.header.many_alleles else None
        return pgenlib.PgenReader(
            str(self.path).encode(), len(self.people), self.header.variants, subset, allele_idx_offsets=offsets
        )


def open_bed(path: Path, bim: Path | None = None, fam: Path | None = None) -> PlinkFile:
    """Raises GenotypeError where the magic number or the length is not that of a .bed with these people."""
    bim, fam = bim or _beside(path, ".bim"), fam or _beside(path, ".fam")
    people = read_people(fam)
    with tables.open_file(path) as file:
        head = file.read(3)
    if head[:2] != b"\x6c\x1b" or len(head) < 3:
        raise GenotypeError(f"{path.name} does not begin as a PLINK .bed does (6c 1b 01). Export it again.")
    if head[2] == 0:
        raise GenotypeError(
            f"{path.name} is sample-major, which nothing has written since 2009. Convert it with plink1.9."
        )
    each = (len(people) + 3) // 4
    n, left = divmod(path.stat().st_size - 3, each)
    if left:
        raise GenotypeError(
            f"{path.name} is truncated, or {fam.name} is not its own: {path.stat().st_size - 3} bytes of genotypes are no "
            f"multiple of the {each} that {len(people)} people need. Copy the files again."
        )
    _demand_empty_padding(path, fam, len(people))
    return PlinkFile(path, "PLINK 1", people, None, bim, PgenHeader(n, len(people), False, False))


def _demand_empty_padding(path: Path, fam: Path, people: int) -> None:
    """A record's last byte has room for up to three people more than there are; a .bed of as many would use it."""
    each = (people + 3) // 4
    with tables.open_file(path) as file:
        file.seek(3)
        last = np.frombuffer(file.read(each * 256), np.uint8)[each - 1 :: each]
    if people % 4 and np.any(last >> (2 * (people % 4))):
        raise GenotypeError(
            f"{path.name} holds more people than the {people} in {fam.name}. Give the two written together."
        )


def open_pgen(path: Path, pvar: Path | None = None, psam: Path | None = None) -> PlinkFile:
    """Raises GenotypeError where the header is none, or speaks of other people or variants than .psam and .pvar."""
    pvar, psam = pvar or _beside(path, ".pvar", ".pvar.zst", ".bim"), psam or _beside(path, ".psam", ".fam")
    people = read_people(psam)
    header = read_pgen_header(path)
    if header.people != len(people):
        raise GenotypeError(
            f"{path.name} holds {header.people} people, but {psam.name} lists {len(people)}. Give the two written together."
        )
    build = build_of_header(tables.layout(pvar).comments)
    return PlinkFile(path, "PLINK 2", people, build, pvar, header)


def _beside(path: Path, *suffixes: str) -> Path:
    found = [p for suffix in suffixes if (p := path.with_suffix(suffix)).is_file()]
    if not found:
        names = " or ".join(path.with_suffix(suffix).name for suffix in suffixes)
        raise GenotypeError(
            f"{path.name} needs {names} beside it, which is not there. Copy it there, or say where it is."
        )
    return found[0]


def read_people(path: Path) -> People:
    """A .fam (FID IID PAT MAT ...) or .psam (#FID IID ... or #IID ...)."""
    shape = tables.layout(path, header=False)
    names = [name.upper() for name in shape.names] or ["FID", "IID", "PAT", "MAT"]
    with tables.guarded(path), tables.open_text(path) as stream:
        rows = [line.decode().split() for line in stream if line.strip() and not line.startswith(b"#")]
    column = {name: i for i, name in enumerate(names)}
    if "IID" not in column or not rows or min(map(len, rows)) <= column["IID"]:
        raise GenotypeError(
            f"{path.name} lists no people (columns FID and IID, or a header with IID). Export it again."
        )
    ids = tuple(row[column["IID"]] for row in rows)
    families = tuple(row[column["FID"]] for row in rows) if "FID" in column else None
    parents = [column[name] for name in ("PAT", "MAT") if name in column]
    founder = np.array([all(i >= len(row) or row[i] == "0" for i in parents) for row in rows])
    demand_unique(families, ids, path)
    return People(families, ids, founder)


def read_variants(path: Path, book: Alleles, wanted: Wanted | None = None) -> Variants:
    """A .bim, or a .pvar, plain or compressed."""
    shape = tables.layout(path, header=False)
    names = [name.upper() for name in shape.names] or _bim_names(len(shape.first))
    if not set(_NEEDED) <= set(names):
        raise GenotypeError(f"{path.name} lacks {', '.join(sorted(set(_NEEDED) - set(names)))}. Export it again.")
    parts, seen = [], 0
    for batch in tables.batches(path, shape, names, _NEEDED) if shape.first else ():
        columns = {name: batch.column(name) for name in _NEEDED}
        columns["ID"] = tables.without_dots(columns["ID"])
        keys = site_keys(chromosomes(columns["CHROM"]), _numbers(columns["POS"]))
        rows = np.arange(seen, seen + batch.num_rows)
        seen += batch.num_rows
        if wanted is not None:
            kept = wanted.mask(keys, columns["ID"])
            rows, keys = rows[kept], keys[kept]
            columns = {name: column.filter(kept) for name, column in columns.items()}
        parts.append(entries(book, rows, keys, columns))
    return joined(parts, seen)


def _bim_names(columns: int) -> list[str]:
    return list(_BIM) if columns == 6 else [name for name in _BIM if name != "CM"]


def _numbers(column: Any) -> Array:
    return np.asarray(column.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)


def entries(book: Alleles, rows: Array, keys: Array, columns: Mapping[str, Any]) -> Variants:
    """Variants from columns REF, ALT (comma-separated) and ID: one entry for each alternate allele."""
    from pyarrow import compute

    alts, ids = columns["ALT"], columns["ID"]
    ref = book.encode(columns["REF"])
    n = len(rows)
    many = compute.match_substring(alts, ",").fill_null(False).to_numpy(zero_copy_only=False)
    if not many.any():
        return Variants(rows, np.ones(n, np.int16), keys, ref, book.encode(alts), ids, many, n)
    texts = [text.split(",") if text else [None] for text in alts.to_pylist()]
    counts = np.array([len(text) for text in texts])
    of = np.repeat(np.arange(n), counts)
    allele = (np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts) + 1).astype(np.int16)
    alt = np.array([book.code(text) for row in texts for text in row], np.int32)
    return Variants(rows[of], allele, keys[of], ref[of], alt, ids.take(_indices(of)), many[of], n)


def _indices(values: Array) -> Any:
    import pyarrow

    return pyarrow.array(values)


def joined(parts: list[Variants], total: int) -> Variants:
    """Parts of one file as one."""
    import pyarrow

    def together(name: str, kind: Any) -> Array:
        return np.concatenate([np.empty(0, kind), *(getattr(part, name) for part in parts)])

    ids = pyarrow.concat_arrays([pyarrow.array([], pyarrow.string()), *(part.ids for part in parts)])
    return Variants(
        together("row", np.int64),
        together("allele", np.int16),
        together("key", np.int64),
        together("ref", np.int32),
        together("alt", np.int32),
        ids,
        together("several", bool),
        total,
    )


def allele_offsets(path: Path) -> Array | None:
    """Where each variant's alleles begin when all are counted on, (variants + 1,), which pgenlib needs; None where all have
    two."""
    shape = tables.layout(path, header=False)
    counts = [np.zeros(1, np.uintp)]
    names = [name.upper() for name in shape.names] or _bim_names(len(shape.first))
    from pyarrow import compute

    for batch in tables.batches(path, shape, names, {"ALT": "string"}):
        commas = compute.count_substring(batch.column("ALT"), ",").fill_null(0).to_numpy(zero_copy_only=False)
        counts.append(commas.astype(np.uintp) + 2)
    if all((count == 2).all() for count in counts[1:]):
        return None
    return np.cumsum(np.concatenate(counts)).astype(np.uintp)
