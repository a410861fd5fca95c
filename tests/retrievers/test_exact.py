"""The exact retriever and its file. What it shares with the others is in tests/contract/test_retrievers.py."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from consilium.errors import DamagedFileError, DataError, UsageError
from consilium.protocols import Entry
from consilium.retrievers import exact, patient_key
from consilium.types import Precedent

ENCODER = "test/1/pooled"


def known_cases(n: int, dimensions: int = 16, thumbnail: bytes = b"\xff\xd8\xff") -> list[Entry]:
    features = np.random.default_rng(0).normal(size=(n, dimensions))
    return [
        Entry(
            features[i],
            Precedent(f"case-{i}", f"kind {i % 3}", 0.0, f"report {i}", "CT", "CHEST", "test", "CC0-1.0", thumbnail),
            patient_key("test", f"MRN-{i // 2}"),
            f"digest-{i}",
        )
        for i in range(n)
    ]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "deep" / "index.parquet"
    index = exact.load(encoder_key=ENCODER)
    index.add(known_cases(50))
    index.save(path)
    return path


@pytest.mark.parametrize(("half", "error"), [(True, 1e-3), (False, 1e-6)])
def test_a_saved_index_answers_as_the_one_in_memory(tmp_path: Path, half: bool, error: float) -> None:
    index = exact.load(tmp_path / "index.parquet", ENCODER, create=True)
    index.add(known_cases(200))
    index.save(tmp_path / "index.parquet", half=half)
    again = exact.load(tmp_path / "index.parquet", ENCODER)
    assert len(again) == 200
    query = np.random.default_rng(1).normal(size=16)
    for before, after in zip(index.search(query, 5), again.search(query, 5), strict=True):
        assert after.similarity == pytest.approx(before.similarity, abs=error)
        assert replace(after, similarity=before.similarity) == before


def test_a_loaded_index_grows_shrinks_and_is_saved_again(saved: Path) -> None:
    index = exact.load(saved, ENCODER)
    assert index.add(known_cases(60)) == 10
    assert index.delete_patient(patient_key("test", "MRN-29")) == 2
    assert len(exact.load(saved)) == 50, "only save writes"
    index.save(saved)
    assert len(exact.load(saved)) == 58
    assert [path.name for path in saved.parent.iterdir()] == ["index.parquet"]


def test_an_index_from_which_all_was_deleted_is_saved_and_keeps_its_dimension(tmp_path: Path) -> None:
    index = exact.load(encoder_key=ENCODER)
    index.add(known_cases(2))
    index.delete_patient(patient_key("test", "MRN-0"))
    index.save(tmp_path / "index.parquet")
    again = exact.load(tmp_path / "index.parquet")
    assert again.search(np.ones(16)) == ()
    with pytest.raises(DataError, match=r"\(16,\) is needed"):
        again.search(np.ones(17))


def test_the_columns_of_the_file(saved: Path) -> None:
    schema = pq.read_schema(saved)
    text = ("case_id", "patient_id", "digest", "label", "report", "modality", "body_part", "source", "licence")
    assert {name: schema.field(name).type for name in schema.names} == {
        **dict.fromkeys(text, pa.string()),
        "thumbnail": pa.binary(),
        "features": pa.list_(pa.field("element", pa.float16()), 16),
    }
    assert schema.metadata[b"consilium.encoder"] == ENCODER.encode()
    group = pq.ParquetFile(saved).metadata.row_group(0)
    assert {group.column(i).compression for i in range(group.num_columns)} == {"ZSTD"}


def test_no_patient_identifier_lies_in_the_file(saved: Path) -> None:
    plain = saved.with_name("plain.parquet")
    pq.write_table(pq.read_table(saved), plain, compression="none")
    content = plain.read_bytes()
    assert patient_key("test", "MRN-3").encode() in content
    assert b"MRN" not in content


def test_another_encoder_is_refused(saved: Path) -> None:
    with pytest.raises(DataError, match=r"'test/1/pooled', and 'test/2/pooled' asks"):
        exact.load(saved, "test/2/pooled")
    with pytest.raises(DataError, match="asks"):
        exact.load(saved, "test/2/pooled", create=True)
    assert exact.load(saved).encoder_key == ENCODER


def test_a_missing_index_is_not_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no index at"):
        exact.load(tmp_path / "index.parquet")
    with pytest.raises(DataError, match="no index at"):
        exact.load(tmp_path)


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_truncated_file_is_called_damaged(saved: Path, keep: float) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(keep if keep > 1 else keep * len(content))])
    with pytest.raises(DamagedFileError, match="Build the index again"):
        exact.load(saved)


def test_features_that_are_no_numbers_are_called_damaged(saved: Path) -> None:
    rows = pq.read_table(saved)
    numbers = np.full(50 * 16, np.nan, dtype=np.float16)
    column = pa.FixedSizeListArray.from_arrays(pa.array(numbers), type=rows.schema.field("features").type)
    pq.write_table(rows.set_column(rows.num_columns - 1, rows.schema.field("features"), column), saved)
    with pytest.raises(DamagedFileError, match="not numbers"):
        exact.load(saved)


def test_other_parquet_files_are_refused(saved: Path) -> None:
    rows = pq.read_table(saved)
    pq.write_table(rows.drop_columns(["report"]), saved)
    with pytest.raises(DataError, match="other columns"):
        exact.load(saved)
    pq.write_table(pa.table({"a": [1]}), saved)
    with pytest.raises(DataError, match="not an index"):
        exact.load(saved)


def test_an_index_without_encoder_or_entries_is_not_saved(tmp_path: Path) -> None:
    nameless = exact.load()
    nameless.add(known_cases(1))
    for index in (nameless, exact.load(encoder_key=ENCODER)):
        with pytest.raises(UsageError, match="encoder_key"):
            index.save(tmp_path / "index.parquet")
    assert not list(tmp_path.iterdir())


def test_a_failed_save_leaves_the_old_index(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    index = exact.load(saved)
    index.add(known_cases(60))
    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(OSError, match="No space"):
        index.save(saved)
    assert len(exact.load(saved)) == 50
    assert [path.name for path in saved.parent.iterdir()] == ["index.parquet"]


def test_two_thousand_cases_open_fast(tmp_path: Path) -> None:
    index = exact.load(encoder_key=ENCODER)
    index.add(known_cases(2000, dimensions=1536, thumbnail=np.random.default_rng(0).bytes(3000)))
    index.save(tmp_path / "index.parquet")
    taken = []
    for _ in range(3):
        start = time.process_time()
        assert len(exact.load(tmp_path / "index.parquet", ENCODER)) == 2000
        taken.append(time.process_time() - start)
    # Processor time, so that other work on the machine does not count.
    assert min(taken) < 0.15
