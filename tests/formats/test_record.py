"""A record loses nothing but genotypes, is strict JSON that a person can read, and tells when it was damaged."""

from __future__ import annotations

import base64
import contextlib
import json
import math
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tests.consultations import empty, full

from consilium import types
from consilium.errors import DamagedFileError, UnsafeFileError, UsageError
from consilium.formats import record
from consilium.genomics.sealed import SealedGenome, seal
from consilium.types import Answer, Case, Code, Consultation, Finding, Genome, Image, Region, Study, Volume

DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
DTYPES += ["float16", "float32", "float64", "complex64", ">u2", ">f4", ">i8"]

_floats = st.floats(allow_nan=False)
_texts = st.text(max_size=8)
_numeric = st.sampled_from(DTYPES).map(np.dtype).filter(lambda dtype: dtype.kind != "c")
_arrays = arrays.arrays(_numeric, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
_pairs = st.none() | st.tuples(_floats, _floats)
_triples = st.tuples(_floats, _floats, _floats)
_images = st.builds(Image, _arrays, _texts, _pairs, _pairs, _texts)
_volumes = st.builds(Volume, _arrays, _texts, _triples, _arrays, _pairs, _texts)
_sources = st.sampled_from(["header", "user", "classifier", "unknown"])


def _many(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(values, max_size=2).map(tuple)


def _study(prior: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    words, pictures = st.none() | _texts, _many(_images | _volumes)
    return st.builds(Study, words, words, pictures, _sources, _sources, _texts, _many(_texts), prior)


_studies = _study(st.none() | _study(st.none()))
_genomes = st.builds(
    lambda people, variants, number, build: Genome(
        people, variants, np.full((len(people), len(variants)), number), build
    ),
    _many(_texts),
    st.lists(_texts, min_size=60, max_size=130).map(tuple),
    st.sampled_from([np.int8(1), np.float32(0.5), np.float64(np.nan)]),
    _texts,
)
_cases = st.builds(Case, _texts, _texts, _many(_texts), _many(_studies), _texts, st.none() | _genomes)
_regions = st.builds(Region, _arrays, _texts, st.sampled_from(["relevance", "mask"]))
_findings = st.builds(
    Finding,
    st.builds(Code, _texts, _texts, _texts),
    st.none() | _floats,
    st.booleans(),
    st.none() | _floats,
    _texts,
    _texts,
    st.none() | _regions,
)
_scores = st.builds(types.Score, _texts, _floats, _floats, _floats, st.integers())
_opinions = st.builds(
    types.Opinion,
    specialist=_texts,
    version=_texts,
    findings=_many(_findings),
    abstained=st.none() | _texts,
    reliability=_many(_scores),
)
_precedents = st.builds(types.Precedent, _texts, _texts, _floats, _texts, thumbnail=st.binary(max_size=20))
_messages = st.builds(types.Message, _texts, _many(_texts | _images))
_names = _texts | st.sampled_from(["$type", "$array", "$"])
_words, _numbers = st.dictionaries(_names, _texts, max_size=2), st.dictionaries(_names, _floats, max_size=2)
_answers = st.builds(
    Answer, _texts, st.none() | _texts, _numbers, st.booleans(), _words, _many(_findings), _many(_texts)
)
_consultations = st.builds(
    Consultation,
    _cases,
    _texts,
    _many(_opinions),
    _many(_precedents),
    _many(_messages),
    _answers,
    _words,
    _words,
    _numbers,
    _many(_texts),
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(_consultations)
def test_what_is_read_equals_what_was_written(consultation: Consultation) -> None:
    text = record.to_json(consultation)
    assert record.from_json(text) == without_genotypes(consultation)
    assert record.to_json(record.from_json(text)) == text


def without_genotypes(held: Consultation) -> Consultation:
    """All that a record keeps."""
    genome = None if held.case.genome is None else seal(held.case.genome)
    return replace(held, case=replace(held.case, genome=genome))


def test_genotypes_variants_and_ids_are_not_written() -> None:
    random = np.random.default_rng(0)
    names = tuple(f"22:{100 + n}:A:G" for n in range(200))
    genome = Genome(("Jane Doe",), names, random.integers(0, 3, (1, 200)).astype(np.int8), "GRCh38")
    held = replace(full(), case=replace(full().case, genome=genome))
    text = record.to_json(held)
    packed = [zlib.decompress(base64.b64decode(blob["zlib"])) for blob in json.loads(text)["blobs"].values()]
    for content in (text.encode(), *packed):
        assert b"Jane" not in content and b"22:1" not in content and genome.dosages.tobytes() not in content
    kept = record.from_json(text).case.genome
    assert isinstance(kept, SealedGenome) and (kept.build, kept.read, len(kept.digest)) == ("GRCh38", 200, 64)


def test_a_record_of_before_with_genotypes_is_read_and_written_without_them() -> None:
    genome = full().case.genome
    assert genome is not None
    document = json.loads(record.to_json(full()))
    del document["consultation"]["case"]["genome"]["read"], document["consultation"]["case"]["genome"]["digest"]
    document["consultation"]["case"]["genome"] |= {"$type": "Genome", "variants": ["22:100:A:G"]}
    kept = record.from_json(json.dumps(document)).case.genome
    assert type(kept) is Genome and kept.variants == ("22:100:A:G",)
    held = replace(full(), case=replace(full().case, genome=kept))
    assert "22:100" not in record.to_json(held)


def test_every_kind_of_statement_survives(tmp_path: Path) -> None:
    record.write(full(), tmp_path / "consultation.json")
    assert record.read(tmp_path / "consultation.json") == without_genotypes(full())
    assert record.from_json(record.to_json(empty())) == empty()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (2, 3, 4)])
def test_arrays_of_every_numeric_type_survive(dtype: str, shape: tuple[int, ...]) -> None:
    pixels = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
    again = _only_image(record.from_json(record.to_json(_showing(Image(pixels, "1"))))).pixels
    assert again.dtype == pixels.dtype and again.dtype.str == pixels.dtype.str
    assert again.shape == shape and np.array_equal(again, pixels)


def test_a_transposed_array_keeps_its_order() -> None:
    image = Image(np.arange(6).reshape(2, 3).T, "1")
    assert record.from_json(record.to_json(_showing(image))) == _showing(image)


def test_numbers_that_json_lacks_survive_in_strict_json() -> None:
    pixels = np.array([[np.nan, np.inf], [-np.inf, -0.0]], np.float32)
    odd = replace(_showing(Image(pixels, "1", window=(-math.inf, math.inf))), timings_s={"a": math.nan, "b": -0.0})
    text = record.to_json(odd)
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    again = record.from_json(text)
    assert math.isnan(again.timings_s["a"]) and math.copysign(1, again.timings_s["b"]) == -1
    assert again.case == odd.case


def test_numpy_numbers_become_numbers() -> None:
    odd = replace(empty(), timings_s={"a": np.float32(0.1), "b": np.int64(2)})
    assert record.from_json(record.to_json(odd)) == odd


def test_a_person_reads_question_answer_and_opinions_first_and_bulk_last() -> None:
    text = record.to_json(full())
    shown = ["consilium.consultation/1", '"question"', '"answer"', '"opinions"', '"precedents"', '"blobs"']
    assert [text.index(word) for word in shown] == sorted(text.index(word) for word in shown)
    before = text[: text.index('"blobs"')]
    assert len(before.splitlines()) < 400
    assert "rs99" not in text


def test_the_same_picture_is_stored_once_and_shares_its_memory() -> None:
    consultation = full()
    document = json.loads(record.to_json(consultation))
    pixels = consultation.case.studies[0].images[0].pixels
    assert sum(blob["size"] == pixels.nbytes for blob in document["blobs"].values()) == 1
    again = record.from_json(json.dumps(document))
    shown, sent = again.case.studies[0].images[0], again.exchange[1].parts[0]
    assert np.shares_memory(shown.pixels, sent.pixels)
    with pytest.raises(ValueError, match="read-only"):
        shown.pixels[0, 0] = 1


@pytest.mark.parametrize("question", ["Größe? 肺炎", "line\nbreak \0 \u2028", "a half \udcff of a character"])
def test_any_text_survives_a_file(question: str, tmp_path: Path) -> None:
    asked = replace(empty(), case=Case("case-0", question))
    record.write(asked, tmp_path / "a.json")
    assert record.read(tmp_path / "a.json") == asked
    assert "Größe" not in question or "Größe" in (tmp_path / "a.json").read_text(encoding="utf-8")


def _damage(*path: str | int, value: Any = None) -> Callable[[dict[str, Any]], None]:
    """Sets what lies at `path` to `value`; removes it where `value` is None."""

    def change(document: dict[str, Any]) -> None:
        *way, last = path
        place: Any = document
        for step in way:
            place = place[step]
        if value is None:
            del place[last]
        else:
            place[last] = value

    return change


_IMAGE = ("consultation", "case", "studies", 0, "images", 0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_damage("format"), "says format 'None'"),
        (_damage("format", value="consilium.consultation/99"), "consultation/99"),
        (_damage("blobs"), "blobs is missing"),
        (_damage("consultation"), "holds no Consultation"),
        (_damage("consultation", value={"$type": "Code", "value": "", "scheme": "", "meaning": ""}), "no Consultation"),
        (_damage("consultation", "$type", value="Verdict"), "no type is called 'Verdict'"),
        (_damage("consultation", "answer"), "missing or unknown in a Consultation: answer"),
        (_damage("consultation", "answer", "mood", value="sure"), "unknown in a Answer: mood"),
        (_damage("consultation", "answer", value="pneumonia"), "Consultation.answer holds a str"),
        (_damage("consultation", "opinions", value=["none"]), "Consultation.opinions"),
        (_damage("consultation", "timings_s", "total", value="long"), "Consultation.timings_s"),
        (_damage("consultation", "case", "options", value="ab"), "Case.options"),
        (_damage("consultation", "case", "studies", 0, "modality_source", value="rumour"), "Study.modality_source"),
        (_damage("consultation", "case", "genome", "read", value="many"), "SealedGenome.read"),
        (_damage(*_IMAGE, "spacing_mm", value=[1.0]), "Image.spacing_mm"),
        (_damage(*_IMAGE, "spacing_mm", value={"$float": "much"}), "nothing is known by the keys"),
        (_damage(*_IMAGE, "pixels", value=[1, 2]), "Image.pixels"),
        (_damage(*_IMAGE, "pixels", "$array", value="0" * 64), "blob 000000000000 is missing"),
        (_damage(*_IMAGE, "pixels", "dtype", value="O"), "holds no numbers"),
        (_damage(*_IMAGE, "pixels", "dtype", value="nonsense"), "cannot read"),
        (_damage(*_IMAGE, "pixels", "shape", value=[7, 7]), "cannot read"),
    ],
)
def test_a_damaged_record_is_named(change: Callable[[dict[str, Any]], None], says: str) -> None:
    document = json.loads(record.to_json(full()))
    change(document)
    with pytest.raises(DamagedFileError, match=says) as refused:
        record.from_json(json.dumps(document))
    assert "the file again" in str(refused.value)


