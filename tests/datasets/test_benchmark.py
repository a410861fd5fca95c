"""Every benchmark dataset is read from a tiny folder of its public layout.

Columns, file names and values are written here as the publishers write them, not taken from the descriptions: a wrong word in a
description fails its dataset.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from consilium.datasets import benchmark
from consilium.datasets.folder import FolderDataset
from consilium.errors import DataError

NAMES = (
    "bcn20000", "breastmnist", "brset", "cbis_ddsm_calc", "cbis_ddsm_mass", "chestmnist", "derm7pt", "dermnet", "fmc_chest",
    "fmc_colon", "fmc_endo", "ham10000", "iu_xray", "mimic_cxr", "octmnist", "omnimedvqa", "organamnist", "path_vqa", "pathmnist",
    "pcam200", "pmc_vqa", "pneumoniamnist", "retoct", "rsna_pneumonia", "slake", "vindr_mammo", "vindr_pcxr", "vindr_spinexr",
    "vqa_med_2019", "vqa_rad",
)  # fmt: skip
CROSS_DOMAIN = {"bcn20000", "rsna_pneumonia"}

# Split ("train+val": val is drawn from train, "all": drawn whole) -> the labels of its pictures.
Expected = dict[str, list[tuple[str, ...]]]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONSILIUM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def png(value: int = 0, size: int = 4) -> bytes:
    stream = io.BytesIO()
    Pillow.new("L", (size, size), value).save(stream, "PNG")
    return stream.getvalue()


PNG = png()


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(PNG)


def text(folder: Path, name: str, *lines: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def table(folder: Path, name: str, columns: Sequence[str], *rows: Sequence[object]) -> None:
    stream = io.StringIO()
    csv.writer(stream).writerows([columns, *rows])
    text(folder, name, stream.getvalue().rstrip())


def medmnist(folder: Path, name: str, labels: dict[str, list[Any]], shape: tuple[int, ...] = (28, 28)) -> None:
    arrays = {}
    for split, values in labels.items():
        arrays[f"{split}_images"] = np.arange(len(values) * int(np.prod(shape))).reshape(-1, *shape).astype(np.uint8)
        arrays[f"{split}_labels"] = np.array(values, np.uint8).reshape(len(values), -1)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / name, **arrays)


# ---- pictures with labels: each writer returns what must be read ----


def bcn20000(folder: Path) -> Expected:
    columns = [
        "bcn_filename",
        "age_approx",
        "anatom_site_general",
        "diagnosis",
        "lesion_id",
        "capture_date",
        "sex",
        "split",
    ]
    rows = [
        [f"BCN_{i:010d}.jpg", 55.0, "anterior torso", dx, f"BCN_{i // 2:07d}", "2012-05-16", "male", "train"]
        for i, dx in enumerate(["MEL", "MEL", "NV", "BCC", "BKL", "AK", "DF", "VASC", "SCC"])
    ]
    table(folder, "bcn_20k_train.csv", columns, *rows)
    put(folder, *(f"BCN_20k_train/bcn_20k_train/{row[0]}" for row in rows))
    said = [
        "melanoma", "melanoma", "melanocytic nevus", "basal cell carcinoma", "benign keratosis", "actinic keratosis",
        "dermatofibroma", "vascular lesion",
    ]  # fmt: skip
    return {"all": [(label,) for label in said]}


def breastmnist(folder: Path) -> Expected:
    medmnist(folder, "breastmnist.npz", {"train": [0, 1], "val": [1], "test": [0]})
    return {"train": [("malignant",), ("normal or benign",)], "val": [("normal or benign",)], "test": [("malignant",)]}


def octmnist(folder: Path) -> Expected:
    medmnist(folder, "octmnist_64.npz", {"train": [0, 1], "val": [2], "test": [3]})
    names = ["choroidal neovascularization", "diabetic macular edema", "drusen", "normal"]
    return {"train": [(names[0],), (names[1],)], "val": [(names[2],)], "test": [(names[3],)]}


def organamnist(folder: Path) -> Expected:
    medmnist(folder, "organamnist.npz", {"train": [0, 3, 6, 10], "val": [4], "test": [9]})
    train = [("bladder",), ("heart",), ("liver",), ("spleen",)]
    return {"train": train, "val": [("left kidney",)], "test": [("pancreas",)]}


def pathmnist(folder: Path) -> Expected:
    medmnist(folder, "pathmnist.npz", {"train": [0, 8], "val": [6], "test": [7]}, (28, 28, 3))
    train = [("adipose",), ("colorectal adenocarcinoma epithelium",)]
    return {"train": train, "val": [("normal colon mucosa",)], "test": [("cancer-associated stroma",)]}


def pneumoniamnist(folder: Path) -> Expected:
    medmnist(folder, "pneumoniamnist.npz", {"train": [0, 1], "val": [0], "test": [1]})
    return {"train": [("normal",), ("pneumonia",)], "val": [("normal",)], "test": [("pneumonia",)]}


def chestmnist(folder: Path) -> Expected:
    def shown(*places: int) -> list[int]:
        return [int(i in places) for i in range(14)]

    medmnist(folder, "chestmnist.npz", {"train": [shown(0, 7), shown()], "val": [shown(6)], "test": [shown(13, 1)]})
    return {
        "train": [("atelectasis", "pneumothorax"), ()],
        "val": [("pneumonia",)],
        "test": [("cardiomegaly", "hernia")],
    }


def brset(folder: Path) -> Expected:
    columns = [
        "image_id", "patient_id", "camera", "patient_age", "DR_ICDR", "diabetic_retinopathy", "macular_edema", "scar", "nevus",
        "amd", "vascular_occlusion", "hypertensive_retinopathy", "drusens", "hemorrhage", "retinal_detachment", "myopic_fundus",
        "increased_cup_disc", "other", "quality",
    ]  # fmt: skip
    rows = [
        ["img00001", 1, "Canon CR", 48.0, 2, 1, 1, *[0] * 11, "Adequate"],
        ["img00002", 1, "Canon CR", 48.0, 0, *[0] * 13, "Adequate"],
        ["img00003", 2, "NIKON", "", 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0, "Adequate"],
    ]
    table(folder, "labels_brset.csv", columns, *rows)
    put(folder, *(f"fundus_photos/{row[0]}.jpg" for row in rows))
    third = ("age-related macular degeneration", "drusen", "increased cup-disc ratio")
    return {"all": [("diabetic retinopathy", "macular edema"), (), third]}


def _cbis(folder: Path, kind: str, place: str) -> Expected:
    columns = [
        "patient_id", "breast density", "left or right breast", "image view", "abnormality id", "abnormality type", "assessment",
        "pathology", "subtlety", "image file path", "cropped image file path", "ROI mask file path",
    ]  # fmt: skip

    def row(split: str, patient: str, view: str, number: int, pathology: str) -> list[object]:
        at = f"{kind.title()}-{split}_{patient}_LEFT_{view}/1.3.1.{patient}/1.3.2.{patient}.{view}/000000.dcm"
        return [patient, 3, "LEFT", view, number, kind, 4, pathology, 4, at, "crop\n", "mask\n"]

    train = [
        row("Training", "P_00001", "CC", 1, "BENIGN"),
        row("Training", "P_00001", "CC", 2, "MALIGNANT"),
        row("Training", "P_00004", "MLO", 1, "BENIGN_WITHOUT_CALLBACK"),
    ]
    test = [row("Test", "P_00016", "CC", 1, "MALIGNANT")]
    head = "csv/" if place == "jpeg" else ""
    table(folder, f"{head}{kind}_case_description_train_set.csv", columns, *train)
    table(folder, f"{head}{kind}_case_description_test_set.csv", columns, *test)
    for found in [*train, *test]:
        series = str(found[9]).split("/")
        put(folder, f"jpeg/{series[2]}/1-263.jpg" if place == "jpeg" else f"CBIS-DDSM/{series[0]}/a/b/1-1.dcm")
    return {"train+val": [("malignant",), ("benign",)], "test": [("malignant",)]}


def cbis_ddsm_mass(folder: Path) -> Expected:
    return _cbis(folder, "mass", "jpeg")


def cbis_ddsm_calc(folder: Path) -> Expected:
    return _cbis(folder, "calc", "CBIS-DDSM")


def derm7pt(folder: Path) -> Expected:
    folder = folder / "release_v0"
    said = ["basal cell carcinoma", "clark nevus", "melanoma (in situ)", "lentigo", "seborrheic keratosis"]
    rows = [[i + 1, dx, 3, "absent", f"NEL/Nel{i:03d}.jpg", f"NEL/Ndl{i:03d}.jpg"] for i, dx in enumerate(said)]
    columns = ["case_num", "diagnosis", "seven_point_score", "pigment_network", "clinic", "derm"]
    table(folder, "meta/meta.csv", columns, *rows)
    for name, numbers in {"train": [0, 3, 4], "valid": [2], "test": [1]}.items():
        table(folder, f"meta/{name}_indexes.csv", ["indexes"], *([n] for n in numbers))
    put(folder, *(f"images/{row[-1]}" for row in rows))
    train = [("basal cell carcinoma",), ("miscellaneous",), ("seborrheic keratosis",)]
    return {"train": train, "val": [("melanoma",)], "test": [("nevus",)]}


def dermnet(folder: Path) -> Expected:
    put(
        folder,
        "train/Acne and Rosacea Photos/07Acne081101.jpg",
        "train/Lupus and other Connective Tissue diseases/acrosclerosis-1.jpg",
        "train/Psoriasis pictures Lichen Planus and related diseases/08Lichen.jpg",
        "test/Urticaria Hives/hives-1.jpg",
    )
    train = [
        "Acne and Rosacea",
        "Lupus and other Connective Tissue diseases",
        "Psoriasis Lichen Planus and related diseases",
    ]
    return {"train+val": [(label,) for label in train], "test": [("Urticaria Hives",)]}


def fmc_chest(folder: Path) -> Expected:
    text(
        folder,
        "trainval.txt",
        "5E1BE1051C58AEF.png 1,0,1,1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0",
        "5E05BAA7562CC5A.png 0,0,0,0,0,0,0,0,0,0,1,0,0,0,0,0,0,0,1",
    )
    text(folder, "test_WithLabel.txt", "5B0131701CEC306.png 0,0,0,0,0,1,0,0,1,0,0,0,0,0,0,0,0,0,0")
    put(folder, *(f"images/{name}.png" for name in ("5E1BE1051C58AEF", "5E05BAA7562CC5A", "5B0131701CEC306")))
    train = [("pleural effusion", "pneumonia", "cardiomegaly"), ("tuberculosis", "consolidation")]
    return {"train+val": train, "test": [("old fracture", "tortuous aorta")]}


def fmc_endo(folder: Path) -> Expected:
    text(folder, "trainval.txt", "13333_2021.09_0001_51688574.png 0 0 0 0", "13333_2021.09_0001_51689179.png 1 0 0 1")
    text(folder, "test_WithLabel.txt", "13333_2021.12_0004_57458602.png 0 1 1 0")
    put(folder, "images/13333_2021.09_0001_51688574.png", "images/13333_2021.09_0001_51689179.png")
    put(folder, "images/13333_2021.12_0004_57458602.png")
    return {"train+val": [(), ("ulcer", "tumor")], "test": [("erosion", "polyp")]}


def fmc_colon(folder: Path) -> Expected:
    slides = ("2019-06-11 00_58_36-lv1-7052-20394-9882-10259", "D20170518201_2019-05-14 12_05_30-lv1-3-2-8-7")
    text(folder, "trainval.txt", f"{slides[0]}p0088.png 0", f"{slides[0]}p0107.png 1")
    text(folder, "test_WithLabel.txt", f"{slides[1]}p0012.png 1")
    put(folder, f"images/{slides[0]}p0088.png", f"images/{slides[0]}p0107.png", f"images/{slides[1]}p0012.png")
    return {"train+val": [("negative",), ("positive",)], "test": [("positive",)]}


HAM = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"]


def ham10000(folder: Path) -> Expected:
    rows = [
        [f"HAM_{i // 2:07d}", f"ISIC_{i:07d}", dx, "histo", 80.0, "male", "scalp"]
        for i, dx in enumerate(["bkl", "bkl", "nv", "mel", "bcc", "akiec", "vasc", "df"])
    ]
    table(folder, "HAM10000_metadata.csv", HAM, *rows)
    put(folder, *(f"HAM10000_images_part_{1 + i // 4}/{row[1]}.jpg" for i, row in enumerate(rows)))
    table(
        folder,
        "ISIC2018_Task3_Test_GroundTruth.csv",
        [*HAM, "dataset"],
        ["HAMT_0000001", "ISIC_0034524", "nv", "follow_up", 40.0, "female", "back", "vidir_modern"],
    )
    put(folder, "ISIC2018_Task3_Test_Images/ISIC_0034524.jpg")
    said = ["benign keratosis", "benign keratosis", "melanocytic nevus", "melanoma", "basal cell carcinoma"]
    said += ["actinic keratosis", "vascular lesion", "dermatofibroma"]
    return {"train+val": [(label,) for label in said], "test": [("melanocytic nevus",)]}


def pcam200(folder: Path) -> Expected:
    put(folder, "train/normal/1.png", "train/tumor/2.png", "val/normal/3.png", "test/tumor/4.png", "test/normal/5.png")
    return {"train": [("normal",), ("tumor",)], "val": [("normal",)], "test": [("tumor",), ("normal",)]}


def retoct(folder: Path) -> Expected:
    top = "RetinalOCT_Dataset/RetinalOCT_Dataset"
    put(folder, f"{top}/train/AMD/amd_train_1001.jpg", f"{top}/train/CSR/csr_train_1001.jpg")
    put(folder, f"{top}/val/MH/mh_val_1001.jpg", f"{top}/test/DRUSEN/drusen_test_1001.jpg")
    train = [("age-related macular degeneration",), ("central serous retinopathy",)]
    return {"train": train, "val": [("macular hole",)], "test": [("drusen",)]}


def rsna_pneumonia(folder: Path) -> Expected:
    rows = [["a", "Lung Opacity"], ["a", "Lung Opacity"], ["b", "Normal"], ["c", "No Lung Opacity / Not Normal"]]
    table(folder, "stage_2_detailed_class_info.csv", ["patientId", "class"], *rows)
    put(folder, *(f"stage_2_train_images/{row[0]}.dcm" for row in rows))
    return {"all": [("pneumonia",), ("normal",)]}


MAMMO = ["study_id", "series_id", "image_id", "laterality", "view_position", "height", "width", "breast_birads"]
MAMMO += ["breast_density", "split"]


def vindr_mammo(folder: Path, last_split: str = "test") -> Expected:
    rows = [
        ["s1", "x", "i1", "L", "CC", 3518, 2800, "BI-RADS 1", "DENSITY C", "training"],
        ["s1", "x", "i2", "R", "CC", 3518, 2800, "BI-RADS 4", "DENSITY C", "training"],
        ["s2", "y", "i3", "L", "MLO", 3518, 2800, "BI-RADS 2", "DENSITY B", last_split],
    ]
    table(folder, "breast-level_annotations.csv", MAMMO, *rows)
    put(folder, *(f"images/{row[0]}/{row[2]}.dicom" for row in rows))
    return {"train+val": [("BI-RADS 1",), ("BI-RADS 4",)], "test": [("BI-RADS 2",)]}


def vindr_pcxr(folder: Path) -> Expected:
    diseases = [
        "No finding", "Bronchitis", "Brocho-pneumonia", "Other disease", "Bronchiolitis", "Situs inversus", "Pneumonia",
        "Pleuro-pneumonia", "Diagphramatic hernia", "Tuberculosis", "Congenital emphysema", "CPAM", "Hyaline membrane disease",
        "Mediastinal tumor", "Lung tumor",
    ]  # fmt: skip

    def row(image: str, *shown: str) -> list[object]:
        return [image, "R1", *(float(disease in shown) for disease in diseases)]

    head = ["image_ID", "rad_ID", *diseases]
    table(
        folder, "image_labels_train.csv", head, row("t1", "No finding"), row("t2", "Brocho-pneumonia", "Tuberculosis")
    )
    table(folder, "image_labels_test.csv", head, row("e1", "Diagphramatic hernia"))
    put(folder, "train/t1.dicom", "train/t2.dicom", "test/e1.dicom")
    return {"train+val": [(), ("Broncho-pneumonia", "Tuberculosis")], "test": [("Diaphragmatic hernia",)]}


def vindr_spinexr(folder: Path) -> Expected:
    columns = ["image_id", "study_id", "series_id", "rad_id", "lesion_type", "xmin", "ymin", "xmax", "ymax"]
    train = [
        ["t1", "s1", "a", "rad1", "Osteophytes", 1, 2, 3, 4],
        ["t1", "s1", "a", "rad1", "Osteophytes", 5, 6, 7, 8],
        ["t1", "s1", "a", "rad1", "Disc space narrowing", 5, 6, 7, 8],
        ["t2", "s1", "a", "rad1", "No finding", "", "", "", ""],
    ]
    table(folder, "annotations/train.csv", columns, *train)
    table(folder, "annotations/test.csv", columns, ["e1", "s2", "b", "rad2", "Spondylolysthesis", 1, 2, 3, 4])
    put(folder, "train_images/t1.dicom", "train_images/t2.dicom", "test_images/e1.dicom")
    return {"train+val": [("Osteophytes", "Disc space narrowing"), ()], "test": [("Spondylolysthesis",)]}


PICTURES: dict[str, Callable[[Path], Expected]] = {
    write.__name__: write
    for write in (
        bcn20000, breastmnist, brset, cbis_ddsm_calc, cbis_ddsm_mass, chestmnist, derm7pt, dermnet,
        fmc_chest, fmc_colon, fmc_endo, ham10000, octmnist, organamnist, pathmnist, pcam200,
        pneumoniamnist, retoct, rsna_pneumonia, vindr_mammo, vindr_pcxr, vindr_spinexr,
    )
}  # fmt: skip
DRAWN = {"bcn20000", "brset", "rsna_pneumonia"}
CLASSES = {
    "bcn20000": 7, "breastmnist": 2, "brset": 13, "cbis_ddsm_calc": 2, "cbis_ddsm_mass": 2, "chestmnist": 14,
    "derm7pt": 5, "dermnet": 23, "fmc_chest": 19, "fmc_colon": 2, "fmc_endo": 4, "ham10000": 7, "octmnist": 4,
    "organamnist": 11, "pathmnist": 9, "pcam200": 2, "pneumoniamnist": 2, "retoct": 8, "rsna_pneumonia": 2,
    "vindr_mammo": 5, "vindr_pcxr": 14, "vindr_spinexr": 7,
}  # fmt: skip


def found(data: FolderDataset, expected: Expected) -> Expected:
    parts = {key: {"train", "val", "test"} if key == "all" else set(key.split("+")) for key in expected}
    return {key: sorted(r.labels for r in data.records if r.split in splits) for key, splits in parts.items()}


@pytest.mark.parametrize("name", PICTURES)
def test_labels_and_splits_of_a_picture_dataset(name: str, tmp_path: Path) -> None:
    expected = PICTURES[name](tmp_path / name)
    data = benchmark.read(name, tmp_path / name)
    assert found(data, expected) == {key: sorted(labels) for key, labels in expected.items()}
    assert len(data.records) == sum(map(len, expected.values()))
    assert data.name == name and len(data.classes) == CLASSES[name]
    given = {"as published", "train and test as given, val drawn from train by patient"}
    assert data.split_source in ({"drawn by patient, 70/10/20"} if name in DRAWN else given)
    assert all(record.path.is_file() for record in data.records)
    targets = data.targets(data.records)
    assert [tuple(c for c, t in zip(data.classes, row, strict=True) if t == 1) for row in targets.tolist()] == [
        tuple(sorted(record.labels)) for record in data.records
    ]


@pytest.mark.parametrize("name", sorted(set(PICTURES) - DRAWN))
def test_one_split_alone(name: str, tmp_path: Path) -> None:
    expected = PICTURES[name](tmp_path / name)
    data = benchmark.read(name, tmp_path / name, "test")
    assert {r.split for r in data.records} == {"test"} and len(data.classes) == CLASSES[name]
    assert sorted(r.labels for r in data.records) == sorted(expected["test"])


def test_every_dataset_of_the_study_is_described_once() -> None:
    assert benchmark.names() == NAMES and len(NAMES) == 28 + len(CROSS_DOMAIN)
    tasks = {name: benchmark.describe(name).task for name in NAMES}
    assert {n for n, t in tasks.items() if t in {"diagnosis", "multilabel"}} == set(PICTURES)
    assert {n for n, t in tasks.items() if t == "report"} == {"iu_xray", "mimic_cxr"}
    trained = {n for n in NAMES if benchmark.describe(n).gsco == "in training"}
    assert {n for n in NAMES if benchmark.describe(n).gsco == "cross-domain"} == CROSS_DOMAIN
    assert trained == {
        "slake", "vqa_rad", "path_vqa", "pmc_vqa", "mimic_cxr", "iu_xray", "pcam200", "dermnet", "ham10000", "retoct",
        "vindr_spinexr", "vindr_pcxr", "vindr_mammo", "chestmnist",
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_description_is_whole(name: str) -> None:
    description = benchmark.describe(name)
    for field in ("title", "home", "access", "licence", "download", "tree", "basis", "notes"):
        assert getattr(description, field).strip(), field
    assert description.modality and description.metrics and description.layouts
    assert description.tree.startswith(f"{name}/")
    if description.classes:
        assert description.question.endswith("?") and set(description.classes) <= set(description.options)


def test_the_page_lists_every_dataset_as_it_is_described() -> None:
    page = (Path(__file__).parents[2] / "docs/benchmark_datasets.md").read_text(encoding="utf-8")
    rows = [row(benchmark.describe(name)) for name in NAMES]
    assert [line for line in page.splitlines() if line.startswith("| `")] == rows, "put these rows in:\n" + "\n".join(
        rows
    )


def row(d: benchmark.Description) -> str:
    cells = (f"`{d.name}`", d.title, d.task, len(d.classes) or "", d.gsco, f"{d.access}; {d.licence}")
    return f"| {' | '.join(map(str, cells))} |"


def test_the_wordings_are_those_of_the_study() -> None:
    assert benchmark.describe("pcam200").prompt == (
        "You are a helpful medical assistant. Your task is disease diagnosis. You are given a pathology image. The possible "
        "diagnoses are: 'normal', 'tumor'. The response should only contain one option."
    )
    assert benchmark.describe("vindr_spinexr").prompt == (
        "You are a helpful medical assistant. Your task is disease diagnosis. You are given a spine x-ray image. The possible "
        "options are: No finding, Osteophytes, Disc space narrowing, Surgical implant, Foraminal stenosis, Other lesions, "
        "Vertebral collapse, Spondylolysthesis. The response should only contain one or more options. Only if no other options "
        "are available, you can choose 'No finding'."
    )
    assert benchmark.describe("mimic_cxr").prompt.endswith(
        "You are given a chest x-ray image and you are required to generate a summary report about the image."
    )
    asked = benchmark.describe("slake").prompt.format(question="Is the lung healthy?")
    assert asked.endswith("answer the question based on the medical image. The question is Is the lung healthy?")


def test_the_cross_domain_partners_speak_the_same_words() -> None:
    for a, b in (("ham10000", "bcn20000"), ("pneumoniamnist", "rsna_pneumonia")):
        assert set(benchmark.describe(a).classes) == set(benchmark.describe(b).classes)
        assert benchmark.describe(a).modality == benchmark.describe(b).modality


def test_a_second_published_form_reads_the_same(tmp_path: Path) -> None:
    for kind, place in (("mass", "CBIS-DDSM"), ("calc", "jpeg")):
        expected = _cbis(tmp_path / kind, kind, place)
        data = benchmark.read(f"cbis_ddsm_{kind}", tmp_path / kind)
        assert found(data, expected) == {key: sorted(labels) for key, labels in expected.items()}
    for kind, columns, row in (
        ("chest", ["pleural_effusion", "nodule", "pneumonia", "cardiomegaly"], [1, 0, 0, 1]),
        ("endo", ["ulcer", "erosion", "polyp", "tumor"], [1, 0, 0, 1]),
        ("colon", ["tumor"], [1]),
    ):
        raw = list(benchmark.describe("fmc_chest").labels) if kind == "chest" else columns
        cells = [*row, *[0] * (len(raw) - len(row))]
        table(tmp_path / kind, f"{kind}_train.csv", ["img_id", "study_id", *raw], ["a.png", "s1", *cells])
        put(tmp_path / kind, "images/a.png")
        (record,) = benchmark.read(f"fmc_{kind}", tmp_path / kind).records
        assert record.patient == "s1"
        assert (
            record.labels
            == {
                "chest": ("pleural effusion", "cardiomegaly"),
                "endo": ("ulcer", "tumor"),
                "colon": ("positive",),
            }[kind]
        )


def test_gscos_own_list_of_pcam200_is_its_test(tmp_path: Path) -> None:
    rows = [{"image": "pcam200/1.png", "label": "tumor", "rad": ["normal"], "moed": ["tumor"]}]
    text(tmp_path, "pcam200_meta.json", json.dumps(rows))
    put(tmp_path, "pcam200/1.png")
    data = benchmark.read("pcam200", tmp_path)
    assert [(r.split, r.labels) for r in data.records] == [("test", ("tumor",))]
    with pytest.raises(DataError, match="no train split, only test"):
        benchmark.read("pcam200", tmp_path, "train")


def test_whom_a_picture_belongs_to(tmp_path: Path) -> None:
    owners = {
        "brset": {"1", "2"},
        "derm7pt": {"1", "2", "3", "4", "5"},
        "vindr_mammo": {"s1", "s2"},
        "vindr_spinexr": {"s1", "s2"},
        "fmc_endo": {"13333_2021.09_0001", "13333_2021.12_0004"},
        "fmc_colon": {"2019-06-11 00_58_36-lv1-7052-20394-9882-10259", "D20170518201_2019-05-14 12_05_30-lv1-3-2-8-7"},
        "cbis_ddsm_mass": {"P_00001", "P_00004", "P_00016"},
        "ham10000": {*(f"HAM_{i:07d}" for i in range(4)), "HAMT_0000001"},
    }
    for name, expected in owners.items():
        PICTURES[name](tmp_path / name)
        assert {r.patient for r in benchmark.read(name, tmp_path / name).records} == expected, name


def test_without_the_official_test_table_ham10000_is_split_by_lesion(tmp_path: Path) -> None:
    ham10000(tmp_path)
    (tmp_path / "ISIC2018_Task3_Test_GroundTruth.csv").unlink()
    data = benchmark.read("ham10000", tmp_path)
    assert len(data.records) == 8 and data.split_source == "drawn by patient, 70/10/20"
    pairs = {(record.patient, record.split) for record in data.records}
    assert len(pairs) == len({patient for patient, _ in pairs})
