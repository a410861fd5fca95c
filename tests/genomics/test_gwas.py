"""Summary statistics of every program are read for what they are: the effect, the allele that it is of, p and its order."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from tests.genomics.cohort import Cohort, draw

from consilium.errors import ScoringFileError
from consilium.genomics.gwas import Reading
from consilium.genomics.match import MatchPolicy
from consilium.genomics.run import Request
from consilium.genomics.threshold import Clumped, Clumping, threshold

BETAS = (0.5, -0.25, 0.125, -0.0625, 0.75, -1.5)
P_VALUES = (1e-12, 0.03125, 0.5, 1e-9, 0.25, 0.75)
EVERY = MatchPolicy("keep")


def _made(tmp_path: Path, cohort: Cohort, reading: Reading | None = None, build: str = "GRCh37") -> Clumped:
    """The scoring file of gwas.tsv, every variant kept."""
    request = Request(cohort.write_bed(tmp_path), (), build=build, score_build=build, policy=EVERY)
    how = Clumping((1e-8, 1.0), r2=0.999, reading=reading or Reading())
    return threshold(request, tmp_path / "gwas.tsv", tmp_path / "made.tsv", how)


def _rows(tmp_path: Path) -> list[dict[str, str]]:
    lines = (tmp_path / "made.tsv").read_text().splitlines()
    return list(csv.DictReader([line for line in lines if not line.startswith("#")], delimiter="\t"))


def _write(tmp_path: Path, cohort: Cohort, header: str, row: str, *more: str) -> None:
    """A line a variant (and one for each of `more`), in the words of `row`. The effect is of the reference in every second."""
    lines = [header]
    for j, (chromosome, place, name, ref, alt) in enumerate(cohort.sites):
        effect, other = (ref, alt) if j % 2 else (alt, ref)
        beta, p = BETAS[j % 6], P_VALUES[j % 6]
        words = {"c": chromosome, "at": place, "id": name, "ref": ref, "alt": alt, "e": effect, "o": other}
        words |= {"beta": repr(beta), "odds": repr(float(np.exp(beta))), "minus": repr(-beta), "p": repr(p)}
        words |= {"log": repr(-float(np.log10(p))), "small": effect.lower(), "less": other.lower()}
        lines += [text.format(**words) for text in (row, *more)]
    (tmp_path / "gwas.tsv").write_text("\n".join(lines) + "\n")


PROGRAMS = {
    "plink --logistic": (
        " CHR SNP BP A1 TEST NMISS OR STAT P",
        " {c} {id} {at} {e} ADD 90 {odds} 1 {p}",
        " {c} {id} {at} {e} COV1 90 9 1 1e-30",
    ),
    "plink2 --glm": (
        "#CHROM\tPOS\tID\tREF\tALT\tPROVISIONAL_REF?\tA1\tOMITTED\tTEST\tOBS_CT\tOR\tLOG(OR)_SE\tZ_STAT\tP\tERRCODE",
        "{c}\t{at}\t{id}\t{ref}\t{alt}\tY\t{e}\t{o}\tADD\t90\t{odds}\t1\t1\t{p}\t.",
        "{c}\t{at}\t{id}\t{ref}\t{alt}\tY\t{e}\t{o}\tAGE\t90\t9\t1\t1\t1e-30\t.",
    ),
    "plink2 --glm log10": (
        "#CHROM\tPOS\tID\tREF\tALT\tA1\tTEST\tOBS_CT\tBETA\tSE\tT_STAT\tLOG10_P\tERRCODE",
        "{c}\t{at}\t{id}\t{ref}\t{alt}\t{e}\tADD\t90\t{beta}\t1\t1\t{log}\t.",
        "{c}\t{at}\t{id}\t{ref}\t{alt}\t{e}\tADDxAGE\t90\t9\t1\t1\t30\t.",
    ),
    "REGENIE": (
        "CHROM GENPOS ID ALLELE0 ALLELE1 A1FREQ N TEST BETA SE CHISQ LOG10P EXTRA",
        "{c} {at} {id} {o} {e} 0.2 90 ADD {beta} 1 1 {log} NA",
        "{c} {at} {id} {o} {e} 0.2 90 ADD-INT_SNP 9 1 1 30 NA",
    ),
    "SAIGE": (
        "CHR\tPOS\tMarkerID\tAllele1\tAllele2\tAC_Allele2\tAF_Allele2\tBETA\tSE\tTstat\tvar\tp.value\tp.value.NA\tIs.SPA",
        "{c}\t{at}\t{id}\t{o}\t{e}\t9\t0.2\t{beta}\t1\t1\t1\t{p}\t0.9\ttrue",
    ),
    "BOLT-LMM": (
        "SNP\tCHR\tBP\tGENPOS\tALLELE1\tALLELE0\tA1FREQ\tF_MISS\tBETA\tSE\tP_BOLT_LMM_INF\tP_BOLT_LMM",
        "{id}\t{c}\t{at}\t0.1\t{e}\t{o}\t0.2\t0\t{beta}\t1\t0.9\t{p}",
    ),
    "BOLT-LMM-INF": (
        "SNP\tCHR\tBP\tGENPOS\tALLELE1\tALLELE0\tA1FREQ\tF_MISS\tBETA\tSE\tP_BOLT_LMM_INF",
        "{id}\t{c}\t{at}\t0.1\t{e}\t{o}\t0.2\t0\t{beta}\t1\t{p}",
    ),
    "GCTA fastGWA": (
        "CHR\tSNP\tPOS\tA1\tA2\tN\tAF1\tT\tSE_T\tP_noSPA\tBETA\tSE\tP\tCONVERGE",
        "{c}\t{id}\t{at}\t{e}\t{o}\t90\t0.2\t1\t1\t0.9\t{beta}\t1\t{p}\t1",
    ),
    "GCTA mlma": ("Chr\tSNP\tbp\tA1\tA2\tFreq\tb\tse\tp", "{c}\t{id}\t{at}\t{e}\t{o}\t0.2\t{beta}\t1\t{p}"),
    "METAL": (
        "MarkerName\tAllele1\tAllele2\tFreq1\tFreqSE\tEffect\tStdErr\tP-value\tDirection\tHetISq\tHetPVal",
        "{id}\t{small}\t{less}\t0.2\t0.1\t{beta}\t1\t{p}\t++\t0\t0.9",
    ),
    "daner": (
        "CHR SNP BP A1 A2 FRQ_A_90 FRQ_U_90 INFO OR SE P ngt Direction HetISqt HetDf HetPVa",
        "{c} {id} {at} {e} {o} 0.2 0.2 1 {odds} 1 {p} 0 +? 0 1 0.9",
    ),
    "GWAS-SSF": (
        "chromosome\tbase_pair_location\teffect_allele\tother_allele\todds_ratio\tstandard_error\tneg_log_10_p_value\trsid",
        "{c}\t{at}\t{e}\t{o}\t{odds}\t#NA\t{log}\t{id}",
    ),
    "a table of odds": (
        "Chr\tPosition\tEffect-Allele\tNon_Effect_Allele\tODDSRATIO\tPVALUE",
        "chr{c}\t{at}\t{e}\t{o}\t{odds}\t{p}",
    ),
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_output_of_a_program_is_known_by_its_header(tmp_path: Path, program: str) -> None:
    cohort = draw(80, 6, missing=0)
    _write(tmp_path, cohort, *PROGRAMS[program])
    made = _made(tmp_path, cohort)
    assert (made.tested, made.matched, made.kept) == (6, 6, 6)
    assert made.counts == {"p1e-08": 2, "p1": 6}
    for j, row in enumerate(_rows(tmp_path)):
        assert row["effect_allele"] == cohort.sites[j][3 if j % 2 else 4]
        assert float(row["p1"]) == pytest.approx(BETAS[j])


HARMONISED = (
    "hm_variant_id\thm_rsid\thm_chrom\thm_pos\thm_other_allele\thm_effect_allele\thm_beta\thm_odds_ratio\thm_code\t"
    "chromosome\tbase_pair_location\teffect_allele\tother_allele\tp_value\tneg_log_10_p_value\tbeta\todds_ratio"
)


HARMONISED_ROWS = {
    "the harmonised beta": "x\t{id}\t{c}\t{at}\t{o}\t{e}\t{beta}\tNA\t10\t{c}\t77\t{o}\t{e}\t{p}\tNA\tNA\tNA",
    "the harmonised odds": "x\t{id}\t{c}\t{at}\t{o}\t{e}\tNA\t{odds}\t11\t{c}\t77\t{o}\t{e}\tNA\t{log}\tNA\t9",
    "not the author's": "x\t{id}\t{c}\t{at}\t{o}\t{e}\t{beta}\tNA\t11\t{c}\t77\t{o}\t{e}\t{p}\tNA\t{minus}\tNA",
    "the author's with its allele": "x\t{id}\t{c}\t{at}\t{e}\t{o}\tNA\tNA\t14\t{c}\t77\t{e}\t{o}\t{p}\tNA\t{beta}\tNA",
}


@pytest.mark.parametrize("taken", HARMONISED_ROWS)
def test_a_harmonised_effect_is_of_the_harmonised_allele(tmp_path: Path, taken: str) -> None:
    cohort = draw(80, 6, missing=0)
    _write(tmp_path, cohort, HARMONISED, HARMONISED_ROWS[taken])
    assert _made(tmp_path, cohort, build="GRCh38").kept == 6
    for j, made in enumerate(_rows(tmp_path)):
        assert made["effect_allele"] == cohort.sites[j][3 if j % 2 else 4]
        assert float(made["p1"]) == pytest.approx(BETAS[j])


LOG_NAMES = (
    "LOG10P",
    "LOG10_P",
    "NEG_LOG10_P",
    "neg_log_10_p_value",
    "MLOG10P",
    "mlogp",
    "NLP",
    "minus_log10p",
    "-log10(P)",
)


@pytest.mark.parametrize("name", LOG_NAMES)
@pytest.mark.parametrize("named", [False, True])
def test_logarithms_of_p_are_turned_into_p(tmp_path: Path, name: str, named: bool) -> None:
    cohort = draw(80, 6, missing=0)
    _write(tmp_path, cohort, f"SNP\tA1\tBETA\t{name}", "{id}\t{e}\t{beta}\t{log}")
    made = _made(tmp_path, cohort, Reading(p=name if named else None))
    assert made.counts == {"p1e-08": 2, "p1": 6}


def _twins(tmp_path: Path, header: str, values: tuple[str, str]) -> str:
    """Which of two equal variants stays."""
    cohort = draw(80, 2, missing=0)
    cohort.counts[1] = cohort.counts[0]
    lines = [f"{site[2]}\t{site[4]}\t0.1\t{value}\n" for site, value in zip(cohort.sites, values, strict=True)]
    (tmp_path / "gwas.tsv").write_text(f"SNP\tA1\tBETA\t{header}\n" + "".join(lines))
    assert _made(tmp_path, cohort).counts == {"p1e-08": 1, "p1": 1}
    return _rows(tmp_path)[0]["rsID"]


def test_of_logarithms_the_greater_is_more_significant_even_below_the_smallest_float(tmp_path: Path) -> None:
    assert _twins(tmp_path, "LOG10P", ("9", "12")) == "rs1"
    assert _twins(tmp_path, "LOG10P", ("400", "900.5")) == "rs1"
    assert _twins(tmp_path, "LOG10P", ("inf", "900.5")) == "rs0"
    assert _twins(tmp_path, "LOG10P", ("-9", "-12")) == "rs1", "log10 p with its sign"
    assert _twins(tmp_path, "P", ("1e-9", "0")) == "rs1"


def test_numbers_that_are_no_p_values_are_refused(tmp_path: Path) -> None:
    cohort = draw(80, 6, missing=0)
    _write(tmp_path, cohort, "SNP\tA1\tBETA\tscore", "{id}\t{e}\t{beta}\t{log}")
    with pytest.raises(ScoringFileError, match=r"holds 3 numbers that are no p-values, such as 12. .*--p-is log10p"):
        _made(tmp_path, cohort, Reading(p="score"))
    assert _made(tmp_path, cohort, Reading(p="score", p_is="log10p")).counts == {"p1e-08": 2, "p1": 6}
    _write(tmp_path, cohort, "SNP\tA1\tBETA\tP", "{id}\t{e}\t{beta}\t{beta}")
    with pytest.raises(ScoringFileError, match="no p-values, such as -0"):
        _made(tmp_path, cohort)
    _write(tmp_path, cohort, "SNP\tA1\tBETA\tLOG10P", "{id}\t{e}\t{beta}\t{beta}")
    with pytest.raises(ScoringFileError, match="no -log10 p, such as -0"):
        _made(tmp_path, cohort)
    _write(tmp_path, cohort, "SNP\tA1\tBETA\tlog_p", "{id}\t{e}\t{beta}\t{log}")
    with pytest.raises(ScoringFileError, match="does not say which logarithm"):
        _made(tmp_path, cohort, Reading(p="log_p"))


@pytest.mark.parametrize("name", ["OR", "or", "odds_ratio", "OddsRatio", "ODDS.RATIO", "OR(A1)", "OR_meta"])
def test_odds_ratios_of_every_name_enter_as_logarithms(tmp_path: Path, name: str) -> None:
    cohort = draw(80, 6, missing=0)
    _write(tmp_path, cohort, f"SNP\tA1\t{name}\tP", "{id}\t{e}\t{odds}\t{p}")
    _made(tmp_path, cohort, Reading(effect=name))
    assert [float(row["p1"]) for row in _rows(tmp_path)] == pytest.approx(BETAS)


def test_a_logarithm_of_odds_is_taken_as_it_is(tmp_path: Path) -> None:
    cohort = draw(80, 6, missing=0)
    _write(tmp_path, cohort, "SNP\tA1\tlog(OR)\tP", "{id}\t{e}\t{beta}\t{p}")
    _made(tmp_path, cohort)
    assert [float(row["p1"]) for row in _rows(tmp_path)] == pytest.approx(BETAS)


def test_betas_that_look_like_odds_must_be_said_to_be_either(tmp_path: Path) -> None:
    cohort = draw(80, 24, missing=0)
    odds = np.exp(np.random.default_rng(3).normal(0, 0.1, 24))
    lines = [f"{site[2]}\t{site[4]}\t{one!r}\t0.1\n" for site, one in zip(cohort.sites, odds.tolist(), strict=True)]
    (tmp_path / "gwas.tsv").write_text("SNP\tA1\tBETA\tP\n" + "".join(lines))
    with pytest.raises(ScoringFileError, match="all positive and lie around 1"):
        _made(tmp_path, cohort)
    _made(tmp_path, cohort, Reading(effect_is="or"))
    assert [float(row["p1"]) for row in _rows(tmp_path)] == pytest.approx(np.log(odds).tolist())
    _made(tmp_path, cohort, Reading(effect_is="beta"))
    assert [float(row["p1"]) for row in _rows(tmp_path)] == pytest.approx(odds.tolist())
    (tmp_path / "gwas.tsv").write_text("SNP\tA1\tOR\tP\n" + "".join(lines).replace(repr(float(odds[0])), "-0.1"))
    with pytest.raises(ScoringFileError, match="odds ratios that are not positive"):
        _made(tmp_path, cohort)


def test_small_positive_betas_are_betas(tmp_path: Path) -> None:
    """As of a file turned to the allele that raises the trait."""
    cohort = draw(80, 24, missing=0)
    lines = [f"{site[2]}\t{site[4]}\t{0.01 * (1 + j)}\t0.1\n" for j, site in enumerate(cohort.sites)]
    (tmp_path / "gwas.tsv").write_text("SNP\tA1\tBETA\tP\n" + "".join(lines))
    assert _made(tmp_path, cohort).kept == 24


def test_without_an_additive_test_the_tests_are_listed(tmp_path: Path) -> None:
    cohort = draw(80, 6, missing=0)
    rows = ("{id}\t{e}\tDOM\t{beta}\t{p}", "{id}\t{e}\tAGE\t{beta}\t{p}")
    _write(tmp_path, cohort, "SNP\tA1\tTEST\tBETA\tP", *rows)
    with pytest.raises(ScoringFileError, match="no row whose TEST is ADD; those that it has: AGE, DOM"):
        _made(tmp_path, cohort)
    _write(tmp_path, cohort, "SNP\tA1\tTest\tBETA\tP", *rows, "{id}\t{e}\tadd\t{minus}\t{p}")
    assert _made(tmp_path, cohort).tested == 6
    assert [float(row["p1"]) for row in _rows(tmp_path)] == pytest.approx([-beta for beta in BETAS])


@pytest.mark.parametrize(
    ("header", "row", "said"),
    [
        ("SNP\tREF\tALT\tBETA\tP", "{id}\t{o}\t{e}\t{beta}\t{p}", "does not say which allele its effects are of"),
        ("SNP\tAllele\tBETA\tP", "{id}\t{e}\t{beta}\t{p}", "does not say which allele its effects are of"),
        ("SNP\tAllele1\tAllele2\tEffect\tP", "{id}\t{o}\t{e}\t{beta}\t{p}", "does not say which of them"),
        ("SNP\tallele_1\tallele_2\tBETA\tP", "{id}\t{o}\t{e}\t{beta}\t{p}", "does not say which of them"),
        ("SNP\tA1\tZ\tP", "{id}\t{e}\t{beta}\t{p}", "names no effect known here"),
        ("SNP\tA1\tBETA\tP", "{id}\t{e}\tNA\t{p}", "column 'BETA' of gwas.tsv holds no effect"),
        ("SNP\tA1\tBETA\tP", "{id}\t{e}\t{beta}\tNA", "column 'P' of gwas.tsv holds no p-value"),
        ("SNP\tA1\thm_beta\tP", "{id}\t{e}\t{beta}\t{p}", "names no effect known here"),
    ],
)
def test_what_is_not_known_is_not_guessed(tmp_path: Path, header: str, row: str, said: str) -> None:
    cohort = draw(80, 6, missing=0)
    _write(tmp_path, cohort, header, row)
    with pytest.raises(ScoringFileError, match=said):
        _made(tmp_path, cohort)


def test_a_harmonised_effect_is_of_no_other_allele(tmp_path: Path) -> None:
    cohort = draw(80, 6, missing=0)
    _write(tmp_path, cohort, "SNP\teffect_allele\tother_allele\thm_beta\tP", "{id}\t{e}\t{o}\t{beta}\t{p}")
    with pytest.raises(ScoringFileError, match="does not say which allele its effects are of"):
        _made(tmp_path, cohort, Reading(effect="hm_beta"))
    _made(tmp_path, cohort, Reading(effect="hm_beta", columns={"effect_allele": "effect_allele"}))
    assert [float(row["p1"]) for row in _rows(tmp_path)] == pytest.approx(BETAS)


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    cohort = draw(80, 6, missing=0)
    _write(tmp_path, cohort, "SNP\tA1\tBETA\tP", "{id}\t{e}\t{beta}\t{p}")
    with pytest.raises(ScoringFileError, match="no column 'Q', only SNP, A1, BETA, P"):
        _made(tmp_path, cohort, Reading(p="Q"))
