"""Scoring files: PGS Catalog (with its header and harmonised columns), plink --score tables, plain tables with named columns.

Weights are kept as they are written: never turned, scaled or rounded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from consilium.errors import ReadError, ScoringFileError
from consilium.genomics import score_kinds, tables
from consilium.genomics.alleles import NONE, Alleles, chromosomes, site_keys
from consilium.genomics.build import build_named
from consilium.genomics.score_columns import harmonised_place, listed, roles_of, types_of
from consilium.types import Array

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True)
class ScoreOptions:
    """What a file does not say of itself.

    columns  role -> name of the column; effect_weight may name several with +.
    build    of its positions.
    blank    whether a blank weight is an error, means that the variant is not in that score (zero), or stays NaN (keep).
    only     (column, value): only rows that hold the value there, in any case of letters, are taken.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    build: str | None = None
    blank: Literal["error", "zero", "keep"] = "error"
    only: tuple[str, str] | None = None


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """One or several scores over the same n variants.

    key            alleles.site_keys, NONE where the file gives no place.
    ids            names of the variants, null or None where there are none.
    effect, other  alleles.Alleles codes; other is NONE where it is not given.
    weights        (scores, n) float64 for each copy of the effect allele.
    kinds          (n,) index into score_kinds.KINDS.
    by_dosage      (n, 3) weights of 0, 1 and 2 copies where the kind is "dosage", else None.
    row            (n,) row of the file, from 1.
    """

    file: str
    names: tuple[str, ...]
    key: Array
    ids: pyarrow.Array | None
    effect: Array
    other: Array
    weights: Array
    kinds: Array
    by_dosage: Array | None
    row: Array
    build: str | None
    facts: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.key)

    @property
    def has_positions(self) -> bool:
        return bool(np.any(self.key != NONE))


def read_scores(
    path: Path, book: Alleles, target: str | None = None, options: ScoreOptions | None = None
) -> tuple[ScoreTable, ...]:
    """The scores of a file: one table, or one for each accession that it names.

    Where positions are given in two builds (the author's and the harmonised), those of the build `target` are taken. Raises
    ScoringFileError where a column is missing, a weight is not a finite number or no row is what options.only asks for.
    """
    options = options or ScoreOptions()
    try:
        shape = tables.layout(path)
        if not shape.first:
            raise ScoringFileError(f"{path.name} is empty. Give a scoring file.")
        names = list(shape.names) or [f"column {i}" for i in range(1, len(shape.first) + 1)]
        roles = roles_of(path, shape, names, options.columns)
        types = types_of(names, roles) | ({options.only[0]: "string"} if options.only else {})
        table = tables.whole(path, shape, names, types)
    except ScoringFileError:
        raise
    except ReadError as error:
        raise ScoringFileError(str(error)) from error
    if not table.num_rows:
        raise ScoringFileError(f"{path.name} has a header and no variants. Give a scoring file.")
    facts = _facts(shape.comments)
    made = _table(_Source(path, facts, roles, {n.lower(): n for n in names}, options, target), table, book)
    if options.only is not None:
        held = _holding(path, table.column(options.only[0]), options.only)
        made, table = _rows(made, held, made.names), table.take(held)
    return _by_accession(made, table)


def _holding(path: Path, column: Any, only: tuple[str, str]) -> Array:
    """Indices of the rows whose column holds the value."""
    from pyarrow import compute

    texts = compute.utf8_trim_whitespace(column)
    held = compute.fill_null(compute.equal(compute.utf8_upper(texts), only[1].upper()), False).to_numpy()
    if not held.any():
        others = listed(sorted({text or "blank" for text in texts.unique().to_pylist()}))
        raise ScoringFileError(
            f"{path.name} has no row whose {only[0]} is {only[1]}; those that it has: {others}. Give the results of the additive "
            "test: an effect for each copy of the allele."
        )
    return np.flatnonzero(held)


@dataclass(frozen=True)
class _Source:
    path: Path
    facts: Mapping[str, str]
    roles: Mapping[str, tuple[str, ...]]
    lower: Mapping[str, str]
    options: ScoreOptions
    target: str | None


def _facts(comments: Sequence[str]) -> dict[str, str]:
    """`#key=value` lines of the header."""
    pairs = [line.lstrip("#").partition("=") for line in comments if not line.startswith("##")]
    return {key.strip(): value.strip() for key, found, value in pairs if found}


