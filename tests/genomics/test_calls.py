"""What stands in single calls: several alternate alleles, one copy alone, dosages that are none, names that name nothing."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.genomics.cohort import Cohort, needs_plink2, plink2

from consilium.errors import ConsiliumError, ReadError, ScoringFileError, UsageError
from consilium.genomics.run import Request, score_files
from consilium.genomics.vcf import open_vcf
from consilium.types import Array

PEOPLE = 60
HEAD = '##fileformat=VCFv4.2\n##contig=<ID=X>\n##contig=<ID=1>\n##FORMAT=<ID=GT,Number=1,Type=String,Description="x">\n'
DOSAGE = '##FORMAT=<ID=DS,Number=A,Type=Float,Description="x">\n'
SCORE = "chr_name\tchr_position\teffect_allele\tother_allele\teffect_weight\n"


def vcf(folder: Path, sites: list[tuple[str, list[str]]], head: str = HEAD, people: int = PEOPLE) -> Path:
    """Lines "1\\t1000\\trs0\\tA\\tC,G" with FORMAT, and the cells of all people."""
    ids = "\t".join(f"P{i}" for i in range(people))
    lines = [f"#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t{ids}"]
    for site, cells in sites:
        place, _, keys = site.rpartition("\t")
        lines.append(f"{place}\t.\t.\t.\t{keys}\t" + "\t".join(cells))
    (folder / "g.vcf").write_text(head + "\n".join(lines) + "\n")
    return folder / "g.vcf"


def sums(path: Path, effect: str, other: str, place: str = "1\t1000") -> Array:
    table = path.with_name("one.tsv")
    table.write_text(f"{SCORE}{place}\t{effect}\t{other}\t1\n")
    return score_files(Request(path, (table,), build="GRCh38", score_build="GRCh38")).sums[0]


@needs_plink2
def test_a_pgen_with_several_alternate_alleles_counts_the_one_asked_for(tmp_path: Path) -> None:
    calls = [("0/0", "0/1", "1/1", "0/2", "1/2", "2/2")[i % 6] for i in range(PEOPLE)]
    plain = [("0/0", "0/1", "1/1")[i % 3] for i in range(PEOPLE)]
    path = vcf(tmp_path, [("1\t1000\trs0\tA\tC,G\tGT", calls), ("1\t2000\trs1\tA\tC\tGT", plain)])
    plink2(tmp_path, "--vcf", "g.vcf", "--make-pgen", "--out", "p")
    for allele, number in {"C": "1", "G": "2", "A": "0"}.items():
        expected = [call.count(number) for call in calls]
        for file in (path, tmp_path / "p.pgen"):
            assert sums(file, allele, "A" if allele != "A" else "C").tolist() == expected, file.name
    assert sums(tmp_path / "p.pgen", "C", "A", "1\t2000").tolist() == [call.count("1") for call in plain]


def test_a_dosage_of_one_copy_counts_as_its_call_does(tmp_path: Path) -> None:
    cells = [("1:0.9", "0:0.3", "0/1:1.1", ".:.")[i % 4] for i in range(PEOPLE)]
    path = vcf(tmp_path, [("X\t5000000\trsx\tA\tG\tGT:DS", cells)], HEAD + DOSAGE)
    expected = np.array([1.8, 0.6, 1.1])
    found = sums(path, "G", "A", "X\t5000000")
    assert found[:3] == pytest.approx(expected) and found[3] == pytest.approx(found[:3].mean())
    assert sums(path, "A", "G", "X\t5000000")[:3] == pytest.approx(2 - expected)
    # the same lines by the reader of BCF
    binary = replace(open_vcf(path), file_format="BCF")
    for allele in (1, 0):
        (row,) = next(binary.blocks(np.array([0]), np.array([allele])))
        assert row[:3] == pytest.approx(expected if allele else 2 - expected, abs=1e-6) and row[3] < 0


def test_a_dosage_that_is_no_number_is_a_missing_call(tmp_path: Path) -> None:
    cells = ["0/1:1.0"] * PEOPLE
    cells[3], cells[4] = "0/1:nan", "./.:inf"
    found = sums(vcf(tmp_path, [("1\t1000\trs0\tA\tG\tGT:DS", cells)], HEAD + DOSAGE), "G", "A")
    assert found.tolist() == [1.0] * PEOPLE


@pytest.mark.parametrize("cell", ["0/1:2.5", "0/1:-0.4", "0/1:abc", "x/1:.", "1/1/1:.", "-1/1:."])
def test_what_no_person_can_have_is_damage(tmp_path: Path, cell: str) -> None:
    path = vcf(tmp_path, [("1\t1000\trs0\tA\tG\tGT:DS", [cell, *["0/1:1.0"] * (PEOPLE - 1)])], HEAD + DOSAGE)
    with pytest.raises(ReadError, match=r"g\.vcf is damaged"):
        sums(path, "G", "A")


def test_a_dosage_may_be_off_by_its_rounding(tmp_path: Path) -> None:
    cells = ["1/1:2.001", *["0/0:-0.001"] * (PEOPLE - 1)]
    assert sums(vcf(tmp_path, [("1\t1000\trs0\tA\tG\tGT:DS", cells)], HEAD + DOSAGE), "G", "A")[:2].tolist() == [2, 0]


def test_a_bgzip_that_was_cut_between_blocks_is_noticed(
    tmp_path: Path, cohort: Cohort, files: tuple[Path, Path]
) -> None:
    text = cohort.write_vcf(tmp_path).read_bytes()
    blocks = b"".join(_block(text[i : i + 9000]) for i in range(0, len(text), 9000))
    (tmp_path / "b.vcf.gz").write_bytes(blocks + _block(b""))
    whole = score_files(Request(tmp_path / "b.vcf.gz", (files[1],))).sums
    assert np.array_equal(whole, score_files(Request(tmp_path / "g.vcf", (files[1],))).sums)
    (tmp_path / "b.vcf.gz").write_bytes(blocks)
    with pytest.raises(ReadError, match="truncated: bgzip's end mark"):
        score_files(Request(tmp_path / "b.vcf.gz", (files[1],)))


def _block(data: bytes) -> bytes:
    """A block of bgzip: gzip with its own length in an extra field; the empty one is the end mark."""
    import zlib

    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    body = packer.compress(data) + packer.flush()
    head = bytes.fromhex("1f8b08040000000000ff0600424302 00".replace(" ", ""))
    return (
        head
        + (len(body) + 25).to_bytes(2, "little")
        + body
        + zlib.crc32(data).to_bytes(4, "little")
        + len(data).to_bytes(4, "little")
    )


def test_a_dot_names_no_variant(tmp_path: Path, cohort: Cohort) -> None:
    bed = cohort.write_bed(tmp_path)
    bim = bed.with_suffix(".bim")
    bim.write_text("".join(re_id(line) for line in bim.read_text().splitlines(keepends=True)))
    (tmp_path / "s.tsv").write_text("rsID\teffect_allele\tother_allele\teffect_weight\n.\tA\tG\t1\nrs1\tC\tT\t1\n")
    with pytest.raises(ConsiliumError, match=r"0 of 2 \(1 absent, 1 no_place_or_id\)"):
        score_files(Request(bed, (tmp_path / "s.tsv",)))


def re_id(line: str) -> str:
    cells = line.split("\t")
    return "\t".join([cells[0], ".", *cells[2:]])


def test_lists_and_tables_that_hold_nothing_are_said(tmp_path: Path, files: tuple[Path, Path]) -> None:
    (tmp_path / "head.tsv").write_text(SCORE)
    with pytest.raises(ScoringFileError, match="a header and no variants"):
        score_files(Request(files[0], (tmp_path / "head.tsv",)))
    for content, error in {
        b"": UsageError,
        "Jos\u00e9 P1\n".encode("latin-1"): ReadError,
        gzip.compress(b"rs1\n")[:-9]: ReadError,
    }.items():
        (tmp_path / "list.txt").write_bytes(content)
        with pytest.raises(error, match=r"list\.txt"):
            score_files(Request(files[0], (files[1],), extract=tmp_path / "list.txt"))
        with pytest.raises((UsageError, ReadError), match=r"list\.txt"):
            score_files(Request(files[0], (files[1],), keep=tmp_path / "list.txt"))


def test_a_byte_order_mark_is_not_part_of_the_header(tmp_path: Path, files: tuple[Path, Path]) -> None:
    marked = tmp_path / "marked.tsv"
    marked.write_bytes(b"\xef\xbb\xbf" + files[1].read_bytes())
    done = score_files(Request(files[0], (marked,)))
    assert np.array_equal(done.sums, score_files(Request(files[0], (files[1],))).sums)


@pytest.mark.parametrize("weight", ["1e39", "1e-50"])
def test_a_weight_that_single_precision_cannot_hold_is_said(
    tmp_path: Path, files: tuple[Path, Path], weight: str
) -> None:
    table = tmp_path / "wide.tsv"
    head, first, *rest = files[1].read_text().splitlines()
    cells = first.split("\t")
    table.write_text("\n".join([head, "\t".join([*cells[:2], weight, *cells[3:]]), *rest]) + "\n")
    with pytest.raises(UsageError, match="--precision float64"):
        score_files(Request(files[0], (table,)))
    assert np.isfinite(score_files(Request(files[0], (table,), precision="float64")).sums).all()
