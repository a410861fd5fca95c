"""What lies in a genotype or scoring file, in a few words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from consilium.errors import BuildError, UnknownFormatError
from consilium.genomics import build as builds
from consilium.genomics.alleles import NONE, Alleles, chromosome_name, key_chromosome
from consilium.genomics.genotypes import Genotypes, open_genotypes
from consilium.genomics.score_kinds import KINDS
from consilium.genomics.scoring_file import read_scores


def describe(path: Path) -> dict[str, Any]:
    """Facts of a file, by name. Raises as the readers do."""
    try:
        return _genotypes(open_genotypes(path))
    except UnknownFormatError:
        return _scores(path)


def _genotypes(genotypes: Genotypes) -> dict[str, Any]:
    book = Alleles()
    variants = genotypes.variants(book)
    by_position = builds.build_of_positions(variants, book)
    build = genotypes.build or by_position
    if genotypes.build and by_position and genotypes.build != by_position:
        raise BuildError(
            f"the header of {genotypes.path.name} says {genotypes.build}, its positions are of {by_position}. "
            "Correct the header before scoring."
        )
    codes = np.unique(key_chromosome(variants.key))
    ambiguous = int(np.count_nonzero(book.complements(variants.ref) == variants.alt))
    return {
        "file": genotypes.path.name,
        "format": genotypes.file_format,
        "people": len(genotypes.people),
        "founders": int(genotypes.people.founder.sum()),
        "variants": variants.total,
        "with several alleles": len(np.unique(variants.row[variants.several])),
        "ambiguous (A/T, C/G)": ambiguous,
        "chromosomes": " ".join(chromosome_name(code) or "other" for code in codes),
        "build": build or "not known: say it with --build",
        "build known by": "header" if genotypes.build else "positions" if build else "",
        "reads": getattr(genotypes, "field", "GT"),
    }


def _scores(path: Path) -> dict[str, Any]:
    book = Alleles()
    tables = read_scores(path, book)
    first = tables[0]
    kinds = np.bincount(np.concatenate([table.kinds for table in tables]), minlength=len(KINDS))
    n = sum(len(table) for table in tables)
    placed = sum(int(np.count_nonzero(table.key != NONE)) for table in tables)
    names = [name for table in tables for name in table.names]
    ambiguous = sum(
        int(np.count_nonzero((table.other != NONE) & (book.complements(table.other) == table.effect)))
        for table in tables
    )
    return {
        "file": path.name,
        "format": "scoring file",
        "scores": len(names),
        "names": ", ".join(names[:10]) + (" ..." if len(names) > 10 else ""),
        "variants": n,
        "with a place": placed,
        "without other allele": sum(int(np.count_nonzero(table.other == NONE)) for table in tables),
        "ambiguous (A/T, C/G)": ambiguous,
        "build": first.build or ("not stated: say it with --score-build" if placed else "none needed"),
        "kinds": ", ".join(f"{count} {kind}" for kind, count in zip(KINDS, kinds, strict=True) if count),
        **{name: first.facts[name] for name in ("trait_reported", "weight_type", "citation") if name in first.facts},
    }
