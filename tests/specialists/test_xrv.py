"""TorchXRayVision's weights in their own layout: read, voted by VILA-M3's table, never called probabilities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from consilium import registry
from consilium.errors import MemberError, UsageError
from consilium.specialists import xrv
from consilium.specialists.adapter import backbones
from consilium.types import Case, Image, Study

ALL, NIH, RESNET = "densenet121-res224-all", "densenet121-res224-nih", "resnet50-res512-all"


def weights(name: str, seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return dict(backbones.of_name(name, 18).state_dict())


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of two of the models, as the library's users would save them."""
    folder = tmp_path_factory.mktemp("xrv")
    points = torch.tensor(xrv.tables()["points"][ALL]["values"])
    save_file(weights(ALL) | {"op_threshs": points}, folder / f"{ALL}.safetensors")
    torch.save(weights(NIH, 1), folder / f"{NIH}.pt")
    return folder


def case(pixels: np.ndarray, modality: str = "DX") -> Case:
    return Case("case", "What is it?", studies=(Study(modality, "CHEST", (Image(pixels, "sha256:x"),)),))


def picture(rows: int = 90, columns: int = 120) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (rows, columns)).astype(np.uint8)


def test_the_tensors_bear_the_names_of_the_original_layout() -> None:
    names = set(weights(ALL))
    # 1 stem, 58 dense layers and 3 transitions with their norms, the last norm and the classifier of DenseNet-121.
    assert len(names) == 727 and {"features.conv0.weight", "classifier.bias", "features.norm5.running_var"} <= names
    assert {"features.denseblock3.denselayer24.conv2.weight", "features.transition2.norm.bias"} <= names
    assert "features.denseblock4.denselayer17.conv2.weight" not in names
    assert weights(ALL)["features.conv0.weight"].shape == (64, 1, 7, 7) and weights(ALL)["classifier.weight"].shape == (
        18,
        1024,
    )
    names = set(weights(RESNET))
    assert (
        len(names) == 320
        and {"conv1.weight", "layer1.0.downsample.0.weight", "layer4.2.bn3.bias", "fc.weight"} <= names
    )
    assert weights(RESNET)["fc.weight"].shape == (18, 2048)


def test_every_label_has_the_published_voters() -> None:
    everyone = tuple(xrv.tables()["points"])
    counts = {label: len(xrv.voters_of(label, everyone)) for label in xrv.tables()["labels"]}
    few = ("Infiltration", "Emphysema", "Fibrosis", "Pleural_Thickening", "Nodule", "Mass", "Hernia", "Lung Lesion")
    assert all(counts[label] == 4 for label in (*few, "Enlarged Cardiomediastinum", "Edema", "Effusion"))
    assert counts["Pneumonia"] == 8 and counts["Lung Opacity"] == 6
    assert xrv.voters_of("Pneumothorax", everyone) == (RESNET,)
    # chosen by VILA-M3, but never trained on it
    assert NIH not in xrv.voters_of("Fracture", everyone) and len(xrv.voters_of("Fracture", everyone)) == 3


def test_half_is_the_operating_point_and_the_untrained_have_no_score() -> None:
    said = xrv.normalised(np.array([0.05, 0.1, 0.55, 0.7]), np.array([0.1, 0.1, 0.1, np.nan]))
    assert said[:3] == pytest.approx([0.25, 0.5, 0.75]) and np.isnan(said[3])


def test_the_picture_is_its_middle_square_from_minus_1024_to_1024() -> None:
    pixels = np.zeros((10, 20), np.uint8)
    pixels[:, 5:15] = 255
    square = xrv.prepared(Image(pixels, "x"))
    assert square.shape == (10, 10) and (square == 1024).all()
    assert (xrv.prepared(Image(np.zeros((8, 6), np.uint8), "x")) == -1024).all()


