"""Fitting, calibration, limits and the gradient of light heads."""

from pathlib import Path

import numpy as np
import pytest

from consilium.errors import MemberError
from consilium.metrics import classification as metric
from consilium.nn import fit_head, light_head
from consilium.nn.fit_head import Shape

NAN = float("nan")


def blobs(n: int, seed: int, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Three classes in 20 dimensions."""
    draw = np.random.default_rng(seed)
    truth = draw.integers(3, size=n)
    centres = np.random.default_rng(0).normal(size=(3, 20))
    return (centres[truth] + spread * draw.normal(size=(n, 20))).astype(np.float32), np.eye(3, dtype=np.float32)[truth]


def finished(x: np.ndarray, y: np.ndarray, exclusive: bool, shape: Shape) -> dict[str, np.ndarray]:
    held_out = fit_head.out_of_fold(x, y, exclusive, shape, np.arange(len(x)) % 5)
    tensors = fit_head.fit(x, y, exclusive, shape)
    tensors |= fit_head.calibrate(held_out.logits, y, exclusive) | fit_head.foreign(tensors, x)
    return tensors | fit_head.limits(held_out.distances)


@pytest.mark.parametrize("shape", [Shape(0, 1e-2), Shape(16, 1e-2)])
def test_learns_is_calibrated_and_is_deterministic(shape: Shape) -> None:
    x, y = blobs(600, 1, spread=1.5)
    tensors = finished(x, y, True, shape)
    unseen, truth = blobs(4000, 2, spread=1.5)
    p = light_head.LightHead(tensors, True).probabilities(unseen)
    assert metric.mean_auroc(truth, p) > 0.9
    assert metric.calibration_error(truth, p, True) < 0.03
    again = finished(x, y, True, shape)
    assert all(np.array_equal(tensors[name], again[name]) for name in tensors)


def test_a_label_that_is_not_known_teaches_nothing() -> None:
    x, y = blobs(300, 3)
    masked, wrong = y.copy(), y.copy()
    masked[:200, 0] = NAN
    full = fit_head.fit(x[200:], y[200:], False, Shape(0, 0.1))
    # Standardisation uses all pictures, so compare what the masked label says against a head that saw no such rows.
    tensors = fit_head.fit(x, masked, False, Shape(0, 0.1))
    wrong[:200, 0] = 1 - wrong[:200, 0]
    misled = fit_head.fit(x, wrong, False, Shape(0, 0.1))
    unseen, truth = blobs(1000, 4)

    def of(t: dict[str, np.ndarray]) -> float:
        return metric.auroc(truth[:, 0], light_head.raw_logits(t, unseen)[:, 0])

    assert abs(of(tensors) - of(full)) < 0.01 and of(misled) < 0.9 < of(tensors)


def test_foreign_pictures_lie_beyond_the_limit_and_own_inside() -> None:
    x, y = blobs(600, 5)
    head = light_head.LightHead(finished(x, y, True, Shape(0, 0.1)), True)
    own, _ = blobs(2000, 6)
    assert (head.foreignness(own) > head.limit).mean() < 0.05
    other = np.random.default_rng(7).normal(size=(500, 20)).astype(np.float32) * 3 + 4
    assert (head.foreignness(other) > head.limit).mean() > 0.99


def test_the_limit_is_never_within_that_of_the_own_pictures() -> None:
    own = np.linspace(1, 2, 1000)
    inner, wide, narrow = (float(fit_head.limits(own, w)["foreign.limit"][0]) for w in (1.0, 2.4, 0.5))
    assert wide == pytest.approx(2.4 * inner) and narrow == inner


def with_kinds(x: np.ndarray, y: np.ndarray, others: np.ndarray, names: np.ndarray) -> light_head.LightHead:
    tensors = finished(x, y, True, Shape(0, 0.1))
    inner = float(tensors["foreign.own"][0])
    tensors["foreign.limit"] = np.array([fit_head.FARTHEST * inner])
    return light_head.LightHead(tensors | fit_head.kinds(x, others, names) | fit_head.known(x, others), True)


def test_another_scanner_is_judged_and_another_kind_at_the_same_distance_is_not() -> None:
    x, y = blobs(600, 10, spread=0.5)
    organ, limb, scanner = np.zeros((3, 20), np.float32)
    organ[:4], limb[4:8], scanner[-4:] = 3.0, 3.0, 1.7  # no kind of the background differs where scanners do
    others, names = np.concatenate([x + organ, x + limb]), np.repeat([3, 5], len(x))
    head = with_kinds(x, y, others, names)
    unseen, _ = blobs(500, 11, spread=0.5)
    moved, another = unseen + scanner, unseen + organ
    assert (head.foreignness(unseen) <= head.limit).mean() > 0.98
    assert np.median(light_head.remoteness(head.tensors, moved)) > 1.05
    assert (head.foreignness(moved) <= head.limit).mean() > 0.95
    assert (light_head.remoteness(head.tensors, another) <= head.limit).mean() > 0.5
    assert (head.foreignness(another) > head.limit).mean() > 0.99


def test_a_kind_that_the_background_lacks_is_like_nothing_known() -> None:
    x, y = blobs(600, 12)
    others = x + np.float32(3)
    head = with_kinds(x, y, others, np.zeros(len(x), int))
    across = np.tile(np.array([6, -6], np.float32), 10)  # where neither own pictures nor background vary
    unknown = x - np.float32(2) + across
    scores = unknown @ head.tensors["kind.weight"].T + head.tensors["kind.bias"]
    assert (scores[:, 0] > scores[:, 1]).all()
    assert (light_head.otherness(head.tensors, unknown) > 0).all()
    assert (head.foreignness(unknown) > head.limit).all()


def test_kinds_weigh_alike_however_many_pictures_show_them() -> None:
    x, _ = blobs(300, 13)
    others, names = np.concatenate([x + 3, x - 3]).astype(np.float32), np.repeat([0, 1], 300)
    once = fit_head.kinds(x, others, names)
    often = fit_head.kinds(x, np.concatenate([others, others[:300], others[:300]]), np.append(names, [0] * 600))
    np.testing.assert_allclose(once["kind.weight"], often["kind.weight"], atol=1e-8)


def test_a_member_without_kinds_goes_by_its_distance_alone() -> None:
    x, y = blobs(300, 14)
    tensors = finished(x, y, True, Shape(0, 0.1))
    far, _ = blobs(200, 15, spread=4)
    assert np.array_equal(light_head.foreignness(tensors, far), light_head.remoteness(tensors, far))
    assert (light_head.otherness(tensors, far) == 0).all()


@pytest.mark.parametrize("hidden", [0, 16])
def test_the_gradient_is_the_slope_of_the_logit(hidden: int) -> None:
    x, y = blobs(200, 8)
    head = light_head.LightHead(finished(x, y, True, Shape(hidden, 0.1)), True)
    point, step = x[0].astype(np.float64), 1e-4
    for feature in (0, 7, 19):
        moved = point.copy()
        moved[feature] += step
        slope = (head.logits(moved[None])[0, 1] - head.logits(point[None])[0, 1]) / step
        assert slope == pytest.approx(head.gradient(point, 1)[feature], rel=1e-2, abs=1e-3)


def test_saved_and_read_back_and_damage_is_named(tmp_path: Path) -> None:
    x, y = blobs(100, 9)
    tensors = finished(x, y, True, Shape(0, 0.1))
    light_head.save(tensors, tmp_path / "model.safetensors")
    np.testing.assert_allclose(
        light_head.load(tmp_path / "model.safetensors", True).probabilities(x),
        light_head.LightHead(tensors, True).probabilities(x),
        rtol=1e-4,
        atol=1e-6,
    )
    light_head.save({k: v for k, v in tensors.items() if k != "bias"}, tmp_path / "part.safetensors")
    with pytest.raises(MemberError, match="bias"):
        light_head.load(tmp_path / "part.safetensors", True)
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:50])
    with pytest.raises(MemberError, match="Train the specialist again"):
        light_head.load(tmp_path / "cut.safetensors", True)
