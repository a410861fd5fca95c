"""Damaged real files: whatever bytes are changed, cut off or put in, `read` gives Studies or a named error."""

from __future__ import annotations

import gzip
import io
import zipfile
from contextlib import suppress
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from consilium.errors import ConsiliumError
from consilium.formats import read

SAMPLES = Path(__file__).parents[1] / "data"
PIXELS = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30)


def _saved(kind: str) -> bytes:
    stream = io.BytesIO()
    Pillow.fromarray((PIXELS % 256).astype(np.uint8)).save(stream, kind)
    return stream.getvalue()


def _tiff() -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, PIXELS, compression="zlib")
    return stream.getvalue()


def _nifti() -> bytes:
    return nibabel.Nifti1Image(np.arange(120, dtype=np.int16).reshape(4, 5, 6), np.eye(4)).to_bytes()


def _nrrd(folder: Path, encoding: str) -> bytes:
    path = folder / f"{encoding}.nrrd"
    header = {"space": "left-posterior-superior", "space directions": np.eye(3), "encoding": encoding}
    nrrd.write(str(path), np.arange(120, dtype=np.int16).reshape(4, 5, 6), header)
    return path.read_bytes()


def _zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", _saved("PNG"))
        archive.writestr("b", (SAMPLES / "pydicom__MR_small_RLE.dcm").read_bytes())
    return stream.getvalue()


def _compressed(make_dicom, syntax: str) -> bytes:
    return make_dicom((PIXELS.repeat(4, 0).repeat(4, 1) % 4096).astype(np.uint16), compress=syntax, BitsStored=12)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, make_dicom) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("nrrd")
    return {
        "ct": (SAMPLES / "pydicom__CT_small.dcm").read_bytes(),
        "rle": (SAMPLES / "pydicom__MR_small_RLE.dcm").read_bytes(),
        "jpeg-extended": (SAMPLES / "pydicom__JPGExtended.dcm").read_bytes(),
        "jpeg-2000": _compressed(make_dicom, "1.2.840.10008.1.2.4.90"),
        "jpeg-ls": _compressed(make_dicom, "1.2.840.10008.1.2.4.80"),
        "deflated": make_dicom(PIXELS, syntax="1.2.840.10008.1.2.1.99"),
        "nifti": _nifti(),
        "nifti-gz": gzip.compress(_nifti()),
        "nrrd": _nrrd(folder, "raw"),
        "nrrd-gz": _nrrd(folder, "gzip"),
        "png": _saved("PNG"),
        "jpeg": _saved("JPEG"),
        "gif": _saved("GIF"),
        "tiff": _saved("TIFF"),
        "tiff-16": _tiff(),
        "zip": _zip(),
    }


def _mutated(data: bytes, changes: list[tuple[str, float, bytes]]) -> bytes:
    for how, where, what in changes:
        # half of the changes strike the first kilobyte, where headers lie
        at = int(abs(where) * (len(data) if where < 0 else min(len(data), 1024)))
        if how == "set":
            data = data[:at] + what + data[at + len(what) :]
        elif how == "insert":
            data = data[:at] + what + data[at:]
        elif how == "delete":
            data = data[:at] + data[at + len(what) :]
        else:
            data = data[: max(at, 1)]
    return data


CHANGE = st.tuples(
    st.sampled_from(["set", "set", "set", "insert", "delete", "cut"]),
    st.floats(-1, 1),
    st.binary(min_size=1, max_size=6),
)
NAMES = [
    *("ct", "rle", "jpeg-extended", "jpeg-2000", "jpeg-ls", "deflated", "nifti", "nifti-gz", "nrrd", "nrrd-gz"),
    *("png", "jpeg", "gif", "tiff", "tiff-16", "zip"),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_only_named_errors_come_out(name, whole, tmp_path):
    path = tmp_path / "damaged"

    @settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(CHANGE, min_size=1, max_size=4))
    def check(changes: list[tuple[str, float, bytes]]) -> None:
        path.write_bytes(_mutated(whole[name], changes))
        with suppress(ConsiliumError):
            assert all(study.images for study in read(path))

    path.write_bytes(whole[name])
    assert read(path)
    check()