def _table(source: _Source, table: pyarrow.Table, book: Alleles) -> ScoreTable:
    roles, n = source.roles, table.num_rows

    def column(role: str) -> Any:
        return table.column(roles[role][0]) if role in roles else None

    other = column("other_allele")
    if roles.get("other_allele") == (source.lower.get("ref"),) and "alt" in source.lower and "effect_allele" in roles:
        # plink2's --glm: the effect is of A1, be it ALT or REF; the other allele is the other of the two
        from pyarrow import compute

        other = compute.if_else(
            compute.fill_null(compute.equal(other, column("effect_allele")), False),
            table.column(source.lower["alt"]),
            other,
        )
    codes = book.encode(column("effect_allele")) if "effect_allele" in roles else np.full(n, NONE, np.int32)
    key, build = _places(source, table)
    rows = np.arange(1, n + 1)
    kinds, by_dosage = score_kinds.kinds_of(source.lower, table, codes, book)
    weights = _weights(source, table, kinds)
    return ScoreTable(
        source.path.name,
        _names(source),
        key,
        tables.without_dots(column("id").combine_chunks()) if "id" in roles else None,
        codes,
        np.full(n, NONE, np.int32) if other is None else book.encode(other),
        weights,
        kinds,
        by_dosage,
        rows,
        build,
        source.facts,
    )


def _names(source: _Source) -> tuple[str, ...]:
    stem = re.sub(r"(\.(txt|tsv|csv|gz|zst|score))+$", "", source.path.name)
    columns = source.roles["effect_weight"]
    if len(columns) > 1:
        return columns
    return (source.facts.get("pgs_id") or stem,)


def _places(source: _Source, table: pyarrow.Table) -> tuple[Array, str | None]:
    """site_keys and their build: of the author's columns or of the harmonised ones, whichever are in the build asked for."""
    in_name = re.search(r"hmPOS_(GRCh3[78])", source.path.name)
    stated = build_named(source.facts.get("genome_build"))
    sets: list[tuple[str, str, str | None]] = []
    if place := harmonised_place(source.lower):
        harmonised = build_named(source.facts.get("HmPOS_build")) or (in_name[1] if in_name else None)
        if place[0] == "hm_chrom":  # the GWAS Catalog's, which harmonises to this build alone
            harmonised = "GRCh38"
        sets.append((source.lower[place[0]], source.lower[place[1]], harmonised))
    elif in_name:
        stated = stated or in_name[1]
    if {"chromosome", "position"} <= set(source.roles):
        own = stated or build_named(source.options.build)
        sets.append((source.roles["chromosome"][0], source.roles["position"][0], own))
    if not sets:
        return np.full(table.num_rows, NONE, np.int64), None
    chosen = next((one for one in sets if one[2] == source.target), sets[0])
    positions = np.asarray(table.column(chosen[1]).fill_null(-1).to_numpy(), np.int64)
    return site_keys(chromosomes(table.column(chosen[0])), positions), chosen[2]


def _weights(source: _Source, table: pyarrow.Table, kinds: Array) -> Array:
    columns = source.roles["effect_weight"]
    weights = np.empty((max(1, len(columns)), table.num_rows))
    for row, name in zip(weights, columns, strict=False):
        row[:] = table.column(name).to_numpy()
    excused = (kinds == score_kinds.DOSAGE) | (kinds >= score_kinds.FIRST_UNSCORABLE)
    if excused.any():
        weights[:, excused & ~np.isfinite(weights).all(axis=0)] = 0 if columns else 1
    for row, name in zip(weights, columns, strict=False):
        finite = np.isfinite(row)
        if finite.all():
            continue
        if source.options.blank == "keep":
            continue
        if source.options.blank == "zero" and not np.isinf(row).any():
            row[~finite] = 0
            continue
        wrong = np.flatnonzero(~finite)
        raise ScoringFileError(
            f"{source.path.name}: {len(wrong)} weights of column {name!r}, the first in row {wrong[0] + 1}, are blank or no "
            "finite numbers. Correct them, or say --blank-weights zero where a blank means that the variant is not in the score."
        )
    return weights


def _by_accession(made: ScoreTable, table: pyarrow.Table) -> tuple[ScoreTable, ...]:
    """A long table that holds several scores, one below the other, as one table for each."""
    name = next((n for n in table.column_names if n.lower() == "accession"), None)
    if name is None:
        return (made,)
    of = table.column(name).combine_chunks().fill_null("")
    accessions = of.unique().to_pylist()
    if len(accessions) == 1:
        return (replace(made, names=(accessions[0] or made.names[0],)),)
    labels = np.array(of.to_pylist())
    return tuple(_rows(made, np.flatnonzero(labels == accession), (accession,)) for accession in accessions)


def _rows(made: ScoreTable, index: Array, names: tuple[str, ...]) -> ScoreTable:
    import pyarrow

    return replace(
        made,
        names=names,
        key=made.key[index],
        ids=None if made.ids is None else made.ids.take(pyarrow.array(index)),
        effect=made.effect[index],
        other=made.other[index],
        weights=made.weights[:, index],
        kinds=made.kinds[index],
        by_dosage=None if made.by_dosage is None else made.by_dosage[index],
        row=made.row[index],
    )
