"""Which column of a scoring file is what."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from consilium.errors import ScoringFileError
from consilium.genomics import score_kinds, tables

ALIASES: Mapping[str, tuple[str, ...]] = {
    "id": ("rsid", "id", "snp", "snpid", "variant_id", "variantid", "markername", "markerid", "hm_rsid"),
    "chromosome": ("chr_name", "chr", "chrom", "chromosome"),
    "position": ("chr_position", "pos", "bp", "position", "base_pair_location", "genpos"),
    "effect_allele": ("effect_allele", "ea", "a1", "allele1", "allele"),
    "other_allele": (
        "other_allele",
        "non_effect_allele",
        "reference_allele",
        "oa",
        "nea",
        "a2",
        "a0",
        "allele0",
        "omitted",
        "ref",
    ),
    "effect_weight": ("effect_weight", "weight", "beta"),
}
"""The roles that a column can have, and the names (small letters) by which each is known; what the user declares goes first.
Capitals and signs do not matter (`plain`)."""

_HARMONISED = (("hm_chr", "hm_pos"), ("hm_chrom", "hm_pos"))

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


def plain(name: str) -> str:
    """A column's name in small letters and digits alone: `P-value`, `p_value` and `p.value` are all pvalue."""
    return re.sub("[^a-z0-9]", "", name.lower())


def harmonised_place(lower: Collection[str]) -> tuple[str, str] | None:
    """Which of the names (small letters) hold the harmonised chromosome and position: the PGS Catalog's or the GWAS Catalog's."""
    return next((pair for pair in _HARMONISED if set(pair) <= set(lower)), None)


def known_roles(path: Path, names: Sequence[str], declared: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Which columns play which role by what is declared and by their names. Raises ScoringFileError for a role or a column that
    is none, and where two alleles are named and not which of them the effect is of."""
    unknown = set(declared) - set(ALIASES)
    if unknown:
        raise ScoringFileError(f"{', '.join(sorted(unknown))} is no role of a column. Roles: {', '.join(ALIASES)}.")
    lower, signless = ({of(name): name for name in reversed(names)} for of in (str.lower, plain))
    found = {
        role: [name for alias in aliases if (name := lower.get(alias) or signless.get(plain(alias)))]
        for role, aliases in ALIASES.items()
    }
    roles: dict[str, tuple[str, ...]] = {role: (called[0],) for role, called in found.items() if called}
    roles |= _of_two(path, signless, roles, declared)
    for role, text in declared.items():
        columns = tuple(text.split("+")) if role == "effect_weight" else (text,)
        if absent := [column for column in columns if column not in names]:
            raise ScoringFileError(f"{path.name} has no column {absent[0]!r}, only {listed(names)}.")
        roles[role] = columns
    return roles


def roles_of(
    path: Path, shape: tables.Layout, names: Sequence[str], declared: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """Which columns play which role. Without an effect allele by name it is a plink table: id, allele, weights."""
    roles = known_roles(path, names, declared)
    lower = {name.lower() for name in names}
    if "effect_allele" not in roles or not shape.names:
        if len(names) < 3 or not re.fullmatch(
            "[ACGTacgt]+", shape.first[1] if not shape.names else _second(path, shape)
        ):
            raise ScoringFileError(
                f"{path.name} names no effect allele, and is no plink table (id, allele, weights). Its columns: "
                f"{listed(names)}. Name them: --columns effect_allele=A --columns effect_weight=B --columns id=C"
            )
        roles = {"id": (names[0],), "effect_allele": (names[1],), "effect_weight": tuple(names[2:])}
    if "effect_weight" not in roles:
        used = {name for role in roles.values() for name in role}
        rest = [name for name in names if name not in used and name.lower() not in _BESIDE]
        roles["effect_weight"] = tuple(rest)
    if not roles["effect_weight"] and not set(score_kinds.DOSAGES) <= lower:
        raise ScoringFileError(f"{path.name} has no column of weights among {listed(names)}.")
    if "id" not in roles and not {"chromosome", "position"} <= set(roles) and not harmonised_place(lower):
        raise ScoringFileError(f"{path.name} says neither where its variants lie nor what they are called.")
    return roles


def _of_two(
    path: Path, signless: Mapping[str, str], roles: Mapping[str, tuple[str, ...]], declared: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """Of columns Allele1 and Allele2 which is the effect's: SAIGE's is the second, METAL's the first; others must be told."""
    if "effect_allele" in declared or "allele2" not in signless:
        return {}
    if roles.get("effect_allele") != (signless.get("allele1"),):
        return {}
    first, second = (signless["allele1"],), (signless["allele2"],)
    if {"acallele2", "afallele2"} & set(signless):
        return {"effect_allele": second, "other_allele": first}
    if {"effect", "zscore"} & set(signless) and {"markername", "direction"} & set(signless):
        return {"effect_allele": first, "other_allele": second}
    raise ScoringFileError(
        f"{path.name} has Allele1 and Allele2, and does not say which of them the effect is of. Say it with --columns "
        "effect_allele=Allele1 --columns other_allele=Allele2, or the other way round."
    )


def listed(names: Sequence[str], most: int = _SHOWN) -> str:
    """Column names for an error: no more than a score has, since those of genotypes are people."""
    return ", ".join(names[:most]) + (" ..." if len(names) > most else "")


def _second(path: Path, shape: tables.Layout) -> str:
    with tables.open_text(path) as stream:
        lines = [stream.readline() for _ in range(shape.skip + 1)]
    return ([*tables.cut(lines[-1].decode("utf-8", "replace").strip(), shape.delimiter), "", ""])[1]


def types_of(names: Sequence[str], roles: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    numbers = {*roles["effect_weight"], *(n for n in names if n.lower() in score_kinds.DOSAGES)}
    places = {*roles.get("position", ()), *(n for n in names if n.lower() == "hm_pos")}
    used = {name for role in roles.values() for name in role}
    read = used | {
        n
        for n in names
        if n.lower() in {"hm_chr", "hm_chrom", "hm_pos", "effect_type", "accession", "alt", *score_kinds.COLUMNS}
    }
    return {n: "float64" if n in numbers else "int64" if n in places else "string" for n in names if n in read}
