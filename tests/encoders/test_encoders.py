"""Both encoders over small networks of their own kind: the layer is the one named, heads cannot be mixed up."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
)

from consilium import weights
from consilium.errors import UsageError, WeightsMissingError
from consilium.imaging.window import to_display
from consilium.protocols import Encoder
from consilium.types import Image

SMALL = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}
NAMES = ("clip_vit_b16", "dinov2_small")


def pictures(number: int) -> list[Image]:
    rng = np.random.default_rng(7)
    return [Image(rng.integers(-1000, 1000, (300, 200)).astype(np.int16), f"u{i}", units="HU") for i in range(number)]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CONSILIUM_WEIGHTS with a small random network under each name."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    clip = CLIPVisionConfig(**SMALL, intermediate_size=96, patch_size=16, image_size=224, projection_dim=8)
    CLIPVisionModelWithProjection(clip).save_pretrained(folder / "clip-vit-b16")
    dino = Dinov2WithRegistersConfig(**SMALL, patch_size=14, image_size=56, num_register_tokens=4, mlp_ratio=2)
    Dinov2WithRegistersModel(dino).save_pretrained(folder / "dinov2-small")
    return folder


@pytest.fixture(autouse=True)
def _elsewhere(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSILIUM_WEIGHTS", str(small))
    monkeypatch.setenv("CONSILIUM_CACHE", str(tmp_path))
    monkeypatch.setenv("CONSILIUM_OFFLINE", "1")


@pytest.fixture(params=NAMES)
def member(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(f"consilium.encoders.{request.param}")


def test_the_card_is_honest_about_its_licence(member: ModuleType) -> None:
    assert member.CARD.name == member.__name__.rpartition(".")[2]
    assert member.CARD.licence == weights.describe(member.WEIGHTS).licence
    assert member.CARD.modalities and member.CARD.not_for and member.CARD.trained_on


def test_features_have_the_shapes_that_are_promised(member: ModuleType) -> None:
    encoder = member.load(layer=2, precision="float32")
    grid = {"clip_vit_b16": 14, "dinov2_small": 16}[member.CARD.name]
    features = encoder.embed(pictures(2), patches=True)
    assert isinstance(encoder, Encoder)
    assert features.pooled.shape == (2, 128)
    assert features.patches.shape == (2, grid, grid, 64)
    np.testing.assert_allclose(features.patches.mean((1, 2)), features.pooled[:, 64:], atol=2e-3)


def test_clip_gives_the_hidden_state_of_the_layer_that_was_named(small: Path) -> None:
    from PIL import Image as Picture
    from transformers import CLIPImageProcessor

    (one,) = pictures(1)
    squashed = {"height": 224, "width": 224}
    processor = CLIPImageProcessor(size=squashed, do_center_crop=False)
    pixels = processor(Picture.fromarray(to_display(one)), return_tensors="pt")["pixel_values"]
    model = CLIPVisionModelWithProjection.from_pretrained(small / "clip-vit-b16").eval()
    with torch.inference_mode():
        hidden = model.vision_model(pixels, output_hidden_states=True).hidden_states
    for layer in (1, 2, 3):
        expected = torch.cat([hidden[layer][0, 0], hidden[layer][0, 1:].mean(0)]).numpy()
        encoder = importlib.import_module("consilium.encoders.clip_vit_b16").load(layer=layer, precision="float32")
        found = encoder.embed([one]).pooled[0]
        # transformers may resize with another library than pillow: a grey level here and there
        assert np.dot(found, expected) / np.linalg.norm(found) / np.linalg.norm(expected) > 0.9999


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_batch_does_not_change_the_features(member: ModuleType, precision: str, monkeypatch) -> None:
    monkeypatch.setenv("CONSILIUM_FEATURES", "0")
    whole = member.load(layer=3, precision=precision).embed(pictures(3)).pooled
    alone = member.load(layer=3, precision=precision)
    for number, one in enumerate(pictures(3)):
        difference = np.linalg.norm(alone.embed([one]).pooled[0] - whole[number])
        assert difference < 1e-3 * np.linalg.norm(whole[number])


def test_the_version_names_the_layer_and_the_weights(member: ModuleType) -> None:
    first, second = member.load(layer=1), member.load(layer=2)
    stamp = weights.fingerprint(weights.folder(member.WEIGHTS))[:8]
    assert first.card.version == f"{member.CARD.version}+layer1.{stamp}"
    assert first.card.version != second.card.version


def test_what_cannot_be_had_is_said(member: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="1 to 3"):
        member.load(layer=4)
    monkeypatch.setenv("CONSILIUM_WEIGHTS", str(tmp_path / "none"))
    with pytest.raises(WeightsMissingError, match="CONSILIUM_OFFLINE"):
        member.load()


def test_another_clip_tower_is_read_from_its_folder_at_its_own_size(tmp_path: Path) -> None:
    clip = importlib.import_module("consilium.encoders.clip_vit_b16")
    config = CLIPVisionConfig(**SMALL, intermediate_size=96, patch_size=14, image_size=56, projection_dim=8)
    torch.manual_seed(1)
    CLIPVisionModelWithProjection(config).save_pretrained(tmp_path / "tower")
    other = clip.load(layer=2, folder=tmp_path / "tower")
    assert other.embed(pictures(1), patches=True).patches.shape == (1, 4, 4, SMALL["hidden_size"])
    assert other.card.version != clip.load(layer=2).card.version
