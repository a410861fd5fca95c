"""What every retriever must do, against a brute-force search written here. Whatever lies in the room is tested."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from consilium.errors import DataError, UsageError
from consilium.protocols import Entry, Retriever
from consilium.registry import find
from consilium.retrievers import patient_key
from consilium.types import Array, Precedent

ENCODER = "test/1/pooled"
DIMENSIONS = 24
MODALITIES = ("CT", "MR", "")
LABELS = ("nodule", 'Crohn\'s "disease"', "x' OR '1'='1", "50 % \\ '' -- ;", "")


@pytest.fixture(params=[name for name, member in find("retrievers").items() if member.origin == "built in"])
def retriever(request: pytest.FixtureRequest, tmp_path: Path) -> Retriever:
    """An empty index of each built-in retriever."""
    module = import_module(f"consilium.retrievers.{request.param}")
    load: Callable[..., Retriever] = module.load
    return load(tmp_path / "index", encoder_key=ENCODER, create=True)


def known_cases(n: int, seed: int = 0) -> list[Entry]:
    """n entries: three in a row belong to one patient, the patient of every seventh is unknown."""
    draw = np.random.default_rng(seed)
    return [
        Entry(
            draw.normal(size=DIMENSIONS),
            Precedent(
                case_id=f"case-{seed}-{i}",
                label=LABELS[draw.integers(len(LABELS))],
                similarity=0.0,
                report=f"report {i}",
                modality=MODALITIES[draw.integers(len(MODALITIES))],
                body_part="CHEST",
                source="made for the test",
                licence="CC0-1.0",
                thumbnail=bytes([i % 256, 0, 255]),
            ),
            "" if i % 7 == 0 else patient_key("test", str(i // 3)),
            f"digest-{seed}-{i}",
        )
        for i in range(n)
    ]


def brute_force(entries: list[Entry], query: Array, k: int, **filters) -> list[str]:
    """The case ids that a search must give, in order."""

    def allowed(entry: Entry) -> bool:
        return (
            filters.get("modality") in (None, entry.precedent.modality)
            and filters.get("label") in (None, entry.precedent.label)
            and entry.digest not in filters.get("exclude_digests", ())
            and (not entry.patient_id or entry.patient_id not in filters.get("exclude_patients", ()))
        )

    def cosine(entry: Entry) -> float:
        return float(entry.features @ query / np.linalg.norm(entry.features) / np.linalg.norm(query))

    left = sorted(filter(allowed, entries), key=lambda entry: (-cosine(entry), entry.precedent.case_id))
    return [entry.precedent.case_id for entry in left[:k]]


def random_filters(draw: np.random.Generator, entries: list[Entry]) -> dict[str, object]:
    some = [entries[i] for i in draw.integers(len(entries), size=20)]
    filters: dict[str, object] = {
        "modality": str(draw.choice(MODALITIES)),
        "label": LABELS[draw.integers(len(LABELS))],
        "exclude_digests": [entry.digest for entry in some[:10]],
        "exclude_patients": [entry.patient_id for entry in some[10:]],
    }
    return {name: value for name, value in filters.items() if draw.random() < 0.5}


def ids(precedents: tuple[Precedent, ...]) -> list[str]:
    return [precedent.case_id for precedent in precedents]


def test_it_keeps_the_protocol(retriever: Retriever) -> None:
    assert isinstance(retriever, Retriever)
    assert retriever.card.kind == "retriever"
    assert retriever.card.licence and retriever.card.summary and retriever.card.not_for


@pytest.mark.parametrize("seed", range(3))
def test_it_agrees_with_brute_force_under_filters_exclusions_and_deletions(retriever: Retriever, seed: int) -> None:
    draw = np.random.default_rng(seed)
    entries = known_cases(150, seed)
    assert retriever.add(entries[:100]) == 100
    assert retriever.add(entries[100:]) == 50
    for round_ in range(30):
        if round_ % 10 == 9:
            gone = next(entry.patient_id for entry in entries[round_:] if entry.patient_id)
            left = [entry for entry in entries if entry.patient_id != gone]
            assert retriever.delete_patient(gone) == len(entries) - len(left) > 0
            entries = left
        query, k, filters = draw.normal(size=DIMENSIONS), int(draw.integers(1, 40)), random_filters(draw, entries)
        assert ids(retriever.search(query, k, **filters)) == brute_force(entries, query, k, **filters), filters
    assert len(retriever) == len(entries)


def test_a_precedent_comes_back_as_it_was_given(retriever: Retriever) -> None:
    entry = known_cases(5)[4]
    retriever.add(known_cases(5))
    (found,) = retriever.search(entry.features, 1)
    assert found.similarity == pytest.approx(1, abs=1e-6)
    assert replace(found, similarity=0.0) == entry.precedent


def test_similarity_is_the_cosine(retriever: Retriever) -> None:
    east, north = np.eye(DIMENSIONS)[:2]
    shown = known_cases(3)
    features = (7 * east, -0.1 * east, east + north)
    retriever.add([replace(entry, features=value) for entry, value in zip(shown, features, strict=True)])
    found = {precedent.case_id: precedent.similarity for precedent in retriever.search(2 * east, 3)}
    assert found == pytest.approx({"case-0-0": 1, "case-0-1": -1, "case-0-2": np.sqrt(0.5)}, abs=1e-6)
    assert all(-1 <= similarity <= 1 for similarity in found.values())


def test_adding_again_adds_nothing(retriever: Retriever) -> None:
    entries = known_cases(20)
    assert retriever.add([*entries[:10], entries[0]]) == 10
    assert retriever.add(entries) == 10
    assert retriever.add(entries) == 0
    assert retriever.add([]) == 0
    assert len(retriever) == 20


def test_ties_are_ordered_by_case_id_also_at_the_kth_place(retriever: Retriever) -> None:
    features = np.random.default_rng(0).normal(size=DIMENSIONS)
    twins = [replace(entry, features=features) for entry in known_cases(61)]
    retriever.add([*twins, *known_cases(40, seed=1)])
    for k in (1, 5, 61):
        assert ids(retriever.search(features + 0.01, k)) == sorted(twin.precedent.case_id for twin in twins)[:k]


def test_k_beyond_the_size_gives_all(retriever: Retriever) -> None:
    retriever.add(known_cases(12))
    assert len(retriever.search(np.ones(DIMENSIONS), 10**9)) == 12
    assert len(retriever.search(np.ones(DIMENSIONS), 100, exclude_digests=["digest-0-3"])) == 11


def test_an_empty_index_finds_nothing(retriever: Retriever) -> None:
    assert len(retriever) == 0
    assert retriever.search(np.ones(DIMENSIONS)) == ()
    assert retriever.delete_patient(patient_key("test", "1")) == 0


def test_nothing_is_left_after_the_last_patient_is_deleted(retriever: Retriever) -> None:
    entry = known_cases(2)[1]
    retriever.add([entry])
    assert retriever.delete_patient(entry.patient_id) == 1
    assert retriever.search(np.ones(DIMENSIONS)) == ()
    assert retriever.search(np.ones(DIMENSIONS), label="no such label") == ()
    assert retriever.add([entry]) == 1


@pytest.mark.parametrize(
    "query",
    [
        np.full(DIMENSIONS, np.nan),
        np.full(DIMENSIONS, np.inf),
        np.zeros(DIMENSIONS),
        np.ones(DIMENSIONS + 1),
        np.ones((1, DIMENSIONS)),
    ],
    ids=["nan", "infinite", "zero", "too long", "two axes"],
)
def test_a_query_that_cannot_be_compared_is_refused(retriever: Retriever, query: Array) -> None:
    retriever.add(known_cases(3))
    with pytest.raises(DataError):
        retriever.search(query)


def test_a_query_is_checked_before_the_index_is_asked(retriever: Retriever) -> None:
    with pytest.raises(DataError, match="NaN"):
        retriever.search(np.full(DIMENSIONS, np.nan))
    with pytest.raises(UsageError, match="0 precedents"):
        retriever.search(np.ones(DIMENSIONS), 0)


@pytest.mark.parametrize(
    "broken", [{"digest": ""}, {"features": np.ones(5)}, {"features": np.full(DIMENSIONS, np.nan)}]
)
def test_an_entry_that_cannot_be_kept_is_refused_and_leaves_no_trace(
    retriever: Retriever, broken: dict[str, object]
) -> None:
    good, bad = known_cases(2)
    retriever.add([good])
    with pytest.raises(DataError):
        retriever.add([*known_cases(2, seed=1), replace(bad, **broken)])
    assert len(retriever) == 1


def test_a_raw_patient_identifier_is_refused_and_not_repeated(retriever: Retriever) -> None:
    entry = replace(known_cases(1)[0], patient_id="MRN 4711")
    requests: list[Callable[[], object]] = [
        lambda: retriever.add([entry]),
        lambda: retriever.search(np.ones(DIMENSIONS), exclude_patients=["MRN 4711"]),
        lambda: retriever.delete_patient("MRN 4711"),
        lambda: retriever.delete_patient(""),
    ]
    for request in requests:
        with pytest.raises(UsageError, match="patient_key") as caught:
            request()
        assert "4711" not in str(caught.value)


def test_an_unknown_patient_excludes_nobody(retriever: Retriever) -> None:
    retriever.add([replace(entry, patient_id="") for entry in known_cases(4)])
    assert len(retriever.search(np.ones(DIMENSIONS), exclude_patients=["", patient_key("test", "1")])) == 4


def test_thousands_of_exclusions_are_obeyed(retriever: Retriever) -> None:
    entries = known_cases(30)
    retriever.add(entries)
    banned = [entry.digest for entry in entries[1:]] + [f"elsewhere-{i}" for i in range(5000)]
    assert ids(retriever.search(np.ones(DIMENSIONS), 30, exclude_digests=banned)) == ["case-0-0"]
