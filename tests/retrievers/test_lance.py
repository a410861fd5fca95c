"""The LanceDB retriever: graph, fresh rows, deletion from disk, kill -9. The rest: contract/test_retrievers.py."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from consilium.errors import DataError, UsageError
from consilium.protocols import Entry
from consilium.retrievers import exact, lance, patient_key
from consilium.types import Array, Precedent

ENCODER = "test/1/pooled"
DIMENSIONS = 32
# Adds batches of 40 from number argv[2] on, and says after each how many there are now. The graph is built at 200 rows
# and extended every 200, so that the kill also falls into that.
WRITER = """
import sys
from test_lance import ENCODER, known_cases
from consilium.retrievers import lance
index = lance.load(sys.argv[1], ENCODER, create=True, index_from=200)
for start in range(int(sys.argv[2]), 100_000, 40):
    index.add(known_cases(start, start + 40))
    print(start + 40, flush=True)
"""


def features(number: int) -> Array:
    """Twenty clusters, each case near the centre of its own."""
    centre = np.random.default_rng(number % 20).normal(size=DIMENSIONS)
    return centre + 0.5 * np.random.default_rng([number, 1]).normal(size=DIMENSIONS)


def known_cases(start: int, stop: int) -> list[Entry]:
    return [
        Entry(
            features(i),
            Precedent(f"case-{i:06}", f"kind {i % 50}", 0.0, f"report <{i}>", "CT" if i % 2 else "MR"),
            patient_key("test", f"MRN-{i // 4}"),
            f"digest-{i}",
        )
        for i in range(start, stop)
    ]


def queries(n: int) -> list[Array]:
    return [features(10**6 + i) for i in range(n)]


def recall(index: lance.LanceRetriever, oracle: exact.ExactRetriever, **filters: str) -> float:
    hits = [
        len({p.case_id for p in index.search(query, 10, **filters)} & {p.case_id for p in truth}) / len(truth)
        for query in queries(40)
        if (truth := oracle.search(query, 10, **filters))
    ]
    return float(np.mean(hits))


@pytest.fixture(scope="module")
def oracle() -> exact.ExactRetriever:
    index = exact.load(encoder_key=ENCODER)
    index.add(known_cases(0, 3000))
    return index


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> lance.LanceRetriever:
    """3,000 rows: a graph over the first 1,000, extended at 2,000, and 400 rows that it does not hold."""
    index = lance.load(tmp_path_factory.mktemp("lance"), ENCODER, create=True, index_from=1000)
    for start, stop in ((0, 1000), (1000, 1600), (1600, 2600), (2600, 3000)):
        index.add(known_cases(start, stop))
    return index


def graph(index: lance.LanceRetriever) -> tuple[int, int]:
    """(rows in the graph, rows beside it) as LanceDB counts them."""
    assert index._table is not None
    (found,) = index._table.list_indices()
    assert found.index_type == "IvfHnswSq"
    return found.num_indexed_rows, found.num_unindexed_rows


def test_the_graph_is_built_and_extended_and_the_rest_stays_beside_it(indexed: lance.LanceRetriever) -> None:
    assert graph(indexed) == (2600, 400)


def test_below_the_threshold_there_is_no_graph(tmp_path: Path) -> None:
    index = lance.load(tmp_path, ENCODER, create=True)
    index.add(known_cases(0, 300))
    assert index._table is not None
    assert list(index._table.list_indices()) == []


@pytest.mark.parametrize(
    "filters", [{}, {"modality": "CT"}, {"label": "kind 7"}, {"modality": "MR", "label": "kind 8"}]
)
def test_the_graph_finds_what_exact_search_finds(
    indexed: lance.LanceRetriever, oracle: exact.ExactRetriever, filters: dict[str, str]
) -> None:
    assert recall(indexed, oracle, **filters) >= 0.99


def test_rows_that_the_graph_does_not_hold_are_found(indexed: lance.LanceRetriever) -> None:
    for entry in known_cases(2600, 3000)[::20]:
        (found,) = indexed.search(entry.features, 1)
        assert found.case_id == entry.precedent.case_id


def test_a_filter_that_leaves_few_rows_still_gives_k(indexed: lance.LanceRetriever) -> None:
    assert len(indexed.search(queries(1)[0], 60, label="kind 7")) == 60
    spared = [f"digest-{i}" for i in range(3000) if i not in (5, 1700, 2900)]
    assert {p.case_id for p in indexed.search(queries(1)[0], 3, exclude_digests=spared)} == {
        "case-000005",
        "case-001700",
        "case-002900",
    }


def test_all_rows_can_be_asked_for(indexed: lance.LanceRetriever, oracle: exact.ExactRetriever) -> None:
    query = queries(1)[0]
    assert indexed.search(query, 10_000) == oracle.search(query, 10_000)


def test_another_encoder_is_refused(tmp_path: Path) -> None:
    lance.load(tmp_path, ENCODER, create=True).add(known_cases(0, 2))
    for create in (True, False):
        with pytest.raises(DataError, match=r"'test/1/pooled', and 'test/2/pooled' asks"):
            lance.load(tmp_path, "test/2/pooled", create=create)
    assert lance.load(tmp_path).encoder_key == ENCODER


def test_two_that_begin_one_index_with_two_encoders_do_not_mix(tmp_path: Path) -> None:
    first = lance.load(tmp_path, ENCODER, create=True)
    second = lance.load(tmp_path, "test/2/pooled", create=True)
    first.add(known_cases(0, 2))
    with pytest.raises(DataError, match="asks"):
        second.add(known_cases(2, 4))
    assert len(first) == 2


def test_an_index_that_another_process_begins_is_found(tmp_path: Path) -> None:
    reader = lance.load(tmp_path, ENCODER, create=True)
    assert reader.search(features(0)) == ()
    lance.load(tmp_path, ENCODER, create=True).add(known_cases(0, 4))
    assert len(reader.search(features(0))) == 4


def test_a_missing_index_is_not_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no index in"):
        lance.load(tmp_path / "nowhere", ENCODER)
    with pytest.raises(UsageError, match="encoder_key"):
        lance.load(tmp_path, create=True)
    assert not (tmp_path / "nowhere").exists()


def test_a_commit_is_seen_by_whoever_has_the_folder_open(tmp_path: Path) -> None:
    writer = lance.load(tmp_path, ENCODER, create=True)
    writer.add(known_cases(0, 8))
    reader = lance.load(tmp_path)
    writer.add(known_cases(8, 12))
    assert reader.search(features(11), 1)[0].case_id == "case-000011"
    writer.delete_patient(patient_key("test", "MRN-2"))
    assert len(reader) == 8
    assert reader.search(features(11), 1)[0].case_id != "case-000011"


def test_rebuild_removes_deleted_patients_from_the_disk(tmp_path: Path) -> None:
    index = lance.load(tmp_path, ENCODER, create=True, index_from=300)
    index.add(known_cases(0, 400))
    assert b"report <41>" in content(tmp_path)
    assert index.delete_patient(patient_key("test", "MRN-10")) == 4
    index.rebuild()
    assert graph(index) == (396, 0)
    assert b"report <41>" not in content(tmp_path)
    assert b"report <44>" in content(tmp_path)
    again = lance.load(tmp_path, ENCODER)
    assert len(again) == 396
    assert again.search(features(44), 1)[0].report == "report <44>"


def test_no_patient_identifier_lies_in_the_folder(tmp_path: Path) -> None:
    lance.load(tmp_path, ENCODER, create=True).add(known_cases(0, 40))
    assert patient_key("test", "MRN-3").encode() in content(tmp_path)
    assert b"MRN" not in content(tmp_path)


def test_rebuilding_an_empty_index_changes_nothing(tmp_path: Path) -> None:
    index = lance.load(tmp_path, ENCODER, create=True)
    index.rebuild()
    assert len(index) == 0


def content(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_kill_9_while_adding_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    chance = random.Random()
    acknowledged = 0
    for _ in range(3):
        acknowledged = killed_writer(tmp_path, acknowledged, chance)
        index = lance.load(tmp_path, ENCODER)
        stored = {precedent.case_id for precedent in index.search(features(0), len(index))}
        assert stored >= {f"case-{i:06}" for i in range(acknowledged)}
        for number in chance.sample(range(acknowledged), 10):
            assert index.search(features(number), 1)[0].case_id == f"case-{number:06}"
    assert index.add(known_cases(acknowledged, acknowledged + 100)) >= 100 - 40, "at most one batch was unacknowledged"
    index.rebuild()
    assert len(index) == acknowledged + 100


def killed_writer(folder: Path, start: int, chance: random.Random) -> int:
    """Lets another process add from `start` on and kills it at some moment; the last count that it acknowledged."""
    command = [sys.executable, "-c", WRITER, str(folder), str(start)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent) as process:
        assert process.stdout is not None
        for _ in range(chance.randint(1, 12)):
            last = process.stdout.readline()
        time.sleep(chance.uniform(0, 0.2))
        process.kill()
        rest = process.stdout.read().split("\n")[:-1]
    return int((rest or [last])[-1])


def test_what_is_known_otherwise_is_taken_out_and_put_back(tmp_path: Path) -> None:
    index = lance.load(tmp_path, encoder_key="e", create=True)
    entries = known_cases(0, 40)
    index.add(entries)
    known = {entry.digest: entry.precedent for entry in entries[:10]}
    assert index.correct(known) == 0 and index.correct({}) == 0
    known["digest-0"] = replace(known["digest-0"], label="another")
    known["digest-1"] = replace(known["digest-1"], modality="US")
    assert index.correct({**known, "digest-2": None, "digest-99": None}) == 3 and len(index) == 37
    assert index.add([replace(entries[0], precedent=known["digest-0"])]) == 1
    assert index.search(features(0), 1)[0].label == "another"
