"""A small council without weights: statistics of patches, specialists trained on drawn pictures, the echo generalist."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests import phantoms

from consilium import registry
from consilium.consult.council import case_of
from consilium.consult.panel import Panel
from consilium.datasets.folder import read_folder
from consilium.encoders import patch_statistics
from consilium.protocols import Encoder, Entry
from consilium.specialists import light
from consilium.train.specialist import Recipe, train
from consilium.types import Case, Image, Precedent, Study


def case(kind: str = "mass", seed: int = 999, options: tuple[str, ...] = ("clear", "mass"), **study: object) -> Case:
    facts = {"modality": "CR", "body_part": "CHEST"} | study
    image = Image(phantoms.draw(kind, seed), "sha256:test")
    return case_of([Study(images=(image,), **facts)], "Is there a mass?", options)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    return patch_statistics.load()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> Path:
    """A room with one specialist trained on phantoms."""
    room = tmp_path_factory.mktemp("room")
    data = read_folder(phantoms.folder_of(tmp_path_factory.mktemp("data") / "phantoms"))
    train(data, Recipe("mass_finder", ("CR",), ("CHEST",), groups={"lesion": ("mass",)}), encoder, room)
    return room


@pytest.fixture
def panel(trained: Path, encoder: Encoder) -> Panel:
    index = registry.get("retrievers", "exact").load(encoder_key=encoder.card.version)
    images = [Image(phantoms.draw(kind, seed), "") for kind in ("clear", "mass") for seed in range(500, 506)]
    labels = ["clear"] * 6 + ["mass"] * 6
    features = encoder.embed(images).pooled
    index.add(
        [
            Entry(f, Precedent(f"known-{i}", label, 1.0, modality="CR", source="phantoms"), "", image.digest)
            for i, (f, label, image) in enumerate(zip(features, labels, images, strict=True))
        ]
    )
    made = Panel(encoder, {}, "echo", index)
    made.seat("mass_finder", light.load(trained / "mass_finder", encoder))
    return made
