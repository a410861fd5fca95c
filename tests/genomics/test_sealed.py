"""What may be written of a genome: never enough to tell the genotypes or whose they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from consilium.genomics.genome import InMemory
from consilium.genomics.sealed import LEAST_CALLS, LEAST_OTHERS, digest_of, seal
from consilium.types import Genome


def genome(variants: int = 200, people: int = 1) -> Genome:
    dosages = np.random.default_rng(0).integers(0, 3, (people, variants)).astype(np.int8)
    return Genome(
        tuple(f"Jane{i}" for i in range(people)), tuple(f"1:{n}:A:C" for n in range(variants)), dosages, "b37"
    )


def test_sealed_it_is_a_genome_without_variants_and_names_that_stays_as_it_is() -> None:
    kept = seal(genome(people=2))
    assert (kept.samples, kept.variants, kept.dosages.shape) == (("1", "2"), (), (2, 0))
    assert (kept.build, kept.read) == ("b37", 200) and kept.digest == digest_of(genome(people=2)) == digest_of(kept)
    assert seal(kept) is kept and len(InMemory(kept).people) == 2


def test_the_digest_is_of_what_was_called_and_not_of_whose_it_is_or_of_the_number_type() -> None:
    one = genome()
    own = digest_of(one)
    missing = one.dosages.astype(np.float64)
    missing[0, 3] = np.nan
    coded = one.dosages.copy()
    coded[0, 3] = -9
    assert own == digest_of(replace(one, samples=("John",), dosages=one.dosages.astype(np.float64)))
    assert digest_of(replace(one, dosages=missing)) == digest_of(replace(one, dosages=coded)) != own
    assert digest_of(replace(one, variants=("1:9:A:T", *one.variants[1:]))) != own


@pytest.mark.parametrize("variants", [0, 1, LEAST_CALLS - 1])
def test_of_few_calls_there_is_no_digest_that_could_be_guessed(variants: int) -> None:
    assert digest_of(genome(variants)) == "" and seal(genome(variants)).read == variants
    many = genome()
    called = np.where(np.arange(200) < variants, many.dosages, -9)
    assert digest_of(replace(many, dosages=called)) == ""
    assert len(digest_of(genome(LEAST_CALLS))) == 64


def test_where_almost_all_calls_are_alike_there_is_no_digest_either() -> None:
    calls = np.zeros((1, 200), np.int8)
    calls[0, 7] = 1
    assert digest_of(replace(genome(), dosages=calls)) == "" and digest_of(replace(genome(), dosages=2 - calls)) == ""
    calls[0, :LEAST_OTHERS] = 1
    assert len(digest_of(replace(genome(), dosages=calls))) == 64
