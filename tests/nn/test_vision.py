"""The embedding code of every vision encoder, over a trunk small enough to check by hand."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from consilium.errors import UsageError
from consilium.nn.feature_store import FeatureStore
from consilium.nn.vision import Run, Sight, VisionEncoder, keep_layers, open_store, stamped
from consilium.protocols import Card, Encoder
from consilium.types import Image

CARD = Card(kind="encoder", name="tiny", version="1", summary="two tokens' worth of pixels")
SIGHT = Sight(size=8, grid=2, prefix=2, channels=3, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def trunk(pixels: torch.Tensor) -> torch.Tensor:
    """[CLS]: the mean colour; a register of 99; then the mean colour of each quadrant."""
    quadrants = torch.nn.functional.avg_pool2d(pixels, 4).flatten(2).transpose(1, 2)
    cls = pixels.mean((2, 3))[:, None]
    return torch.cat([cls, torch.full_like(cls, 99.0), quadrants], 1)


def encoder(store: FeatureStore | None = None, batch: int = 4) -> VisionEncoder:
    return VisionEncoder(CARD, trunk, SIGHT, store or FeatureStore(None), Run(precision="float32", batch=batch))


def picture(seed: int) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8), f"uid{seed}")


def test_pooled_is_cls_then_patch_mean_and_registers_are_skipped() -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:4, :4, 0] = 255
    features = encoder().embed([Image(pixels, "u")], patches=True)
    assert isinstance(encoder(), Encoder)
    np.testing.assert_allclose(features.pooled, [[0.25, 0, 0, 0.25, 0, 0]], atol=1e-6)
    assert features.pooled.dtype == features.patches.dtype == np.float32
    np.testing.assert_allclose(features.patches[0, ..., 0], [[1, 0], [0, 0]], atol=1e-6)


def test_no_image_is_encoded_twice() -> None:
    seen = encoder()
    features = seen.embed([picture(1), picture(2), picture(1)])
    assert seen.passes == 2
    np.testing.assert_array_equal(features.pooled[0], features.pooled[2])
    np.testing.assert_array_equal(seen.embed([picture(2)]).pooled[0], features.pooled[1])
    assert seen.passes == 2
    seen.embed([picture(2)], patches=True)
    assert seen.passes == 3
    seen.embed([picture(2)], patches=True)
    assert seen.passes == 3


def test_any_batch_gives_the_same_features_in_the_order_asked() -> None:
    pictures = [picture(seed) for seed in range(7)]
    whole = encoder(batch=3).embed(pictures, patches=True)
    for number, one in enumerate(pictures):
        alone = encoder().embed([one], patches=True)
        np.testing.assert_allclose(alone.pooled[0], whole.pooled[number], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(alone.patches[0], whole.patches[number], atol=1e-3)


def test_the_next_process_encodes_nothing(tmp_path) -> None:
    first = encoder(FeatureStore(tmp_path)).embed([picture(1)], patches=True)
    again = encoder(FeatureStore(tmp_path))
    second = again.embed([picture(1)], patches=True)
    assert again.passes == 0
    np.testing.assert_array_equal(first.pooled, second.pooled)
    np.testing.assert_array_equal(first.patches, second.patches)


def test_what_the_caller_does_to_features_does_not_reach_the_store() -> None:
    seen = encoder()
    seen.embed([picture(1)]).pooled[:] = 0
    assert seen.embed([picture(1)]).pooled.any()


def test_nothing_gives_nothing() -> None:
    features = encoder().embed([], patches=True)
    assert features.pooled.shape == (0, 6)
    assert features.patches.shape == (0, 2, 2, 3)


def test_a_known_image_costs_a_look_up() -> None:
    seen, one = encoder(), picture(1)
    seen.embed([one])
    times = []
    for _ in range(200):
        start = time.perf_counter()
        seen.embed([one])
        times.append(time.perf_counter() - start)
    assert min(times) < 50e-6


def test_features_are_kept_on_disk_only_where_the_settings_say_so(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CONSILIUM_CACHE", str(tmp_path))
    for keep in ("0", "1"):
        monkeypatch.setenv("CONSILIUM_FEATURES", keep)
        encoder(open_store(stamped(CARD, 9, "f" * 64), Run(precision="float32"))).embed([picture(1)])
        names = {path.parent.parent.name for path in tmp_path.rglob("*.safetensors")}
        assert names == (set() if keep == "0" else {"tiny-1+layer9.ffffffff-float32"})


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(UsageError, match="1 to 3"):
        keep_layers([1, 2, 3], 4)
    with pytest.raises(UsageError):
        VisionEncoder(CARD, trunk, SIGHT, FeatureStore(None), Run(precision="float8"))  # type: ignore[arg-type]
