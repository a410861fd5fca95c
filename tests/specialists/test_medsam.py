"""medsam outlines what it is shown, measures it, and abstains where it is shown nothing or would be unsure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from consilium import formats, weights
from consilium.consult.council import case_of
from consilium.errors import WeightsMissingError
from consilium.nn.lite_medsam import LiteMedSam, Prompted, restored
from consilium.specialists import medsam
from consilium.specialists.medsam import BOXED, CARD, LEAST, POINTED, Medsam
from consilium.types import Case, Image, Study, Volume


class Threshold(LiteMedSam):
    """A network without weights: the bright places inside a box; the quality it foresees is what it was told."""

    def __init__(self, quality: float = 1.0) -> None:
        torch.nn.Module.__init__(self)
        self.image_encoder = torch.nn.Identity()
        self.quality = quality

    def decode(self, embedding: torch.Tensor, boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, x = torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij")
        bright = embedding[0, 0] > 0.5
        inside = [(x >= b[0] - 1) & (x <= b[2] + 1) & (y >= b[1] - 1) & (y <= b[3] + 1) & bright for b in boxes]
        return torch.stack(inside).float() * 20 - 10, torch.full((len(boxes),), self.quality)


def member(quality: float = 1.0) -> tuple[Medsam, Prompted]:
    prompted = Prompted(Threshold(quality))
    return Medsam(lambda: prompted), prompted


def discs(*centres: tuple[int, int], radius: int = 10, shape: tuple[int, int] = (100, 140)) -> np.ndarray:
    y, x = np.ogrid[: shape[0], : shape[1]]
    picture = np.full(shape, 40, np.uint8)
    for row, column in centres:
        picture[(y - row) ** 2 + (x - column) ** 2 <= radius**2] = 200
    return picture


def case(*shown: Image | Volume, modality: str = "MR") -> Case:
    return case_of([Study(modality, None, shown)], "How large is it?")


def stack(slices: int = 5, first: int = 1, last: int = 3) -> Volume:
    """A cylinder from slice `first` to `last`, by index, in an empty volume."""
    empty, full = discs(), discs((50, 60))
    voxels = np.stack([full if first <= i <= last else empty for i in range(slices)])
    orientation = np.diag([0.5, 0.5, 2.0, 1.0])
    return Volume(voxels, "sha256:stack", (2.0, 0.5, 0.5), orientation)


@pytest.mark.parametrize(
    ("shown", "args", "said"),
    [
        ([], {"box": [1, 1, 9, 9]}, "holds no picture"),
        ([Image(discs(), "a")], None, "give box="),
        ([Image(discs(), "a")], {"target": "a tumour"}, "give box="),
        ([stack()], {"box": [1, 1, 9, 9]}, "slice=1 to 5"),
    ],
)
def test_without_a_prompt_it_says_what_it_needs_and_opens_no_weights(shown: Any, args: Any, said: str) -> None:
    def forbidden() -> Prompted:
        raise AssertionError("weights were opened")

    opinion = Medsam(forbidden).examine(case(*shown), args)
    assert opinion.abstained is not None and said in opinion.abstained
    assert (opinion.specialist, opinion.version) == (CARD.name, CARD.version)
    assert opinion.findings == opinion.segmentations == ()


def test_a_box_gives_a_mask_of_the_picture_size_with_its_measures() -> None:
    image = Image(discs((50, 60)), "sha256:one", (0.5, 0.5))
    opinion = member()[0].examine(case(image), {"box": [49, 39, 71, 61], "target": "cyst"})
    (segmentation,) = opinion.segmentations
    truth = image.pixels == 200
    assert opinion.abstained is None and opinion.exclusive is False
    assert segmentation.labels.dtype == np.uint8 and segmentation.labels.shape == image.pixels.shape
    assert (segmentation.labels.astype(bool) != truth).mean() < 0.01
    assert [code.meaning for code in segmentation.concepts] == ["cyst"] and segmentation.image_uid == image.uid
    assert segmentation.confidence == (pytest.approx(float(BOXED(np.array([1.0]))[0])),)
    said = {finding.site: finding for finding in opinion.findings}
    assert said["area"].unit == "mm2" and said["area"].quantity == pytest.approx(truth.sum() / 4, rel=0.05)
    assert said["longest diameter"].quantity == pytest.approx(10.5, abs=0.6)
    assert {f.source for f in opinion.findings} == {"medsam"} and {f.probability for f in opinion.findings} == {None}


def test_several_boxes_make_one_region_of_several_parts() -> None:
    image = Image(discs((50, 30), (50, 100)), "sha256:two")
    opinion = member()[0].examine(case(image), {"box": [[19, 39, 41, 61], [89, 39, 111, 61]]})
    parts = next(finding for finding in opinion.findings if finding.site == "connected parts")
    assert parts.quantity == 2 and len(opinion.segmentations) == 1


def test_further_prompts_on_a_picture_cost_no_encoder_pass() -> None:
    asked, prompted = member()
    image = Image(discs((50, 30), (50, 100)), "sha256:two")
    for box in ([19, 39, 41, 61], [89, 39, 111, 61]):
        assert asked.examine(case(image), {"box": box}).abstained is None
    assert prompted.passes == 1
    asked.examine(case(Image(discs((20, 20)), "sha256:two")), {"box": [9, 9, 31, 31]})
    assert prompted.passes == 2


def test_the_oldest_pictures_are_forgotten_and_seen_again() -> None:
    prompted = member()[1]
    pictures = [Image(discs((50, 20 + i)), f"sha256:{i}") for i in range(9)]
    for picture in [*pictures, pictures[8], pictures[0]]:
        prompted.boxed(picture, np.array([[9, 39, 40, 61]]))
    assert prompted.passes == 10


def test_where_its_outline_would_be_unsure_it_abstains() -> None:
    image = Image(discs((50, 60)), "sha256:one")
    opinion = member(quality=0.0)[0].examine(case(image), {"box": [49, 39, 71, 61]})
    assert opinion.abstained is not None and f"{LEAST} is the least" in opinion.abstained


def test_where_nothing_stands_out_it_abstains() -> None:
    opinion = member()[0].examine(case(Image(discs((50, 60)), "sha256:one")), {"box": [1, 1, 20, 20]})
    assert opinion.abstained is not None and "finds no outline" in opinion.abstained


def test_of_a_volume_it_outlines_the_slice_that_is_named() -> None:
    opinion = member()[0].examine(case(stack()), {"box": "49,39,71,61", "slice": 3})
    (segmentation,) = opinion.segmentations
    assert segmentation.labels.shape == (5, 100, 140)
    assert np.flatnonzero(segmentation.labels.any(axis=(1, 2))).tolist() == [2]
    said = {finding.site: finding.quantity for finding in opinion.findings}
    assert said["first slice"] == said["last slice"] == 3


def test_an_outline_is_carried_as_far_as_it_is_told_and_found() -> None:
    volume = stack(7, first=1, last=4)
    opinion = member()[0].examine(case(volume), {"box": [49, 39, 71, 61], "slice": 3, "through": [3, 7]})
    (segmentation,) = opinion.segmentations
    assert np.flatnonzero(segmentation.labels.any(axis=(1, 2))).tolist() == [2, 3, 4]
    assert "from slice 3 to 5 of the 3 to 7 asked for" in opinion.caution
    mL = next(finding.quantity for finding in opinion.findings if finding.site == "volume")
    assert mL == pytest.approx(3 * (volume.voxels[2] == 200).sum() * 0.5 / 1000, rel=0.05)


@pytest.fixture(scope="module")
def real() -> Prompted:
    try:
        return Prompted(restored(weights.folder(medsam.WEIGHTS)))
    except WeightsMissingError as error:
        pytest.skip(f"needs pretrained weights: {error}")


@pytest.mark.weights
@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("folder", "file", "modality"),
    [("skin_ham10000", "ISIC_0024311", "DMS"), ("lgg_mri_genomics", "TCGA_CS_4941_11", "MR")],
)
def test_of_a_real_picture_it_outlines_what_the_reference_does(
    real: Prompted, shared_data: Path, folder: str, file: str, modality: str
) -> None:
    studies = formats.read(shared_data / folder / "images" / f"{file}.jpg", modality=modality)
    truth = np.asarray(Picture.open(shared_data / folder / "masks" / f"{file}.png").convert("L")) > 127
    rows, columns = np.flatnonzero(truth.any(axis=1)), np.flatnonzero(truth.any(axis=0))
    box = [int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])]
    opinion = Medsam(lambda: real).examine(case_of(studies, "How large is it?"), {"box": box, "target": "lesion"})
    found = opinion.segmentations[0].labels.astype(bool)
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.8


def test_what_it_says_of_itself_stands_in_the_results() -> None:
    told = json.loads((Path(__file__).parents[2] / CARD.evidence).read_text(encoding="utf-8"))
    for expected, curve in ((BOXED, told["calibration"]["box"]), (POINTED, told["calibration"]["point"])):
        assert expected.foreseen == tuple(curve["foreseen"]) and expected.dice == tuple(curve["dice"])
        assert list(expected.foreseen) == sorted(expected.foreseen) and list(expected.dice) == sorted(expected.dice)
    measured = {
        (fact["value"], fact["low"], fact["high"], fact["n"])
        for kinds in told["test"].values()
        for facts in kinds.values()
        for fact in facts.values()
    }
    assert CARD.scores and {(s.value, s.low, s.high, s.n) for s in CARD.scores} <= measured
