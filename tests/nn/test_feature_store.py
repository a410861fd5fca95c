"""Features come back exactly, from memory and from disk; damage is noticed; memory is bounded."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from consilium.nn.feature_store import FeatureStore, Stored

DIGEST = "ab" + "0" * 62
OTHER = "cd" + "1" * 62


def features(seed: int = 0, patches: bool = False) -> Stored:
    rng = np.random.default_rng(seed)
    grid = rng.normal(size=(3, 3, 4)).astype(np.float16) if patches else None
    return Stored(rng.normal(size=8).astype(np.float32), grid)


@pytest.mark.parametrize("patches", [False, True])
def test_a_new_process_reads_what_was_put(tmp_path: Path, patches: bool) -> None:
    kept = features(patches=patches)
    FeatureStore(tmp_path).put(DIGEST, kept)
    found = FeatureStore(tmp_path).get(DIGEST, patches)
    assert found is not None
    np.testing.assert_array_equal(found.pooled, kept.pooled)
    assert found.pooled.dtype == np.float32
    if patches:
        np.testing.assert_array_equal(found.patches, kept.patches)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [f"{DIGEST}.safetensors"]


def test_patches_that_nobody_asked_for_are_not_there(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    store.put(DIGEST, features())
    assert store.get(DIGEST, patches=True) is None
    assert store.get(DIGEST) is not None
    assert store.get(OTHER) is None


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "noise"])
def test_a_damaged_file_counts_as_absent_with_a_warning(tmp_path: Path, damage: str, caplog) -> None:
    FeatureStore(tmp_path).put(DIGEST, features())
    path = tmp_path / "ab" / f"{DIGEST}.safetensors"
    data = bytearray(path.read_bytes())
    flipped = bytes([*data[:-8], data[-8] ^ 1, *data[-7:]])
    path.write_bytes({"cut": data[:-3], "bit": flipped, "empty": b"", "noise": b"x" * 64}[damage])
    with caplog.at_level(logging.WARNING):
        assert FeatureStore(tmp_path).get(DIGEST) is None
    assert DIGEST in caplog.text and str(tmp_path) not in caplog.text


def test_memory_is_bounded_and_keeps_the_last_used() -> None:
    store = FeatureStore(None, memory_bytes=2 * 8 * 4)
    for digest in ("a", "b"):
        store.put(digest, features())
    store.get("a")
    store.put("c", features())
    assert [store.get(digest) is not None for digest in "abc"] == [True, False, True]


def test_a_disk_that_refuses_is_a_warning(tmp_path: Path, caplog) -> None:
    (tmp_path / "file").write_text("no folder")
    store = FeatureStore(tmp_path / "file")
    with caplog.at_level(logging.WARNING):
        store.put(DIGEST, features())
    assert "not kept on disk" in caplog.text
    assert store.get(DIGEST) is not None
