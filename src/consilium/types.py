"""The nouns of consilium: frozen values that flow from files to a signed consultation. numpy only. Sequences are tuples and
tables are dicts: every value compares with ``==``, arrays by element, and survives `formats.record`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class _ComparesArrays:
    """``==`` for dataclasses with array fields: same type, same values, same dtype."""

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))  # type: ignore[arg-type]

    __hash__ = None  # type: ignore[assignment]


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))
    return bool(a == b)


@dataclass(frozen=True)
class Code:
    """A coded concept as DICOM writes one: code value, coding scheme designator, code meaning.

    Labels that no standard codes use the private scheme ``99CONSILIUM`` (the DICOM convention for local schemes).
    """

    value: str
    scheme: str
    meaning: str

    @classmethod
    def local(cls, label: str) -> Code:
        return cls(label, "99CONSILIUM", label)


@dataclass(frozen=True, eq=False)
class Image(_ComparesArrays):
    """One picture.

    pixels      (rows, columns) numbers in `units`, or (rows, columns, 3) uint8 RGB. Brighter is larger: MONOCHROME1 is
                already inverted. 16-bit and HU values keep their range; `imaging.window.to_display` makes 8 bits.
    uid         SOP Instance UID (a frame adds ``#n``), else ``sha256:`` of the pixels.
    spacing_mm  (row, column) distance between pixel centres, None where the file does not say.
    window      (low, high) values to show as black and white, None to use the range of the pixels.
    units       "HU", "RGB" or "" (stored values).
    """

    pixels: Array
    uid: str
    spacing_mm: tuple[float, float] | None = None
    window: tuple[float, float] | None = None
    units: str = ""

    @cached_property
    def digest(self) -> str:
        """sha256 of what is shown: shape, type, window and pixels. The key of every feature cache."""
        return _digest(self.pixels, self.window, self.units)


@dataclass(frozen=True, eq=False)
class Volume(_ComparesArrays):
    """A stack of slices in space.

    voxels      (slices, rows, columns) numbers in `units`.
    spacing_mm  (slice, row, column) distance between voxel centres.
    orientation 4x4 matrix from (column, row, slice) indices to millimetres in RAS+ patient space.
    heights_mm  of the slices above the first, along the normal, where their distances differ from the usual one; else ().
    """

    voxels: Array
    uid: str
    spacing_mm: tuple[float, float, float]
    orientation: Array
    window: tuple[float, float] | None = None
    units: str = ""
    heights_mm: tuple[float, ...] = ()

    @cached_property
    def digest(self) -> str:
        """sha256 of shape, type, window and voxels."""
        return _digest(self.voxels, self.window, self.units)

    def slice(self, index: int) -> Image:
        """The slice `index` as an Image (rows, columns); raises IndexError outside the stack."""
        return Image(self.voxels[index], f"{self.uid}#{index}", self.spacing_mm[1:], self.window, self.units)


def _digest(array: Array, window: tuple[float, float] | None, units: str) -> str:
    head = f"{array.shape} {array.dtype.str} {window}" + " HU" * (units == "HU" and window is None)  # padding unseen
    return hashlib.sha256(head.encode() + np.ascontiguousarray(array).tobytes()).hexdigest()


Source = Literal["header", "user", "classifier", "unknown"]


@dataclass(frozen=True)
class Study:
    """Pictures of one examination. `modality` and `body_part` are DICOM's terms (CR, DX, CT, MR, US, DMS, SM ...; CHEST,
    HEAD, BREAST ...), None where nobody knows. `notes` says how it was read and what was odd about it."""

    modality: str | None
    body_part: str | None
    images: tuple[Image | Volume, ...]
    modality_source: Source = "unknown"
    body_part_source: Source = "unknown"
    file_format: str = ""
    notes: tuple[str, ...] = ()
    prior: Study | None = None


@dataclass(frozen=True, eq=False)
class Genome(_ComparesArrays):
    """Genotypes: dosages (samples, variants) of the effect allele, with ids and the reference build."""

    samples: tuple[str, ...]
    variants: tuple[str, ...]
    dosages: Array
    build: str


@dataclass(frozen=True)
class Case:
    """What is asked, and of what. `id` is derived from content, never from a file name (names identify people). `multiple`: any
    number of the options may hold, none included; else exactly one does."""

    id: str
    question: str
    options: tuple[str, ...] = ()
    studies: tuple[Study, ...] = ()
    history: str = ""
    genome: Genome | None = None
    multiple: bool = False


@dataclass(frozen=True, eq=False)
class Region(_ComparesArrays):
    """Where: a grid (rows, columns) float32 in [0, 1] stretched over the image with `image_uid`.

    kind "relevance": how much each place raised the finding's probability; "mask": inside or outside.
    """

    grid: Array
    image_uid: str
    kind: Literal["relevance", "mask"] = "relevance"


@dataclass(frozen=True)
class Finding:
    """One statement: a concept with a probability in [0, 1], or a quantity with its UCUM unit ("mL", "mm", "mm2", "[hnsf'U]"; "1"
    for a count). `site`: what was measured, or the patient's side ("right", "left"). `image_uid`: of the picture measured."""

    concept: Code
    probability: float | None = None
    calibrated: bool = False
    quantity: float | None = None
    unit: str = ""
    site: str = ""
    region: Region | None = None
    source: str = ""
    image_uid: str = ""


