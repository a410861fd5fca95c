"""Folders in the index.csv form and in the class-folder form, and the data that must be refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from consilium.datasets.folder import read_folder
from consilium.errors import DataError


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8)).save(path)


def write(folder: Path, header: str, rows: list[str]) -> Path:
    for row in rows:
        picture(folder / row.split(",")[0])
    folder.joinpath("index.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


def test_one_label_with_a_given_split(tmp_path: Path) -> None:
    rows = ["a.png,ill,train,p1", "b.png,well,train,p2", "c.png,ill,val,p3", "d.png,well,test,p4"]
    data = read_folder(write(tmp_path, "path,label,split,patient_id", rows))
    assert data.classes == ("ill", "well") and data.exclusive
    assert [r.patient for r in data.of("train")] == ["p1", "p2"]
    assert data.targets(data.of("test")).tolist() == [[0.0, 1.0]]


def test_several_labels_and_none(tmp_path: Path) -> None:
    rows = ["a.png,Edema|Mass,train", "b.png,No Finding,val", "c.png,Mass,test"]
    data = read_folder(write(tmp_path, "path,labels,split", rows))
    assert data.classes == ("Edema", "Mass") and not data.exclusive
    assert data.targets(data.records).tolist() == [[1, 1], [0, 0], [0, 1]]


def test_no_finding_beside_a_finding_is_refused(tmp_path: Path) -> None:
    rows = ["a.png,Mass,train", "b.png,no finding|Mass,train", "c.png,Edema,val", "d.png,Mass,test"]
    with pytest.raises(DataError, match=r"b\.png is labelled no finding and Mass, which cannot both hold"):
        read_folder(write(tmp_path, "path,labels,split", rows))


def test_a_blank_label_column_is_not_labelled(tmp_path: Path) -> None:
    data = read_folder(
        write(tmp_path, "path,split,b_lines,effusion", ["a.png,train,1,", "b.png,val,0,1", "c.png,test,,0"]),
        label_columns=["b_lines", "effusion"],
    )
    np.testing.assert_array_equal(data.targets(data.records), [[1, np.nan], [0, 1], [np.nan, 0]])


def test_rows_can_be_chosen(tmp_path: Path) -> None:
    rows = ["a.png,x,training,open", "b.png,y,train,nc", "c.png,y,valid,open", "d.png,x,test,open"]
    data = read_folder(write(tmp_path, "path,label,split,licence_class", rows), where={"licence_class": "open"})
    assert len(data.records) == 3


def test_class_folders_with_and_without_splits(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        for i in range(40):
            picture(tmp_path / "plain" / label / f"{i}.png")
            picture(tmp_path / "split" / ("test" if i < 10 else "train") / label / f"{i}.png")
    plain, split = read_folder(tmp_path / "plain"), read_folder(tmp_path / "split")
    assert plain.classes == split.classes == ("cat", "dog")
    assert all(plain.of(part) for part in ("train", "val", "test"))
    assert len(split.of("test")) == 20 and split.of("val") and split.of("train")
    assert read_folder(tmp_path / "plain").records == plain.records


def test_a_drawn_split_keeps_a_patient_together(tmp_path: Path) -> None:
    rows = [f"{i}.png,{'a' if i % 2 else 'b'},p{i // 4}" for i in range(120)]
    data = read_folder(write(tmp_path, "path,label,patient_id", rows))
    parts: dict[str, set[str]] = {}
    for record in data.records:
        parts.setdefault(record.patient, set()).add(record.split)
    assert all(len(found) == 1 for found in parts.values()) and len(data.of("test")) > 5


@pytest.mark.parametrize(
    ("header", "rows", "says"),
    [
        ("path,label,split,patient_id", ["a.png,x,train,p", "b.png,y,test,p", "c.png,y,val,q"], "more than one split"),
        ("path,label,split", ["a.png,x,train", "b.png,x,val", "c.png,x,test"], "At least two"),
        ("path,label,split", ["a.png,x,train", "b.png,y,fold3"], "fold3"),
        ("path,kind,split", ["a.png,x,train"], "no column 'label'"),
        ("where,label", ["a.png,x"], "path"),
        ("path,split,lesion", ["a.png,train,yes", "b.png,test,no"], "label"),
    ],
)
def test_data_that_would_mislead_is_refused(tmp_path: Path, header: str, rows: list[str], says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_folder(write(tmp_path, header, rows))


def test_missing_files_strange_paths_and_no_folder(tmp_path: Path) -> None:
    write(tmp_path / "a", "path,label", ["a.png,x", "b.png,y"])
    (tmp_path / "a/b.png").unlink()
    with pytest.raises(DataError, match="not there"):
        read_folder(tmp_path / "a")
    picture(tmp_path / "out.png")
    (tmp_path / "b").mkdir()
    (tmp_path / "b/index.csv").write_text("path,label\n../out.png,x\n../out.png,y\n")
    with pytest.raises(DataError, match="outside"):
        read_folder(tmp_path / "b")
    with pytest.raises(DataError, match="not a folder"):
        read_folder(tmp_path / "nowhere")
    rows = ["a.png,train,maybe", "b.png,val,0", "d.png,test,1"]
    data = read_folder(write(tmp_path / "c", "path,split,x", rows), label_columns=["x"])
    with pytest.raises(DataError, match="expected"):
        data.targets(data.records)


def test_blanks_around_cells_part_neither_classes_nor_patients(tmp_path: Path) -> None:
    rows = ["a.png,ill,train,P1", "b.png,well ,train,P2", "c.png,ill ,val,P3", "d.png,well,test,P4"]
    assert read_folder(write(tmp_path / "one", "path,label,split,patient_id", rows)).classes == ("ill", "well")
    rows[3] = "d.png,well,test, P1 "
    with pytest.raises(DataError, match=r"1 patients of .* are in more than one split"):
        read_folder(write(tmp_path / "two", "path,label,split,patient_id", rows))


def test_an_empty_patient_column_is_none(tmp_path: Path) -> None:
    rows = [f"{i}.png,{'ill' if i % 2 else 'well'},,case {i // 5}" for i in range(200)]
    data = read_folder(write(tmp_path, "path,label,patient_id,case_id", rows))
    assert data.patient_column == "case_id"
    assert all(len({r.split for r in data.records if r.patient == f"case {i}"}) == 1 for i in range(40))


def test_a_picture_without_a_label_is_of_no_class(tmp_path: Path) -> None:
    rows = ["a.png,ill,train", "b.png,,train", "c.png,ill,val", "d.png,well,test"]
    data = read_folder(write(tmp_path, "path,label,split", rows))
    assert np.isnan(data.targets(data.records)[1]).all() and not np.isnan(data.targets(data.records)[[0, 2, 3]]).any()


@pytest.mark.parametrize(
    ("cell", "said"), [("-1", "uncertain, is neither"), ("2", "0, 1 or blank"), ("maybe", "0, 1 or blank")]
)
def test_a_label_column_holds_0_1_or_nothing(tmp_path: Path, cell: str, said: str) -> None:
    rows = ["a.png,1,train", f"b.png,{cell},train", "c.png,0,val", "d.png,1.0,test"]
    data = read_folder(write(tmp_path, "path,Mass,split", rows), label_columns=["Mass"])
    with pytest.raises(DataError, match=said):
        data.targets(data.records)


@pytest.mark.parametrize(
    "head", ["Path;Label;Split", "path\tLABEL\tsplit", "path, label , split", "\ufeffpath,label,split"]
)
def test_tables_as_spreadsheets_write_them(tmp_path: Path, head: str) -> None:
    cut = next(sign for sign in ";\t," if sign in head)
    rows = ["a.png,ill,train", "b.png,well,train", "c.png,ill,val", "d.png,well,test"]
    write(tmp_path, "path,label,split", rows)
    text = "\r\n".join([head, *(row.replace(",", cut) for row in rows), ""])
    (tmp_path / "index.csv").write_bytes(text.encode("utf-16" if cut == "\t" else "utf-8"))
    assert read_folder(tmp_path).classes == ("ill", "well") and len(read_folder(tmp_path).of("train")) == 2


@pytest.mark.parametrize(
    ("head", "row", "said"),
    [
        ("path,label,split", "a.png,ill, left,train", "row 2: more cells than the header"),
        ("label,split,path", "ill,train", "row 2: no path"),
        ("where,label", "a.png,ill", "needs a header with a column 'path', and has: where,label"),
        ("path,label", "", "a header and no rows"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(tmp_path: Path, head: str, row: str, said: str) -> None:
    (tmp_path / "index.csv").write_text(f"{head}\n{row}\n")
    with pytest.raises(DataError, match=said):
        read_folder(tmp_path)


def test_a_table_in_an_old_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_bytes("path,label\na.png,Lungenentz\u00fcndung\n".encode("latin-1"))
    with pytest.raises(DataError, match="Save it as CSV in UTF-8"):
        read_folder(tmp_path)


def test_columns_that_are_not_there_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path, "path,x,split", ["a.png,1,train", "b.png,0,val", "c.png,1,test"])
    for wrong, more in (
        ("zz", {"label_columns": ["x", "zz"]}),
        ("nope", {"where": {"nope": "1"}, "label_columns": ["x"]}),
    ):
        with pytest.raises(DataError, match=f"has no column {wrong}; there are: path, x, split"):
            read_folder(folder, **more)
    with pytest.raises(DataError, match="a column twice"):
        read_folder(folder, label_columns=["x", "x"])


def test_one_picture_under_two_labels_is_refused(tmp_path: Path) -> None:
    rows = ["a.png,ill,train", "a.png,well,train", "b.png,ill,val", "c.png,well,test"]
    with pytest.raises(DataError, match="twice, with different labels"):
        read_folder(write(tmp_path, "path,label,split", rows))


def test_pictures_of_a_class_are_known_by_their_content(tmp_path: Path) -> None:
    names = ["a.bmp", "b.gif", "c.WEBP", "d.jfif", "e", "f.JPG"]
    for label in ("ill", "well"):
        (tmp_path / label).mkdir()
        for name in names:
            kind = {"a.bmp": "BMP", "b.gif": "GIF", "c.WEBP": "WEBP"}.get(name, "JPEG")
            Image.new("L", (8, 8)).save(tmp_path / label / name, kind)
        (tmp_path / label / "notes.txt").write_text("no picture")
        (tmp_path / label / "all.zip").write_bytes(b"PK\x03\x04 nor this")
    data = read_folder(tmp_path)
    assert sorted(record.path.name for record in data.records) == sorted(2 * names)


def test_pictures_beside_the_splits_are_refused(tmp_path: Path) -> None:
    for place in ("train/ill", "train/well", "test/ill", "test/well", "other/ill"):
        picture(tmp_path / place / "a.png")
    with pytest.raises(DataError, match="pictures in other too"):
        read_folder(tmp_path)
