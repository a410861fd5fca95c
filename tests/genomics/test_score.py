"""Sums are those of a float64 reference and of plink2, on every format, with missing calls."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tests.genomics.cohort import PLINK2, Cohort, draw, needs_plink2, plink2, sscore

from consilium.errors import OverlapError, UsageError
from consilium.genomics import score as engine
from consilium.genomics.genotypes import open_genotypes
from consilium.genomics.match import MatchPolicy
from consilium.genomics.plan import plan
from consilium.genomics.run import Request, match_files, score_files
from consilium.genomics.score import ScoreWork
from consilium.types import Array


def _off(sums: Array, expected: Array) -> float:
    """The largest difference, in standard deviations of the score."""
    return float((np.abs(sums - expected).max(axis=1) / expected.std(axis=1)).max())


@pytest.mark.parametrize(("precision", "most"), [("float32", 1e-6), ("float64", 1e-12)])
def test_sums_are_the_reference(
    files: tuple[Path, Path], cohort: Cohort, weights: Array, is_alt: Array, precision: str, most: float
) -> None:
    done = score_files(Request(files[0], (files[1],), precision=precision))
    assert done.names == ("S0", "S1", "S2")
    assert _off(done.sums, cohort.expected(weights, is_alt)) <= most
    assert np.array_equal(done.filled, (cohort.counts < 0).sum(axis=0))
    assert np.allclose(done.averages, done.sums / 1400, rtol=1e-15)


def test_a_hundred_thousand_variants_stay_exact(tmp_path: Path) -> None:
    """Rounding does not grow with the number of variants, nor with the mean of the score."""
    cohort, random = draw(64, 30_000, missing=0.001, seed=3), np.random.default_rng(4)
    weights, is_alt = np.abs(random.normal(0, 0.01, (30_000, 2))), random.random(30_000) < 0.5
    bed, table = cohort.write_bed(tmp_path), cohort.write_scores(tmp_path / "s.tsv", weights, is_alt)
    assert _off(score_files(Request(bed, (table,))).sums, cohort.expected(weights, is_alt)) <= 1e-6


@needs_plink2
@pytest.mark.parametrize("kind", ["bed", "pgen", "pgen zst", "vcf", "vcf.gz", "bcf"])
def test_plink2_says_the_same(
    tmp_path: Path, files: tuple[Path, Path], cohort: Cohort, weights: Array, is_alt: Array, kind: str
) -> None:
    path = _converted(tmp_path, files[0], cohort, kind)
    sums = score_files(Request(path, (files[1],))).sums
    source = {"bed": "--bfile g", "pgen": "--pfile p", "pgen zst": "--pfile p vzs"}.get(
        kind, f"--{kind[:3]} {path.name}"
    )
    columns = ["--score", "scores.tsv", "1", "2", "header-read", "cols=+scoresums", "--score-col-nums", "3-5"]
    plink2(tmp_path, *source.split(), *columns, "--out", "o")
    said = sscore(tmp_path / "o.sscore")
    for k in range(3):
        assert np.all(np.abs(sums[k] - said[f"S{k}_SUM"]) <= said[f"S{k}_SUM half"] + 1e-6 * sums[k].std())
    assert np.array_equal(2 * (700 - (cohort.counts < 0).sum(axis=0)), said["ALLELE_CT"])
    assert _off(sums, cohort.expected(weights, is_alt)) <= 1e-6


def _converted(folder: Path, bed: Path, cohort: Cohort, kind: str) -> Path:
    if kind == "bed":
        return bed
    if kind.startswith("pgen"):
        plink2(folder, "--bfile", "g", "--make-pgen", *(["vzs"] if "zst" in kind else []), "--out", "p")
        return folder / "p.pgen"
    vcf = cohort.write_vcf(folder)
    if kind == "vcf.gz":
        (folder / "g.vcf.gz").write_bytes(gzip.compress(vcf.read_bytes()))
        return folder / "g.vcf.gz"
    if kind == "bcf":
        plink2(folder, "--vcf", "g.vcf", "--export", "bcf", "--out", "g")
        return folder / "g.bcf"
    return vcf


@needs_plink2
def test_dosages_of_a_pgen_are_read(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    cohort = draw(60, 40, missing=0)
    cohort.write_vcf(tmp_path)
    dosages = np.clip(cohort.counts + random.uniform(-0.2, 0.2, cohort.counts.shape), 0, 2).round(3)
    _write_dosages(tmp_path / "d.vcf", cohort, dosages)
    plink2(tmp_path, "--vcf", "d.vcf", "dosage=DS", "--make-pgen", "--out", "d")
    weights = random.normal(0, 1, (40, 1))
    table = cohort.write_scores(tmp_path / "s.tsv", weights, np.ones(40, bool))
    from_vcf = score_files(Request(tmp_path / "d.vcf", (table,), precision="float64")).sums
    from_pgen = score_files(Request(tmp_path / "d.pgen", (table,))).sums
    assert np.allclose(from_vcf, weights.T @ dosages, atol=1e-12)
    assert np.abs(from_pgen - from_vcf).max() < 40 * 3 / 2**14
    plink2(tmp_path, "--pfile", "d", "--score", "s.tsv", "1", "2", "3", "header-read", "cols=+scoresums", "--out", "o")
    said = sscore(tmp_path / "o.sscore")
    assert np.all(np.abs(from_pgen[0] - said["S0_SUM"]) <= said["S0_SUM half"] + 1e-6)


def _write_dosages(path: Path, cohort: Cohort, dosages: Array) -> None:
    text = cohort.write_vcf(path.parent).read_text().splitlines()
    head = [line for line in text if line.startswith("#")]
    head.insert(-1, '##FORMAT=<ID=DS,Number=A,Type=Float,Description="x">')
    rows = []
    for line, values in zip((line for line in text if not line.startswith("#")), dosages, strict=True):
        cells = line.split("\t")
        rows.append("\t".join([*cells[:8], "GT:DS", *(f"{g}:{d}" for g, d in zip(cells[9:], values, strict=True))]))
    path.write_text("\n".join([*head, *rows]) + "\n")


def test_genotype_probabilities_are_dosages(tmp_path: Path) -> None:
    lines = [
        "##fileformat=VCFv4.2",
        '##FORMAT=<ID=GP,Number=G,Type=Float,Description="x">',
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tP0\tP1",
        "22\t100\trs1\tA\tG\t.\t.\t.\tGP\t0.1,0.2,0.7\t1,0,0",
    ]
    (tmp_path / "g.vcf").write_text("\n".join(lines) + "\n")
    (tmp_path / "s.tsv").write_text("rs1\tG\t1\n")
    assert np.allclose(score_files(Request(tmp_path / "g.vcf", (tmp_path / "s.tsv",))).sums, [[1.6, 0]])
    (tmp_path / "s.tsv").write_text("rs1\tA\t1\n")
    assert np.allclose(score_files(Request(tmp_path / "g.vcf", (tmp_path / "s.tsv",))).sums, [[0.4, 2]])


def test_the_real_height_score_is_plinks(real: Path, tmp_path: Path) -> None:
    """PGS001229, chromosome 22: each of the 829 variants genotyped is scored, with the ambiguous ones kept as plink2 does."""
    if PLINK2 is None:
        pytest.skip("needs plink2 (Debian's package), which is not installed")
    request = Request(
        real / "cineca_synthetic_subset.bed",
        (real / "PGS001229_22.txt",),
        policy=MatchPolicy("keep", strand_flips=False),
    )
    done = score_files(request)
    (report,) = done.matched.reports
    assert (report.matched, report.variants, done.matched.build_source) == (829, 835, "positions")
    assert dict(report.unmatched()) == {"absent": 6}
    _score_of(real / "PGS001229_22.txt", tmp_path / "s.txt")
    words = ["--bfile", str(real / "cineca_synthetic_subset"), "--score", "s.txt", "cols=+scoresums", "--out", "o"]
    plink2(tmp_path, *words)
    said = sscore(tmp_path / "o.sscore")
    off = np.abs(done.sums[0] - said["SCORE1_SUM"])
    assert np.all(off <= said["SCORE1_SUM half"] + 1e-6 * done.sums[0].std())
    assert np.all(np.abs(done.averages[0] - said["SCORE1_AVG"]) <= said["SCORE1_AVG half"] + 1e-9)


def _score_of(catalog: Path, table: Path) -> None:
    rows = [
        line.split("\t") for line in catalog.read_text().splitlines() if line.startswith("rs") and "rsID" not in line
    ]
    table.write_text("".join(f"{row[0]}\t{row[3]}\t{row[5]}\n" for row in rows))


def test_a_real_vcf_of_3202_people_is_plinks(real: Path, tmp_path: Path) -> None:
    """The harmonised PGS001229 against 1000 Genomes: with the bar lowered, what is there is scored as plink2 scores it."""
    if PLINK2 is None:
        pytest.skip("needs plink2 (Debian's package), which is not installed")
    vcf, catalog = real / "tiny1000G.vcf.gz", real / "PGS001229_hmPOS_GRCh38.txt.gz"
    request = Request(vcf, (catalog,), policy=MatchPolicy("keep", strand_flips=False), min_overlap=0)
    done = score_files(request)
    assert (done.matched.build, done.matched.reports[0].matched) == ("GRCh38", 983)
    with gzip.open(catalog, "rt") as file:
        rows = [line.split("\t") for line in file][1:]
    names = [(f"{c}:{p}:{a}:{b}", e, w) for c, p, e, o, w, *_ in rows for a, b in ((e, o), (o, e))]
    (tmp_path / "s.txt").write_text("".join(f"{name}\t{e}\t{w}\n" for name, e, w in names))
    plink2(tmp_path, "--vcf", str(vcf), "--score", "s.txt", "cols=+scoresums", "--out", "o")
    said = sscore(tmp_path / "o.sscore")
    assert np.all(np.abs(done.sums[0] - said["SCORE1_SUM"]) <= said["SCORE1_SUM half"] + 1e-6 * done.sums[0].std())


def test_a_low_overlap_is_refused(real: Path) -> None:
    request = Request(real / "tiny1000G.vcf.gz", (real / "PGS001229_hmPOS_GRCh38.txt.gz",))
    with pytest.raises(OverlapError, match=r"75%.*of 51209.*absent.*--min-overlap"):
        score_files(request)


def test_people_and_variants_can_be_chosen(
    tmp_path: Path, files: tuple[Path, Path], cohort: Cohort, weights: Array, is_alt: Array
) -> None:
    chosen, kept = np.arange(5, 95), np.arange(0, 700, 2)
    (tmp_path / "keep.txt").write_text("".join(f"F{i} P{i}\n" for i in chosen))
    (tmp_path / "extract.txt").write_text(
        "".join(f"rs{j}\n" for j in kept[::2]) + "".join(f"chr22:{20_000_000 + 1000 * j}\n" for j in kept)
    )
    request = Request(
        files[0], (files[1],), keep=tmp_path / "keep.txt", extract=tmp_path / "extract.txt", min_overlap=0.4
    )
    part = Cohort(cohort.counts[kept][:, chosen], [cohort.sites[j] for j in kept])
    assert _off(score_files(request).sums, part.expected(weights[kept], is_alt[kept])) <= 1e-6


def test_children_have_no_part_in_frequencies(
    tmp_path: Path, files: tuple[Path, Path], cohort: Cohort, weights: Array, is_alt: Array
) -> None:
    """As in plink2: only founders' alleles are counted."""
    fam = [f"F{i} P{i} {'P0 P1' if i >= 70 else '0 0'} 0 -9\n" for i in range(120)]
    (tmp_path / "g.fam").write_text("".join(fam))
    known = cohort.counts[:, :70] >= 0
    mean = np.where(known, cohort.counts[:, :70], 0).sum(axis=1) / known.sum(axis=1)
    dosage = np.where(cohort.counts < 0, mean[:, None], cohort.counts)
    expected = weights.T @ np.where(is_alt[:, None], dosage, 2 - dosage)
    assert _off(score_files(Request(files[0], (files[1],))).sums, expected) <= 1e-6


