"""Attention over slices finds the one that tells, and no slice that is absent counts."""

from __future__ import annotations

import numpy as np
import pytest

from consilium.encoders import patch_statistics
from consilium.metrics.classification import auroc
from consilium.nn import attention_pool, fit_head, light_head
from consilium.nn.fit_head import Shape
from consilium.types import Volume


def needles(n: int, seed: int, k: int = 6, d: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Volumes of noisy slices; in one slice of each, marked by the last feature, the first feature tells the class. The same
    feature of the other slices is loud and tells nothing."""
    draw = np.random.default_rng(seed)
    x = draw.normal(0, 1, (n, k, d)).astype(np.float32)
    label = np.arange(n) % 2
    x[..., 0] *= 3
    place = draw.integers(k, size=n)
    x[np.arange(n), place, 0] = np.where(label == 1, 2, -2)
    x[np.arange(n), place, -1] = 6
    return x, np.ones((n, k), bool), np.eye(2, dtype=np.float32)[label]


def test_attention_finds_the_slice_that_tells() -> None:
    x, present, y = needles(160, 0)
    new, there, truth = needles(200, 1)
    plain, gated = (attention_pool.fit(x, present, y, True, Shape(hidden, 1e-2)) for hidden in (0, 16))
    said = [np.diff(attention_pool.raw_logits(t, new, there), axis=1)[:, 0] for t in (plain, gated)]
    flat, found = (auroc(truth[:, 1], one) for one in said)
    assert found > 0.95 and flat < 0.85
    marked = new[..., -1].argmax(axis=1)
    assert (attention_pool.attention(gated, new, there).argmax(axis=1) == marked).mean() > 0.95
    assert attention_pool.fit(x, present, y, True, Shape(16, 1e-2))["gate.weight"] == pytest.approx(
        gated["gate.weight"]
    )


def test_without_a_gate_it_is_the_linear_head_on_the_mean_slice() -> None:
    x, present, y = needles(60, 2)
    present[:20, 4:] = False
    mean = attention_pool.mean_slice(x, present)
    assert mean[0] == pytest.approx(x[0, :4].mean(axis=0), abs=1e-6)
    plain = attention_pool.fit(x, present, y, True, Shape(0, 1e-1))
    expected = light_head.raw_logits(fit_head.fit(mean, y, True, Shape(0, 1e-1)), mean)
    assert attention_pool.raw_logits(plain, x, present) == pytest.approx(expected, abs=1e-4)


def test_absent_slices_and_their_order_do_not_count() -> None:
    x, present, y = needles(80, 3)
    present[:, 4:] = False
    gated = attention_pool.fit(x, present, y, True, Shape(8, 1e-2))
    said = attention_pool.raw_logits(gated, x, present)
    shares = attention_pool.attention(gated, x, present)
    assert shares.sum(axis=1) == pytest.approx(1) and not shares[:, 4:].any()
    noise = x.copy()
    noise[:, 4:] = 99
    assert attention_pool.raw_logits(gated, noise, present) == pytest.approx(said)
    turned = np.array([3, 1, 0, 2, 4, 5])
    assert attention_pool.raw_logits(gated, x[:, turned], present[:, turned]) == pytest.approx(said, abs=1e-4)


def test_labels_that_are_not_known_teach_nothing() -> None:
    x, present, y = needles(60, 4)
    y[30:, 1] = np.nan
    tensors = attention_pool.fit(x, present, y, False, Shape(4, 1e-1))
    assert all(np.isfinite(value).all() for value in tensors.values())


def test_a_volume_is_seen_by_its_most_telling_slices() -> None:
    draw = np.random.default_rng(0)
    voxels = draw.integers(0, 255, (9, 16, 16)).astype(np.uint8)
    volumes = [Volume(voxels[:count], str(count), (1.0, 1.0, 1.0), np.eye(4)) for count in (9, 2)]
    features, present = attention_pool.slice_features(volumes, patch_statistics.load(), 3)
    assert features.shape == (2, 3, 16) and present.tolist() == [[True] * 3, [True, True, False]]
    assert features[0].all() and not features[1, 2].any()
