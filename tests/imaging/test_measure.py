"""Measurements of outlines against formulas, and against other ways to compute them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from consilium.errors import UsageError
from consilium.formats import read
from consilium.imaging.diameter import diameters
from consilium.imaging.measure import measure, sides_known
from consilium.imaging.structures import structures
from consilium.nn.outline import largest_parts
from consilium.types import Code, Finding, Image, Opinion, Segmentation, Study, Volume

TUMOUR, CYST = Code.local("tumour"), Code.local("cyst")
SPACING = (2.5, 0.8, 1.1)
SHAPE = (40, 90, 80)


def oblique(spacing=SPACING, degrees=(20, -15, 35)) -> np.ndarray:
    """An orientation whose axes are turned against the patient's."""
    along, down, across = spacing
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ np.diag([across, down, along])
    matrix[:3, 3] = (-30, 12, 5)
    return matrix


def ellipsoid(half_mm, shape=SHAPE, spacing=SPACING) -> np.ndarray:
    """True inside an ellipsoid with half axes (slice, row, column) in mm about the middle of the grid."""
    axes = [step * (np.arange(n) - (n - 1) / 2) / half for n, step, half in zip(shape, spacing, half_mm, strict=True)]
    return sum(np.square(a) for a in np.ix_(*axes)) <= 1


def volume(shape=SHAPE, orientation=None, spacing=SPACING, units="HU", seed=0) -> Volume:
    voxels = np.random.default_rng(seed).normal(40, 20, shape).astype(np.float32)
    return Volume(voxels, "1.2", spacing, oblique(spacing) if orientation is None else orientation, units=units)


def of(mask, *concepts) -> Segmentation:
    return Segmentation(mask.astype(np.uint8), "1.2", concepts or (TUMOUR,))


def told(findings, concept=TUMOUR) -> dict[str, float]:
    return {f.site: f.quantity for f in findings if f.concept == concept}


def brute_diameters(mask, orientation) -> tuple[float, float]:
    """(longest, short) from all middles of outer edges laid out in space; the chord cut by the half-planes of the hull."""
    padded, places = np.pad(mask, 1), np.argwhere(mask)
    outer = [(way, ~padded[tuple((places + 1 + way).T)]) for way in ((1, 0), (-1, 0), (0, 1), (0, -1))]
    points = np.concatenate([places[free] + np.array(way) / 2 for way, free in outer])[:, ::-1] @ orientation[:3, :2].T
    lengths = cdist(points, points)
    longest, best = lengths.max(), 0.0
    e1, e2 = (orientation[:3, k] / np.linalg.norm(orientation[:3, k]) for k in (0, 1))
    flat = np.stack([points @ e1, points @ e2], axis=1)
    hull = ConvexHull(flat)
    for i, j in np.argwhere(np.triu(lengths > longest - 1e-9)):
        along = (flat[j] - flat[i]) / longest
        across = np.array([along[1], -along[0]])
        for corner in flat[hull.vertices]:
            slope, room = hull.equations[:, :2] @ across, -(hull.equations[:, :2] @ corner + hull.equations[:, 2])
            high = min(r / k for k, r in zip(slope, room, strict=True) if k > 1e-12)
            low = max(r / k for k, r in zip(slope, room, strict=True) if k < -1e-12)
            best = max(best, high - low)
    return longest, best


def flooded(mask) -> int:
    """How many parts touch by face, edge or corner: a flood, place by place."""
    left = set(map(tuple, np.argwhere(mask)))
    ways = list(itertools.product((-1, 0, 1), repeat=mask.ndim))
    count = 0
    while left:
        count, queue = count + 1, [left.pop()]
        while queue:
            here = queue.pop()
            near = {tuple(np.add(here, way).tolist()) for way in ways} & left
            left -= near
            queue.extend(near)
    return count


