"""Each variant of a score has one reason, and the field's rules decide which. Users' issues with other tools each have a case."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.genomics.cohort import Cohort

from consilium.genomics.match import REASONS, MatchPolicy
from consilium.genomics.report import match_log
from consilium.genomics.run import Matched, Request, Scored, match_files, score_files

SITES = [
    ("22", 100, "rs1", "A", "G"),
    ("22", 200, "rs2", "A", "T"),
    ("22", 300, "rs3", "C", "A"),
    ("22", 300, "rs3b", "C", "T"),
    ("22", 400, "rs4", "G", "A,T"),
    ("22", 500, "rs5", "A", "G"),
    ("22", 500, "rs5b", "A", "G"),
    ("22", 600, "rs6", "AT", "A"),
    ("X", 700, "rs7", "A", "G"),
    ("Y", 800, "rs8", "A", "G"),
]
HEAD = "chr_name\tchr_position\teffect_allele\tother_allele\teffect_weight\n"
Find = Callable[..., Matched]


@pytest.fixture
def vcf(tmp_path: Path) -> Path:
    """60 people; each of the sites above, genotyped at random."""
    counts = np.random.default_rng(0).integers(0, 3, (len(SITES), 60)).astype(np.int8)
    return Cohort(counts, SITES).write_vcf(tmp_path, "##reference=GRCh37")


@pytest.fixture
def find(vcf: Path, tmp_path: Path) -> Find:
    def call(rows: str, policy: MatchPolicy | None = None, head: str = HEAD) -> Matched:
        (tmp_path / "s.txt").write_text("#genome_build=GRCh37\n" + head + rows)
        return match_files(Request(vcf, (tmp_path / "s.txt",), policy=policy or MatchPolicy(), min_overlap=0))

    return call


def _reasons(found: Matched) -> list[str]:
    return [REASONS[code] for code in found.matches[0].reason]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("22\t100\tG\tA\t1", "matched"),
        ("chr22\t100\tA\tG\t1", "matched"),
        ("22\t100\tC\tT\t1", "matched_strand_flip"),  # plink2 #81
        ("22\t100\tT\tC\t1", "matched_strand_flip"),
        ("22\t100\tg\ta\t1", "matched"),
        ("22\t100\tG\t\t1", "matched_no_other_allele"),
        ("22\t100\tC\t\t1", "matched_no_other_allele_strand_flip"),
        ("22\t100\tG\tT\t1", "alleles_differ"),
        ("22\t101\tG\tA\t1", "absent"),
        ("22\t200\tA\tT\t1", "ambiguous"),  # PRSice #202: dropped and listed
        ("22\t200\tT\t\t1", "ambiguous"),
        ("22\t300\tA\tC\t1", "matched"),
        ("22\t300\tT\tC\t1", "matched"),
        ("22\t300\tC\t\t1", "several_fit"),
        ("22\t400\tA\tG\t1", "matched"),
        ("22\t400\tT\tG\t1", "matched"),
        ("22\t400\tG\t\t1", "matched_no_other_allele"),
        ("22\t500\tA\tG\t1", "duplicate_in_genotypes"),
        ("22\t600\tAT\tA\t1", "matched"),
        ("23\t700\tA\tG\t1", "matched"),
        ("chrX\t700\tA\tG\t1", "matched"),
        ("Y\t800\tA\tG\t1", "chromosome_not_scored"),
        ("\t\tA\tG\t1", "no_place_or_id"),
        ("6\tHLA\tP\tN\t1", None),
        ("6\t1\tP\tN\t1", "unscorable_hla"),
        ("6\t1\tI\tD\t1", "unscorable_not_bases"),
    ],
)
def test_the_reason_of(find: Find, row: str, reason: str | None) -> None:
    if reason is None:
        from consilium.errors import ScoringFileError

        with pytest.raises(ScoringFileError, match="conversion error"):
            find(row + "\n")
        return
    assert _reasons(find(row + "\n")) == [reason]


def test_policies(find: Find) -> None:
    assert _reasons(find("22\t200\tA\tT\t1\n", MatchPolicy("keep"))) == ["matched_ambiguous"]
    assert _reasons(find("22\t100\tC\tT\t1\n", MatchPolicy(strand_flips=False))) == ["alleles_differ"]
    assert _reasons(find("22\t400\tA\tG\t1\n", MatchPolicy(multiallelic="drop"))) == ["multiallelic"]


def test_the_first_of_duplicates_counts(find: Find) -> None:
    rows = "22\t100\tG\tA\t1\n22\t100\tC\tT\t2\n22\t100\tA\tG\t3\n22\t400\tA\tG\t1\n22\t400\tT\tG\t1\n"
    expected = ["matched", "duplicate_in_score", "matched", "matched", "matched"]
    assert _reasons(find(rows)) == expected


def test_interactions_and_haplotypes_are_listed_not_scored(find: Find) -> None:
    head = HEAD.strip() + "\tis_interaction\tis_haplotype\n"
    rows = "22\t100\tG\tA\t1\tTrue\tFalse\n22\t300\tA\tC\t1\tFalse\tTrue\n22\t600\tA\tAT\t1\tFalse\tFalse\n"
    assert _reasons(find(rows, head=head)) == ["unscorable_interaction", "unscorable_haplotype", "matched"]


def test_every_variant_is_in_the_log_with_what_it_was_matched_to(find: Find) -> None:
    """pgsc_calc #458: exclusions that nothing explains."""
    found = find("22\t100\tC\tT\t0.5\n22\t200\tA\tT\t1\n9\t9\tA\tG\t2\n")
    log = match_log(found.matches, found.variants, found.book).to_pylist()
    assert [row["reason"] for row in log] == ["matched_strand_flip", "ambiguous", "absent"]
    assert [row["row"] for row in log] == [1, 2, 3]
    shown = {
        key: log[0][key] for key in ("genotype_id", "genotype_ref", "genotype_alt", "effect_is_ref", "effect_weight")
    }
    assert shown == {
        "genotype_id": "rs1", "genotype_ref": "A", "genotype_alt": "G", "effect_is_ref": False, "effect_weight": 0.5,
    }  # fmt: skip
    assert log[1]["genotype_id"] is None and log[2]["chromosome"] == "9"
    (report,) = found.reports
    assert (report.matched, report.variants, report.overlap) == (1, 3, 1 / 3)
    assert report.weight_overlap == pytest.approx(0.5 / 3.5)


