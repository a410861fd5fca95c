"""Questions and reports of the benchmark, each dataset read from a tiny folder of its public layout, words as published."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.datasets.test_benchmark import cache, png, put, table, text

from consilium import formats
from consilium.datasets import benchmark
from consilium.datasets.benchmark.report import sections
from consilium.errors import DataError, UsageError

__all__ = ["cache"]

# Of each question of the test split: picture's end, question, accepted answers, closed, options.
Asked = tuple[str, str, tuple[str, ...], bool, tuple[str, ...]]


def slake(folder: Path) -> list[Asked]:
    def item(place: int, question: str, answer: str, kind: str, language: str = "en") -> dict[str, object]:
        return {
            "img_id": place, "img_name": f"xmlab{place}/source.jpg", "question": question, "answer": answer, "q_lang": language,
            "location": "Lung", "modality": "CT", "answer_type": kind, "base_type": "vqa", "content_type": "Organ",
            "triple": ["vhead", "_", "_"], "qid": 100 + place,
        }  # fmt: skip

    rows = {
        "train": [item(0, "What modality is used?", "CT", "OPEN")],
        "validate": [item(1, "Is this CT?", "No", "CLOSED")],
        "test": [
            item(2, "Does the picture contain lung?", "Yes", "CLOSED"),
            item(2, "Which organ is abnormal?", "Lung", "OPEN"),
            item(2, "图中有肺吗?", "有", "CLOSED", "zh"),
        ],
    }
    for split, items in rows.items():
        text(folder / "Slake1.0", f"{split}.json", json.dumps(items))
    put(folder / "Slake1.0", *(f"imgs/xmlab{i}/source.jpg" for i in range(3)))
    return [
        ("imgs/xmlab2/source.jpg", "Does the picture contain lung?", ("Yes",), True, ()),
        ("imgs/xmlab2/source.jpg", "Which organ is abnormal?", ("Lung",), False, ()),
    ]


def vqa_rad(folder: Path) -> list[Asked]:
    def item(number: int, phrase: str, answer: object, kind: str) -> dict[str, object]:
        return {
            "qid": number, "phrase_type": phrase, "qid_linked_id": "x", "image_case_url": "y", "image_name": "synpic1.jpg",
            "image_organ": "CHEST", "evaluation": "evaluated", "question": f"Question {number}?", "question_rephrase": "NULL",
            "question_relation": "NULL", "question_frame": "NULL", "question_type": "PRES", "answer": answer, "answer_type": kind,
        }  # fmt: skip

    rows = [
        item(1, "freeform", "Yes", "CLOSED"),
        item(2, "para", "lung", "OPEN"),
        item(3, "test_freeform", 4, "OPEN"),
        item(4, "test_para", "No", "CLOSED "),
    ]
    text(folder, "VQA_RAD Dataset Public.json", json.dumps(rows))
    put(folder, "VQA_RAD Image Folder/synpic1.jpg")
    picture = "VQA_RAD Image Folder/synpic1.jpg"
    return [(picture, "Question 3?", ("4",), False, ()), (picture, "Question 4?", ("No",), True, ())]


def path_vqa(folder: Path) -> list[Asked]:
    import pyarrow
    import pyarrow.parquet

    test = [[(3, "c?", "yes")], [(3, "d?", "fat necrosis")]]
    for split, shards in {"train": [[(1, "a", "yes")]], "validation": [[(2, "b", "no")]], "test": test}.items():
        for number, shard in enumerate(shards):
            rows = [{"image": {"bytes": png(v), "path": None}, "question": q, "answer": a} for v, q, a in shard]
            path = folder / f"data/{split}-{number:05d}-of-{len(shards):05d}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return [(".png", "c?", ("yes",), True, ()), (".png", "d?", ("fat necrosis",), False, ())]


def pmc_vqa(folder: Path) -> list[Asked]:
    columns = ["Figure_path", "Question", "Answer", "Choice A", "Choice B", "Choice C", "Choice D", "Answer_label"]
    row = ["PMC1_F1.jpg", "What is shown?", "a liver", " A:a heart ", " B:a liver ", " C:a lung ", " D:a bone ", "B"]
    table(folder, "train.csv", columns, row)
    table(folder, "test.csv", columns, ["PMC2_F1.jpg", *row[1:]])
    put(folder, "images/PMC1_F1.jpg", "images/PMC2_F1.jpg")
    return [("images/PMC2_F1.jpg", "What is shown?", ("a liver",), True, ("a heart", "a liver", "a lung", "a bone"))]


def vqa_med_2019(folder: Path) -> list[Asked]:
    text(
        folder,
        "ImageClef-2019-VQA-Med-Training/All_QA_Pairs_train.txt",
        "synpic41148|what kind of image is this?|cta - ct angiography",
    )
    text(folder, "ImageClef-2019-VQA-Med-Validation/All_QA_Pairs_val.txt", "synpic37605|is this a ct scan?|no")
    text(
        folder,
        "VQAMed2019Test/VQAMed2019_Test_Questions_w_Ref_Answers.txt",
        "synpic54143|abnormality|what is the primary abnormality in this image?|anaplastic oligodendroglioma#multi-cystic mass",
        "synpic32365|modality|is this a ct scan?|yes",
    )
    put(folder, "ImageClef-2019-VQA-Med-Training/Train_images/synpic41148.jpg")
    put(folder, "ImageClef-2019-VQA-Med-Validation/Val_images/synpic37605.jpg")
    put(folder, *(f"VQAMed2019Test/VQAMed2019_Test_Images/synpic{i}.jpg" for i in (54143, 32365)))
    answers = ("anaplastic oligodendroglioma", "multi-cystic mass")
    return [
        (
            "VQAMed2019_Test_Images/synpic54143.jpg",
            "what is the primary abnormality in this image?",
            answers,
            False,
            (),
        ),
        ("VQAMed2019_Test_Images/synpic32365.jpg", "is this a ct scan?", ("yes",), True, ()),
    ]


def omnimedvqa(folder: Path) -> list[Asked]:
    row = {
        "dataset": "ACRIMA", "question_id": "ACRIMA_0000", "question_type": "Modality Recognition",
        "question": "What imaging technique was employed?", "gt_answer": "Fundus imaging",
        "image_path": "Images/ACRIMA/Im553_g_ACRIMA.png", "option_A": "PET scan", "option_B": "CT scan",
        "option_C": "Fundus imaging", "modality_type": "Fundus Photography",
    }  # fmt: skip
    text(folder / "OmniMedVQA", "QA_information/Open-access/ACRIMA.json", json.dumps([row]))
    put(folder / "OmniMedVQA", row["image_path"])
    options = ("PET scan", "CT scan", "Fundus imaging")
    return [(row["image_path"], row["question"], ("Fundus imaging",), True, options)]


QUESTIONS: dict[str, Callable[[Path], list[Asked]]] = {
    write.__name__: write for write in (slake, vqa_rad, path_vqa, pmc_vqa, vqa_med_2019, omnimedvqa)
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_questions_of_the_test_split(name: str, tmp_path: Path) -> None:
    expected = QUESTIONS[name](tmp_path / name)
    said = benchmark.questions(name, tmp_path / name)
    for question, (picture, asked, accepted, closed, options) in zip(said, expected, strict=True):
        assert str(question.picture).endswith(picture) and question.picture.is_file()
        assert (question.question, question.accepted, question.closed, question.options) == (
            asked,
            accepted,
            closed,
            options,
        )
        assert question.answer == accepted[0] and question.split == "test"


def test_there_is_no_other_vqa_dataset() -> None:
    assert {n for n in benchmark.names() if benchmark.describe(n).task == "vqa"} == set(QUESTIONS)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("slake", {"train": 1, "val": 1, "test": 2}),
        ("vqa_rad", {"train": 2, "test": 2}),
        ("path_vqa", {"train": 1, "val": 1, "test": 2}),
        ("pmc_vqa", {"train": 1, "test": 1}),
        ("vqa_med_2019", {"train": 1, "val": 1, "test": 2}),
        ("omnimedvqa", {"test": 1}),
    ],
)
def test_the_published_splits_of_questions(name: str, counts: dict[str, int], tmp_path: Path) -> None:
    QUESTIONS[name](tmp_path)
    assert {split: len(benchmark.questions(name, tmp_path, split)) for split in counts} == counts
    for split in {"train", "val", "test"} - set(counts):
        with pytest.raises(DataError, match=f"no {split} split"):
            benchmark.questions(name, tmp_path, split)


def test_the_second_version_of_pmc_vqa(tmp_path: Path) -> None:
    columns = [
        "index",
        "Figure_path",
        "Caption",
        "Question",
        "Choice A",
        "Choice B",
        "Choice C",
        "Choice D",
        "Answer",
        "split",
    ]
    row = [0, "PMC2_F1.jpg", "caption", "What?", "A: x", "B: y", "C: z", "D: w", "C", "test"]
    table(tmp_path, "train_2.csv", columns, [1, "PMC1_F1.jpg", *row[2:]])
    table(tmp_path, "test_2.csv", columns, row)
    put(tmp_path, "figures/PMC1_F1.jpg", "figures/PMC2_F1.jpg")
    (question,) = benchmark.questions("pmc_vqa", tmp_path)
    assert (question.answer, question.options) == ("z", ("x", "y", "z", "w"))


def test_a_picture_in_a_parquet_becomes_one_file_that_reads(tmp_path: Path) -> None:
    path_vqa(tmp_path)
    first, second = benchmark.questions("path_vqa", tmp_path)
    assert formats.read(first.picture)[0].images[0].pixels.tolist() == [[3] * 4] * 4
    assert first.picture.read_bytes() == second.picture.read_bytes() == png(3)


def test_a_leak_that_is_published_is_told_and_one_that_is_not_is_refused(tmp_path: Path) -> None:
    vqa_rad(tmp_path / "rad")  # its one picture is asked about in train and in test
    assert benchmark.questions("vqa_rad", tmp_path / "rad")
    assert "203 of 314 pictures" in benchmark.describe("vqa_rad").leak
    slake(tmp_path / "slake")
    top = tmp_path / "slake/Slake1.0"
    text(top, "validate.json", (top / "test.json").read_text(encoding="utf-8"))
    with pytest.raises(DataError, match=r"1 pictures of slake .* in more than one split"):
        benchmark.questions("slake", tmp_path / "slake")


def test_questions_on_real_pictures(shared_data: Path) -> None:
    test, train = (benchmark.questions("vqa_rad", shared_data / "vqa_rad", split) for split in ("test", "train"))
    assert (len(test), len(train)) == (451, 3064)
    assert {q.closed for q in test if q.answer.lower() in {"yes", "no"}} == {True}
    assert len({q.picture for q in test} & {q.picture for q in train}) == 203


# ---- reports ----

FREE_TEXT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___F with new onset ascites  // eval for infection

 TECHNIQUE:  Chest PA and lateral

 COMPARISON:  None.

 FINDINGS:

 There is no focal consolidation, pleural effusion: none.
 The heart is normal.

 IMPRESSION:

 No acute process.
"""


