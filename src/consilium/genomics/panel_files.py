"""The files of a reference's folder: the panel's variants with their frequencies, and the loadings of ancestry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from consilium.genomics import tables
from consilium.genomics.alleles import Alleles, chromosome_name, key_chromosome, key_position
from consilium.genomics.ancestry import Components
from consilium.genomics.genotypes import Variants
from consilium.genomics.plink import read_variants
from consilium.genomics.scoring_file import ScoreOptions, ScoreTable, read_scores
from consilium.types import Array

FREQUENCIES, COMPONENTS, REFERENCE = "variants.afreq", "components.tsv", "reference.json"
"""What lies in a reference's folder: the panel's variants with their frequencies, the loadings of ancestry, the distributions."""


@dataclass(frozen=True, eq=False)
class Panel:
    variants: Variants
    frequency: Array


def read_panel(folder: Path, book: Alleles) -> Panel:
    path = folder / FREQUENCIES
    shape = tables.layout(path)
    frequency = tables.whole(path, shape, shape.names, {"ALT_FREQS": "float64"}).column("ALT_FREQS").to_numpy()
    return Panel(read_variants(path, book), np.asarray(frequency))


def read_loadings(path: Path, book: Alleles, build: str | None) -> ScoreTable | None:
    if not path.is_file():
        return None
    return read_scores(path, book, build, ScoreOptions(build=build))[0]


def write_loadings(path: Path, book: Alleles, loadings: Components | None) -> None:
    if loadings is None:
        path.unlink(missing_ok=True)
        return
    variants = loadings.variants
    names = "\t".join(f"PC{k + 1}" for k in range(len(loadings.weights)))
    rows = zip(
        key_chromosome(variants.key),
        key_position(variants.key),
        book.texts(variants.alt),
        book.texts(variants.ref),
        loadings.weights.T,
        strict=True,
    )
    with path.open("w", encoding="utf-8") as file:
        file.write(f"chr_name\tchr_position\teffect_allele\tother_allele\t{names}\n")
        for code, position, alt, ref, weights in rows:
            values = "\t".join(repr(float(weight)) for weight in weights)
            file.write(f"{chromosome_name(code)}\t{position}\t{alt}\t{ref}\t{values}\n")