def test_an_ensemble_is_added_and_scores_with_a_caution(given: Path, home: Path) -> None:
    card = xrv.add(given, home)
    labels = [code.meaning for code in card.concepts]
    assert (
        len(labels) == 17
        and "pneumothorax" not in labels
        and "Not named" in card.summary
        and "pneumothorax" in card.summary
    )
    member = registry.get("specialists", "xrv").load(encoder=None)
    opinion = member.examine(case(picture()))
    assert opinion.abstained is None and not opinion.exclusive and opinion.caution == xrv.CAUTION
    assert {f.concept.meaning for f in opinion.findings} == set(labels) and not any(
        f.calibrated for f in opinion.findings
    )
    said = {f.concept.value: f.probability for f in opinion.findings}
    image = Image(picture(), "sha256:x")
    both = [voter.scores(image) for voter in member.voters]
    place = xrv.tables()["labels"].index
    assert said["Pneumonia"] == pytest.approx(np.mean([each[place("Pneumonia")] for each in both]))
    assert said["Atelectasis"] == pytest.approx(both[0][place("Atelectasis")])  # nih has no vote on it
    assert np.isnan(both[1][place("Fracture")]) and said["Fracture"] == pytest.approx(both[0][place("Fracture")])


def test_a_voter_computes_what_the_network_says(given: Path, home: Path) -> None:
    xrv.add(given, home)
    voter = registry.get("specialists", "xrv").load(encoder=None).voters[0]
    network = backbones.DenseNet(18).eval()
    network.load_state_dict(weights(ALL))
    seen = torch.nn.functional.interpolate(
        torch.from_numpy(xrv.prepared(Image(picture(), "x")))[None, None], (224, 224), mode="bilinear", antialias=True
    )
    with torch.inference_mode():
        raw = torch.sigmoid(network(seen))[0].numpy()
    expected = xrv.normalised(raw, np.array(xrv.tables()["points"][ALL]["values"]))
    np.testing.assert_allclose(voter.scores(Image(picture(), "x")), expected, atol=1e-5)


def test_the_residual_network_is_read_from_either_naming(tmp_path: Path, home: Path) -> None:
    for prefix in ("", "model."):
        folder = tmp_path / (prefix or "plain")
        folder.mkdir()
        save_file({prefix + name: value for name, value in weights(RESNET).items()}, folder / f"{RESNET}.safetensors")
        card = xrv.add(folder, home, name=f"resnet{len(prefix)}")
        assert "pneumothorax" in [code.meaning for code in card.concepts]
        assert len(card.concepts) == 16  # without lung lesion and enlarged cardiomediastinum


def test_what_it_may_not_see_or_what_is_not_a_number_is_an_abstention(tmp_path: Path, home: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    tensors = weights(ALL)
    tensors["classifier.bias"] = torch.full((18,), float("nan"))
    save_file(tensors, folder / f"{ALL}.safetensors")
    xrv.add(folder, home)
    member = registry.get("specialists", "xrv").load(encoder=None)
    assert member.examine(case(picture(), "CT")).abstained == "it is for CR, DX; the modality is CT"
    assert member.examine(case(picture(), "RG")).abstained == "its model gave numbers that are not finite"
    assert member.examine(Case("c", "?")).abstained == "the case holds no picture"


def test_weights_that_do_not_fit_are_named(tmp_path: Path, home: Path) -> None:
    folder = tmp_path / "wrong"
    folder.mkdir()
    tensors = weights(ALL)
    tensors["classifier.weight"] = torch.zeros(14, 1024)
    del tensors["features.norm5.weight"]
    tensors["extra.weight"] = torch.zeros(1)
    save_file(tensors, folder / f"{ALL}.safetensors")
    with pytest.raises(MemberError) as caught:
        xrv.add(folder, home)
    said = str(caught.value)
    assert "lacks features.norm5.weight" in said and "extra.weight" in said and "(14, 1024), not (18, 1024)" in said
    assert not (home / "specialists/xrv").exists()


class Whole(torch.nn.Module):
    """A model saved whole, as TorchXRayVision's own .pt files are."""


def test_a_model_that_was_pickled_whole_is_never_loaded(tmp_path: Path, home: Path) -> None:
    torch.save(Whole(), tmp_path / f"{ALL}.pt")
    with pytest.raises(MemberError, match="code inside a checkpoint is never run"):
        xrv.add(tmp_path, home)


def test_files_of_another_model_or_of_none_are_refused(tmp_path: Path, home: Path) -> None:
    with pytest.raises(UsageError, match="no weights known by name"):
        xrv.add(tmp_path, home)
    points = torch.tensor(xrv.tables()["points"][ALL]["values"])
    save_file(weights(NIH) | {"op_threshs": points}, tmp_path / f"{NIH}.safetensors")
    with pytest.raises(MemberError, match="operating points"):
        xrv.add(tmp_path, home)