@pytest.mark.parametrize("half_mm", [(25, 20, 30), (12, 28, 9), (40, 30, 30)])
def test_an_ellipsoid_in_an_oblique_volume(half_mm):
    mask, shown = ellipsoid(half_mm), volume()
    found = told(measure(of(mask), shown))
    assert found["volume"] == pytest.approx(mask.sum() * np.prod(SPACING) / 1000, rel=1e-6)
    assert found["volume"] == pytest.approx(4 / 3 * np.pi * np.prod(half_mm) / 1000, rel=0.01)
    longest, short = brute_diameters(mask[mask.sum((1, 2)).argmax()], shown.orientation)
    assert found["longest diameter"] == pytest.approx(longest, rel=1e-6)
    assert found["short axis"] == pytest.approx(short, rel=1e-6)
    assert found["longest diameter"] == pytest.approx(2 * max(half_mm[1:]), abs=1.1)
    assert found["short axis"] == pytest.approx(2 * min(half_mm[1:]), abs=1.1)
    assert found["mean intensity"] == pytest.approx(shown.voxels[mask].astype(float).mean(), rel=1e-6)
    assert found["connected parts"] == 1
    occupied = np.flatnonzero(mask.any((1, 2)))
    assert (found["first slice"], found["last slice"]) == (occupied[0] + 1, occupied[-1] + 1)


def test_values_do_not_hang_on_the_order_of_slices_nor_on_how_the_picture_is_turned():
    random = np.random.default_rng(3)
    mask = ellipsoid((12, 20, 30)) & (random.uniform(size=SHAPE) < 0.6) | (random.uniform(size=SHAPE) < 0.001)
    shown = volume()
    first = told(measure(of(mask), shown))
    for axis in range(3):
        turn = np.eye(4)
        column = 2 - axis
        turn[column, column], turn[column, 3] = -1, SHAPE[axis] - 1
        other = replace(shown, voxels=np.flip(shown.voxels, axis), orientation=shown.orientation @ turn)
        found = told(measure(of(np.flip(mask, axis)), other))
        places = {} if axis else {"first slice": 0.0, "last slice": 0.0}
        assert found | places == pytest.approx(first | places, rel=1e-9)


def test_leaning_slices_are_measured_by_their_distance():
    """Gantry tilt: the slices are 2.5 mm apart and shifted by 1 mm; the header may state either length."""
    orientation = np.diag([1.1, 0.8, 2.5, 1.0])
    orientation[1, 2] = 1.0
    mask = ellipsoid((12, 20, 30))
    for along in (2.5, np.hypot(2.5, 1.0)):
        shown = volume(orientation=orientation, spacing=(along, 0.8, 1.1))
        assert told(measure(of(mask), shown))["volume"] == pytest.approx(mask.sum() * 2.5 * 0.8 * 1.1 / 1000)


@pytest.mark.parametrize("seed", range(4))
def test_diameters_of_ragged_masks(seed):
    random = np.random.default_rng(seed)
    mask = random.uniform(size=(14, 11)) < (0.02, 0.1, 0.4, 0.9)[seed]
    mask[5, 5] = True
    orientation = oblique()
    assert diameters(mask, orientation[:3, [1, 0]].T) == pytest.approx(brute_diameters(mask, orientation), rel=1e-6)


def test_diameters_of_a_row_a_pixel_and_a_rectangle():
    steps = np.diag([2.0, 0.5])
    assert diameters(np.ones((1, 1), bool), steps) == pytest.approx((2, 0.5))
    assert diameters(np.ones((9, 1), bool), steps) == pytest.approx((18, 0.5))
    longest, short = diameters(np.ones((3, 4), bool), np.eye(2))
    assert longest == pytest.approx(np.hypot(2, 4)) and 2 < short < 4


@pytest.mark.parametrize("shape", [(8, 9, 7), (1, 24, 20)])
def test_parts_touch_by_their_corners_and_none_is_too_small(shape):
    mask = np.random.default_rng(1).uniform(size=shape) < 0.08
    found = told(measure(of(mask), volume(shape)))
    assert found["connected parts"] == flooded(mask) > 3
    flat = mask.any(axis=0)
    picture = Image(np.zeros(flat.shape, np.uint8), "1.2")
    assert told(measure(of(flat), picture))["connected parts"] == flooded(flat)


def test_diameters_are_those_of_the_largest_part():
    mask = np.zeros((5, 60, 60), bool)
    mask[1, 2:22, 3:5] = mask[3, 40:50, 40:50] = mask[2, 0, :30] = True
    found = told(measure(of(mask), volume(mask.shape, np.eye(4), (1.0, 1.0, 1.0))))
    assert found["connected parts"] == 3 and found["volume of the largest part"] == pytest.approx(0.1)
    assert found["longest diameter"] == pytest.approx(np.hypot(9, 10))
    assert (found["first slice"], found["last slice"]) == (2, 4)