def test_nothing_matches_an_empty_set_of_variants(find: Find) -> None:
    found = find("9\t9\tA\tG\t2\n")
    assert _reasons(found) == ["absent"] and found.reports[0].refused
    assert match_log(found.matches, found.variants, found.book).num_rows == 1


def _score(vcf: Path, folder: Path, text: str) -> Scored:
    (folder / "s.txt").write_text("#genome_build=GRCh37\n" + text)
    return score_files(Request(vcf, (folder / "s.txt",), precision="float64"))


def test_multiallelic_counts(tmp_path: Path) -> None:
    """Each allele of a site of three counts for itself; the reference is what is left."""
    lines = [
        "##fileformat=VCFv4.2",
        "##reference=GRCh37",
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tP0\tP1\tP2\tP3",
        "22\t400\t.\tG\tA,T\t.\t.\t.\tGT\t0/1\t1/2\t2|2\t0/0",
    ]
    (tmp_path / "g.vcf").write_text("\n".join(lines) + "\n")
    for row, expected in (("A\tG", [1, 1, 0, 0]), ("T\tG", [0, 1, 2, 0]), ("G\tT", [1, 0, 0, 2])):
        done = _score(tmp_path / "g.vcf", tmp_path, HEAD + f"22\t400\t{row}\t1\n")
        assert done.sums.tolist() == [expected]


@pytest.mark.parametrize("effect", ["G\tA", "A\tG"])
@pytest.mark.parametrize(
    ("kind", "expected"), [("dominant", (0, 2, 2)), ("recessive", (0, 0, 2)), ("additive", (0, 2, 4))]
)
def test_dominant_and_recessive_weights(
    vcf: Path, tmp_path: Path, effect: str, kind: str, expected: tuple[int, ...]
) -> None:
    head = HEAD.strip() + "\tis_dominant\tis_recessive\n"
    row = f"22\t100\t{effect}\t2\t{kind == 'dominant'}\t{kind == 'recessive'}\n"
    done = _score(vcf, tmp_path, head + row)
    copies = _copies(vcf, effect[0] == "G")
    assert done.sums[0].tolist() == [expected[c] for c in copies]


