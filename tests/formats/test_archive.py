"""Folders and ZIPs: what is read together, what is named as left out, and what must never be unpacked."""

from __future__ import annotations

import gzip
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from consilium.errors import (
    DamagedFileError,
    EncryptedFileError,
    NotAnImageError,
    ReadError,
    UnknownFormatError,
    UnsafeFileError,
    UsageError,
)
from consilium.formats import read


def png(value: int) -> bytes:
    stream = io.BytesIO()
    Pillow.fromarray(np.full((4, 5), value, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


def laid(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_pictures_of_a_folder_are_one_study_in_name_order(tmp_path):
    (study,) = read(laid(tmp_path, {"b/2.txt": png(2), "a.dcm": png(1), "c": png(3)}))
    assert [int(image.pixels[0, 0]) for image in study.images] == [1, 2, 3]
    assert (study.file_format, study.notes) == ("PNG", ())


def test_a_zip_reads_as_its_folder(tmp_path, write):
    files = {"a": png(1), "deep/b": png(2), "deep/notes.txt": b"a note"}
    assert read(write(zipped(files))) == read(laid(tmp_path, files))


def test_what_cannot_be_read_is_named_by_number_not_by_name(tmp_path):
    files = {"Verne Jules.png": png(1), "Zola Emile.png": png(2)[:30], "a.txt": b"of Verne", "b.txt": b"of Zola"}
    (study,) = read(laid(tmp_path, files))
    assert len(study.images) == 1
    said = " ".join(study.notes)
    assert "1 files (2): DamagedFileError" in said
    assert "2 files (3, 4): AuxiliaryFileError" in said
    assert "Verne" not in said and "Zola" not in said


def test_hidden_files_are_counted(tmp_path, write):
    files = {"a": png(1), ".DS_Store": b"x", "__MACOSX/._a": b"x"}
    assert read(write(zipped(files)))[0].notes == ("hidden files or folders left out: 2",)
    (study,) = read(laid(tmp_path, {"a": png(1), ".hidden": b"x"}))
    assert study.notes == ("hidden files or folders left out: 1",)


def test_the_first_error_of_a_would_be_picture_is_raised(tmp_path, samples):
    laid(tmp_path, {"a.txt": b"some text", "b.png": png(1)[:30]})
    with pytest.raises(DamagedFileError):
        read(tmp_path)
    (tmp_path / "b.png").unlink()
    with pytest.raises(UnknownFormatError, match="text"):
        read(tmp_path)


def test_user_words_override(tmp_path, samples):
    (study,) = read(samples / "pydicom__CT_small.dcm", modality="mr", body_part="thorax")
    assert (study.modality, study.modality_source) == ("MR", "user")
    assert (study.body_part, study.body_part_source) == ("CHEST", "user")


def test_nothing_there(tmp_path, write):
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(UsageError):
            read(path)
    with pytest.raises(UsageError):
        read(write(zipped({})))


def test_empty_file(write):
    with pytest.raises(DamagedFileError, match="empty"):
        read(write(b""))


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "..\\evil", "C:/evil"])
def test_members_that_reach_out_are_refused(write, name):
    with pytest.raises(UnsafeFileError, match="reaches outside"):
        read(write(zipped({"a": png(1), name: png(2)})))


def test_a_member_that_is_a_link_is_refused(write):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UnsafeFileError, match="link"):
        read(write(stream.getvalue()))


def test_bombs_are_refused(write, monkeypatch):
    with pytest.raises(UnsafeFileError, match="bomb"):
        read(write(zipped({"zeros": bytes(2**26 + 1)})))
    monkeypatch.setattr("consilium.formats.archive.MAX_FILES", 3)
    with pytest.raises(UnsafeFileError, match="files"):
        read(write(zipped({str(n): b"" for n in range(4)}, zipfile.ZIP_STORED)))
    with pytest.raises(UnsafeFileError, match="bomb"):
        read(write(gzip.compress(b"NRRD0004\n" + bytes(2**26))))