@pytest.mark.parametrize("text", ["", "null", "[]", "7", "{", "\0", "[" * 100_000, '{"format": NaN}'])
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(DamagedFileError):
        record.from_json(text)


def test_an_altered_blob_is_told_by_its_checksum() -> None:
    document = json.loads(record.to_json(full()))
    first, second, *_ = document["blobs"]
    document["blobs"][first] = document["blobs"][second]
    with pytest.raises(DamagedFileError, match="checksum"):
        record.from_json(json.dumps(document))


def test_a_claim_of_more_than_one_read_may_take_is_refused() -> None:
    document = json.loads(record.to_json(full()))
    for blob in document["blobs"].values():
        blob["size"] = 2**40
    with pytest.raises(UnsafeFileError):
        record.from_json(json.dumps(document))


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_any_altered_character_gives_a_record_or_a_named_error(data: st.DataObject) -> None:
    text = record.to_json(full())
    position = data.draw(st.integers(0, len(text) - 1))
    length = data.draw(st.sampled_from([0, 1, 40]))
    altered = text[:position] + data.draw(st.sampled_from(["", "0", '"', "{", "null", "$"])) + text[position + length :]
    with contextlib.suppress(DamagedFileError, UnsafeFileError):
        assert isinstance(record.from_json(altered), Consultation)


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        record.read(tmp_path / "none.json")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DamagedFileError):
        record.read(tmp_path / "a.json")


@pytest.mark.parametrize("value", [{1, 2}, np.array(["a"]), np.array([None]), {1: "a"}, 1j])
def test_a_value_that_no_record_holds_is_refused(value: Any) -> None:
    with pytest.raises(UsageError, match="cannot hold a value of type"):
        record.to_json(replace(empty(), timings_s={"a": value}))


def _showing(image: Image) -> Consultation:
    return replace(empty(), case=Case("case-0", "", studies=(Study(None, None, (image,)),)))


def _only_image(consultation: Consultation) -> Image:
    image = consultation.case.studies[0].images[0]
    assert isinstance(image, Image)
    return image
