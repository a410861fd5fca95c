"""Folders as strangers make them: other names for columns and tables, pictures elsewhere, labels in columns, and what is told."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from consilium.datasets.folder import FolderDataset, read_folder
from consilium.errors import DataError


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8)).save(path)


def table(folder: Path, head: str, rows: list[str], name: str = "index.csv", place: str = "") -> Path:
    """A table and the pictures of its first column, in `place`."""
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        file = row.split(",")[0].replace("\\", "/")
        picture(folder / place / (file if Path(file).suffix else f"{file}.jpg"))
    folder.joinpath(name).write_text("\n".join([head, *rows]) + "\n")
    return folder


def seen(data: FolderDataset) -> list[tuple[str, tuple[str, ...], str, str]]:
    return [(str(r.path.relative_to(data.folder)), r.labels, r.split, r.patient) for r in data.records]


FOUR = ["a.png,ill,p1,train", "b.png,well,p2,train", "c.png,ill,p3,val", "d.png,well,p4,test"]
UNKNOWN = "no patients are known: each picture counts as its own"


@pytest.mark.parametrize(
    "head",
    [
        "filename,diagnosis,PatientID,Set",
        "Image Index,Class,Patient ID,phase",
        "IMG_PATH,dx,pid,Subset",
        "image_id,Category,participant-id,partition",
        "Path,LABEL,patient,Split",
    ],
)
def test_columns_are_known_by_what_others_call_them(tmp_path: Path, head: str) -> None:
    usual = read_folder(table(tmp_path / "usual", "path,label,patient_id,split", FOUR))
    others = read_folder(table(tmp_path / "others", head, FOUR))
    assert seen(usual) == seen(others) and others.patient_column == "patient_id" and not usual.notes
    first, *_, last = head.split(",")
    assert f"path from '{first}'" in others.notes[0] and f"split from '{last}'" in others.notes[0]


def test_a_subject_is_a_patient(tmp_path: Path) -> None:
    data = read_folder(table(tmp_path, "path,label,Subject ID,split", FOUR))
    assert data.patient_column == "subject_id" and data.records[0].patient == "p1"


def test_our_own_name_goes_before_any_other(tmp_path: Path) -> None:
    rows = [f"{row},odd,zzz,wrong" for row in FOUR]
    data = read_folder(table(tmp_path, "path,label,patient_id,split,class,image,set", rows))
    assert data.classes == ("ill", "well") and not data.notes


def test_two_names_for_one_thing_are_refused(tmp_path: Path) -> None:
    for head, said in (
        ("file,image,label", "file, image. Rename the right one to path"),
        ("path,dx,diagnosis", "diagnosis, dx|dx, diagnosis"),
        ("path,label,PatientID,Patient", "PatientID, Patient. Rename the right one to patient_id"),
        ("path,Finding Labels,class", "Rename the right one to labels or label"),
    ):
        rows = ["a.png,ill,p,q", "b.png,well,q,q"]
        with pytest.raises(DataError, match=said):
            read_folder(table(tmp_path, head, [",".join(row.split(",")[: head.count(",") + 1]) for row in rows]))


def test_a_set_without_words_for_splits_is_no_split(tmp_path: Path) -> None:
    rows = [f"{i}.png,{'ill' if i % 2 else 'well'},p{i},batch {i % 3}" for i in range(60)]
    data = read_folder(table(tmp_path, "path,label,patient_id,set", rows))
    assert data.split_source == "drawn by patient, 70/10/20" and not data.notes


def test_the_files_own_names_serve_as_options_too(tmp_path: Path) -> None:
    rows = ["a.png,ill,open ,train", "b.png,well,open,train", "c.png,ill,nc,val", "d.png,well,open,test"]
    folder = table(tmp_path, "File Name,Diagnosis,My Licence,Split", rows)
    kept = read_folder(folder, where={"My Licence": "open"})
    assert (
        [r.path.name for r in kept.records] == ["a.png", "b.png", "d.png"] == [r.row["File Name"] for r in kept.records]
    )


def test_what_was_read_and_what_was_not_is_told(tmp_path: Path) -> None:
    rows = [f"{i}.png,{'Mass|Edema' if i % 2 else 'No Finding'},{i},{30 + i},PA" for i in range(40)]
    table(tmp_path, "Image Index,Finding Labels,Patient ID,Age,View", rows, "Data_Entry_2017.csv", "images_001/images")
    for i in range(20, 40):
        place = tmp_path / "images_002/images"
        place.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"images_001/images/{i}.png").rename(place / f"{i}.png")
    (tmp_path / "BBox_List_2017.csv").write_text("Image Index,Finding Label\n0.png,Mass\n")
    data = read_folder(tmp_path)
    assert data.classes == ("Edema", "Mass") and not data.exclusive and data.patient_column == "patient_id"
    assert data.records[30].path == tmp_path / "images_002/images/30.png"
    assert data.notes == (
        "not read, for want of a column path or of labels: BBox_List_2017.csv",
        "Data_Entry_2017.csv: path from 'Image Index', labels from 'Finding Labels', patients from 'Patient ID', split drawn by "
        "patient, 70/10/20; not used: Age, View",
        "pictures found by their name: 40, the first, 0.png, at images_001/images/0.png",
    )


def test_without_patients_it_says_so(tmp_path: Path) -> None:
    rows = [f"{i}.png,{'ill' if i % 2 else 'well'},{i}" for i in range(40)]
    data = read_folder(table(tmp_path, "path,label,Nr", rows))
    assert data.split_source == "drawn by picture, 70/10/20"
    assert data.notes == (
        f"{UNKNOWN}, so that pictures of one person may lie in train and test (columns not used: Nr)",
    )


def test_of_several_tables_none_is_guessed(tmp_path: Path) -> None:
    table(tmp_path, "image,dx", ["a.png,ill", "b.png,well"], "one.csv")
    table(tmp_path, "path,label", ["a.png,ill", "b.png,well"], "two.tsv")
    with pytest.raises(DataError, match=r"one\.csv, two\.tsv\. Rename the right one to index\.csv"):
        read_folder(tmp_path)
    table(tmp_path, "path,label", ["a.png,ill", "b.png,well"])
    assert len(read_folder(tmp_path).records) == 2


def test_tables_called_by_their_split_are_joined(tmp_path: Path) -> None:
    for name, rows in (("train", FOUR[:2]), ("valid", FOUR[2:3]), ("Test", FOUR[3:])):
        table(tmp_path, "path,label,patient_id,number", rows, f"{name}.csv")
    data = read_folder(tmp_path)
    assert [r.split for r in data.records] == ["test", "train", "train", "val"]
    assert data.notes == (
        "Test.csv, train.csv, valid.csv: path from 'path', label from 'label', patients from 'patient_id', split from the names "
        "of Test.csv, train.csv, valid.csv; not used: number",
    )
    (tmp_path / "valid.csv").write_text("path,labels\nc.png,ill\n")
    with pytest.raises(DataError, match="by different columns"):
        read_folder(tmp_path)


def test_a_table_that_does_not_fit_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    (tmp_path / "truth.csv").write_text("where,what\na.png,ill\n")
    for columns, said in (((), "1 class: images"), (("ill",), "no column ill")):
        with pytest.raises(DataError, match=rf"{said}.*Not read, for want of a column path or of labels: truth\.csv"):
            read_folder(tmp_path, label_columns=columns)
    picture(tmp_path / "others/b.png")
    assert any("truth.csv" in note for note in read_folder(tmp_path).notes)


def test_columns_of_labels_find_their_table(tmp_path: Path) -> None:
    table(tmp_path, "image,age,dx", ["a.jpg,3,x", "b.jpg,4,y"], "Metadata.csv", "pictures")
    table(tmp_path, "image,MEL,NV", ["a,1.0,0.0", "b,0.0,1.0", "c,1.0,0.0"], "GroundTruth.csv", "pictures")
    data = read_folder(tmp_path, label_columns=("MEL", "NV"))
    assert [r.path.name for r in data.records] == ["a.jpg", "b.jpg", "c.jpg"] and data.exclusive


def test_pictures_are_found_by_their_name_alone(tmp_path: Path) -> None:
    folder = table(tmp_path, "path,label", ["a,ill", "b.png,well", "sub\\c.png,ill", "d,well"], place="part_1")
    (folder / "part_1/a.txt").write_text("not a picture")
    (folder / "part_1/d.jpg").rename(folder / "d.nii.gz")
    assert [p for p, *_ in seen(read_folder(folder))] == [
        "part_1/a.jpg",
        "part_1/b.png",
        "part_1/sub/c.png",
        "d.nii.gz",
    ]


def test_backslashes_are_read_as_slashes(tmp_path: Path) -> None:
    data = read_folder(table(tmp_path, "path,label", ["x\\a.png,ill", "x\\y\\b.png,well"]))
    assert [p for p, *_ in seen(data)] == ["x/a.png", "x/y/b.png"] and data.records[0].patient == "x/a.png"


def test_a_name_that_could_be_several_pictures_is_refused(tmp_path: Path) -> None:
    folder = table(tmp_path, "path,label", ["a.png,ill", "b.png,well"], place="one")
    picture(folder / "two/a.png")
    with pytest.raises(DataError, match=r"'a\.png' could be any of one/a\.png, two/a\.png"):
        read_folder(folder)
    (folder / "index.csv").write_text("path,label\ntwo/a.png,ill\nelse/two/a.png,ill\none/b.png,well\n")
    with pytest.raises(DataError, match="would both be"):
        read_folder(folder)
    (folder / "index.csv").write_text("path,label\nold/two/a.png,ill\nc.png,well\n")
    with pytest.raises(DataError, match=r"1 of 2 pictures .* not there, the first .*c\.png\. Correct"):
        read_folder(folder)


def test_of_several_pictures_the_folder_in_the_table_decides(tmp_path: Path) -> None:
    folder = table(tmp_path, "path,label", ["a/1.png,ill", "b/1.png,well"], place="unpacked")
    assert [p for p, *_ in seen(read_folder(folder))] == ["unpacked/a/1.png", "unpacked/b/1.png"]
    (folder / "index.csv").write_text("path,label\nC:\\sets\\a\\1.png,ill\n/home/somebody/b/1.png,well\n")
    assert [p for p, *_ in seen(read_folder(folder))] == ["unpacked/a/1.png", "unpacked/b/1.png"]


def test_a_blank_among_several_labels_is_not_labelled(tmp_path: Path) -> None:
    rows = ["a.png,Mass|Edema,train", "b.png,,train", "c.png,No Finding,val", "d.png,Mass,test"]
    data = read_folder(table(tmp_path, "path,labels,split", rows))
    np.testing.assert_array_equal(data.targets(data.records), [[1, 1], [np.nan, np.nan], [0, 0], [0, 1]])
    assert (
        "1 of 4 pictures are not labelled, so neither learnt nor scored; where none holds, write No Finding"
        in data.notes
    )


def test_contradicting_columns_of_one_picture_are_refused(tmp_path: Path) -> None:
    rows = ["a.png,,0,train", "a.png,1,0.0,train", "b.png,0,1,val", "c.png,1,1,test"]
    folder = table(tmp_path, "path,x,y,split", rows)
    assert len(read_folder(folder, label_columns=("x", "y")).records) == 4
    table(tmp_path, "path,x,y,split", [*rows, "a.png,0,,train"])
    with pytest.raises(DataError, match=r"a\.png is in the index twice, with different values of x"):
        read_folder(folder, label_columns=("x", "y"))


@pytest.mark.parametrize("head", ["path,label,split", "path,labels,split"])
def test_labels_that_differ_in_case_alone_are_refused(tmp_path: Path, head: str) -> None:
    rows = ["a.png,Benign,train", "b.png,benign,train", "c.png,malignant,val", "d.png,Benign,test"]
    with pytest.raises(DataError, match="Benign and benign, which differ only in case"):
        read_folder(table(tmp_path, head, rows))


def test_labels_may_be_parted_by_semicolons(tmp_path: Path) -> None:
    rows = ["a.png,Mass; Edema,train", "b.png,no finding,val", "c.png,Mass,test"]
    data = read_folder(table(tmp_path, "path,labels,split", rows))
    assert data.classes == ("Edema", "Mass") and "labels are parted at ';'" in data.notes
    assert data.targets(data.records).tolist() == [[1, 1], [0, 0], [0, 1]]
    data = read_folder(table(tmp_path, "path,labels,split", [*rows, "d.png,a|b;c,train"]))
    assert data.classes == ("Mass", "Mass; Edema", "a", "b;c")


def test_a_choice_of_rows_looks_past_blanks(tmp_path: Path) -> None:
    rows = ["a.png,ill,train,PA ", "b.png,well,val, PA", "c.png,well,test,PA", "d.png,well,test,AP"]
    assert len(read_folder(table(tmp_path, "path,label,split,view", rows), where={"view": "PA"}).records) == 3


def test_one_hot_columns_are_classes(tmp_path: Path) -> None:
    rows = ["a.png,1,0,0,train", "b.png,0.0,1.0,0,train", "c.png,1,0,0,val", "d.png,0,1,0,test"]
    data = read_folder(table(tmp_path, "path,NV,MEL,UNK,split", rows), label_columns=("NV", "MEL", "UNK"))
    assert data.classes == ("MEL", "NV") and data.exclusive and data.label_columns == ()
    assert [r.labels for r in data.records] == [("NV",), ("MEL",), ("NV",), ("MEL",)]
    assert data.targets(data.records).tolist() == [[0, 1], [1, 0], [0, 1], [1, 0]]
    assert any("classes that exclude each other; left out, since no picture has it: UNK" in n for n in data.notes)


def test_one_hot_rows_that_are_blank_are_not_labelled(tmp_path: Path) -> None:
    rows = ["a.png,1,0,train", "b.png,,,train", "c.png,1,0,val", "d.png,0,1,test"]
    data = read_folder(table(tmp_path, "path,x,y,split", rows), label_columns=("x", "y"))
    assert data.exclusive and [r.labels for r in data.records] == [("x",), (), ("x",), ("y",)]
    assert any("1 of 4 pictures are not labelled" in note for note in data.notes)


def test_columns_that_are_one_hot_but_for_a_row_say_so(tmp_path: Path) -> None:
    rows = [f"{i}.png,{i % 2},{(i + 1) % 2},{('train', 'val', 'test')[i % 3]}" for i in range(12)]
    data = read_folder(table(tmp_path, "path,x,y,split", [*rows, "z.png,1,1,train"]), label_columns=("x", "y"))
    assert not data.exclusive and any("1 of 13 rows have none or several of the labels" in n for n in data.notes)


@pytest.mark.parametrize("odd", ["1,1", "0,0", ",1", "1,x"])
def test_columns_that_are_not_one_hot_stay_apart(tmp_path: Path, odd: str) -> None:
    rows = ["a.png,1,0,train", f"b.png,{odd},train", "c.png,1,0,val", "d.png,0,1,test"]
    data = read_folder(table(tmp_path, "path,x,y,split", rows), label_columns=("x", "y"))
    assert data.classes == data.label_columns == ("x", "y") and not data.exclusive


def test_what_class_folders_pass_over_is_told(tmp_path: Path) -> None:
    for i in range(40):
        picture(tmp_path / "train" / ("ill" if i % 2 else "well") / f"{i}.png")
        picture(tmp_path / "val" / ("ill" if i % 2 else "well") / f"{i}.png")
    picture(tmp_path / "train/loose.png")
    (tmp_path / "val/rare").mkdir()
    (tmp_path / "val/.cache").mkdir()
    data = read_folder(tmp_path)
    assert data.split_source == "train and val as given, test drawn from train by picture"
    assert {s: len(data.of(s)) for s in ("val", "train")} == {"val": 40, "train": 40 - len(data.of("test"))}
    assert 0 < len(data.of("test")) < 20
    assert data.notes[:3] == (
        "pictures beside the class folders, so of no class: 1, the first loose.png",
        "folders without a picture, passed over: val/rare",
        "split: train and val as given, test drawn from train by picture",
    )


def test_splits_without_class_folders_are_refused(tmp_path: Path) -> None:
    for part in ("train", "test"):
        picture(tmp_path / part / "a.png")
    with pytest.raises(DataError, match="pictures in test, train, but no sub-folder there for each class"):
        read_folder(tmp_path)


def test_a_test_part_drawn_from_train_keeps_patients_together(tmp_path: Path) -> None:
    rows = [f"{i}.png,{'a' if i % 2 else 'b'},p{i // 4},{'val' if i < 12 else 'train'}" for i in range(160)]
    data = read_folder(table(tmp_path, "path,label,patient_id,split", rows))
    assert data.split_source == "train and val as given, test drawn from train by patient"
    assert len(data.of("val")) == 12 and not {r.patient for r in data.of("test")} & {
        r.patient for r in data.of("train")
    }