def test_overlapping_members_are_refused(write):
    data = bytearray(zipped({"a": bytes(range(256)) * 8, "b": png(1)}, zipfile.ZIP_STORED))
    directory = data.index(b"PK\x01\x02")
    first = data[directory : data.index(b"PK\x01\x02", directory + 4)]
    end = data.index(b"PK\x05\x06")
    packed = data[:directory] + first * 3 + data[end:]
    at = packed.index(b"PK\x05\x06")
    packed[at + 8 : at + 12] = (3).to_bytes(2, "little") * 2
    packed[at + 12 : at + 16] = (3 * len(first)).to_bytes(4, "little")
    with pytest.raises(UnsafeFileError, match="overlap"):
        read(write(bytes(packed)))


def test_encrypted_zip(write):
    data = bytearray(zipped({"a": png(1)}))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(EncryptedFileError):
        read(write(bytes(data)))


@pytest.mark.parametrize("inner", ["zip", "gzip"])
def test_nested_archives_are_refused(write, inner):
    packed = zipped({"a": png(1)})
    with pytest.raises(UnsafeFileError, match="inside"):
        read(write(zipped({"inner": packed}) if inner == "zip" else gzip.compress(packed)))


def test_links_may_not_leave_the_folder(tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(png(9))
    folder = laid(tmp_path / "folder", {"a": png(1)})
    (folder / "inside").symlink_to(folder / "a")
    (folder / "leaving").symlink_to(outside)
    (study,) = read(folder)
    assert [int(image.pixels[0, 0]) for image in study.images] == [1, 1]
    assert any("leads out of the folder" in note for note in study.notes)


def test_a_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnsafeFileError, match="pipe"):
        read(tmp_path / "pipe")
    laid(tmp_path, {"a": png(1)})
    (study,) = read(tmp_path)
    assert any("pipe" in note for note in study.notes)


def test_dicom_beside_others(tmp_path, samples):
    files = {"a": (samples / "pydicom__CT_small.dcm").read_bytes(), "b": png(1)}
    studies = read(laid(tmp_path, files))
    assert [study.file_format for study in studies] == ["DICOM", "PNG"]


def test_a_folder_without_pictures_says_what_it_holds(shared_data, tmp_path):
    report = shared_data / "dicom_samples/misc/pydicom__reportsi.dcm"
    laid(tmp_path, {"a": report.read_bytes()})
    with pytest.raises(NotAnImageError, match="Basic Text SR"):
        read(tmp_path)


@pytest.mark.parametrize("name", [".", "./."])
def test_a_member_without_a_name_is_refused(write, name):
    with pytest.raises(UnsafeFileError, match="reaches outside"):
        read(write(zipped({"a": png(1), name: png(2)})))


def test_a_link_to_itself_leads_nowhere(tmp_path):
    folder = laid(tmp_path / "folder", {"a": png(1)})
    (folder / "loop").symlink_to("loop")
    (study,) = read(folder)
    assert len(study.images) == 1 and any("leads nowhere" in note for note in study.notes)


def test_a_path_that_no_file_can_have_is_an_error_of_ours():
    with pytest.raises(ReadError, match="cannot be looked at"):
        read("x" * 300)


def test_folders_that_are_not_entered_are_counted(tmp_path, monkeypatch):
    folder = laid(tmp_path / "folder", {"a": png(1), "sub/b": png(2)})
    (tmp_path / "other").mkdir()
    (folder / "linked").symlink_to(tmp_path / "other")
    walk = os.walk

    def closed(root, onerror):
        for where, folders, names in walk(root):
            if where.endswith("sub"):
                onerror(PermissionError(13, "Permission denied"))
            else:
                yield where, folders, names

    monkeypatch.setattr(os, "walk", closed)
    (study,) = read(folder)
    assert len(study.images) == 1
    assert {"folders that may not be read left out: 1", "linked folders left out: 1"} <= set(study.notes)
