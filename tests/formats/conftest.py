"""Files made on the spot: DICOM of any kind, and NIfTI, NRRD and pictures with known pixels."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT = "1.2.840.10008.5.1.4.1.1.2"

MakeDicom = Callable[..., bytes]


@pytest.fixture(scope="session")
def samples() -> Path:
    """The small files that the repository carries."""
    return Path(__file__).parents[1] / "data"


@pytest.fixture(scope="session")
def make_dicom() -> MakeDicom:
    return _make_dicom


def _make_dicom(pixels: np.ndarray, compress: str | None = None, syntax: str | None = None, **elements: Any) -> bytes:
    """A DICOM file of pixels (rows, columns) or, where NumberOfFrames is given, (frames, rows, columns)."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax or ExplicitVRLittleEndian)
    defaults: dict[str, Any] = {
        "SOPClassUID": CT,
        "SOPInstanceUID": generate_uid(),
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "Modality": "CT",
        "PhotometricInterpretation": "MONOCHROME2",
        "SamplesPerPixel": 1,
        "BitsAllocated": pixels.itemsize * 8,
        "BitsStored": pixels.itemsize * 8,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
    }
    frame = pixels.shape[1:] if "NumberOfFrames" in elements else pixels.shape
    for keyword, value in {**defaults, **elements}.items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset.Rows, dataset.Columns = frame[:2]
    dataset.HighBit = dataset.BitsStored - 1
    big = dataset.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRBigEndian
    raw = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<")).tobytes()
    dataset.PixelData = raw + b"\0" * (len(raw) % 2)
    dataset["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
    if compress is not None:
        dataset.compress(compress, generate_instance_uid=False)
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


@pytest.fixture(scope="session")
def write(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], Path]:
    """Writes bytes to a file whose name says nothing."""
    folder = tmp_path_factory.mktemp("files")

    def write(data: bytes) -> Path:
        path = folder / f"file{len(list(folder.iterdir()))}"
        path.write_bytes(data)
        return path

    return write


@pytest.fixture
def ramp() -> np.ndarray:
    """(48, 64) uint16 where every pixel differs."""
    return np.arange(48 * 64, dtype=np.uint16).reshape(48, 64)
