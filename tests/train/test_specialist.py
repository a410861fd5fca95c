"""Training a light specialist: what it writes, what it keeps apart, what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from tests import phantoms

from consilium.datasets.folder import Record, read_folder
from consilium.encoders import patch_statistics
from consilium.errors import DataError, MemberError, UsageError
from consilium.registry import read_card
from consilium.specialists import light
from consilium.train.folds import folds
from consilium.train.specialist import Recipe, prepare, train
from consilium.types import Case, Image, Opinion, Study

RECIPE = Recipe("finder", ("CR",), ("CHEST",), groups={"lesion": ("mass",)}, data_licence="CC0")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return phantoms.folder_of(tmp_path / "phantoms")


def test_the_card_is_filled_from_the_data(folder: Path, tmp_path: Path) -> None:
    card = train(read_folder(folder), RECIPE, patch_statistics.load(), tmp_path / "room")
    assert card == read_card(tmp_path / "room/finder/card.json")
    assert [c.meaning for c in card.concepts] == ["clear", "mass"] and card.trained_on == {"phantoms": "CC0"}
    scores = {score.metric: score for score in card.scores}
    assert scores["AUROC"].value > 0.95 and scores["AUROC"].low <= scores["AUROC"].value <= scores["AUROC"].high
    assert {"macro-F1", "ECE", "Brier", "accuracy", "abstained", "AUROC mass", "AUROC lesion"} <= set(scores)
    assert all(score.n == 24 for score in card.scores)
    made = json.loads((tmp_path / "room/finder/card.json").read_text())
    assert made["fit"]["counts"]["train"] == {"clear": 36, "mass": 36}
    assert sorted(p.name for p in (tmp_path / "room/finder").iterdir()) == ["card.json", "model.safetensors"]
    assert [p.name for p in (tmp_path / "room").iterdir()] == ["finder"]


def test_training_again_gives_the_same_specialist(folder: Path, tmp_path: Path) -> None:
    one = train(read_folder(folder), RECIPE, patch_statistics.load(), tmp_path / "room")
    assert train(read_folder(folder), RECIPE, patch_statistics.load(), tmp_path / "room") == one


def test_a_picture_in_two_splits_is_judged_but_not_learnt(folder: Path, tmp_path: Path) -> None:
    (folder / "0.png").write_bytes((folder / "8.png").read_bytes())
    card = train(read_folder(folder), RECIPE, patch_statistics.load(), tmp_path / "room")
    made = json.loads((tmp_path / "room/finder/card.json").read_text())["fit"]
    assert made["same_picture_left_out"] == 1 and made["counts"]["train"] == {"clear": 35, "mass": 36}
    assert card.scores[0].n == 24


def test_the_trained_folder_examines_and_abstains(folder: Path, tmp_path: Path) -> None:
    from consilium.consult.council import case_of
    from consilium.types import Image, Study

    encoder = patch_statistics.load()
    train(read_folder(folder), RECIPE, encoder, tmp_path / "room")
    finder = light.load(tmp_path / "room/finder", encoder)

    def opinion(pixels: np.ndarray):  # type: ignore[no-untyped-def]
        return finder.examine(case_of([Study("CR", "CHEST", (Image(pixels, "x"),))], "?"))

    said = opinion(phantoms.draw("mass", 777))
    best = said.findings[0]
    assert best.concept.meaning in {"mass", "lesion"} and best.probability > 0.8
    region = next(f.region for f in said.findings if f.region is not None)
    assert region.grid.shape == (14, 14) and region.grid.min() >= 0 and region.grid.max() == pytest.approx(1)
    exclusive = [f.probability for f in said.findings if f.concept.meaning != "lesion"]
    assert sum(exclusive) == pytest.approx(1, abs=1e-5)
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    foreign = opinion(stripes)
    assert foreign.abstained and "unlike" in foreign.abstained and not foreign.findings
    with pytest.raises(MemberError, match="Train it again"):
        light.load(tmp_path / "room/finder", _Other())


class _Other:
    from dataclasses import replace

    card = replace(patch_statistics.CARD, version="2")


def test_several_labels_with_blanks(tmp_path: Path) -> None:
    folder = phantoms.folder_of(tmp_path / "set")
    rows = ["path,split,mass,never"]
    for number, line in enumerate((folder / "index.csv").read_text().splitlines()[1:]):
        path, label, split, _ = line.split(",")
        rows.append(f"{path},{split},{'' if number % 7 == 0 else int(label == 'mass')},0")
    (folder / "index.csv").write_text("\n".join(rows))
    data = read_folder(folder, label_columns=["mass", "never"])
    card = train(data, Recipe("several", ("CR",)), patch_statistics.load(), tmp_path / "room")
    made = json.loads((tmp_path / "room/several/card.json").read_text())
    assert [c.meaning for c in card.concepts] == ["mass"]
    assert made["fit"]["labels_without_train_pictures"] == ["never"] and made["exclusive"] is False


def test_what_cannot_be_learnt_from_is_refused_and_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    encoder, room = patch_statistics.load(), tmp_path / "room"
    with pytest.raises(UsageError, match="--modality"):
        train(read_folder(folder), Recipe("finder"), encoder, room)
    (folder / "3.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(DataError, match=r"3\.png cannot be learnt from: .*\. Mend the file"):
        train(read_folder(folder), RECIPE, encoder, room)
    text = (folder / "index.csv").read_text()
    Picture.fromarray(phantoms.draw("mass", 3)).save(folder / "3.png")
    (folder / "index.csv").write_text(text.replace("mass,train", "clear,train"))
    with pytest.raises(DataError, match="no train picture of mass"):
        train(read_folder(folder), RECIPE, encoder, room)
    assert not room.exists()


def test_pictures_without_a_label_are_neither_learnt_nor_scored(folder: Path, tmp_path: Path) -> None:
    index = folder / "index.csv"
    lines = index.read_text().splitlines()
    for split in ("train", "test"):
        place = next(i for i, line in enumerate(lines) if f",{split}," in line)
        lines[place] = lines[place].replace(",clear,", ",,").replace(",mass,", ",,")
    index.write_text("\n".join(lines) + "\n")
    card = train(read_folder(folder), RECIPE, patch_statistics.load(), tmp_path / "room")
    made = json.loads((tmp_path / "room/finder/card.json").read_text())
    assert made["fit"]["without_label_left_out"] == 2 and all(score.n == 23 for score in card.scores)
    assert sum(made["fit"]["counts"]["train"].values()) == 71


def test_few_patients_are_dealt_into_folds() -> None:
    def records(*patients: str) -> list[Record]:
        return [Record(Path(f"{i}.png"), ("a",), "train", patient, {}) for i, patient in enumerate(patients)]

    drawn = {p: int(folds(records(p, "another", "third"), True)[0]) for p in map(str, range(40))}
    alike = [p for p, fold in drawn.items() if fold == 0][:2]
    one, two, again = folds(records(*alike, alike[0]), True)
    assert one == again != two


def test_one_patient_cannot_be_judged_unseen(folder: Path, tmp_path: Path) -> None:
    index = folder / "index.csv"
    head, *lines = index.read_text().splitlines()
    kept = [re.sub("train,.*", "train,one", line) for line in lines if ",val," not in line]
    index.write_text("\n".join([head, *kept]) + "\n")
    with pytest.raises(DataError, match="all of one patient"):
        train(read_folder(folder), RECIPE, patch_statistics.load(), tmp_path / "room")


def test_of_several_pictures_it_says_what_it_judged(folder: Path, tmp_path: Path) -> None:
    train(read_folder(folder), RECIPE, patch_statistics.load(), tmp_path / "room")
    finder = light.load(tmp_path / "room/finder", patch_statistics.load())
    own = [Image(phantoms.draw("mass", seed), f"sha256:{seed}") for seed in (901, 902)]
    stripes = Image(np.tile(np.array([0, 255], np.uint8), (64, 32)), "sha256:stripes")

    def of(*images: Image) -> Opinion:
        return finder.examine(Case("c", "?", studies=(Study("CR", "CHEST", images),)))

    assert not of(own[0]).caution and of(own[0]).findings[0].calibrated
    both = of(*own)
    assert "the mean over 2 pictures" in both.caution and not both.findings[0].calibrated
    assert "1 of 2 views are unlike its training pictures: not judged" in of(own[0], stripes).caution


class _Blind:
    """An encoder that must not be asked."""

    card = patch_statistics.CARD

    def embed(self, images: list[Image], patches: bool = False) -> None:
        raise AssertionError("a picture was encoded")


@pytest.mark.parametrize(
    ("pattern", "by", "said"),
    [
        ("mass,train", "clear,train", "no train picture of mass"),
        ("(mass|clear),test", ",test", "and 0 to be tested on"),
    ],
)
def test_what_the_index_shows_is_refused_before_anything_is_encoded(
    folder: Path, tmp_path: Path, pattern: str, by: str, said: str
) -> None:
    index = folder / "index.csv"
    index.write_text(re.sub(pattern, by, index.read_text()))
    with pytest.raises(DataError, match=said):
        train(read_folder(folder), RECIPE, _Blind(), tmp_path / "room")  # type: ignore[arg-type]


def test_what_the_duplicates_leave_is_checked_again(folder: Path, tmp_path: Path) -> None:
    rows = [line.split(",") for line in (folder / "index.csv").read_text().splitlines()[1:]]
    lost = [row[0] for row in rows if row[1:3] == ["mass", "train"]]
    for name in lost:
        (folder / name).write_bytes((folder / "8.png").read_bytes())  # all one picture, which is in the test split too
    with pytest.raises(DataError, match="no train picture of mass"):
        train(read_folder(folder), RECIPE, patch_statistics.load(), tmp_path / "room")


def test_blank_labels_of_several_are_left_out(tmp_path: Path) -> None:
    folder = phantoms.folder_of(tmp_path / "set")
    index = folder / "index.csv"
    head, *lines = index.read_text().replace(",clear,", ",No Finding,").splitlines()
    lines = [re.sub(",(mass|No Finding),", ",,", line) if i % 10 == 3 else line for i, line in enumerate(lines)]
    index.write_text("\n".join([head.replace("label", "labels"), *lines]) + "\n")
    card = train(read_folder(folder), Recipe("several", ("CR",)), patch_statistics.load(), tmp_path / "room")
    made = json.loads((tmp_path / "room/several/card.json").read_text())
    assert [c.meaning for c in card.concepts] == ["mass"] and made["exclusive"] is False
    blank = sum(",," in line for line in lines)
    tested = sum(",test," in line and ",," not in line for line in lines)
    assert made["fit"]["without_label_left_out"] == blank == 12 and card.scores[0].n == tested


def test_body_parts_are_filled_from_the_headers_where_the_modality_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    (folder).mkdir()
    rows = ["path,label,split,patient_id"]
    for i in range(40):
        dicom(folder / f"{i}.dcm", phantoms.draw(phantoms.LABELS[i % 2], i))
        rows.append(f"{i}.dcm,{phantoms.LABELS[i % 2]},{('train', 'train', 'train', 'val', 'test')[i // 2 % 5]},p{i}")
    (folder / "index.csv").write_text("\n".join(rows))
    encoder = patch_statistics.load()
    said = {
        parts: prepare(read_folder(folder), Recipe("x", ("CR",), parts), encoder).recipe.body_parts
        for parts in ((), ("HEAD",))
    }
    assert said == {(): ("CHEST",), ("HEAD",): ("HEAD",)}
    dicom(folder / "3.dcm", phantoms.draw("mass", 3), part="")
    assert prepare(read_folder(folder), Recipe("x", ("CR",)), encoder).recipe.body_parts == ()


def dicom(path: Path, pixels: np.ndarray, part: str = "CHEST") -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID, data.SeriesInstanceUID = generate_uid(), generate_uid()
    data.Modality, data.BodyPartExamined, data.PhotometricInterpretation = "CR", part, "MONOCHROME2"
    data.Rows, data.Columns, data.SamplesPerPixel, data.PixelRepresentation = *pixels.shape, 1, 0
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelData = 8, 8, 7, pixels.tobytes()
    data.save_as(path)
