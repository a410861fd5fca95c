"""The whole way of a segmenter: a folder of real files, packed, trained for seconds, installed, found and asked."""

import csv
import json

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow

from consilium import formats, registry
from consilium.consult.council import case_of
from consilium.errors import DataError, MemberError
from consilium.imaging.canvas import resampled, stretched, turn_of
from consilium.specialists import segmenter
from consilium.train import segment_canvas
from consilium.train.segment_canvas import canvas_of, sides
from consilium.train.segment_data import read_packed
from consilium.train.segment_own import Own, table_of, train_own
from consilium.types import Study, Volume


def blob(shape, place, radius):
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return np.linalg.norm(grid - np.array(place), axis=-1) < radius


def pictures(folder, count=10):
    """A bright disc on a grey ground; the mask is the disc."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    lines = []
    for i in range(count):
        disc = blob((96, 80), rng.uniform(35, 60, 2), rng.uniform(14, 22))
        grey = np.clip(60 + 120 * disc + rng.normal(0, 8, disc.shape), 0, 255).astype(np.uint8)
        Pillow.fromarray(grey).save(folder / f"{i}.png")
        Pillow.fromarray(disc).save(folder / f"{i}_mask.png")
        lines.append((f"{i}.png", f"{i}_mask.png", "val" if i % 3 == 0 else "train", i))
    index(folder, lines)


def index(folder, lines):
    with (folder / "index.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("path", "mask_path", "split", "patient_id"), *lines])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    folder = home / "discs"
    pictures(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("consilium.train.segment_own._SIDE", 64)
        patch.setattr("consilium.train.segment_own._LEVELS_2D", (8, 16, 16))
        own = Own("disc", ("disc",), "US", "BREAST", always=True)
        lines = []
        card = train_own(folder, own, home / "specialists", (0.2, "cpu", None), lines.append)
    return home, card, lines


def test_a_folder_becomes_a_member_that_outlines_and_measures(trained, monkeypatch):
    home, card, lines = trained
    monkeypatch.setenv("CONSILIUM_HOME", str(home))
    member = registry.get("specialists", "disc")
    assert member.card == card and card.concepts[0].meaning == "disc" and lines
    specialist = member.load()
    specialist.limits = type(specialist.limits)(specialist.limits.expected, 0.3, True)
    study = formats.read(home / "discs" / "0.png", modality="US", body_part="BREAST")[0]
    opinion = specialist.examine(case_of([study], "Outline it."))
    assert opinion.abstained is None, opinion.abstained
    (outline,) = opinion.segmentations
    truth = np.asarray(Pillow.open(home / "discs" / "0_mask.png"))
    both = (outline.labels > 0) & truth
    assert outline.labels.shape == (96, 80) and outline.image_uid == study.images[0].uid
    assert 2 * both.sum() / (truth.sum() + (outline.labels > 0).sum()) > 0.8
    area = next(f for f in opinion.findings if f.site == "area of the picture")
    assert area.unit == "%" and area.quantity == pytest.approx(100 * truth.mean(), rel=0.3)


def test_it_abstains_where_the_outline_would_be_poor(trained):
    home, _, _ = trained
    specialist = segmenter.load(home / "specialists" / "disc")
    nothing = np.random.default_rng(1).integers(0, 255, (96, 80)).astype(np.uint8)
    Pillow.fromarray(nothing).save(home / "noise.png")
    opinion = specialist.examine(case_of(formats.read(home / "noise.png", modality="US"), "Outline it."))
    assert opinion.abstained and not opinion.segmentations and not opinion.findings
    assert specialist.examine(case_of([], "?")).abstained == "the case holds no picture"


def test_a_damaged_card_says_what_to_do(trained, tmp_path):
    home, _, _ = trained
    for name in ("card.json", "model.safetensors"):
        (tmp_path / name).write_bytes((home / "specialists" / "disc" / name).read_bytes())
    made = json.loads((tmp_path / "card.json").read_text())
    del made["segmenter"]["limits"]["expected"]
    (tmp_path / "card.json").write_text(json.dumps(made))
    with pytest.raises(MemberError, match="Train the segmenter again"):
        segmenter.load(tmp_path)


def test_volumes_get_a_canvas_that_holds_the_largest(tmp_path):
    folder = tmp_path / "balls"
    folder.mkdir()
    for i, shape in enumerate([(20, 24, 18), (26, 22, 20)]):
        ball = blob(shape, np.array(shape) / 2, 6)
        affine = np.diag([1.0, 1.0, 2.0, 1.0])
        nibabel.save(nibabel.Nifti1Image((ball * 90 + 20).astype(np.int16), affine), folder / f"{i}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(ball.astype(np.uint8), affine), folder / f"{i}_mask.nii.gz")
    index(folder, [(f"{i}.nii.gz", f"{i}_mask.nii.gz", ("train", "val")[i], i) for i in range(2)])
    table = table_of(folder, Own("ball", ("ball",), "MR"))
    assert table["canvas"] == {"dims": 3, "size": [24, 24, 32], "spacing_mm": [2.0, 1.0, 1.0]}


def test_what_cannot_be_learnt_from_is_said(tmp_path):
    folder = tmp_path / "x"
    folder.mkdir()
    with pytest.raises(DataError, match=r"index\.csv"):
        table_of(folder, Own("x", ("x",), "MR"))
    (folder / "index.csv").write_text("path,split\na.png,train\n")
    with pytest.raises(DataError, match="mask_path"):
        table_of(folder, Own("x", ("x",), "MR"))
    (tmp_path / "p.npz").write_bytes(b"no")
    with pytest.raises(DataError, match="Pack it again"):
        read_packed(tmp_path / "p.npz")


def test_both_lungs_are_told_apart_where_the_fewest_rows_are_covered():
    mask = np.zeros((10, 30), bool)
    mask[2:8, 3:12], mask[1:9, 17:28], mask[5, 12:17] = True, True, True
    found = sides(mask)
    assert set(np.unique(found[:, 3:12])) == {0, 1} and set(np.unique(found[:, 17:])) == {0, 2}
    assert ((found > 0) == mask).all()


def test_it_is_asked_about_a_case_without_the_right_kind_of_picture(trained):
    home, _, _ = trained
    specialist = segmenter.load(home / "specialists" / "disc")
    volume = Volume(np.random.default_rng(0).normal(size=(4, 8, 8)).astype(np.float32), "v", (1.0, 1.0, 1.0), np.eye(4))
    opinion = specialist.examine(case_of([Study("US", "BREAST", (volume,))], "?"))
    assert opinion.abstained and "unlike the pictures it was trained on" in opinion.abstained


def test_a_patient_in_two_splits_is_refused(tmp_path):
    folder = tmp_path / "discs"
    pictures(folder)
    index(folder, [(f"{i}.png", f"{i}_mask.png", "val" if i % 3 == 0 else "train", "the same") for i in range(10)])
    with pytest.raises(DataError, match=r"1 patients of .* are in more than one split"):
        train_own(folder, Own("disc", ("disc",), "US", "BREAST"), tmp_path / "room", (0.01, "cpu", None), print)


def test_the_labels_of_a_palette_are_its_indices(tmp_path):
    mask = Pillow.fromarray(np.repeat(np.arange(4, dtype=np.uint8), 4).reshape(4, 4), "P")
    mask.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
    mask.save(tmp_path / "mask.png")
    (image,) = formats.read(tmp_path / "mask.png")[0].images
    assert segment_canvas._mask_values(tmp_path / "mask.png", image, {"dims": 2}).tolist() == [
        [n] * 4 for n in range(4)
    ]


def test_a_volume_is_laid_out_for_training_as_it_is_for_examining(tmp_path):
    random = np.random.default_rng(0)
    voxels = np.abs(random.normal(0, 30, (40, 42, 44))) + 300 * (np.indices((40, 42, 44)).sum(axis=0) % 40 > 20)
    voxels[0, 0, 0] = 9000
    nibabel.Nifti1Image(voxels.astype(np.int16), np.diag([1.0, 1, 1, 1])).to_filename(tmp_path / "v.nii")
    canvas = {"dims": 3, "size": [20, 22, 20], "spacing_mm": [3.0, 3.0, 3.0]}
    laid = canvas_of(tmp_path / "v.nii", canvas)[0]
    volume = formats.read(tmp_path / "v.nii")[0].images[0]
    seen = resampled(stretched(turn_of(volume).there(volume.voxels)), (1 / 3, 1 / 3, 1 / 3))
    before = [(most - own) // 2 for own, most in zip(seen.shape, canvas["size"], strict=True)]
    inside = tuple(slice(b, b + own) for b, own in zip(before, seen.shape, strict=True))
    assert np.array_equal(laid[inside], seen)
