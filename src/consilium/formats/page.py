"""A Consultation as one self-contained HTML page: no script, nothing fetched, ready to print."""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import numpy as np

from consilium.formats import wording
from consilium.formats.page_outlines import Measured, drawn, measured
from consilium.genomics.sealed import seal
from consilium.imaging.picture import overlay, png_bytes, resize, views
from consilium.imaging.window import to_display
from consilium.types import Answer, Array, Case, Consultation, Finding, Image, Message, Opinion, Region, Study, Volume

PICTURE_SIDE, OVERLAY_SIDE, THUMBNAIL_SIDE = 512, 384, 96
MOST_PICTURES = 12
_MID_GREY = 128


def to_html(consultation: Consultation) -> str:
    """The page as text to be written as UTF-8. Pictures are at most PICTURE_SIDE pixels wide and high."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("consilium", "formats"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "interval": wording.interval,
        "calibration": wording.calibration,
        "jpeg_uri": lambda data: _uri(data, "jpeg"),
    }
    return wording.printable(environment.get_template("page.html").render(_content(consultation)))


def _content(consultation: Consultation) -> dict[str, Any]:
    case, answer, opinions = consultation.case, consultation.answer, consultation.opinions
    examined = [_examined(name, study) for name, study in _named_studies(case.studies)]
    return {
        "consultation": consultation,
        "case": case,
        "answer": answer,
        "answer_bars": [
            _Bar(o, _width(p), wording.percent(p), o == answer.choice or o in answer.choices)
            for o, p in _ranked(answer)
        ],
        # What was answered stands above; where it was seen is drawn below.
        "answer_findings": _bars([f for f in answer.findings if f.concept.meaning not in {answer.choice, answer.text}]),
        "answer_marked": _marked(case, answer.findings),
        "disclaimer": wording.DISCLAIMER,
        "examined": examined,
        "genome": None if case.genome is None else seal(case.genome),
        "lead": next((study.pictures[0] for study in examined if study.pictures), None),
        "speaking": [
            _Said(opinion, _bars(_beside(opinion)), _marked(case, opinion.findings), *_outlined(case, opinion))
            for opinion in opinions
            if opinion.abstained is None
        ],
        "silent": [opinion for opinion in opinions if opinion.abstained is not None],
        "legend": _legend(),
        "exchange": [(message.role, _parts(message)) for message in consultation.exchange],
        "members": {
            name: (consultation.versions.get(name, ""), consultation.licences.get(name, ""))
            for name in dict.fromkeys((*consultation.versions, *consultation.licences))
        },
    }


@dataclass(frozen=True)
class _Picture:
    """A picture as a data URI, and its size on the page in pixels."""

    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class _Bar:
    """A labelled figure with a bar of a CSS width, or none where it is no probability; the first or chosen one is strong."""

    label: str
    width: str | None
    text: str
    strong: bool


@dataclass(frozen=True)
class _Outlined:
    """A picture with outlines, or None; the words with it; a sheet of further slices, or None."""

    picture: _Picture | None
    says: str
    sheet: _Picture | None


@dataclass(frozen=True)
class _Said:
    """What one specialist says: its bars, the pictures it marked a place on, what it outlined and measured there."""

    opinion: Opinion
    rows: Sequence[_Bar]
    marked: Sequence[tuple[Finding, _Picture | None]]
    outlined: Sequence[_Outlined]
    measured: Measured | None


@dataclass(frozen=True)
class _Examined:
    """A study with its sizes (each with how often it occurs), the pictures that stand for it, and how many more it has."""

    name: str
    study: Study
    sizes: Mapping[str, int]
    pictures: Sequence[_Picture]
    omitted: int


def _named_studies(studies: Sequence[Study]) -> Iterator[tuple[str, Study]]:
    """Each study, followed by its priors."""
    for number, study in enumerate(studies, 1):
        name = "Study" if len(studies) == 1 else f"Study {number}"
        current: Study | None = study
        while current is not None:
            yield name, current
            name, current = f"{name}, prior", current.prior


def _examined(name: str, study: Study) -> _Examined:
    seen = views(study)
    pictures = [_picture(_shown(image, PICTURE_SIDE)) for image in seen[:MOST_PICTURES]]
    sizes = Counter(wording.dimensions(item) for item in study.images)
    return _Examined(name, study, sizes, pictures, len(seen) - len(pictures))


def _shown(image: Image, side: int) -> Array:
    """The image as uint8 RGB of at most `side` pixels, in its true proportions where its spacing is known."""
    rgb = to_display(image)
    rows, columns = rgb.shape[:2]
    row_mm, column_mm = image.spacing_mm or (1.0, 1.0)
    height, width = rows * row_mm / min(row_mm, column_mm), columns * column_mm / min(row_mm, column_mm)
    scale = min(1.0, side / max(height, width))
    return resize(rgb, max(1, round(height * scale)), max(1, round(width * scale)))


def _picture(rgb: Array) -> _Picture:
    return _Picture(_uri(png_bytes(rgb), "png"), rgb.shape[1], rgb.shape[0])


def _uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _marked(case: Case, findings: Sequence[Finding]) -> list[tuple[Finding, _Picture | None]]:
    """Each finding with a region, drawn over its picture; None for the picture where the case does not hold it."""
    marked = []
    for finding in findings:
        if finding.region is not None:
            image = _image(case, finding.region.image_uid)
            drawn = overlay(_shown(image, OVERLAY_SIDE), finding.region) if image else None
            marked.append((finding, None if drawn is None else _picture(drawn)))
    return marked


def _beside(opinion: Opinion) -> list[Finding]:
    """The findings that are no measurement of what was outlined, which stand in a table."""
    outlined = {concept for segmentation in opinion.segmentations for concept in segmentation.concepts}
    return [finding for finding in opinion.findings if finding.quantity is None or finding.concept not in outlined]


def _outlined(case: Case, opinion: Opinion) -> tuple[list[_Outlined], Measured | None]:
    shown = [
        _Outlined(_drawn(one.pixels), one.says, _drawn(one.sheet)) for one in drawn(opinion, lambda u: _item(case, u))
    ]
    return shown, measured(opinion)


def _drawn(rgb: Array | None) -> _Picture | None:
    return None if rgb is None else _picture(rgb)


def _image(case: Case, uid: str) -> Image | None:
    item = _item(case, uid)
    return item if isinstance(item, Image) else None


def _item(case: Case, uid: str) -> Image | Volume | None:
    """The image or volume with this uid, or the slice where it is that of one; None where the case does not hold it."""
    for _, study in _named_studies(case.studies):
        for item in study.images:
            if item.uid == uid:
                return item
            index = uid.removeprefix(f"{item.uid}#")
            if isinstance(item, Volume) and index != uid and index.isdecimal() and int(index) < len(item.voxels):
                return item.slice(int(index))
    return None


def _legend() -> str:
    """The scale of `overlay`, from 0 to 1 over mid-grey, drawn by `overlay` itself so that it cannot differ."""
    ramp = Region(np.linspace(0, 1, 160, dtype=np.float32)[None], "")
    return _uri(png_bytes(overlay(np.full((10, 160, 3), _MID_GREY, np.uint8), ramp)), "png")


def _parts(message: Message) -> list[str | _Picture]:
    return [part if isinstance(part, str) else _picture(_shown(part, THUMBNAIL_SIDE)) for part in message.parts]


def _ranked(answer: Answer) -> list[tuple[str, float]]:
    return sorted(answer.probabilities.items(), key=lambda pair: -pair[1])


def _bars(findings: Sequence[Finding]) -> list[_Bar]:
    return [
        _Bar(
            f"{finding.concept.meaning}, {finding.site}" if finding.site else finding.concept.meaning,
            None if finding.probability is None else _width(finding.probability),
            wording.amount(finding),
            index == 0,
        )
        for index, finding in enumerate(findings)
    ]


def _width(probability: float) -> str:
    """A CSS width: the probability, within 0 and 100 %."""
    return f"{0 if math.isnan(probability) else 100 * min(1.0, max(0.0, probability)):.1f}%"
