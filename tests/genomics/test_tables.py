"""Text tables are read whatever packs and parts them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow
import pytest

from consilium.errors import ReadError
from consilium.genomics import tables

TEXT = "#CHROM\tPOS\tID\n1\t10\ta\n2\t20\tNA\n"


def _pack(path: Path, packing: str) -> Path:
    if packing == "gzip":
        # Two members, as bgzip writes many.
        half = len(TEXT) // 2
        path.write_bytes(gzip.compress(TEXT[:half].encode()) + gzip.compress(TEXT[half:].encode()))
    elif packing == "zstd":
        with pyarrow.output_stream(str(path), compression="zstd") as stream:
            stream.write(TEXT.encode())
    else:
        path.write_text(TEXT)
    return path


@pytest.mark.parametrize("packing", ["plain", "gzip", "zstd"])
def test_packing_is_known_by_the_first_bytes(tmp_path: Path, packing: str) -> None:
    path = _pack(tmp_path / "named_anything.txt", packing)
    shape = tables.layout(path)
    assert (shape.names, shape.skip, shape.delimiter) == (("CHROM", "POS", "ID"), 1, "\t")
    table = tables.whole(path, shape, shape.names, {"POS": "int64", "ID": "string"})
    assert table.to_pylist() == [{"POS": 10, "ID": "a"}, {"POS": 20, "ID": None}]


def test_runs_of_blanks_part_columns(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("  SNP    A1  W\n rs1   A   1.5\nrs2 C 2\n")
    shape = tables.layout(tmp_path / "t")
    table = tables.whole(tmp_path / "t", shape, shape.names, {"SNP": "string", "W": "float64"})
    assert table.to_pylist() == [{"SNP": "rs1", "W": 1.5}, {"SNP": "rs2", "W": 2.0}]


def test_errors_quote_no_cell(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("a\tb\tc\n1\t2\tJane Doe\n")
    shape = tables.layout(tmp_path / "t", header=True)
    with pytest.raises(ReadError, match="t is damaged or not such a table") as caught:
        tables.whole(tmp_path / "t", shape, shape.names, {"c": "int64"})
    assert "Jane" not in str(caught.value)


@pytest.mark.parametrize("head", [b"\x1f\x8b\x08\x00broken", b"\x28\xb5\x2f\xfdbroken"])
def test_broken_packing_is_a_named_error(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "t").write_bytes(head)
    with pytest.raises(ReadError, match="damaged"):
        tables.layout(tmp_path / "t")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="cannot be read: No such file"):
        tables.layout(tmp_path / "t")
