"""Sets that the native generalist never learnt: their experts know the classes by the names that are asked for."""

from __future__ import annotations

import pytest

import native_experts_unlearnt as study
from consilium.consult.vote import votes
from consilium.datasets.folder import read_folder
from consilium.types import Code, Finding, Opinion


@pytest.mark.parametrize("diagnosis", study.DIAGNOSES, ids=lambda diagnosis: diagnosis.folder)
def test_an_expert_votes_on_every_option(diagnosis, shared_data):
    data = study._data(shared_data, diagnosis)
    options = tuple(diagnosis.options.values())
    assert set(data.classes) == set(options) and diagnosis.normal in ("", *diagnosis.options)
    kept = read_folder(shared_data / diagnosis.folder, where=diagnosis.where).records
    assert [diagnosis.label_of(r.labels[0]) for r in data.records] == [r.labels[0] for r in kept]
    findings = tuple(Finding(Code.local(name), 1 / len(options), True) for name in data.classes)
    said = votes((Opinion(diagnosis.specialist, "1", findings),), options, diagnosis.question)
    assert set(said[diagnosis.specialist]) == set(options)
