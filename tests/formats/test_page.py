"""The page shows all that a consultation holds, fetches nothing, and shows strings as strings."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from tests.consultations import drawn, empty, full, outlined, stack

from consilium import formats
from consilium.formats import page
from consilium.types import Answer, Case, Code, Consultation, Finding, Image, Message, Opinion, Precedent, Region, Study

_VOID = {"meta", "img", "br", "hr", "link", "input"}
_HOSTILE = "<script>alert('1')</script>&\"'"


@dataclass
class _Read(HTMLParser):
    """What a browser would find: the words, the pictures, and every tag with its attributes."""

    words: str = ""
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words = f"{self.words} {' '.join(data.split())}".strip()

    def images(self) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == "img"]

    def picture(self, alt: str) -> np.ndarray:
        """The pixels of the one picture whose alternative text contains `alt`."""
        (found,) = [image for image in self.images() if alt in (image["alt"] or "")]
        return _pixels(found["src"] or "")


def _pixels(uri: str) -> np.ndarray:
    return np.asarray(Pillow.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))))


def _read(consultation: Consultation) -> _Read:
    found = _Read()
    found.feed(page.to_html(consultation))
    found.close()
    assert found.open == []
    return found


def test_all_that_was_said_is_shown() -> None:
    words = _read(full()).words
    expected = [
        "Is there pneumonia?",
        "Four days of fever.",
        "Not a medical device.",
        "Answer pneumonia Most likely pneumonia.",
        "pneumonia 89 % normal 11 %",
        "Not calibrated:",
        "Relies on lungs · known-1",
        "lungs version 1.2.0 · licence CC-BY-4.0",
        "Caution: the picture is unlike most of those it learnt from",
        "pneumonia, right lung 97 % normal <1 % Calibrated probabilities.",
        "AUROC 0.96 [0.94, 0.97] 624",
        "accuracy 0.86 [0.83, 0.89] 624",
        "What the model looked at for pneumonia low high",
        "heart version 0.3 · licence not stated",
        "cardiomegaly 31 % heart width 12.35 cm Not calibrated probabilities. Each is judged by itself.",
        "Its reliability has not been measured.",
        "Outlined by the model: cardiomegaly",
        "brain abstained: sees MR only; this is DX",
        "viral pneumonia similarity 0.93 DX CHEST A, CC0-1.0 known-1 Report Patchy opacities.",
        "Modality DX from: classifier Body part CHEST from: user Pictures 80 × 60 pixels",
        "16-bit colour reduced to 8 bits",
        "Study, prior NIfTI Modality CT from: header Body part unknown from: unknown",
        "20 slices of 16 × 16 pixels, 1 × 2 × 5 mm apart",
        "Genome: 1 sample, 100 variants, build GRCh38. Its genotypes stand neither here nor in the record.",
        "generalist echo sees no images",
        "word for word (3 messages) system Weigh the evidence. user Question: Is there pneumonia? assistant pneumonia",
        "encoder 0.61 total 2.50",
        "lungs 1.2.0 CC-BY-4.0 echo 3 Apache-2.0 consilium 0.1.0",
    ]
    plain = words.replace("\N{NO-BREAK SPACE}", " ")
    assert [text for text in expected if text not in plain] == []
    assert plain.count("Not a medical device.") == 1


def test_nothing_is_fetched_and_nothing_runs() -> None:
    found = _read(full())
    html = page.to_html(full())
    assert not {"script", "link", "iframe", "object", "form", "a", "base"} & {tag for tag, _ in found.tags}
    assert all((image["src"] or "").startswith("data:image/") for image in found.images())
    assert all(name not in {"href", "srcset"} and not name.startswith("on") for _, a in found.tags for name in a)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", html.split("data:image", 1)[0])
    policy = next(a["content"] for _, a in found.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_every_picture_has_a_text_and_fits_its_place() -> None:
    found = _read(full())
    assert all(image["alt"] for image in found.images())
    for image in found.images():
        pixels = _pixels(image["src"] or "")
        assert max(pixels.shape[:2]) <= page.PICTURE_SIDE
        if image.get("width") and "scale" not in (image["alt"] or ""):
            assert (image["width"], image["height"]) == (str(pixels.shape[1]), str(pixels.shape[0]))


def test_strings_are_shown_as_strings() -> None:
    code = Code.local(_HOSTILE)
    finding = Finding(
        code, 0.5, site=_HOSTILE, unit=_HOSTILE, region=Region(np.eye(2, dtype=np.float32), "sha256:drawn")
    )
    hostile = Consultation(
        Case(_HOSTILE, _HOSTILE, (_HOSTILE,), (Study(_HOSTILE, _HOSTILE, (drawn(),), notes=(_HOSTILE,)),), _HOSTILE),
        _HOSTILE,
        (
            Opinion(_HOSTILE, _HOSTILE, (finding,), caution=_HOSTILE, licence=_HOSTILE),
            Opinion(_HOSTILE, "1", abstained=_HOSTILE),
        ),
        (Precedent(_HOSTILE, _HOSTILE, 0.5, _HOSTILE, _HOSTILE, _HOSTILE, _HOSTILE, _HOSTILE, b"'\"><script>"),),
        (Message(_HOSTILE, (_HOSTILE,)),),
        Answer(_HOSTILE, _HOSTILE, {_HOSTILE: 0.5}, sections={_HOSTILE: _HOSTILE}, citations=(_HOSTILE,)),
        {_HOSTILE: _HOSTILE},
        {_HOSTILE: _HOSTILE},
        {_HOSTILE: 1.0},
        (_HOSTILE,),
    )
    found = _read(hostile)
    assert "<script" not in page.to_html(hostile).lower()
    assert {
        a.get("class") for tag, a in found.tags if tag == "div" and (a.get("class") or "").startswith("message")
    } == {"message "}
    assert found.words.count(_HOSTILE) > 20


def test_no_character_can_end_the_text() -> None:
    html = page.to_html(replace(empty(), notes=("a\0b\x1b[2J\udcffc\r\nd",)))
    html.encode("utf-8")
    assert "a\ufffdb\ufffd[2J\ufffdc\nd" in html


def test_an_empty_consultation_says_what_is_missing() -> None:
    words = _read(empty()).words
    for said in (
        "No question was asked",
        "Nothing was answered.",
        "No specialist was asked.",
        "None were consulted.",
        "The case holds no study.",
        "No generalist was asked.",
    ):
        assert said in words


def test_an_abstention_is_shown_with_its_reason_and_its_words() -> None:
    words = _read(replace(empty(), answer=Answer("Hard to say.", abstained="its words state no option"))).words
    assert "Answer Abstained its words state no option Its words: Hard to say." in words


def test_a_written_answer_and_its_sections_are_shown() -> None:
    answer = Answer("A long answer. " * 9, sections={"impression": "No acute disease."}, findings=(_finding(0.4),))
    words = _read(replace(empty(), answer=answer)).words
    assert "Answer A long answer." in words and "Impression No acute disease. Findings stated nodule" in words


def test_calibrated_answers_say_so() -> None:
    answer = Answer("a", "a", {"a": 0.6, "b": 0.4}, calibrated=True)
    assert "Calibrated probabilities." in _read(replace(empty(), answer=answer)).words


@pytest.mark.parametrize(
    ("probability", "shown", "width"),
    [
        (0.0, "0 %", "0.0%"),
        (0.004, "<1 %", "0.4%"),
        (0.5, "50 %", "50.0%"),
        (0.996, ">99 %", "99.6%"),
        (1.0, "100 %", "100.0%"),
        (float("nan"), "-", "0.0%"),
        (1.7, "170 %", "100.0%"),
    ],
)
def test_only_certainty_reads_as_certainty(probability: float, shown: str, width: str) -> None:
    opinion = Opinion("a", "1", (_finding(probability),))
    found = _read(replace(empty(), opinions=(opinion,)))
    assert f"nodule {shown}" in found.words.replace("\N{NO-BREAK SPACE}", " ")
    assert [a["style"] for _, a in found.tags if a.get("style")] == [f"width:{width}"]


def test_many_findings_are_folded_away() -> None:
    found = _read(replace(empty(), opinions=(Opinion("a", "1", tuple(_finding(n / 20) for n in range(11))),)))
    assert "3 more" in found.words and sum(tag == "details" for tag, _ in found.tags) == 1


def test_the_heat_lies_where_the_region_is() -> None:
    found = _read(full())
    seen, plain = found.picture("Heat map").astype(int), found.picture("The first picture examined").astype(int)
    assert seen.shape == plain.shape == (60, 80, 3)
    changed = np.abs(seen - plain).sum(axis=-1)
    assert changed[:8, :8].mean() > 60
    assert changed[:20, -20:].max() == 0


def test_a_region_on_a_slice_is_drawn_on_that_slice() -> None:
    outlined = _read(full()).picture("outlined as cardiomegaly")
    assert outlined.shape[0] == 2 * outlined.shape[1] == 32
    grey = (outlined[0, -1] == outlined[0, -1, 0]).all()
    coloured = np.ptp(outlined[-1, 0].astype(int)) > 20
    assert grey and coloured


@pytest.mark.parametrize("uid", ["elsewhere", "stack#20", "stack#x", "stack#", "stack"])
def test_a_region_on_an_unknown_picture_is_told(uid: str) -> None:
    finding = replace(_finding(0.5), region=Region(np.eye(3, dtype=np.float32), uid))
    case = Case("case-0", "", studies=(Study("CT", None, (stack(),)),))
    words = _read(replace(empty(), case=case, opinions=(Opinion("a", "1", (finding,)),))).words
    assert "It marked a place for nodule on a picture that this record does not hold." in words


def test_pictures_beyond_the_first_dozen_are_counted() -> None:
    pictures = tuple(Image(np.full((8, 8), n, np.uint8), str(n)) for n in range(15))
    found = _read(replace(empty(), case=Case("case-0", "", studies=(Study("US", None, pictures),))))
    assert sum("picture" in (image["alt"] or "") for image in found.images()) == page.MOST_PICTURES + 1
    assert "and 3 more" in found.words and "15 of 8 × 8 pixels" in found.words


def test_a_large_picture_is_made_small() -> None:
    large = Image(np.zeros((300, 1500), np.uint16), "1", spacing_mm=(1.0, 0.5))
    found = _read(replace(empty(), case=Case("case-0", "", studies=(Study("DX", None, (large,)),))))
    assert found.picture("first picture").shape == (205, 512, 3)


def test_a_real_x_ray_is_shown_as_it_is(shared_data: Path) -> None:
    path = sorted((shared_data / "cxr_pneumonia_kermany/images").glob("*.jpg"))[0]
    studies = formats.read(path)
    found = _read(replace(full(), case=Case("case-1", "Is there pneumonia?", studies=studies)))
    truth = np.asarray(Pillow.open(path).convert("RGB"))
    assert np.array_equal(found.picture("first picture"), truth)


def test_what_was_outlined_is_drawn_and_measured_in_a_table() -> None:
    case = Case("case-1", "What is seen?", studies=(Study("CT", None, (stack(),)),))
    consultation = replace(empty(), case=case, opinions=(outlined(),))
    found, words = _read(consultation), _read(consultation).words.replace("\N{NO-BREAK SPACE}", " ")
    assert "Outlined and measured by cysts" in words and "cyst 0.36 mL" in words and "4 to 6" in words
    assert "0.81" in words and "tumour not found" in words and "cyst seen 70 %" in words
    assert "Outlined by the model, slice 5 of 20: cyst" in words and "Further slices" in words
    assert "connected parts 1" not in words and "It found nothing to report." not in words
    picture = found.picture("picture with outlines by cysts")
    assert min(picture.shape[:2]) >= 448 and np.ptp(picture.astype(int), axis=-1).max() > 60
    assert found.picture("Further slices").shape[2] == 3
    assert all((image["src"] or "").startswith("data:image/png;base64,") for image in found.images())
    assert [a["style"] for tag, a in found.tags if a.get("class") == "swatch"] == [
        "background:rgba(230,159,0,.35);border:3px solid rgb(230,159,0)"
    ]


def test_an_outline_on_a_picture_that_is_not_there_is_told() -> None:
    words = _read(replace(empty(), opinions=(outlined(),))).words
    assert "It outlined cyst on a picture that this record does not hold." in words
    assert "Outlined and measured by cysts" in words


def test_hostile_names_of_structures_are_shown_as_strings() -> None:
    said = outlined()
    code = Code.local(_HOSTILE)
    renamed = tuple(
        replace(finding, concept=code) if finding.concept.value == "cyst" else finding for finding in said.findings
    )
    outline = replace(said.segmentations[0], concepts=(code, Code.local("tumour")))
    case = Case("case-1", "", studies=(Study("CT", None, (stack(),)),))
    html = page.to_html(
        replace(empty(), case=case, opinions=(replace(said, findings=renamed, segmentations=(outline,)),))
    )
    assert "<script" not in html.lower() and "alert(" in html


def test_an_impression_that_is_the_answer_is_not_repeated() -> None:
    answer = Answer("A cyst.", sections={"findings": "cyst: 0.36 mL", "impression": "A cyst."})
    words = _read(replace(empty(), answer=answer)).words
    assert words.count("A cyst.") == 1 and "Findings cyst: 0.36 mL" in words


def _finding(probability: float) -> Finding:
    return Finding(Code.local("nodule"), probability)
