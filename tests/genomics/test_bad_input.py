"""What is damaged, mismatched or mixed is a named error that says what to do, and leaves nothing behind."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from tests.genomics.cohort import Cohort, draw, needs_plink2, plink2

from consilium.errors import BuildError, ConsiliumError, GenotypeError, ReadError, UnknownFormatError, UsageError
from consilium.genomics.alleles import Alleles, chromosome
from consilium.genomics.genotypes import open_genotypes
from consilium.genomics.run import Request, score_files

HEAD = "chr_name\tchr_position\teffect_allele\tother_allele\teffect_weight\n"


def _fails(bed: Path, table: Path, error: type[ConsiliumError], said: str, **more: object) -> None:
    with pytest.raises(error, match=said):
        score_files(Request(bed, (table,), **more))  # type: ignore[arg-type]


def test_a_truncated_bed(files: tuple[Path, Path]) -> None:
    data = files[0].read_bytes()
    files[0].write_bytes(data[:-7])
    _fails(*files, GenotypeError, "truncated")
    files[0].write_bytes(data[: -30 * 20])
    _fails(*files, GenotypeError, "holds 680 variants, but g.bim lists 700")


def test_wrong_magic(files: tuple[Path, Path]) -> None:
    data = files[0].read_bytes()
    files[0].write_bytes(b"\x00\x1b\x01" + data[3:])
    _fails(*files, GenotypeError, "does not begin as")
    files[0].write_bytes(b"\x6c\x1b\x00" + data[3:])
    _fails(*files, GenotypeError, "sample-major")
    files[0].write_bytes(b"")
    _fails(*files, GenotypeError, "does not begin as")


def test_another_cohorts_people(files: tuple[Path, Path]) -> None:
    fam = files[0].with_suffix(".fam")
    for people in (100, 117):
        fam.write_text("".join(f"F{i} P{i} 0 0 0 -9\n" for i in range(people)))
        _fails(*files, GenotypeError, "holds 840 variants" if people == 100 else "more people than")


def test_people_of_one_name(files: tuple[Path, Path]) -> None:
    fam = files[0].with_suffix(".fam")
    fam.write_text(fam.read_text().replace("F9 P9 ", "F8 P8 "))
    with pytest.raises(GenotypeError, match="rows 9 and 10") as caught:
        open_genotypes(files[0])
    assert "P8" not in str(caught.value), "names of people stay out of errors"


@pytest.mark.parametrize("suffix", [".bim", ".fam"])
def test_a_missing_companion(files: tuple[Path, Path], suffix: str) -> None:
    files[0].with_suffix(suffix).unlink()
    _fails(*files, GenotypeError, f"needs g{suffix} beside it")


@needs_plink2
def test_a_truncated_pgen(tmp_path: Path, files: tuple[Path, Path]) -> None:
    plink2(tmp_path, "--bfile", "g", "--make-pgen", "--out", "p")
    pgen = tmp_path / "p.pgen"
    data = pgen.read_bytes()
    for size in (len(data) - 9, len(data) // 2, 20, 5):
        pgen.write_bytes(data[:size])
        _fails(pgen, files[1], ReadError, "truncated|damaged|does not begin")
    pgen.write_bytes(data)
    (tmp_path / "p.psam").write_text("#IID\n" + "".join(f"P{i}\n" for i in range(119)))
    _fails(pgen, files[1], GenotypeError, "holds 120 people, but p.psam lists 119")


def test_a_truncated_vcf(tmp_path: Path, cohort: Cohort, files: tuple[Path, Path]) -> None:
    vcf = cohort.write_vcf(tmp_path)
    packed = gzip.compress(vcf.read_bytes())
    (tmp_path / "t.vcf.gz").write_bytes(packed[: len(packed) // 2])
    _fails(tmp_path / "t.vcf.gz", files[1], ReadError, "t.vcf.gz")
    text = vcf.read_text()
    vcf.write_text(text[: text.rindex("\t")] + "\n")
    _fails(vcf, files[1], GenotypeError, "has 119 genotypes, the header names 120")


def test_people_twice_in_a_vcf(tmp_path: Path, cohort: Cohort) -> None:
    vcf = cohort.write_vcf(tmp_path)
    vcf.write_text(vcf.read_text().replace("\tP9\t", "\tP8\t"))
    with pytest.raises(GenotypeError, match="rows 9 and 10"):
        open_genotypes(vcf)


def test_sites_alone_are_no_genotypes(tmp_path: Path) -> None:
    (tmp_path / "s.vcf").write_text(
        "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n1\t1\t.\tA\tG\t.\t.\t.\n"
    )
    with pytest.raises(GenotypeError, match="sites alone"):
        open_genotypes(tmp_path / "s.vcf")


def test_what_is_no_genotype_file(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("hello, world, this is text")
    with pytest.raises(UnknownFormatError, match="none of PLINK"):
        open_genotypes(tmp_path / "x.txt")
    with pytest.raises(GenotypeError, match="is not there"):
        open_genotypes(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        *[
            ("1", 1),
            ("chr1", 1),
            ("CHR22", 22),
            ("X", 23),
            ("chrX", 23),
            ("23", 23),
            ("25", 23),
            ("PAR1", 23),
            ("XY", 23),
        ],
        *[("MT", 26), ("chrM", 26), ("Y", 24), ("0", 0), ("chrUn_gl000220", 0), ("27", 0), ("", 0), (None, 0)],
    ],
)
def test_chromosomes_have_many_names(name: str | None, code: int) -> None:
    assert chromosome(name) == code


def _placed(folder: Path, header: str, cohort: Cohort) -> Path:
    rows = "".join(f"chr{c}\t{p}\t{alt}\t{ref}\t1\n" for c, p, _, ref, alt in cohort.sites)
    (folder / "p.txt").write_text(header + HEAD + rows)
    return folder / "p.txt"


def test_builds_are_never_mixed(tmp_path: Path, cohort: Cohort) -> None:
    vcf = cohort.write_vcf(tmp_path, "##contig=<ID=chr22,length=51304566>")
    assert open_genotypes(vcf).build == "GRCh37"
    _fails(vcf, _placed(tmp_path, "#genome_build=hg38\n", cohort), BuildError, "GRCh38, the genotypes of GRCh37.*lift")
    _fails(vcf, _placed(tmp_path, "", cohort), BuildError, "--score-build")
    table = _placed(tmp_path, "#genome_build=GRCh37\n", cohort)
    assert score_files(Request(vcf, (table,))).matched.build == "GRCh37"
    _fails(vcf, table, BuildError, "header of g.vcf says GRCh37", build="GRCh38")
    _fails(vcf, table, BuildError, "no reference build", build="mm10")


def test_a_header_of_two_builds(tmp_path: Path, cohort: Cohort) -> None:
    lines = "##contig=<ID=22,length=51304566>\n##contig=<ID=21,length=46709983>"
    with pytest.raises(BuildError, match="GRCh37 and GRCh38"):
        open_genotypes(cohort.write_vcf(tmp_path, lines))


def test_a_build_that_nothing_tells_must_be_said(tmp_path: Path, cohort: Cohort) -> None:
    bed, table = cohort.write_bed(tmp_path), _placed(tmp_path, "#genome_build=GRCh37\n", cohort)
    _fails(bed, table, BuildError, "--build GRCh37 or GRCh38")
    assert score_files(Request(bed, (table,), build="hg19")).matched.build_source == "user"


def test_positions_beyond_the_chromosome(tmp_path: Path) -> None:
    cohort = draw(60, 5, missing=0)
    cohort.sites = [("22", 51_000_000 + i, f"rs{i}", "A", "G") for i in range(5)]
    bed, table = cohort.write_bed(tmp_path), _placed(tmp_path, "#genome_build=GRCh38\n", cohort)
    _fails(bed, table, BuildError, "beyond the end", build="GRCh38")


def test_known_positions_tell_the_build(real: Path, tmp_path: Path) -> None:
    from consilium.genomics.build import build_of_positions

    for name, build in (("cineca_synthetic_subset.bed", "GRCh37"), ("tiny1000G.vcf.gz", "GRCh38")):
        book = Alleles()
        assert build_of_positions(open_genotypes(real / name).variants(book), book) == build


def test_lists_that_name_nobody(tmp_path: Path, files: tuple[Path, Path]) -> None:
    (tmp_path / "list.txt").write_text("P1\nstranger\n")
    with pytest.raises(UsageError, match="1 are not among the 120") as caught:
        score_files(Request(files[0], (files[1],), keep=tmp_path / "list.txt"))
    assert "stranger" not in str(caught.value)
    _fails(*files, UsageError, "none of the 2 variants", extract=tmp_path / "list.txt")


def test_an_effect_allele_that_is_not_in_the_file(tmp_path: Path, cohort: Cohort) -> None:
    rows = "".join(f"{i}\t{'T' if alt in 'AG' and ref in 'AG' else 'A'}\t1\n" for _, _, i, ref, alt in cohort.sites[:3])
    (tmp_path / "s.txt").write_text(rows)
    bed = cohort.write_bed(tmp_path)
    found = score_files(Request(bed, (tmp_path / "s.txt",), min_overlap=0.1)).matched.reports[0]
    assert sum(found.reasons.values()) == 3
    assert set(found.reasons) <= {"alleles_differ", "matched_no_other_allele", "matched_no_other_allele_strand_flip"}


def test_scores_of_one_name_get_their_files(tmp_path: Path, files: tuple[Path, Path], cohort: Cohort) -> None:
    other = cohort.write_scores(tmp_path / "other.tsv", np.ones((700, 2)), np.ones(700, bool))
    assert score_files(Request(files[0], (files[1], other))).names[2:] == ("scores:S2", "other:S0", "other:S1")
    with pytest.raises(UsageError, match="same name"):
        score_files(Request(files[0], (files[1], files[1])))
