"""What a retriever is kept from showing in an evaluation: the patient, near-duplicates; and how much was passed over."""

from __future__ import annotations

import numpy as np
import pytest

from consilium import registry
from consilium.evaluate.exclude import MOST_ALIKE, Excluding
from consilium.protocols import Entry
from consilium.retrievers import patient_key
from consilium.types import Precedent


def at(cosine: float) -> np.ndarray:
    return np.array([cosine, np.sqrt(1 - cosine**2), 0.0], np.float32)


def entry(name: str, cosine: float, patient: str = "", modality: str = "CT") -> Entry:
    key = patient_key("set", patient)
    return Entry(at(cosine), Precedent(name, "label", 1.0, modality=modality), key, f"digest-{name}")


QUERY = at(1.0)


@pytest.fixture
def index() -> Excluding:
    inner = registry.get("retrievers", "exact").load(encoder_key="e")
    own = [entry(f"own{i}", 0.98 - i / 10_000, "ann") for i in range(40)]
    copies = [entry("itself", 1.0), entry("copy", 0.9980)]
    inner.add([*own, *copies, *(entry(f"far{i}", 0.9 - i / 100, "bob") for i in range(8)), entry("mr", 0.95, "", "MR")])
    return Excluding(inner)


def names(found: tuple[Precedent, ...]) -> list[str]:
    return [precedent.case_id for precedent in found]


def test_the_patient_and_copies_are_passed_over_however_many_they_are(index: Excluding) -> None:
    index.begin(patient_key("set", "ann"))
    found = index.search(QUERY, 5, modality="CT", exclude_digests=["digest-itself"])
    assert names(found) == [f"far{i}" for i in range(5)] and max(p.similarity for p in found) <= MOST_ALIKE
    assert index.left_out == 42


def test_without_a_patient_only_copies_are_passed_over(index: Excluding) -> None:
    index.begin("")
    assert names(index.search(QUERY, 3, modality="CT")) == ["own0", "own1", "own2"] and index.left_out == 2
    index.begin(patient_key("set", "bob"))
    assert index.left_out == 0


def test_what_is_left_is_given_even_if_it_is_less_than_asked(index: Excluding) -> None:
    index.begin(patient_key("set", "bob"))
    assert names(index.search(QUERY, 5, modality="MR")) == ["mr"] and index.left_out == 0
    found = index.search(QUERY, 60, modality="CT")
    assert len(found) == 40 and index.left_out == 10


def test_it_is_a_retriever(index: Excluding) -> None:
    assert len(index) == 51 and index.card.name == "exact"
    assert index.add([entry("new", 0.5)]) == 1 and index.delete_patient(patient_key("set", "bob")) == 8
