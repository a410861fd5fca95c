"""What was outlined, in numbers: a Segmentation with its Image or Volume gives Findings with quantities and units (UCUM)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from consilium.errors import UsageError
from consilium.imaging.diameter import diameters
from consilium.imaging.stack import places, shares
from consilium.types import Array, Finding, Image, Segmentation, Study, Volume

VOLUME, AREA, PICTURE_AREA = "volume", "area", "area of the picture"
LARGEST_VOLUME, LARGEST_AREA = "volume of the largest part", "area of the largest part"
LONGEST, SHORT, PARTS = "longest diameter", "short axis", "connected parts"
FIRST, LAST, MEAN = "first slice", "last slice", "mean intensity"
RIGHT, LEFT = "right", "left"
HU = "[hnsf'U]"
# What a finding's site may say was measured; any other names a place.
MEASURED = frozenset(
    (VOLUME, AREA, PICTURE_AREA, LARGEST_VOLUME, LARGEST_AREA, LONGEST, SHORT, PARTS, FIRST, LAST, MEAN)
)

_AGREE = 0.01
# A side is claimed of what lies on it almost whole, further from the middle than a patient usually lies off the centre, and
# only in a field of view that is wide enough to hold both sides of a head.
_SHARE, _MARGIN, _BOTH_SIDES_MM = 0.95, 0.05, 120.0
_ONE_SIDED = frozenset(
    {
        "ANKLE",
        "ARM",
        "BREAST",
        "CALCANEUS",
        "CALF",
        "CLAVICLE",
        "EAR",
        "ELBOW",
        "EXTREMITY",
        "EYE",
        "FEMUR",
        "FINGER",
        "FOOT",
    }
    | {"FOREARM", "HAND", "HIP", "HUMERUS", "KNEE", "LEG", "SCAPULA", "SHOULDER", "THIGH", "THUMB", "TOE", "WRIST"}
)


@dataclass(frozen=True, eq=False)
class _Space:
    """How indices become millimetres. All None where the picture has no spacing.

    steps_mm  (2, 2 or 3) from one row and from one column to the next.
    size      and `unit` of one place: mL of a voxel, mm2 of a pixel; of a picture without spacing % of its area.
    to_right  change towards the patient's right with the (slice, row, column) index, None where the sides are not known.
    places    (slices,) where each slice lies, and `shares`, how much it counts, in usual distances: see `imaging.stack`.
    """

    steps_mm: Array | None
    size: float
    unit: str
    to_right: Array | None
    places: Array
    shares: Array


def measure(
    segmentation: Segmentation, shown: Image | Volume, frontal: bool = False, oriented: bool = True, source: str = ""
) -> tuple[Finding, ...]:
    """Findings of each concept in turn; `site` says what was measured, `quantity` and `unit` how much.

    Of a Volume: "volume" (mL), each slice with the thickness that it stands for. Of an Image: "area" (mm2; on a projection in
    the plane of the detector), or "area of the picture" (%) where its spacing is not known: then nothing is said in millimetres.
    Of a concept that was not found, these are 0 and nothing more is said than 0 connected parts.
    "connected parts" (1): places that touch, be it by a corner (26 neighbours in a Volume, 8 in an Image); no part is too
    small to count. Of several, also "volume of the largest part", or its area.
    "longest diameter", "short axis" (mm): of the largest part, in the slice where that is largest (see `diameters`).
    "first slice", "last slice" (1): counted from 1.
    "mean intensity" ([hnsf'U]): where the units are HU.
    "right" or "left" of the patient (%): the share on that side of the middle of the field of view; said where at least 95 % lies
    there, 5 % of the width or more from the middle, in a field at least 120 mm wide. A Volume's sides are those of its
    orientation: say `oriented` False where `sides_known` does. An Image's are known where it is `frontal`: a view from the front,
    whose left is by convention the patient's right.

    Raises UsageError where segmentation and picture do not belong together, or a volume's spacing contradicts its orientation.
    """
    from scipy.ndimage import find_objects

    check_fits(segmentation, shown)
    space = _space_of(shown, frontal, oriented)
    values = shown.voxels if isinstance(shown, Volume) else shown.pixels[None]
    labels = segmentation.labels if isinstance(shown, Volume) else segmentation.labels[None]
    boxes = find_objects(labels, max_label=len(segmentation.concepts))
    found = []
    for number, (concept, box) in enumerate(zip(segmentation.concepts, boxes, strict=True), 1):
        said = list(_nothing(space))
        if box is not None:
            mask = labels[box] == number
            said = [*_amounts(mask, space, space.shares[box[0]]), *_places(mask, box, labels.shape, space)]
            said += _intensity(values[box], mask) if shown.units == "HU" else ()
        common: dict[str, Any] = {"source": source, "image_uid": segmentation.image_uid}
        found += [Finding(concept, quantity=q, unit=unit, site=site, **common) for site, q, unit in said]
    return tuple(found)


def sides_known(study: Study) -> bool:
    """Whether left and right of the study's pictures mean the patient's: not where the file says no orientation, nor where one
    limb, eye or breast is shown, whose left half is not the left of the patient."""
    return study.body_part not in _ONE_SIDED and not any("left and right are not known" in note for note in study.notes)


_Said = tuple[str, float, str]


def check_fits(segmentation: Segmentation, shown: Image | Volume) -> None:
    """Raises UsageError where the segmentation was not made of this picture or has labels without a concept."""
    labels = segmentation.labels
    size = shown.voxels.shape if isinstance(shown, Volume) else shown.pixels.shape[:2]
    if labels.shape != size or segmentation.image_uid != shown.uid:
        raise UsageError(
            f"a segmentation of {labels.shape} belongs to another picture than this one of {size}; give the one it was made of"
        )
    if labels.dtype.kind not in "ui" or (labels.size and int(labels.max()) > len(segmentation.concepts)):
        raise UsageError(
            f"labels of type {labels.dtype} go up to {labels.max()}, with {len(segmentation.concepts)} concepts; name each label"
        )


def _space_of(shown: Image | Volume, frontal: bool, oriented: bool) -> _Space:
    if isinstance(shown, Volume):
        matrix = np.asarray(shown.orientation, float)[:3, :3]
        _check_spacing(matrix, shown.spacing_mm)
        to_right = matrix[0, ::-1] if oriented else None
        size = abs(float(np.linalg.det(matrix))) / 1000
        return _Space(matrix[:, [1, 0]].T, size, "mL", to_right, places(shown), shares(shown))
    to_right = np.array([0.0, 0.0, -1.0]) if frontal else None
    alone = np.zeros(1), np.ones(1)
    if shown.spacing_mm is None:
        return _Space(None, 100 / (shown.pixels.shape[0] * shown.pixels.shape[1]), "%", to_right, *alone)
    down, across = shown.spacing_mm
    to_right = None if to_right is None else to_right * across
    return _Space(np.diag([down, across]), down * across, "mm2", to_right, *alone)


def _check_spacing(matrix: Array, spacing_mm: tuple[float, float, float]) -> None:
    """The spacing of leaning slices (gantry tilt) is their distance or their shift: both are in use."""
    lengths = np.linalg.norm(matrix, axis=0)
    area = float(np.linalg.norm(np.cross(matrix[:, 0], matrix[:, 1])))
    apart = abs(float(np.linalg.det(matrix))) / area if area else 0.0
    along, down, across = spacing_mm
    agrees = (
        np.isclose([across, down], lengths[:2], rtol=_AGREE).all()
        and np.isclose(along, [apart, lengths[2]], rtol=_AGREE).any()
    )
    if not agrees or not np.isfinite(matrix).all() or apart <= 0:
        raise UsageError(
            f"the volume's spacing {spacing_mm} mm (slice, row, column) contradicts its orientation, whose columns, rows and"
            f" slices are {', '.join(f'{length:.4g}' for length in lengths)} mm apart; read the file again or correct its header"
        )


def _nothing(space: _Space) -> Iterator[_Said]:
    yield {"mL": VOLUME, "mm2": AREA}.get(space.unit, PICTURE_AREA), 0.0, space.unit
    yield PARTS, 0.0, "1"


def _amounts(mask: Array, space: _Space, shares: Array) -> Iterator[_Said]:
    """Of a mask (slices, rows, columns) cut to its box, and how much each of its slices counts: all of it, its parts, and the
    diameters of the largest."""
    from scipy.ndimage import find_objects, generate_binary_structure, label

    parts, count = label(mask, generate_binary_structure(3, 3))
    sizes = np.zeros(count + 1)
    for layer, share in zip(parts, shares, strict=True):  # slice by slice: bincount copies what it counts into 64 bits
        sizes += share * np.bincount(layer.ravel(), minlength=count + 1)
    sizes[0] = 0
    yield {"mL": VOLUME, "mm2": AREA}.get(space.unit, PICTURE_AREA), float(sizes.sum()) * space.size, space.unit
    yield PARTS, float(count), "1"
    if count > 1:
        yield LARGEST_VOLUME if space.unit == "mL" else LARGEST_AREA, float(sizes.max()) * space.size, space.unit
    if space.steps_mm is None:
        return
    boxes = find_objects(parts)
    largest = np.flatnonzero(sizes == sizes.max())
    shapes: dict[
        tuple[tuple[int, ...], bytes], Array
    ] = {}  # noise gives thousands of equal parts: each shape is measured once
    for part in largest:
        cut = parts[boxes[part - 1]] == part
        areas = cut.sum(axis=(1, 2))
        shapes |= {(layer.shape, layer.tobytes()): layer for layer in cut[areas == areas.max()]}
    longest, short = max(diameters(layer, space.steps_mm) for layer in shapes.values())
    yield LONGEST, longest, "mm"
    yield SHORT, short, "mm"


def _places(mask: Array, box: tuple[slice, ...], shape: tuple[int, ...], space: _Space) -> Iterator[_Said]:
    """Of a mask cut to `box` out of an array of `shape`: its slices, and the side of the patient that it lies on."""
    if space.unit == "mL":
        yield FIRST, float(box[0].start + 1), "1"
        yield LAST, float(box[0].stop), "1"
    if space.to_right is None:
        return
    lengths = (space.places[-1] + 1, *shape[1:])
    width = float(np.abs(space.to_right) @ lengths)
    if space.unit == "mL" and width < _BOTH_SIDES_MM:
        return
    indices = (space.places, np.arange(shape[1]), np.arange(shape[2]))
    along, down, across = (
        step * (index[cut] - (length - 1) / 2)
        for step, index, cut, length in zip(space.to_right, indices, box, lengths, strict=True)
    )
    counts = np.zeros(3)
    for shift, layer in zip(along, mask, strict=True):
        rightness = (shift + down[:, None] + across)[layer]
        counts += rightness.size, (rightness > _MARGIN * width).sum(), (rightness < -_MARGIN * width).sum()
    for side, count in ((RIGHT, counts[1]), (LEFT, counts[2])):
        if count >= _SHARE * counts[0]:
            yield side, 100 * float(count / counts[0]), "%"


def _intensity(values: Array, mask: Array) -> Iterator[_Said]:
    """The mean of the finite values; nothing where there is none."""
    total, count = 0.0, 0
    for layer, inside in zip(values, mask, strict=True):
        some = layer[inside]
        some = some[np.isfinite(some)]
        total, count = total + float(some.sum(dtype=np.float64)), count + some.size
    if count:
        yield MEAN, total / count, HU