def test_of_slices_with_equal_areas_the_longest_diameter_counts_in_either_order():
    mask = np.zeros((2, 9, 20), bool)
    mask[0, 3:6, 3:7] = mask[1, 4, 4:16] = True
    for way in (mask, mask[::-1]):
        found = told(measure(of(way), volume(mask.shape, np.eye(4), (1.0, 1.0, 1.0))))
        assert (found["longest diameter"], found["short axis"]) == pytest.approx((12, 1))


def test_labels_are_measured_apart_and_the_absent_one_is_zero():
    labels = np.zeros(SHAPE, np.uint8)
    labels[3, 4, 5], labels[20:22, 30:40, 30:40] = 2, 1
    findings = measure(of(labels, TUMOUR, CYST, Code.local("stone")), volume(), source="someone")
    voxel_ml = np.prod(SPACING) / 1000
    assert told(findings)["volume"] == pytest.approx(200 * voxel_ml)
    assert told(findings, CYST)["volume"] == pytest.approx(voxel_ml)
    assert told(findings, Code.local("stone")) == {"volume": 0, "connected parts": 0}
    assert {f.source for f in findings} == {"someone"}
    assert {f.unit for f in findings} == {"mL", "mm", "1", "[hnsf'U]"}


def test_an_image_in_mm2_or_in_percent():
    mask = np.zeros((50, 40), bool)
    mask[10:20, 10:30] = True
    picture = Image(np.zeros((50, 40, 3), np.uint8), "1.2", (0.5, 0.25), units="RGB")
    measured = measure(of(mask), picture)
    assert {f.unit for f in measured if f.site == "area"} == {"mm2"}
    assert told(measured)["area"] == pytest.approx(200 * 0.125)
    assert told(measured)["longest diameter"] == pytest.approx(brute_diameters(mask, np.diag([0.25, 0.5, 1]))[0])
    unknown = measure(of(mask), replace(picture, spacing_mm=None))
    assert told(unknown) == {"area of the picture": pytest.approx(10), "connected parts": 1}
    assert [f.unit for f in unknown] == ["%", "1"]


def test_the_side_of_a_frontal_picture_is_said_only_where_it_is_known():
    mask = np.zeros((50, 100), bool)
    mask[10:20, 5:30] = True
    picture = Image(np.zeros((50, 100), np.uint16), "1.2")
    assert told(measure(of(mask), picture, frontal=True))["right"] == 100
    assert "left" in told(measure(of(mask[:, ::-1]), picture, frontal=True))
    assert not {"left", "right"} & told(measure(of(mask), picture)).keys()
    mask[10:20, 48:52] = True
    assert not {"left", "right"} & told(measure(of(mask), picture, frontal=True)).keys()


@pytest.mark.parametrize("flipped", [False, True])
def test_the_side_in_a_volume_is_the_patients(flipped):
    """RAS+: x grows towards the patient's right; where the outline lies is computed here from the whole matrix."""
    spacing = (3.0, 2.0, 2.0)
    orientation = oblique(spacing, (5, -10, 170 if flipped else 10))
    mask = np.zeros(SHAPE, bool)
    mask[15:20, 40:50, 8:16] = True
    slices, rows, columns = np.nonzero(mask)
    middle = orientation @ [(SHAPE[2] - 1) / 2, (SHAPE[1] - 1) / 2, (SHAPE[0] - 1) / 2, 1]
    x = (orientation @ np.stack([columns, rows, slices, np.ones_like(rows)]))[0].mean() - middle[0]
    side, other = ("right", "left") if x > 0 else ("left", "right")
    shown = volume(SHAPE, orientation, spacing)
    found = told(measure(of(mask), shown))
    assert found[side] == 100 and other not in found
    assert side not in told(measure(of(mask), shown, oriented=False))