def test_a_variant_without_any_call_adds_nothing(tmp_path: Path, cohort: Cohort, weights: Array, is_alt: Array) -> None:
    counts = cohort.counts.copy()
    counts[7] = counts[600] = -9
    nobody = Cohort(counts, cohort.sites)
    bed, table = nobody.write_bed(tmp_path), nobody.write_scores(tmp_path / "s.tsv", weights, is_alt)
    done = score_files(Request(bed, (table,)))
    weights = weights.copy()
    weights[[7, 600]] = 0
    assert done.without_call == 2
    assert _off(done.sums, nobody.expected(weights, is_alt)) <= 1e-6


def test_few_people_need_frequencies(tmp_path: Path) -> None:
    cohort = draw(10, 30, missing=0.1)
    bed, table = (
        cohort.write_bed(tmp_path),
        cohort.write_scores(tmp_path / "s.tsv", np.ones((30, 1)), np.ones(30, bool)),
    )
    with pytest.raises(UsageError, match="--frequencies"):
        score_files(Request(bed, (table,)))
    rows = "".join(f"22\t{i}\t{ref}\t{alt}\t0.25\n" for _, _, i, ref, alt in cohort.sites)
    (tmp_path / "f.afreq").write_text("#CHROM\tID\tREF\tALT\tALT_FREQS\n" + rows)
    done = score_files(Request(bed, (table,), frequencies=tmp_path / "f.afreq"))
    assert np.allclose(done.sums[0], np.where(cohort.counts < 0, 0.5, cohort.counts).sum(axis=0), atol=1e-6)
    (tmp_path / "f.afreq").write_text(
        "#CHROM\tID\tREF\tALT\tALT_FREQS\n" + "".join(rows.splitlines(keepends=True)[:20])
    )
    with pytest.raises(UsageError, match="not in the file of frequencies"):
        score_files(Request(bed, (table,), frequencies=tmp_path / "f.afreq"))


