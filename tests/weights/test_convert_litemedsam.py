"""LiteMedSAM's converter: batch norms are folded exactly, another network and a pickle with code in it are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from consilium.errors import WeightsMissingError
from consilium.weights import convert_litemedsam as converter


def test_a_batch_norm_is_folded_into_its_convolution() -> None:
    draw = torch.Generator().manual_seed(0)
    convolution = torch.nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False)
    norm = torch.nn.BatchNorm2d(6).eval()
    for tensor in (convolution.weight.data, norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        assert tensor is not None
        tensor.copy_(torch.rand(tensor.shape, generator=draw) + 0.1)
    theirs = {f"x.c.{k}": v for k, v in convolution.state_dict().items()}
    theirs |= {f"x.bn.{k}": v for k, v in norm.state_dict().items()}
    folded = converter._folded(theirs | {"y.weight": torch.ones(2)})
    assert folded.keys() == {"x.weight", "x.bias", "y.weight"}
    pixels = torch.randn(1, 6, 9, 9, generator=draw)
    once = torch.nn.functional.conv2d(pixels, folded["x.weight"], folded["x.bias"], padding=1, groups=6)
    torch.testing.assert_close(once, norm(convolution(pixels)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("image_encoder.patch_embed.seq.2.weight", "image_encoder.stem.2.weight"),
        ("image_encoder.layers.0.blocks.1.conv3.bias", "image_encoder.stages.0.1.narrow.bias"),
        ("image_encoder.layers.2.downsample.conv3.bias", "image_encoder.stages.2.6.project.bias"),
        ("image_encoder.layers.3.blocks.0.attn.attention_biases", "image_encoder.stages.3.0.attention.biases"),
        ("prompt_encoder.mask_downscaling.3.weight", "prompt_encoder.mask_embed.conv2.weight"),
        ("mask_decoder.transformer.layers.1.norm4.bias", "mask_decoder.transformer.layers.1.layer_norm4.bias"),
        (
            "mask_decoder.output_hypernetworks_mlps.3.layers.1.bias",
            "mask_decoder.output_hypernetworks_mlps.3.layers.0.bias",
        ),
        ("mask_decoder.iou_prediction_head.layers.2.weight", "mask_decoder.iou_prediction_head.proj_out.weight"),
    ],
)
def test_names_lead_to_the_same_part(theirs: str, ours: str) -> None:
    assert converter._name(theirs) == ours


def test_another_network_is_refused(tmp_path: Path) -> None:
    torch.save({"image_encoder.neck.0.weight": torch.zeros(256, 320, 1, 1)}, tmp_path / "original.pth")
    with pytest.raises(WeightsMissingError, match="does not fill LiteMedSAM"):
        converter.convert(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"image_encoder.x": Evil()}, tmp_path / "original.pth")
    with pytest.raises(pickle.UnpicklingError):
        converter.convert(tmp_path, tmp_path / "out")
    assert not (tmp_path / "ran").exists()