@dataclass(frozen=True, eq=False)
class Segmentation(_ComparesArrays):
    """Which places belong to what.

    labels      uint8 (rows, columns) or (slices, rows, columns) as the Image or Volume `image_uid`: 0 background, i the i-th
                of `concepts` (from 1). Where parts overlap, each needs a Segmentation of its own.
    confidence  one number in [0, 1] a concept: the expected Dice, or what the member's card says; None: not measured.
    """

    labels: Array
    image_uid: str
    concepts: tuple[Code, ...]
    confidence: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Score:
    """A measured metric with its 95 % interval [low, high] over n cases."""

    metric: str
    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Opinion:
    """What one specialist says of the pictures or the genome (`basis`): findings, a report (`draft`), or `abstained` with
    the reason.

    caution      why its probabilities deserve less trust here than its card promises; "" where they do not.
    exclusive    exactly one of the concepts holds (but for groups), else any number.
    reliability  measured, from its card; "local accuracy" is that on the known pictures most like this one.
    foreignness  how far the case lies from what it was trained on, 1 where most of its own kind end; None: not measured.
    segmentations  what it outlined; what was measured of it stands in `findings` (quantity, unit, site).
    weight       how much it counts beside others of its kind, by what was measured of them together; 1 as any.
    """

    specialist: str
    version: str
    findings: tuple[Finding, ...] = ()
    abstained: str | None = None
    caution: str = ""
    exclusive: bool = True
    reliability: tuple[Score, ...] = ()
    licence: str = ""
    foreignness: float | None = None
    segmentations: tuple[Segmentation, ...] = ()
    weight: float = 1.0
    basis: Literal["pictures", "genome"] = "pictures"
    draft: str = ""


@dataclass(frozen=True)
class Precedent:
    """A similar known case. `similarity` is the cosine in [-1, 1] of encoder features; `thumbnail` is a JPEG."""

    case_id: str
    label: str
    similarity: float
    report: str = ""
    modality: str = ""
    body_part: str = ""
    source: str = ""
    licence: str = ""
    thumbnail: bytes = b""


@dataclass(frozen=True)
class Message:
    """One turn with the generalist: role "system", "user" or "assistant"; parts are text and images."""

    role: str
    parts: tuple[str | Image, ...]

    @property
    def text(self) -> str:
        return "\n".join(part for part in self.parts if isinstance(part, str))


@dataclass(frozen=True)
class Completion:
    """What a generalist wrote: the text, its token count, log-probabilities of the tokens where the back-end has them."""

    text: str
    tokens: int = 0
    logprobs: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Answer:
    """The signed answer. `choice` is one of the case's options or None; `choices` those that hold where several may, "No finding"
    if none does; `abstained` says why there is none.
    `probabilities` of options, `calibrated` or not; `citations`: what was relied on; `caution`: what speaks against it, or "".
    """

    text: str
    choice: str | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)
    calibrated: bool = False
    sections: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    citations: tuple[str, ...] = ()
    caution: str = ""
    abstained: str | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Consultation:
    """A case, all that was said about it, the answer, and who spoke (versions, licences), how long it took (seconds)."""

    case: Case
    policy: str
    opinions: tuple[Opinion, ...]
    precedents: tuple[Precedent, ...]
    exchange: tuple[Message, ...]
    answer: Answer
    versions: Mapping[str, str]
    licences: Mapping[str, str]
    timings_s: Mapping[str, float]
    notes: tuple[str, ...] = ()
