"""A cohort of 120 people and 700 variants with missing calls, and three scores over it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.genomics.cohort import Cohort, draw

from consilium.types import Array


@pytest.fixture(scope="session")
def cohort() -> Cohort:
    return draw(120, 700)


@pytest.fixture(scope="session")
def weights() -> Array:
    return np.random.default_rng(1).normal(0, 0.05, (700, 3))


@pytest.fixture(scope="session")
def is_alt() -> Array:
    return np.random.default_rng(2).random(700) < 0.5


@pytest.fixture
def files(tmp_path: Path, cohort: Cohort, weights: Array, is_alt: Array) -> tuple[Path, Path]:
    """The .bed and the table of scores."""
    return cohort.write_bed(tmp_path), cohort.write_scores(tmp_path / "scores.tsv", weights, is_alt)


@pytest.fixture(scope="session")
def real(shared_data: Path) -> Path:
    folder = shared_data / "genomics_prs/pgscatalog"
    if not folder.is_dir():
        pytest.skip("needs the genotypes in ../shared/data/genomics_prs, absent here")
    return folder
