"""The background: which pictures are foreign to whom, and what a specialist learns from them."""

from pathlib import Path

import numpy as np
import pytest

from consilium.errors import DataError
from consilium.nn import light_head
from consilium.protocols import Card
from consilium.train import background, specialist
from consilium.train.features import Encoded

KINDS = ("CR/CHEST", "CT/CHEST", "MR/HEAD")


def shipped(path: Path) -> np.ndarray:
    """Twenty pictures of each kind, written in the real format."""
    draw = np.random.default_rng(0)
    features = np.concatenate([draw.normal(i * 3, 1, (20, 8)) for i in range(3)]).astype(np.float16)
    background.save(features, np.repeat(KINDS, 20).tolist(), "v1", path)
    return features.astype(np.float32)


def card(modality: str, part: str) -> Card:
    return Card("specialist", "s", "", "", (modality,), (part,))


def test_own_kind_is_left_out_under_all_its_names(tmp_path: Path) -> None:
    features = shipped(tmp_path / "b.safetensors")
    others, kinds = background.foreign_to(card("DX", "THORAX"), "v1", tmp_path / "b.safetensors")
    assert np.array_equal(others, features[20:]) and np.array_equal(kinds, np.repeat([1, 2], 20))


def test_another_encoders_background_does_not_apply(tmp_path: Path) -> None:
    shipped(tmp_path / "b.safetensors")
    for path, version in ((tmp_path / "b.safetensors", "v2"), (tmp_path / "absent", "v1")):
        others, kinds = background.foreign_to(card("CT", "CHEST"), version, path)
        assert len(others) == len(kinds) == 0
    (tmp_path / "cut").write_bytes((tmp_path / "b.safetensors").read_bytes()[:40])
    with pytest.raises(DataError, match="cannot be read"):
        background.foreign_to(card("CT", "CHEST"), "v1", tmp_path / "cut")


class Stub:
    card = Card("encoder", "stub", "v1", "")


def test_bounds_hold_kinds_where_there_is_a_background_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = shipped(tmp_path / "b.safetensors")[:20]
    part = specialist.Part(own, np.eye(2)[np.arange(20) % 2], ("p",) * 20, np.arange(20) % 5)
    recipe = specialist.Recipe("s", ("CR",), ("CHEST",))
    encoded = Encoded(own, ("d",) * 20, (None,) * 20, (None,) * 20)
    ready = specialist.Ready(None, recipe, encoded, part, part, {})  # type: ignore[arg-type]
    gate = {"centre": own.mean(axis=0), "scale": own.std(axis=0)}
    found = {}
    for name in ("b.safetensors", "absent"):
        path = tmp_path / name
        monkeypatch.setattr(background.foreign_to, "__defaults__", (path,))
        found[name] = gate | specialist.bounds(gate, ready, Stub(), np.linspace(1, 2, 20))  # type: ignore[arg-type]
    assert "kind.weight" not in found["absent"] and "known.basis" not in found["absent"]
    assert light_head.limit(found["absent"]) == 1
    told = found["b.safetensors"]
    assert told["kind.weight"].shape == (3, 8) and light_head.limit(told) == pytest.approx(2.4)
    other = np.full((1, 8), 3, np.float32)
    assert light_head.foreignness(told, other)[0] > light_head.limit(told)