def mimic_cxr(folder: Path, packed: bool = False) -> None:
    metadata = ["dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription", "ViewPosition", "Rows"]
    split = ["dicom_id", "study_id", "subject_id", "split"]
    pictures = [("d1", 10000032, 50414267, "PA", "test"), ("d2", 10000032, 50414267, "LATERAL", "test")]
    pictures += [("d3", 11000011, 50000003, "AP", "train"), ("d4", 12000012, 50000004, "AP", "validate")]
    table(folder, "mimic-cxr-2.0.0-metadata.csv", metadata, *([d, p, s, "CHEST", v, 9] for d, p, s, v, _ in pictures))
    table(folder, "mimic-cxr-2.0.0-split.csv", split, *([d, s, p, part] for d, p, s, _, part in pictures))
    for d, p, s, *_ in pictures:
        put(folder, f"files/p{str(p)[:2]}/p{p}/s{s}/{d}.jpg")
        text(folder, f"files/p{str(p)[:2]}/p{p}/s{s}.txt", FREE_TEXT)
    if packed:
        for name in ("metadata", "split"):
            path = folder / f"mimic-cxr-2.0.0-{name}.csv"
            path.with_suffix(".csv.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()


@pytest.mark.parametrize("packed", [False, True])
def test_reports_of_mimic_cxr(tmp_path: Path, packed: bool) -> None:
    mimic_cxr(tmp_path, packed)
    (report,) = benchmark.reports("mimic_cxr", tmp_path)
    assert [p.name for p in report.pictures] == ["d1.jpg", "d2.jpg"] and report.views == ("PA", "LATERAL")
    assert report.findings == "There is no focal consolidation, pleural effusion: none. The heart is normal."
    assert report.impression == "No acute process."
    assert report.indication == "___F with new onset ascites // eval for infection"
    assert report.study == "50414267" and report.patient == "10000032"
    assert [len(benchmark.reports("mimic_cxr", tmp_path, split)) for split in ("train", "val")] == [1, 1]


def test_a_report_without_headings_has_no_sections() -> None:
    assert set(sections("The lungs are clear.").values()) == {""}
    assert sections("HISTORY: cough\nCONCLUSION: clear")["indication"] == "cough"


def test_reports_of_iu_xray_as_r2gen_has_them(tmp_path: Path) -> None:
    def item(study: str, split: str) -> dict[str, object]:
        return {
            "id": study,
            "report": f"clear {study}",
            "image_path": [f"{study}/0.png", f"{study}/1.png"],
            "split": split,
        }

    splits = {
        "train": [item("CXR1_IM-1", "train")],
        "val": [item("CXR2_IM-2", "val")],
        "test": [item("CXR3_IM-3", "test")],
    }
    text(tmp_path / "iu_xray", "annotation.json", json.dumps(splits))
    put(tmp_path / "iu_xray", *(f"images/CXR{i}_IM-{i}/{n}.png" for i in (1, 2, 3) for n in (0, 1)))
    for split, study in (("train", "CXR1_IM-1"), ("val", "CXR2_IM-2"), ("test", "CXR3_IM-3")):
        (report,) = benchmark.reports("iu_xray", tmp_path, split)
        assert (report.study, report.findings, report.impression) == (study, f"clear {study}", "")
        assert [p.name for p in report.pictures] == ["0.png", "1.png"]


def test_reports_of_iu_xray_as_kaggle_has_them(tmp_path: Path) -> None:
    columns = ["uid", "MeSH", "Problems", "image", "indication", "comparison", "findings", "impression"]
    table(
        tmp_path, "indiana_reports.csv", columns, *([u, "", "", "", "cough", "", f"clear {u}", "ok"] for u in range(40))
    )
    names = [
        (u, f"{u}_IM-0001-{n}001.dcm.png", view) for u in range(40) for n, view in ((3, "Lateral"), (4, "Frontal"))
    ]
    table(tmp_path, "indiana_projections.csv", ["uid", "filename", "projection"], *names)
    put(tmp_path, *(f"images/images_normalized/{name}" for _, name, _ in names))
    parts = {split: benchmark.reports("iu_xray", tmp_path, split) for split in ("train", "val", "test")}
    assert sum(map(len, parts.values())) == 40 and len(parts["train"]) > 20
    for report in parts["test"]:
        assert report.views == ("Lateral", "Frontal") and report.findings == f"clear {report.study}"
        assert (report.indication, report.impression) == ("cough", "ok")


def test_the_reader_of_another_task_is_named(tmp_path: Path) -> None:
    for call, name, fitting in (
        (benchmark.read, "slake", "questions"),
        (benchmark.questions, "iu_xray", "reports"),
        (benchmark.reports, "retoct", "read"),
    ):
        with pytest.raises(UsageError, match=rf"use {fitting}\(\)"):
            call(name, tmp_path)


def test_an_answer_that_is_no_option_is_refused(tmp_path: Path) -> None:
    pmc_vqa(tmp_path)
    path = tmp_path / "test.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(",B\n", ",E\n"), encoding="utf-8")
    with pytest.raises(DataError, match=r"test\.csv answers 'E', which is none of"):
        benchmark.questions("pmc_vqa", tmp_path)


def test_a_report_that_is_not_there_is_named(tmp_path: Path) -> None:
    mimic_cxr(tmp_path)
    (tmp_path / "files/p10/p10000032/s50414267.txt").unlink()
    with pytest.raises(DataError, match=r"s50414267\.txt cannot be read"):
        benchmark.reports("mimic_cxr", tmp_path)


def test_a_letter_that_belongs_to_the_option_stays(tmp_path: Path) -> None:
    row = {
        "dataset": "BLOOD", "question_id": "B_0", "question_type": "Organism", "question": "Which organism?",
        "gt_answer": "E. coli", "image_path": "Images/B/1.png", "option_A": "E. coli", "option_B": "C. difficile",
        "modality_type": "Microscopy",
    }  # fmt: skip
    text(tmp_path / "OmniMedVQA", "QA_information/Open-access/BLOOD.json", json.dumps([row]))
    put(tmp_path / "OmniMedVQA", row["image_path"])
    (question,) = benchmark.questions("omnimedvqa", tmp_path)
    assert (question.answer, question.options) == ("E. coli", ("E. coli", "C. difficile"))
