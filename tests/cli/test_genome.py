"""`consilium genome` as its user meets it: results on disk that read back, one line and an exit code on every mistake."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
from tests.genomics.cohort import Cohort, draw
from typer.testing import CliRunner, Result

from consilium.cli import genome
from consilium.errors import BuildError, OverlapError, ScoringFileError

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    return lambda *words: CliRunner().invoke(genome.app, [str(word) for word in words])


@pytest.fixture
def cohort() -> Cohort:
    return draw(80, 50)


@pytest.fixture
def files(tmp_path: Path, cohort: Cohort) -> tuple[Path, Path]:
    weights = np.random.default_rng(0).normal(0, 1, (50, 2))
    return cohort.write_bed(tmp_path), cohort.write_scores(tmp_path / "s.tsv", weights, np.ones(50, bool))


def test_score_writes_all_it_found(run: Run, files: tuple[Path, Path], tmp_path: Path, cohort: Cohort) -> None:
    done = run("score", files[0], "--score", files[1], "--out", tmp_path / "out", "--precision", "float64")
    assert done.exit_code == 0, done.output
    assert "S0: 50 of 50 variants (100.0%)" in done.output
    weights = np.random.default_rng(0).normal(0, 1, (50, 2))
    expected = cohort.expected(weights, np.ones(50, bool))
    table = parquet.read_table(tmp_path / "out/scores.parquet")
    assert np.allclose(table["S1_sum"].to_numpy(), expected[1], atol=1e-13)
    lines = [line.split("\t") for line in (tmp_path / "out/scores.tsv").read_text().splitlines()]
    assert lines[0] == ["FID", "IID", "filled_in", "S0_sum", "S0_avg", "S1_sum", "S1_avg"]
    # plink2 #248: six printed digits are too few.
    assert [float(line[5]) for line in lines[1:]] == table["S1_sum"].to_pylist()
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["people"] == 80 and report["scores"][0]["matched"] == 50 and report["versions"]["pgenlib"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "match_log.parquet", "report.json", "report.tsv", "scores.parquet", "scores.tsv",
    ]  # fmt: skip
    assert parquet.read_table(tmp_path / "out/match_log.parquet").num_rows == 50


def test_digits_round_what_is_printed(run: Run, files: tuple[Path, Path], tmp_path: Path) -> None:
    assert run("score", files[0], "--score", files[1], "--out", tmp_path / "o", "--digits", 3).exit_code == 0
    values = parquet.read_table(tmp_path / "o/scores.parquet")["S0_sum"].to_pylist()
    assert all(float(f"{value:.3g}") == value for value in values)


def test_match_explains_without_scoring(run: Run, files: tuple[Path, Path], tmp_path: Path) -> None:
    files[1].write_text(files[1].read_text() + "rs999\tA\t1\t0\n")
    done = run("match", files[0], "--score", files[1], "--out", tmp_path / "m")
    assert done.exit_code == 0 and "S0: 50 of 51 variants (98.0%); 1 absent" in done.output
    assert "S1: 50 of 50" in done.output, "a weight of 0 is no variant of the score"
    assert (tmp_path / "m/match_log.tsv").read_text().count("\n") == 52
    assert not (tmp_path / "m/scores.tsv").exists()


def test_describe_says_what_lies_there(run: Run, real_folder: Path) -> None:
    done = run("describe", real_folder / "cineca_synthetic_subset.bed", real_folder / "PGS001229_22.txt")
    said = [" ".join(line.split()) for line in done.output.splitlines()]
    assert [
        line
        for line in ("people 2504", "build GRCh37", "build known by positions", "names PGS001229")
        if line not in said
    ] == []
    done = run("describe", "--json", real_folder / "tiny1000G.vcf.gz")
    assert json.loads(done.output)[0]["build"] == "GRCh38"


@pytest.fixture
def real_folder(shared_data: Path) -> Path:
    return shared_data / "genomics_prs/pgscatalog"


def test_a_refusal_leaves_nothing(run: Run, real_folder: Path, tmp_path: Path) -> None:
    vcf, catalog = real_folder / "tiny1000G.vcf.gz", real_folder / "PGS001229_hmPOS_GRCh38.txt.gz"
    done = run("score", vcf, "--score", catalog, "--out", tmp_path / "o")
    assert isinstance(done.exception, OverlapError) and not (tmp_path / "o").exists()
    done = run("score", vcf, "--score", real_folder / "PGS001229_22.txt", "--out", tmp_path / "o")
    assert isinstance(done.exception, BuildError) and not (tmp_path / "o").exists()


def test_one_refused_score_stands_beside_others(run: Run, files: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "poor.tsv").write_text("rs1\tA\t1\nrs900\tA\t1\n")
    words = ["--score", files[1], "--score", tmp_path / "poor.tsv", "--out", tmp_path / "o", "--json"]
    done = run("score", files[0], *words)
    assert done.exit_code == 0
    assert [report["refused"] for report in json.loads(done.stdout)] == [False, False, True]
    assert "poor_sum" not in parquet.read_table(tmp_path / "o/scores.parquet").column_names


@pytest.mark.parametrize("command", ["score", "match", "describe"])
def test_help_teaches_by_example(run: Run, command: str) -> None:
    done = run(command, "--help")
    assert done.exit_code == 0 and "Example: consilium genome" in " ".join(done.output.split())


def test_a_reference_is_made_and_used(run: Run, tmp_path: Path) -> None:
    panel = draw(260, 300, missing=0.01)
    panel.write_bed(tmp_path, "panel")
    rows = "".join(f"{c}\t{p}\t{alt}\t{ref}\t{j % 7 - 3}\n" for j, (c, p, _, ref, alt) in enumerate(panel.sites))
    head = "#genome_build=GRCh37\nchr_name\tchr_position\teffect_allele\tother_allele\teffect_weight\n"
    (tmp_path / "s.txt").write_text(head + rows)
    words = ["--score", tmp_path / "s.txt", "--build", "GRCh37"]
    done = run(
        "reference", tmp_path / "panel.bed", *words, "--components", 2, "--out", tmp_path / "ref", "--name", "made up"
    )
    assert done.exit_code == 0, done.output
    assert "made up: 130 people, 2 components, 1 scores" in done.output
    (tmp_path / "one.txt").write_text("P3\n")
    words += ["--reference", tmp_path / "ref", "--keep", tmp_path / "one.txt", "--out", tmp_path / "o"]
    assert run("score", tmp_path / "panel.bed", *words).exit_code == 0
    table = parquet.read_table(tmp_path / "o/scores.parquet")
    assert table.num_rows == 1 and {
        "s_z",
        "s_percentile",
        "s_znorm2",
        "s_adjusted_percentile",
        "PC2",
        "foreignness",
    } <= set(table.column_names)
    assert abs(table["s_znorm2"][0].as_py()) < 6


def test_statistics_become_scores(run: Run, files: tuple[Path, Path], tmp_path: Path, cohort: Cohort) -> None:
    rows = "".join(
        f"{c}\t{p}\t{i}\t{alt}\t{ref}\t0.1\t{0.01 * (1 + j)}\n" for j, (c, p, i, ref, alt) in enumerate(cohort.sites)
    )
    (tmp_path / "g.tsv").write_text("CHR\tBP\tSNP\tA1\tA2\tBETA\tP\n" + rows)
    words = [
        "--statistics",
        tmp_path / "g.tsv",
        "--build",
        "GRCh37",
        "--score-build",
        "GRCh37",
        "--p",
        "0.1,1",
        "--r2",
        0.9,
    ]
    done = run("threshold", files[0], *words, "--out", tmp_path / "made.tsv")
    assert done.exit_code == 0, done.output
    assert "50 tested, 50 genotyped, 50 after clumping" in done.output and "p0.1: 10  p1: 50" in done.output
    done = run("score", files[0], "--score", tmp_path / "made.tsv", "--build", "GRCh37", "--out", tmp_path / "o")
    assert "p0.1: 10 of 10 variants" in done.output


def test_what_columns_of_statistics_hold_can_be_said(
    run: Run, files: tuple[Path, Path], tmp_path: Path, cohort: Cohort
) -> None:
    rows = "".join(f"{i}\t{alt}\t2\t{1 + j}\n" for j, (*_, i, _, alt) in enumerate(cohort.sites))
    (tmp_path / "g.tsv").write_text("SNP\tA1\tratio\tscore\n" + rows)
    words = ["threshold", files[0], "--statistics", tmp_path / "g.tsv", "--effect", "ratio", "--p-value", "score"]
    words += ["--p", "1e-40,1", "--r2", 0.9, "--out", tmp_path / "made.tsv"]
    done = run(*words, "--effect-is", "or")
    assert isinstance(done.exception, ScoringFileError) and not (tmp_path / "made.tsv").exists()
    done = run(*words, "--effect-is", "or", "--p-is", "log10p")
    assert done.exit_code == 0, done.output
    assert "p1e-40: 11  p1: 50" in done.output
    weights = {line.split("\t")[6] for line in (tmp_path / "made.tsv").read_text().splitlines()[1:]}
    assert weights == {repr(float(np.log(2)))}
