"""A consultation in which everything is said that a consultation can hold. Its pictures are drawn, its figures are made up."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from PIL import Image as Pillow

from consilium.imaging.measure import measure
from consilium.types import (
    Answer,
    Case,
    Code,
    Consultation,
    Finding,
    Genome,
    Image,
    Message,
    Opinion,
    Precedent,
    Region,
    Score,
    Segmentation,
    Study,
    Volume,
)


def drawn(rows: int = 60, columns: int = 80) -> Image:
    """A grey gradient."""
    pixels = np.linspace(0, 255, rows * columns).reshape(rows, columns).astype(np.uint8)
    return Image(pixels, "sha256:drawn")


def stack() -> Volume:
    """Twenty slices, twice as high as wide in millimetres, with a window."""
    voxels = np.arange(20 * 16 * 16, dtype=np.int16).reshape(20, 16, 16)
    return Volume(voxels, "stack", (5.0, 2.0, 1.0), np.eye(4), (0.0, 5000.0), "HU")


def empty() -> Consultation:
    """Nothing was asked, examined or answered."""
    return Consultation(Case("case-0", ""), "solo", (), (), (), Answer(""), {}, {}, {})


def full() -> Consultation:
    image, volume = drawn(), stack()
    study = Study(
        "DX",
        "CHEST",
        (image,),
        "classifier",
        "user",
        "PNG",
        ("16-bit colour reduced to 8 bits",),
        prior=Study("CT", None, (volume,), "header", file_format="NIfTI"),
    )
    genome = Genome(("sample",), tuple(f"rs{n}" for n in range(100)), np.zeros((1, 100), np.int8), "GRCh38")
    case = Case("case-1", "Is there pneumonia?", ("normal", "pneumonia"), (study,), "Four days of fever.", genome)
    return Consultation(
        case=case,
        policy="gsco",
        opinions=_opinions(image, volume),
        precedents=(
            Precedent("known-1", "viral pneumonia", 0.931, "Patchy opacities.", "DX", "CHEST", "A", "CC0-1.0", _jpeg()),
            Precedent("known-2", "normal", 0.874),
        ),
        exchange=(
            Message("system", ("Weigh the evidence.",)),
            Message("user", (image, "Question: Is there pneumonia?")),
            Message("assistant", ("pneumonia",)),
        ),
        answer=Answer(
            "Most likely pneumonia.", "pneumonia", {"normal": 0.114, "pneumonia": 0.886}, citations=("lungs", "known-1")
        ),
        versions={"lungs": "1.2.0", "echo": "3", "consilium": "0.1.0"},
        licences={"lungs": "CC-BY-4.0", "echo": "Apache-2.0"},
        timings_s={"encoder": 0.614, "total": 2.5},
        notes=("generalist echo sees no images",),
    )


def _opinions(image: Image, volume: Volume) -> tuple[Opinion, ...]:
    heat = Region(np.eye(7, dtype=np.float32), image.uid)
    outline = Region(np.tri(16, dtype=np.float32), f"{volume.uid}#7", "mask")
    return (
        Opinion(
            "lungs",
            "1.2.0",
            (
                Finding(Code.local("pneumonia"), 0.9731, True, site="right lung", region=heat, source="lungs"),
                Finding(Code.local("normal"), 0.0021, True, source="lungs"),
            ),
            caution="the picture is unlike most of those it learnt from",
            reliability=(Score("AUROC", 0.957, 0.941, 0.972, 624), Score("accuracy", 0.86, 0.83, 0.89, 624)),
            licence="CC-BY-4.0",
        ),
        Opinion(
            "heart",
            "0.3",
            (
                Finding(Code.local("cardiomegaly"), 0.31, region=outline),
                Finding(Code.local("heart width"), quantity=12.34567, unit="cm"),
            ),
            exclusive=False,
        ),
        Opinion("brain", "2.0", abstained="sees MR only; this is DX"),
    )


def outlined() -> Opinion:
    """An opinion on `stack`: a cyst outlined in slices 4 to 6 (from 1) and measured, a tumour looked for and not found."""
    volume, cyst, tumour = stack(), Code.local("cyst"), Code.local("tumour")
    labels = np.zeros(volume.voxels.shape, np.uint8)
    labels[3:6, 2:5, 8:12] = 1
    segmentation = Segmentation(labels, volume.uid, (cyst, tumour), (0.81, None))
    space = replace(volume, orientation=np.diag([1.0, 2.0, 5.0, 1.0]))
    return Opinion(
        "cysts",
        "2",
        (*measure(segmentation, space, source="cysts"), Finding(Code.local("cyst seen"), 0.7)),
        exclusive=False,
        segmentations=(segmentation,),
    )


def _jpeg() -> bytes:
    stream = io.BytesIO()
    Pillow.new("L", (24, 16), 90).save(stream, "JPEG")
    return stream.getvalue()
