"""What every encoder must do. Each is loaded here as the panel loads it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from consilium import registry, weights
from consilium.errors import WeightsMissingError
from consilium.protocols import Card, Encoder, Features
from consilium.types import Image

FOUND = registry.find("encoders")
WEIGHTLESS = "patch_statistics"


@pytest.fixture(
    params=[name if name == WEIGHTLESS else pytest.param(name, marks=pytest.mark.weights) for name in FOUND],
    scope="module",
)
def load(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Encoder]:
    """Loads the encoder afresh, with nothing kept of what it saw before."""
    member = FOUND[request.param]
    if request.param != WEIGHTLESS:
        try:
            weights.folder(request.param.replace("_", "-"))
        except WeightsMissingError as error:
            pytest.skip(f"needs pretrained weights: {error}")

    def afresh() -> Encoder:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("CONSILIUM_FEATURES", "0")
            return member.load()

    return afresh


@pytest.fixture(scope="module")
def encoder(load: Callable[[], Encoder]) -> Encoder:
    return load()


def pictures() -> list[Image]:
    """8-bit grey, RGB, 16-bit HU with a window, and floats: four shapes and sizes."""
    random = np.random.default_rng(5)
    return [
        Image(random.integers(0, 256, (64, 80), dtype=np.uint8), "grey"),
        Image(random.integers(0, 256, (300, 200, 3), dtype=np.uint8), "colour", units="RGB"),
        Image(random.integers(-1000, 1000, (32, 32)).astype(np.int16), "ct", window=(-160.0, 240.0), units="HU"),
        Image(random.random((50, 50)).astype(np.float32), "float"),
    ]


def close(found: Features, expected: Features) -> bool:
    difference = np.linalg.norm(found.pooled - expected.pooled, axis=1)
    return bool((difference < 2e-3 * np.linalg.norm(expected.pooled, axis=1)).all())


def test_it_keeps_the_protocol_and_its_shapes(encoder: Encoder) -> None:
    assert isinstance(encoder, Encoder)
    features = encoder.embed(pictures(), patches=True)
    assert features.patches is not None
    count, width = features.pooled.shape
    assert count == 4 and features.patches.shape[0] == 4 and features.patches.ndim == 4
    assert width == 2 * features.patches.shape[3]
    assert features.pooled.dtype == features.patches.dtype == np.float32
    assert np.isfinite(features.pooled).all() and np.isfinite(features.patches).all()
    np.testing.assert_allclose(features.patches.mean(axis=(1, 2)), features.pooled[:, width // 2 :], atol=2e-2)
    assert encoder.embed(pictures()).patches is None


def test_nothing_gives_nothing_of_the_same_width(encoder: Encoder) -> None:
    one, none = encoder.embed(pictures()[:1], patches=True), encoder.embed([], patches=True)
    assert one.patches is not None and none.patches is not None
    assert none.pooled.shape == (0, one.pooled.shape[1]) and none.patches.shape == (0, *one.patches.shape[1:])
    assert none.pooled.dtype == np.float32


def test_the_same_picture_gives_the_same_features_afresh(encoder: Encoder, load: Callable[[], Encoder]) -> None:
    whole = encoder.embed(pictures())
    np.testing.assert_array_equal(encoder.embed(pictures()).pooled, whole.pooled)
    assert close(load().embed(pictures()), whole)


def test_the_batch_and_the_order_do_not_matter(load: Callable[[], Encoder], encoder: Encoder) -> None:
    whole, alone = encoder.embed(pictures()), load()
    for number, picture in reversed(list(enumerate(pictures()))):
        assert close(alone.embed([picture]), Features(whole.pooled[number : number + 1]))


def test_different_pictures_give_different_features(encoder: Encoder) -> None:
    pooled = encoder.embed(pictures()).pooled
    unit = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
    assert (np.triu(unit @ unit.T, 1) < 0.9999).all()


def test_what_it_is_given_stays_as_it_was(encoder: Encoder) -> None:
    given = pictures()
    encoder.embed(given, patches=True)
    assert given == pictures()


@pytest.mark.parametrize("name", FOUND)
def test_its_card_is_complete(name: str) -> None:
    card: Card = FOUND[name].card
    assert card.kind == "encoder" and card.name == name and card.version
    assert card.summary and card.modalities and card.licence and card.evidence and card.not_for
    assert bool(card.trained_on) == (name != WEIGHTLESS)


def test_its_version_begins_with_its_cards(encoder: Encoder) -> None:
    assert encoder.card.version.startswith(FOUND[encoder.card.name].card.version)
