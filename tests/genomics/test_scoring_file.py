"""Scoring files of every kind are read as they are written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from consilium.errors import ScoringFileError
from consilium.genomics.alleles import NONE, Alleles, key_position
from consilium.genomics.score_kinds import KINDS
from consilium.genomics.scoring_file import ScoreOptions, ScoreTable, read_scores

CATALOG = """###PGS CATALOG SCORING FILE
#format_version=2.0
#pgs_id=PGS009999
#trait_reported=Height = tall
#genome_build=GRCh37
#HmPOS_build=GRCh38
rsID\tchr_name\tchr_position\teffect_allele\tother_allele\teffect_weight\thm_chr\thm_pos
rs1\t1\t1000\tA\tG\t1.045457e-02\t1\t2000
rs2\t1\t3000\tC\tT\t-0.1\t\t
"""


def _read(path: Path, text: str, target: str | None = None, **options: object) -> ScoreTable:
    path.write_text(text)
    (table,) = read_scores(path, Alleles(), target, ScoreOptions(**options))  # type: ignore[arg-type]
    return table


def test_the_catalogs_header_and_columns(tmp_path: Path) -> None:
    table = _read(tmp_path / "s.txt", CATALOG, "GRCh37")
    assert (table.names, table.build, table.facts["trait_reported"]) == (("PGS009999",), "GRCh37", "Height = tall")
    assert table.weights.tolist() == [[1.045457e-02, -0.1]]
    assert key_position(table.key).tolist() == [1000, 3000]


def test_harmonised_positions_are_taken_for_the_build_that_is_asked_for(tmp_path: Path) -> None:
    table = _read(tmp_path / "s.txt", CATALOG, "GRCh38")
    assert (table.build, key_position(table.key).tolist()) == ("GRCh38", [2000, NONE])


def test_the_real_files(real: Path) -> None:
    (own,) = read_scores(real / "PGS001229_22.txt", Alleles())
    (harmonised,) = read_scores(real / "PGS001229_hmPOS_GRCh38.txt.gz", Alleles())
    assert (len(own), own.build, own.names) == (835, "GRCh37", ("PGS001229",))
    assert (len(harmonised), harmonised.build, harmonised.names) == (51209, "GRCh38", ("PGS001229",))
    assert {KINDS[k]: int(n) for k, n in enumerate(np.bincount(harmonised.kinds)) if n} == {"additive": 51205, "hla": 4}
    assert own.weights[0, 0] == 1.045457e-02


TABLES = (
    "rs1\tA\t0.5\t1\nrs2\tC\t-1\t2\n",
    "SNP  A1   one two\nrs1   A  0.5 1\nrs2 C -1   2\n",
    "ID,A1,one,two\nrs1,A,0.5,1\nrs2,C,-1,2\n",
)


@pytest.mark.parametrize("text", TABLES)
def test_plink_tables_with_tabs_blanks_and_commas(tmp_path: Path, text: str) -> None:
    table = _read(tmp_path / "s.txt", text)
    assert table.weights.tolist() == [[0.5, -1], [1, 2]]
    assert table.ids is not None and table.ids.to_pylist() == ["rs1", "rs2"]
    assert table.names == (("one", "two") if "one" in text else ("column 3", "column 4"))


def test_named_columns(tmp_path: Path) -> None:
    text = "marker\tkind\tallele_x\tT1\tT2\nrs1\tq\tA\t1\t2\n"
    columns = {"id": "marker", "effect_allele": "allele_x", "effect_weight": "T2"}
    table = _read(tmp_path / "s.txt", text, columns=columns)
    assert (table.names, table.weights.tolist()) == (("s",), [[2]])
    with pytest.raises(ScoringFileError, match="no column 'T3', only marker"):
        _read(tmp_path / "s.txt", text, columns=columns | {"effect_weight": "T3"})
    with pytest.raises(ScoringFileError, match="is no role"):
        _read(tmp_path / "s.txt", text, columns={"weigth": "T1"})


def test_a_long_table_is_several_scores(tmp_path: Path) -> None:
    rows = "1\t10\tA\tG\t1\tPGS1\n1\t20\tA\tG\t2\tPGS2\n1\t30\tC\tG\t3\tPGS1\n"
    (tmp_path / "s.txt").write_text(
        "chr_name\tchr_position\teffect_allele\tother_allele\teffect_weight\taccession\n" + rows
    )
    first, second = read_scores(tmp_path / "s.txt", Alleles(), None, ScoreOptions(build="GRCh37"))
    assert (first.names, first.weights.tolist(), first.row.tolist()) == (("PGS1",), [[1, 3]], [1, 3])
    assert (second.names, second.weights.tolist(), second.build) == (("PGS2",), [[2]], "GRCh37")


@pytest.mark.parametrize("weight", ["", "NaN", "nan", "NA", "inf"])
def test_a_weight_that_is_no_number_names_its_row(tmp_path: Path, weight: str) -> None:
    with pytest.raises(ScoringFileError, match=r"1 weights of column 'W', the first in row 2"):
        _read(tmp_path / "s.txt", f"ID\tA1\tW\nrs1\tA\t1\nrs2\tA\t{weight}\n")


def test_blanks_may_mean_not_in_this_score(tmp_path: Path) -> None:
    table = _read(tmp_path / "s.txt", "ID\tA1\tV\tW\nrs1\tA\t1\t\nrs2\tA\t\t2\n", blank="zero")
    assert table.weights.tolist() == [[1, 0], [0, 2]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("ID\tA1\tW\nrs1\tA\tx\n", "conversion error"),
        ("ID\tA1\tW\nrs1\tA\n", "another number of columns"),
        ("chr_name\teffect_allele\teffect_weight\n1\tA\t1\n", "neither where"),
        ("ID\tother_allele\teffect_allele\nrs1\tA\tC\n", "no column of weights"),
        ("name\tvalue\tthing\nfoo\tbar\tbaz\n", "names no effect allele"),
    ],
)
def test_what_is_no_scoring_file(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ScoringFileError, match=said):
        _read(tmp_path / "s.txt", text)


def table_of(tmp_path: Path, text: str) -> tuple[list[str | None], list[str | None]]:
    """(effect alleles, other alleles) of a table with a BETA."""
    (tmp_path / "gwas.tsv").write_text(text)
    book = Alleles()
    (table,) = read_scores(tmp_path / "gwas.tsv", book, None, ScoreOptions(build="GRCh37"))
    return list(book.texts(table.effect)), list(book.texts(table.other))


def test_saige_means_its_second_allele_and_metal_its_first(tmp_path: Path) -> None:
    saige = "CHR\tPOS\tMarkerID\tAllele1\tAllele2\tAF_Allele2\tBETA\n1\t100\trs1\tA\tG\t0.2\t0.5\n"
    assert table_of(tmp_path, saige) == (["G"], ["A"])
    metal = "CHR\tPOS\tMarkerName\tAllele1\tAllele2\tZscore\tBETA\n1\t100\trs1\ta\tg\t3\t0.5\n".replace(
        "\ta\tg", "\tA\tG"
    )
    assert table_of(tmp_path, metal) == (["A"], ["G"])
    with pytest.raises(ScoringFileError, match="does not say which of them the effect is of"):
        table_of(tmp_path, saige.replace("AF_Allele2", "AF"))


def test_of_plink2s_glm_the_other_allele_is_that_which_is_not_a1(tmp_path: Path) -> None:
    rows = "1\t100\trs1\tA\tG\tG\t0.5\n1\t200\trs2\tC\tT\tC\t0.5\n"
    assert table_of(tmp_path, "#CHROM\tPOS\tID\tREF\tALT\tA1\tBETA\n" + rows) == (["G", "C"], ["A", "T"])


def test_a_name_in_other_signs_is_the_same_name(tmp_path: Path) -> None:
    rows = "1\t100\trs1\tA\tG\tG\tA\t0.5\n"
    head = "Chr\tPosition\tSNP.ID\tA1\tA2\tEffect.Allele\tOther-Allele\tBETA\n"
    assert table_of(tmp_path, head + rows) == (["G"], ["A"]), "what is called the effect allele is it, not A1"


def test_the_gwas_catalogs_harmonised_positions_are_of_grch38(tmp_path: Path) -> None:
    text = "hm_rsid\thm_chrom\thm_pos\tchromosome\tbase_pair_location\teffect_allele\tbeta\nrs1\t1\t2000\t1\t1000\tA\t0.1\n"
    new = _read(tmp_path / "s.txt", text, "GRCh38")
    assert (new.build, key_position(new.key).tolist()) == ("GRCh38", [2000])
    old = _read(tmp_path / "s.txt", text, "GRCh37", build="GRCh37")
    assert (old.build, key_position(old.key).tolist()) == ("GRCh37", [1000])


def test_only_rows_that_hold_a_value_are_taken(tmp_path: Path) -> None:
    text = "ID\tA1\tTEST\tBETA\nrs1\tA\tADD\t1\nrs1\tA\tAGE\t2\nrs2\tC\t\t3\nrs3\tG\tadd\t4\n"
    table = _read(tmp_path / "s.txt", text, only=("TEST", "ADD"), columns={"effect_weight": "BETA"})
    assert (table.weights.tolist(), table.row.tolist()) == ([[1, 4]], [1, 4])
    with pytest.raises(ScoringFileError, match="no row whose TEST is REC; those that it has: ADD, AGE, add, blank"):
        _read(tmp_path / "s.txt", text, only=("TEST", "REC"))
