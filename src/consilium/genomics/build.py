"""Reference builds: which one a file's positions belong to, and that two are never mixed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np

from consilium.errors import BuildError
from consilium.genomics.alleles import Alleles, chromosome, key_chromosome, key_position, site_keys
from consilium.types import Array

if TYPE_CHECKING:
    from consilium.genomics.genotypes import Variants

BUILDS = ("GRCh37", "GRCh38")
_ALIASES = {
    "grch36": "NCBI36", "ncbi36": "NCBI36", "hg18": "NCBI36", "b36": "NCBI36",
    "grch37": "GRCh37", "hg19": "GRCh37", "b37": "GRCh37", "hs37d5": "GRCh37", "37": "GRCh37",
    "grch38": "GRCh38", "hg38": "GRCh38", "b38": "GRCh38", "38": "GRCh38",
}  # fmt: skip
_IN_TEXT = re.compile(r"(grch3[678]|ncbi36|hg1[89]|hg38|hs37d5|\bb3[678]\b|human_g1k_v37)", re.IGNORECASE)
_CONTIG = re.compile(r"^##contig=<.*?ID=([^,>]+).*?length=(\d+)")

LENGTHS = {
    "GRCh37": (
        249250621, 243199373, 198022430, 191154276, 180915260, 171115067, 159138663, 146364022, 141213431, 135534747, 135006516,
        133851895, 115169878, 107349540, 102531392, 90354753, 81195210, 78077248, 59128983, 63025520, 48129895, 51304566,
        155270560, 59373566,
    ),
    "GRCh38": (
        248956422, 242193529, 198295559, 190214555, 181538259, 170805979, 159345973, 145138636, 138394717, 133797422, 135086622,
        133275309, 114364328, 107043718, 101991189, 90338345, 83257441, 80373285, 58617616, 64444167, 46709983, 50818468,
        156040895, 57227415,
    ),
}  # fmt: skip
"""Bases of chromosomes 1 to 22, X and Y."""

_LEAST_HITS = 5
_RATIO = 10


def build_named(text: str | None) -> str | None:
    """ "hg19" -> "GRCh37"; None for nothing, NR or NA. Raises BuildError for a name that is none."""
    if not text or text.strip().upper() in {"NR", "NA", "NONE", "UNKNOWN"}:
        return None
    known = _ALIASES.get(text.strip().lower().split(".")[0])
    if known is None:
        raise BuildError(f"{text!r} is no reference build known here. Give GRCh37 (hg19) or GRCh38 (hg38).")
    return known


def build_of_header(lines: Iterable[str]) -> str | None:
    """The build that a VCF or .pvar header states: by the lengths of its contigs, else by its ##reference or assembly. Raises
    BuildError where they disagree."""
    found: set[str] = set()
    named: set[str] = set()
    for line in lines:
        if match := _CONTIG.match(line):
            code, length = chromosome(match[1]), int(match[2])
            found |= {build for build in BUILDS if 1 <= code <= 24 and LENGTHS[build][code - 1] == length}
        if line.startswith(("##reference", "##assembly", "##contig")) and (text := _IN_TEXT.search(line)):
            named.add(_ALIASES.get(text[1].lower(), "GRCh37"))
    stated = found or named
    if len(stated) > 1:
        raise BuildError(
            f"the header speaks of {' and '.join(sorted(stated))}. Lift one part over, so that all is in one build."
        )
    return next(iter(stated), None)


def known_keys() -> dict[str, tuple[Array, list[str]]]:
    """For each build, the places (alleles.site_keys) of variants whose position is known in both, and their two bases."""
    text = resources.files("consilium.genomics").joinpath("known_positions.json").read_text(encoding="utf-8")
    table = json.loads(text)
    code = np.full(len(table["alleles"]), chromosome(table["chromosome"]))
    return {build: (site_keys(code, np.array(table[build])), table["alleles"]) for build in BUILDS}


def all_known_keys() -> Array:
    return np.unique(np.concatenate([keys for keys, _ in known_keys().values()]))


def build_of_positions(variants: Variants, book: Alleles) -> str | None:
    """The build in which the variants lie where known ones do (place and both bases); None where too few do to tell."""
    own = {(int(key), min(a, b), max(a, b)) for key, a, b in zip(variants.key, variants.ref, variants.alt, strict=True)}
    hits = {}
    for build, (keys, bases) in known_keys().items():
        pairs = [sorted((book.code(text[0]), book.code(text[1]))) for text in bases]
        hits[build] = sum((int(key), a, b) in own for key, (a, b) in zip(keys, pairs, strict=True))
    best, other = sorted(BUILDS, key=lambda build: -hits[build])
    if hits[best] >= _LEAST_HITS and hits[best] >= _RATIO * hits[other]:
        return best
    return None


def demand_within(build: str, keys: Array, what: str) -> None:
    """Raises BuildError where positions lie beyond the end of their chromosome in `build`."""
    codes = key_chromosome(keys)
    ends = np.array([np.iinfo(np.int64).max, *LENGTHS[build], *[np.iinfo(np.int64).max] * 2])
    beyond = int(np.count_nonzero(key_position(keys) > ends[codes]))
    if beyond:
        raise BuildError(
            f"{what} is said to be {build}, but {beyond} positions lie beyond the end of their chromosome there. "
            "Say the right build, or lift the positions over."
        )


def demand_same(genotypes: str | None, score: str | None, name: str) -> None:
    """Raises BuildError unless both builds are known and the same."""
    if genotypes is None:
        raise BuildError(
            "the build of the genotypes is not stated and their positions do not tell it. Say it with --build GRCh37 or GRCh38."
        )
    if score is None:
        raise BuildError(
            f"{name} does not state the build of its positions. Say it with --score-build GRCh37 or GRCh38."
        )
    if genotypes != score:
        raise BuildError(
            f"{name} has positions of {score}, the genotypes of {genotypes}. Take the file harmonised to {genotypes} (the "
            f"PGS Catalog offers both), or lift one over, for instance with CrossMap or bcftools +liftover."
        )
