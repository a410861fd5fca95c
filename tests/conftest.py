"""Shared fixtures: where the real data lies (tests that need it skip with a reason), an isolated home and cache."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest

# Before torch is imported: threads that spin while they wait starve each other where tests run side by side.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Before consilium is imported: nothing that its user has trained or built takes part, in whatever home the tests are run.
os.environ["CONSILIUM_HOME"] = tempfile.mkdtemp(prefix="consilium-home-")
atexit.register(shutil.rmtree, os.environ["CONSILIUM_HOME"], ignore_errors=True)

ROOT = Path(__file__).parents[1]


def _shared_data() -> Path | None:
    for folder in (ROOT.parent / "shared/data", ROOT / "shared/data"):
        if folder.is_dir():
            return folder
    return None


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real datasets beside the checkout."""
    folder = _shared_data()
    if folder is None:
        pytest.skip("needs the real datasets in ../shared/data, absent here")
    return folder


@pytest.fixture(scope="session")
def examples_folder() -> Path:
    """The openly licensed samples that the repository carries."""
    return ROOT / "examples"


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for CONSILIUM_WEIGHTS with links to the weights that `ask` needs, so that a test may have a cache of its own."""
    from consilium import weights
    from consilium.errors import WeightsMissingError

    links = tmp_path_factory.mktemp("pretrained")
    for name in ("clip-vit-b16", "smollm2-135m-instruct", "consilium-native"):
        try:
            (links / name).symlink_to(weights.folder(name), target_is_directory=True)
        except WeightsMissingError as error:
            pytest.skip(f"needs pretrained weights: {error}")
    return links


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty CONSILIUM_HOME, so that a test neither sees nor leaves trained members."""
    monkeypatch.setenv("CONSILIUM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"
