"""Clumping is plink's; each bar of p gives a score that `score` reads."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tests.genomics.cohort import PLINK1, Cohort, draw, needs_plink1, needs_plink2, plink2

from consilium.errors import GenotypeError, ScoringFileError
from consilium.genomics.gwas import Reading
from consilium.genomics.match import MatchPolicy
from consilium.genomics.run import Request, score_files
from consilium.genomics.threshold import Clumping, threshold


def _linked(people: int = 200, variants: int = 60) -> Cohort:
    """Runs of five neighbours that are nearly the same variant."""
    cohort = draw(people, variants, missing=0)
    random = np.random.default_rng(7)
    for j in range(variants):
        if j % 5:
            cohort.counts[j] = np.where(random.random(people) < 0.03, cohort.counts[j], cohort.counts[j - j % 5])
    return cohort


def _statistics(path: Path, cohort: Cohort, p_values: list[float], effect: str = "BETA") -> Path:
    rows = [
        f"{c}\t{p}\t{i}\t{alt}\t{ref}\t{1.5 + j}\t{p_values[j]!r}\n"
        for j, (c, p, i, ref, alt) in enumerate(cohort.sites)
    ]
    path.write_text(f"CHR\tBP\tSNP\tA1\tA2\t{effect}\tP\n" + "".join(rows))
    return path


def test_of_linked_variants_the_most_significant_stays(tmp_path: Path) -> None:
    cohort = _linked()
    p_values = [float(p) for p in np.random.default_rng(8).uniform(0, 1, 60)]
    request = Request(cohort.write_bed(tmp_path), (), build="GRCh37", score_build="GRCh37")
    made = threshold(
        request, _statistics(tmp_path / "gwas.tsv", cohort, p_values), tmp_path / "s.tsv", Clumping((0.1, 1.0), r2=0.3)
    )
    kept = {line.split("\t")[0] for line in (tmp_path / "s.tsv").read_text().splitlines()[2:]}
    assert kept == {f"rs{start + int(np.argmin(p_values[start : start + 5]))}" for start in range(0, 60, 5)}
    assert (made.tested, made.matched, made.kept) == (60, 60, 12)
    assert made.counts == {"p0.1": sum(p_values[int(i[2:])] <= 0.1 for i in kept), "p1": 12}
    done = score_files(Request(request.genotypes, (tmp_path / "s.tsv",), build="GRCh37"))
    assert done.names == ("p0.1", "p1")
    chosen = sorted(int(i[2:]) for i in kept)
    assert np.allclose(done.sums[1], sum((1.5 + j) * cohort.counts[j].astype(float) for j in chosen), atol=1e-4)


def test_odds_ratios_enter_as_logarithms(tmp_path: Path) -> None:
    cohort = draw(80, 5, missing=0)
    request = Request(cohort.write_bed(tmp_path), (), build="GRCh37", score_build="GRCh37")
    threshold(
        request, _statistics(tmp_path / "g.tsv", cohort, [0.01] * 5, "OR"), tmp_path / "s.tsv", Clumping((1.0,), r2=0.9)
    )
    weights = [float(line.split("\t")[5]) for line in (tmp_path / "s.tsv").read_text().splitlines()[2:]]
    assert np.allclose(weights, np.log(1.5 + np.arange(5)))


@needs_plink1
def test_plink_clumps_the_same(shared_data: Path, tmp_path: Path) -> None:
    """Chromosome 22 of 379 Europeans and a real table of association statistics."""
    folder = shared_data / "genomics_prs/bolt_1000g_eur"
    for suffix in ("bed", "fam"):
        (tmp_path / f"e.{suffix}").symlink_to((folder / f"EUR_subset.{suffix}").resolve())
    (tmp_path / "e.bim").write_bytes(gzip.decompress((folder / "EUR_subset.bim.gz").read_bytes()))
    lines = gzip.decompress((folder / "example.stats.gz").read_bytes()).decode().splitlines()
    rows = [line.split("\t") for line in lines[1:]]
    text = "".join("\t".join([r[0], r[1], r[2], r[4], r[5], r[8], r[10]]) + "\n" for r in rows if r[1] == "22")
    (tmp_path / "gwas.tsv").write_text("SNP\tCHR\tBP\tA1\tA2\tBETA\tP\n" + text)
    words = ["--bfile", "e", "--clump", "gwas.tsv", "--clump-p1", "1", "--clump-p2", "1", "--clump-r2", "0.2"]
    words += ["--clump-kb", "250", "--allow-no-sex", "--out", "o"]
    subprocess.run([str(PLINK1), *words], cwd=tmp_path, check=True, capture_output=True)
    theirs = {line.split()[2] for line in (tmp_path / "o.clumped").read_text().splitlines()[1:] if line.split()}
    request = Request(tmp_path / "e.bed", (), build="GRCh37", score_build="GRCh37", policy=MatchPolicy("keep"))
    threshold(request, tmp_path / "gwas.tsv", tmp_path / "s.tsv", Clumping((1.0,), r2=0.2, kb=250))
    ours = {line.split("\t")[0] for line in (tmp_path / "s.tsv").read_text().splitlines()[2:]}
    assert len(theirs) > 300
    # Ties in p and correlations within rounding of the bar fall either way.
    assert len(ours & theirs) / len(ours | theirs) > 0.98


@needs_plink2
@pytest.mark.parametrize("modifier", ["", "log10"])
def test_plink2s_own_regression_with_covariates_is_read(tmp_path: Path, modifier: str) -> None:
    """A case-control trait that the third variant makes, with two covariates of which one explains more than any variant."""
    cohort = draw(400, 30, missing=0)
    random = np.random.default_rng(5)
    age = random.normal(size=400)
    liability = 2 * cohort.counts[3] + 2 * age + random.normal(size=400)
    case = 1 + (liability > np.median(liability))
    lines = [f"F{i} P{i} {case[i]} {age[i]:.6f} {random.normal():.6f}\n" for i in range(400)]
    (tmp_path / "pheno.txt").write_text("FID IID T AGE PC1\n" + "".join(lines))
    cohort.write_bed(tmp_path)
    words = ["--bfile", "g", "--pheno", "pheno.txt", "--pheno-name", "T", "--covar", "pheno.txt"]
    words += ["--covar-name", "AGE,PC1", "--glm", *modifier.split(), "--out", "o"]
    plink2(tmp_path, *words)
    (path,) = [one for one in tmp_path.glob("o.T.glm.*") if not one.name.endswith(".id")]
    path.rename(tmp_path / "gwas.tsv")
    request = Request(tmp_path / "g.bed", (), build="GRCh37", score_build="GRCh37", policy=MatchPolicy("keep"))
    made = threshold(request, tmp_path / "gwas.tsv", tmp_path / "made.tsv", Clumping((1e-8, 1.0), r2=0.999))
    table = [line.split("\t") for line in (tmp_path / "gwas.tsv").read_text().splitlines()]
    at = {name: k for k, name in enumerate(table[0])}
    additive = {row[at["ID"]]: row for row in table[1:] if row[at["TEST"]] == "ADD"}
    assert {row[at["TEST"]] for row in table[1:]} == {"ADD", "AGE", "PC1"}
    assert (made.tested, made.matched) == (30, 30)
    rows = [line.split("\t") for line in (tmp_path / "made.tsv").read_text().splitlines()[2:]]
    for name, _, _, allele, _, _, weight in rows:
        assert allele == additive[name][at["A1"]]
        assert float(weight) == pytest.approx(np.log(float(additive[name][at["OR"]])))
    assert [row[0] for row in rows if float(row[5])] == ["rs3"]


def test_what_cannot_be_thresholded(tmp_path: Path) -> None:
    cohort = draw(80, 5, missing=0)
    request = Request(cohort.write_bed(tmp_path), (), build="GRCh37", score_build="GRCh37")
    path = _statistics(tmp_path / "g.tsv", cohort, [0.1] * 5)
    path.write_text(path.read_text().replace("\tP\n", "\tprob\n"))
    with pytest.raises(ScoringFileError, match="names no p-value known here"):
        threshold(request, path, tmp_path / "s.tsv")
    threshold(request, path, tmp_path / "s.tsv", Clumping(reading=Reading(p="prob")))
    _statistics(path, cohort, [0.5] * 5)
    with pytest.raises(ScoringFileError, match=r"none of the 5 .* has a p-value of at most 0.1; the least is 0.5"):
        threshold(request, path, tmp_path / "t.tsv", Clumping((0.05, 0.1)))
    path.write_text(path.read_text().replace("\trs", "\tno").replace("\t20", "\t10"))
    with pytest.raises(ScoringFileError, match=r"none of the 5 variants of g.tsv is in the genotypes \(5 absent\)"):
        threshold(request, path, tmp_path / "t.tsv")
    cohort.sites[0], cohort.sites[4] = cohort.sites[4], cohort.sites[0]
    with pytest.raises(GenotypeError, match="order of positions"):
        threshold(_another(request, cohort, tmp_path), _statistics(path, cohort, [0.1] * 5), tmp_path / "t.tsv")
    assert not (tmp_path / "t.tsv").exists()


def _another(request: Request, cohort: Cohort, folder: Path) -> Request:
    return Request(cohort.write_bed(folder, "other"), (), build=request.build, score_build=request.score_build)
