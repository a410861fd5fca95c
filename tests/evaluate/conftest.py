"""One small set and its specialist, made once."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.evaluate import small

from consilium.evaluate.run import run


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return small.prepare(tmp_path_factory.mktemp("evaluate"))


@pytest.fixture(scope="session")
def kept(place: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The records of all policies on the whole test split; to be read, not changed."""
    folder = tmp_path_factory.mktemp("kept") / "small"
    run(small.evaluation(place, folder))
    return folder
