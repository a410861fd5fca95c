"""Which column of a scoring file is what."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from consilium.errors import ScoringFileError
from consilium.genomics import score_kinds, tables

ALIASES: Mapping[str, tuple[str, ...]] = {
    "id": ("rsid", "id", "snp", "snpid", "variant_id", "variantid", "markername", "hm_rsid"),
    "chromosome": ("chr_name", "chr", "chrom", "chromosome"),
    "position": ("chr_position", "pos", "bp", "position", "base_pair_location", "genpos"),
    "effect_allele": ("effect_allele", "a1", "ea", "allele1", "allele"),
    "other_allele": ("other_allele", "reference_allele", "a2", "oa", "nea", "allele0", "omitted", "ref"),
    "effect_weight": ("effect_weight", "weight", "beta"),
}
"""The roles that a column can have, and the names (small letters) by which each is known; what the user declares goes first."""

_BESIDE = {
    "effect_type",
    "accession",
    "row_nr",
    "is_duplicated",
    "locus_name",
    "imputation_method",
    "variant_description",
}
_BESIDE |= {"inclusion_criteria", "allelefrequency_effect", "or", "hr", "p", "se", "hm_source", "hm_inferotherallele"}
_BESIDE |= {"hm_chr", "hm_pos", "hm_match_chr", "hm_match_pos", "weight_type", "variant_type", *score_kinds.COLUMNS}


_SHOWN = 9


def roles_of(
    path: Path, shape: tables.Layout, names: Sequence[str], declared: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """Which columns play which role. Without an effect allele by name it is a plink table: id, allele, weights."""
    unknown = set(declared) - set(ALIASES)
    if unknown:
        raise ScoringFileError(f"{', '.join(sorted(unknown))} is no role of a column. Roles: {', '.join(ALIASES)}.")
    lower = {name.lower(): name for name in reversed(names)}
    roles: dict[str, tuple[str, ...]] = {
        role: (lower[a],) for role, known in ALIASES.items() for a in reversed(known) if a in lower
    }
    roles |= _of_two(path, lower, roles, declared)
    for role, text in declared.items():
        columns = tuple(text.split("+")) if role == "effect_weight" else (text,)
        if absent := [column for column in columns if column not in names]:
            raise ScoringFileError(f"{path.name} has no column {absent[0]!r}, only {_listed(names)}.")
        roles[role] = columns
    if "effect_allele" not in roles or not shape.names:
        if len(names) < 3 or not re.fullmatch(
            "[ACGTacgt]+", shape.first[1] if not shape.names else _second(path, shape)
        ):
            raise ScoringFileError(
                f"{path.name} names no effect allele, and is no plink table (id, allele, weights). Its columns: "
                f"{_listed(names)}. Name them: --columns effect_allele=A --columns effect_weight=B --columns id=C"
            )
        roles = {"id": (names[0],), "effect_allele": (names[1],), "effect_weight": tuple(names[2:])}
    if "effect_weight" not in roles:
        used = {name for role in roles.values() for name in role}
        rest = [name for name in names if name not in used and name.lower() not in _BESIDE]
        roles["effect_weight"] = tuple(rest)
    if not roles["effect_weight"] and not set(score_kinds.DOSAGES) <= set(lower):
        raise ScoringFileError(f"{path.name} has no column of weights among {_listed(names)}.")
    if "id" not in roles and not {"chromosome", "position"} <= set(roles) and not {"hm_chr", "hm_pos"} <= set(lower):
        raise ScoringFileError(f"{path.name} says neither where its variants lie nor what they are called.")
    return roles


def _of_two(
    path: Path, lower: Mapping[str, str], roles: Mapping[str, tuple[str, ...]], declared: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """Of columns Allele1 and Allele2 which is the effect's: SAIGE's is the second, METAL's the first; others must be told."""
    if "effect_allele" in declared or roles.get("effect_allele") != (lower.get("allele1"),) or "allele2" not in lower:
        return {}
    first, second = (lower["allele1"],), (lower["allele2"],)
    if {"ac_allele2", "af_allele2"} & set(lower):
        return {"effect_allele": second, "other_allele": first}
    if {"effect", "zscore"} & set(lower):
        return {"effect_allele": first, "other_allele": second}
    raise ScoringFileError(
        f"{path.name} has Allele1 and Allele2, and does not say which of them the effect is of. Say it with --columns "
        "effect_allele=Allele1 --columns other_allele=Allele2, or the other way round."
    )


def _listed(names: Sequence[str]) -> str:
    """Column names for an error: no more than a score has, since those of genotypes are people."""
    return ", ".join(names[:_SHOWN]) + (" ..." if len(names) > _SHOWN else "")


def _second(path: Path, shape: tables.Layout) -> str:
    with tables.open_text(path) as stream:
        lines = [stream.readline() for _ in range(shape.skip + 1)]
    return ([*tables.cut(lines[-1].decode("utf-8", "replace").strip(), shape.delimiter), "", ""])[1]


def types_of(names: Sequence[str], roles: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    numbers = {*roles["effect_weight"], *(n for n in names if n.lower() in score_kinds.DOSAGES)}
    places = {*roles.get("position", ()), *(n for n in names if n.lower() == "hm_pos")}
    used = {name for role in roles.values() for name in role}
    read = used | {
        n for n in names if n.lower() in {"hm_chr", "hm_pos", "effect_type", "accession", "alt", *score_kinds.COLUMNS}
    }
    return {n: "float64" if n in numbers else "int64" if n in places else "string" for n in names if n in read}
