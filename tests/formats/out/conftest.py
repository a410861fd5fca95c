"""DICOM series with a known mask in a known slice, a consultation about one, and a real Orthanc to send results to."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import generate_uid

from consilium.formats import read
from consilium.types import Answer, Case, Code, Consultation, Finding, Image, Opinion, Segmentation, Volume

MR = "1.2.840.10008.5.1.4.1.1.4"
OBLIQUE = [0.8, 0.6, 0.0, 0.0, 0.0, -1.0]
AXIAL = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
LESION = Code("52988006", "SCT", "Lesion")
LUNG = Code.local("left lung")
NAMES = {"PatientName": "Müßig^Änne", "PatientID": "ID-4711", "PatientBirthDate": "19510203", "PatientSex": "F"}


@pytest.fixture
def series(tmp_path: Path, make_dicom: Callable[..., bytes]) -> Callable[..., Path]:
    """Writes a series of slices along their normal, in the order of `heights_mm`; every slice shows its height."""

    def series(heights_mm: list[float], axes: list[float] = AXIAL, **elements: Any) -> Path:
        folder = tmp_path / f"series{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        normal = np.cross(axes[:3], axes[3:])
        common = {
            "SOPClassUID": MR,
            "Modality": "MR",
            "SeriesInstanceUID": generate_uid(),
            "FrameOfReferenceUID": generate_uid(),
            "ImageOrientationPatient": axes,
            "PixelSpacing": [0.5, 0.75],
            "SpecificCharacterSet": "ISO_IR 100",
            "BodyPartExamined": "CHEST",
            **NAMES,
            **elements,
        }
        for number, height in enumerate(heights_mm):
            pixels = np.full((12, 10), round(height + 1000), np.uint16)
            position = [round(float(part), 6) for part in normal * height + [-40.0, 17.0, 5.0]]
            more = {"ImagePositionPatient": position, "InstanceNumber": number + 1}
            (folder / f"{number:03d}").write_bytes(make_dicom(pixels, **{**common, **more}))
        return folder

    return series


def picture_of(path: Path) -> Image | Volume:
    """The one picture that lies under a path."""
    ((picture,),) = (study.images for study in read(path))
    return picture


def labels_for(picture: Image | Volume) -> np.ndarray:
    """Random labels 0, 1, 2 of the picture's size, each slice unlike the others; the middle slice is empty."""
    shape = picture.voxels.shape if isinstance(picture, Volume) else picture.pixels.shape[:2]
    labels = np.random.default_rng(7).choice(np.uint8([0, 1, 2]), shape, p=[0.6, 0.3, 0.1])
    if len(shape) == 3:
        labels[shape[0] // 2] = 0
    return labels


def opinion_on(picture: Image | Volume) -> Opinion:
    """Two parts outlined and measured, one more judged."""
    drawn = Segmentation(labels_for(picture), picture.uid, (LUNG, LESION), (0.91, None))
    return Opinion(
        "lungs",
        "1.2.0",
        (
            Finding(Code.local("pneumonia"), 0.9731234567891234, True, site="right", source="lungs"),
            Finding(Code("118565006", "SCT", "Volume"), quantity=1234.567890123456789, unit="mL", site="left lung"),
            Finding(Code.local("longest diameter"), quantity=1.2345678901234567e-5, unit="mm", site="Lesion"),
        ),
        caution="the picture is unlike most of those it learnt from",
        segmentations=(drawn,),
    )


def held_on(path: Path, opinion: Opinion | None = None) -> Consultation:
    """A consultation about what lies under a path: one specialist who spoke, one who abstained."""
    studies = read(path)
    spoke = opinion or opinion_on(studies[0].images[0])
    return Consultation(
        Case("case-1", "Is there pneumonia?", ("normal", "pneumonia"), studies, "Wife of Mr Müßig."),
        "gsco",
        (spoke, Opinion("brain", "2.0", abstained="sees MR of the head only")),
        (),
        (),
        Answer("Most likely pneumonia.", "pneumonia"),
        {"consilium": "0.1.0", "lungs": "1.2.0"},
        {},
        {},
    )


def complaints(path: Path) -> list[str]:
    """What dciodvfy calls an error in a DICOM file; skips where it is not installed."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("needs dciodvfy (Debian package dicom3tools)")
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, errors="replace", timeout=60)
    said = (done.stdout + done.stderr).splitlines()
    assert said, "dciodvfy said nothing at all"
    return [line for line in said if line.startswith("Error")]


@dataclass(frozen=True)
class Orthanc:
    """A running archive on this machine."""

    http_port: int
    dicom_port: int

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=10) as answer:
            return json.load(answer)

    def post(self, data: bytes) -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}/instances", data, method="POST")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """A real Orthanc with a storage of its own, on free ports of the loopback."""
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("needs Orthanc (Debian package orthanc)")
    folder = tmp_path_factory.mktemp("orthanc")
    archive = Orthanc(_free_port(), _free_port())
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": archive.http_port,
        "DicomPort": archive.dicom_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "Plugins": [],
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        _await(archive, process, folder / "log")
        yield archive
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def _await(archive: Orthanc, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        if process.poll() is not None:
            break
        try:
            archive.get("/system")
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"Orthanc did not start: {log.read_text(errors='replace')[-2000:]}")