def test_one_person_alone_scores_as_in_the_batch(tmp_path: Path, files: tuple[Path, Path], cohort: Cohort) -> None:
    """pgsc_calc #283: a single sample gave NA."""
    rows = "".join(f"22\t{i}\t{ref}\t{alt}\t0.3\n" for _, _, i, ref, alt in cohort.sites)
    (tmp_path / "f.afreq").write_text("#CHROM\tID\tREF\tALT\tALT_FREQS\n" + rows)
    (tmp_path / "keep.txt").write_text("P17\n")
    request = Request(files[0], (files[1],), frequencies=tmp_path / "f.afreq", precision="float64")
    alone = score_files(Request(**{**vars(request), "keep": tmp_path / "keep.txt"}))
    assert np.abs(alone.sums[:, 0] - score_files(request).sums[:, 17]).max() < 1e-12


def test_an_interrupted_run_goes_on(tmp_path: Path, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consilium.genomics.genotypes._MOST_VARIANTS", 256)
    monkeypatch.setattr(engine, "_SAVE_EVERY_S", -1.0)
    request, saved = Request(files[0], (files[1],)), tmp_path / "unfinished"
    whole = score_files(request).sums

    def stop(done: int, total: int) -> None:
        if done > 256:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_files(request, stop, saved)
    seen: list[int] = []
    again = score_files(request, lambda done, total: seen.append(done), saved)
    assert seen[0] > 256 and np.array_equal(again.sums, whole)
    other = Request(files[0], (files[1],), precision="float64")
    seen.clear()
    score_files(other, lambda done, total: seen.append(done), saved)
    assert seen[0] == 256, "what was saved of another run is not believed"


def test_rows_without_weight_are_not_read(files: tuple[Path, Path]) -> None:
    found = match_files(Request(files[0], (files[1],)))
    found.matches[0].table.weights[:, ::2] = 0
    assert len(plan(found.matches, found.variants, [np.arange(3)])) == 350


def test_two_threads_give_what_one_gives(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    one = score_files(Request(files[0], (files[1],))).sums
    monkeypatch.setattr(engine, "_WORTH_A_THREAD", 0)
    assert np.array_equal(score_files(Request(files[0], (files[1],))).sums, one)


def test_an_empty_plan_has_no_blocks(files: tuple[Path, Path]) -> None:
    found = match_files(Request(files[0], (files[1],)))
    empty = plan(found.matches, found.variants, [np.array([], int)])
    assert len(empty) == 0
    assert engine.score(open_genotypes(files[0]), empty, how=ScoreWork()).sums.shape == (0, 120)


def test_plink_runs_here() -> None:
    """So that a skipped comparison is a choice, not an accident."""
    if PLINK2 is not None:
        assert "PLINK v2" in subprocess.run([PLINK2, "--version"], capture_output=True, text=True).stdout


def test_matrix_products_keep_to_the_threads_allowed(files: tuple[Path, Path]) -> None:
    """PRS-CS: a linear algebra library that takes every core of a shared machine."""
    from threadpoolctl import threadpool_info

    seen: list[int] = []

    def look(done: int, total: int) -> None:
        seen.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")

    score_files(Request(files[0], (files[1],), threads=1), look)
    assert seen and set(seen) == {1}


def test_a_checkpoint_of_another_field_is_not_taken_up(tmp_path: Path, files: tuple[Path, Path]) -> None:
    vcf = tmp_path / "d.vcf"
    declared = [f'##FORMAT=<ID={name},Number=1,Type=String,Description="x">' for name in ("GT", "DS")]
    columns = "#CHROM POS ID REF ALT QUAL FILTER INFO FORMAT P0 P1"
    line = "1 100 rs1 A G . . . GT:DS 0/1:0.8 1/1:1.9"
    vcf.write_text(
        "\n".join(["##fileformat=VCFv4.2", *declared, *(row.replace(" ", "\t") for row in (columns, line)), ""])
    )
    (tmp_path / "s.tsv").write_text("ID\tA1\tS\nrs1\tG\t1.0\n")
    keys = []
    for field in ("GT", "DS"):
        found = match_files(Request(vcf, (tmp_path / "s.tsv",), dosage=field))
        work = plan(list(found.matches), found.variants, [np.array([0])])
        keys.append(engine.Checkpoint(tmp_path / "c", work, found.genotypes, None, ScoreWork()).key)
    assert keys[0] != keys[1]


def test_what_is_not_extracted_is_not_filled_in_either(tmp_path: Path, cohort: Cohort) -> None:
    bed = cohort.write_bed(tmp_path)
    table = tmp_path / "ref.tsv"
    table.write_text("ID\tA1\tS\n" + "".join(f"{name}\t{ref}\t1.0\n" for _, _, name, ref, _ in cohort.sites[:10]))
    (tmp_path / "list.txt").write_text("".join(f"{name}\n" for _, _, name, _, _ in cohort.sites[:5]))
    plain = score_files(Request(bed, (table,), extract=tmp_path / "list.txt", min_overlap=0.1))
    filled = score_files(
        Request(
            bed, (table,), extract=tmp_path / "list.txt", min_overlap=0.1, absent_is_reference=bed.with_suffix(".bim")
        )
    )
    assert np.array_equal(plain.sums, filled.sums)