def test_the_left_of_an_upright_axial_slice_is_the_patients_right():
    mask = np.zeros((4, 70, 70), bool)
    mask[1, 30:40, 5:15] = True
    shown = volume(mask.shape, np.diag([-2.0, -2.0, 5.0, 1.0]), (5.0, 2.0, 2.0))
    assert told(measure(of(mask), shown))["right"] == 100
    assert told(measure(of(mask[..., ::-1]), shown))["left"] == 100


def test_no_side_in_a_field_too_small_for_both():
    """A cut-out of one hippocampus: its left half is not the left of the patient."""
    mask = np.zeros((36, 50, 40), bool)
    mask[:, :, :5] = True
    found = told(measure(of(mask), volume(mask.shape, np.eye(4), (1.0, 1.0, 1.0))))
    assert not {"left", "right"} & found.keys()


def test_sides_are_unknown_without_an_orientation(tmp_path: Path):
    import nibabel

    picture = nibabel.Nifti1Image(np.random.default_rng(0).integers(0, 99, (9, 8, 7)).astype(np.int16), np.eye(4))
    picture.set_sform(None, 0)
    picture.set_qform(None, 0)
    nibabel.save(picture, tmp_path / "a.nii")
    assert not sides_known(read(tmp_path / "a.nii")[0])
    picture.set_sform(np.eye(4), 1)
    nibabel.save(picture, tmp_path / "b.nii")
    (known,) = read(tmp_path / "b.nii")
    assert sides_known(known)
    assert not sides_known(replace(known, body_part="KNEE"))
    assert sides_known(Study("CT", "CHEST", ()))


def test_the_outline_of_another_picture_is_refused():
    mask = ellipsoid((12, 20, 30))
    with pytest.raises(UsageError, match="another picture"):
        measure(replace(of(mask), image_uid="9"), volume())
    with pytest.raises(UsageError, match="another picture"):
        measure(of(mask[1:]), volume())
    with pytest.raises(UsageError, match="name each label"):
        measure(of(mask * 2), volume())
    with pytest.raises(UsageError, match="contradicts"):
        measure(of(mask), volume(orientation=np.eye(4)))


def test_a_real_lesion_agrees_with_plain_numpy(shared_data: Path):
    folder = shared_data / "nifti_samples"
    if not (folder / "brain1_label.nrrd").is_file():
        pytest.skip("needs nifti_samples/brain1_label.nrrd")
    (shown,) = read(folder / "brain1_image.nrrd")[0].images
    (outline,) = read(folder / "brain1_label.nrrd")[0].images
    mask = outline.voxels > 0
    segmentation = Segmentation(mask.astype(np.uint8), shown.uid, (TUMOUR,))
    found = told(measure(segmentation, shown))
    assert found["volume"] == pytest.approx(mask.sum() * np.prod(shown.spacing_mm) / 1000, rel=1e-6)
    assert found["connected parts"] == flooded(mask)
    longest, short = brute_diameters(mask[mask.sum((1, 2)).argmax()], shown.orientation)
    assert (found["longest diameter"], found["short axis"]) == pytest.approx((longest, short), rel=1e-6)


def test_measurements_of_several_pictures_keep_apart() -> None:
    lung = Code.local("lung")
    one = [("area of the picture", 4.0, "%", "a")]
    other = [("area", 1600.0, "mm2", "b"), ("longest diameter", 55.9, "mm", "b")]
    findings = tuple(Finding(lung, quantity=q, unit=u, site=s, image_uid=uid) for s, q, u, uid in (*one, *other))
    drawn = tuple(
        Segmentation(np.ones((4, 4), np.uint8), uid, (lung,), (sure,)) for uid, sure in (("a", 0.6), ("b", 0.9))
    )
    first, second = structures(Opinion("s", "1", findings, segmentations=drawn))
    assert (first.size, first.longest, first.confidence) == ("4 % of the picture", "", 0.6) or "4 %" in first.size
    assert "1,600 mm²" in second.size and second.longest and second.confidence == 0.9


def test_a_body_is_filled_but_no_other_body_with_it() -> None:
    labels = np.zeros((12, 12), np.uint8)
    labels[1:11, 1:11] = 2
    labels[4:8, 4:8] = 1
    assert np.array_equal(largest_parts(labels), labels)
    labels[4:8, 4:8] = 0
    assert (largest_parts(labels)[1:11, 1:11] == 2).all()