@pytest.mark.parametrize("effect", ["G\tA", "A\tG"])
def test_a_weight_for_each_dosage(vcf: Path, tmp_path: Path, effect: str) -> None:
    """pgsc_calc #370."""
    head = "chr_name\tchr_position\teffect_allele\tother_allele\tdosage_0_weight\tdosage_1_weight\tdosage_2_weight\n"
    done = _score(vcf, tmp_path, head + f"22\t100\t{effect}\t0.5\t-1\t3\n")
    assert np.allclose(done.sums[0], [(0.5, -1, 3)[c] for c in _copies(vcf, effect[0] == "G")], atol=1e-12)


def _copies(vcf: Path, alternate: bool) -> list[int]:
    (line,) = [line for line in vcf.read_text().splitlines() if line.startswith("22\t100\t")]
    return [call.count("1" if alternate else "0") for call in line.split("\t")[9:]]


def test_missing_calls_of_a_recessive_weight_count_as_the_square_of_the_frequency(tmp_path: Path) -> None:
    counts = np.random.default_rng(1).integers(0, 3, (1, 80)).astype(np.int8)
    counts[0, :7] = -9
    vcf = Cohort(counts, SITES[:1]).write_vcf(tmp_path, "##reference=GRCh37")
    done = _score(vcf, tmp_path, HEAD.strip() + "\tis_recessive\n22\t100\tG\tA\t1\tTrue\n")
    frequency = counts[0, 7:].mean() / 2
    assert np.allclose(done.sums[0, :7], frequency**2, atol=1e-12)


def test_calls_that_are_odd_are_read_or_missing(tmp_path: Path) -> None:
    """`./.` crashed one tool; half calls, single calls and phase are told apart from counts."""
    calls = ["./.", "0/1", "1", "./1", "1|1", "0", ".", "10/1"]
    lines = [
        "##fileformat=VCFv4.2",
        "##reference=GRCh37",
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t" + "\t".join(f"P{i}" for i in range(len(calls))),
        "22\t100\t.\tA\tG\t.\t.\t.\tGT:AD\t" + "\t".join(f"{call}:3,4" for call in calls),
    ]
    (tmp_path / "g.vcf").write_text("\n".join(lines) + "\n")
    (tmp_path / "s.txt").write_text("#genome_build=GRCh37\n" + HEAD + "22\t100\tG\tA\t1\n")
    (tmp_path / "f.afreq").write_text("#CHROM\tPOS\tID\tREF\tALT\tALT_FREQS\n22\t100\t.\tA\tG\t0.2\n")
    done = score_files(Request(tmp_path / "g.vcf", (tmp_path / "s.txt",), frequencies=tmp_path / "f.afreq"))
    assert np.allclose(done.sums[0], [0.4, 1, 2, 0.4, 2, 0, 0.4, 1], atol=1e-6)
    assert done.filled.tolist() == [1, 0, 0, 1, 0, 0, 1, 0]


def test_places_that_a_whole_genome_leaves_out_are_the_reference_by_request_alone(vcf: Path, tmp_path: Path) -> None:
    """pgsc_calc #49, #374."""
    (tmp_path / "s.txt").write_text(
        "#genome_build=GRCh37\n" + HEAD + "22\t100\tG\tA\t1\n9\t5\tA\tG\t10\n9\t6\tT\tC\t100\n9\t7\tA\tC\t1000\n"
    )
    (tmp_path / "sites.pvar").write_text("#CHROM\tPOS\tID\tREF\tALT\n9\t5\t.\tA\tG\n9\t6\t.\tC\tT\n")
    plain = Request(vcf, (tmp_path / "s.txt",), min_overlap=0, precision="float64")
    filled = Request(**{**vars(plain), "absent_is_reference": tmp_path / "sites.pvar"})
    before, after = score_files(plain), score_files(filled)
    assert np.allclose(after.sums, before.sums + 20)
    assert _reasons(before.matched) == ["matched", "absent", "absent", "absent"]
    assert _reasons(after.matched) == ["matched", "absent_as_reference", "absent_as_reference", "absent"]
    assert after.matched.reports[0].overlap == 0.75 and np.allclose(after.averages, after.sums / 6)
