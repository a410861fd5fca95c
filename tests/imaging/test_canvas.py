import numpy as np
import pytest

from consilium.imaging.canvas import picture, placed, resampled, stretched, turn_of
from consilium.types import Image, Volume


def test_a_picture_fits_in_the_middle_with_its_aspect():
    canvas = picture(Image(np.full((100, 50), 9, np.uint8), "a"), 64, 1)
    assert canvas.pixels.shape == (64, 64) and (canvas.rows, canvas.columns) == (64, 32) and canvas.left == 16
    colour = picture(Image(np.zeros((10, 40, 3), np.uint8), "a", units="RGB"), 64, 3)
    assert colour.pixels.shape == (64, 64, 3) and colour.rows == 16


def test_depth_and_exposure_do_not_matter():
    rng = np.random.default_rng(0)
    eight = rng.integers(0, 255, (64, 64)).astype(np.uint8)
    sixteen = eight.astype(np.uint16) * 190 + 1000
    a, b = (picture(Image(pixels, "a"), 64, 1).pixels.astype(int) for pixels in (eight, sixteen))
    assert np.abs(a - b).max() <= 3


def test_a_mask_lies_where_its_picture_does():
    square = np.zeros((120, 80), np.uint8)
    square[30:60, 20:50] = 1
    canvas = picture(Image(square * 255, "a"), 60, 1)
    laid = placed(square, canvas)
    assert ((canvas.pixels > 127) == (laid > 0)).mean() > 0.98


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("values", [np.full((4, 4), np.nan), np.zeros((4, 4)), np.array([[np.inf, 1], [2, 3]])])
def test_any_values_become_eight_bits(values):
    assert stretched(values).dtype == np.uint8


AXES = {"axial": ((-1, 0, 0), (0, -1, 0), (0, 0, 1)), "sagittal": ((0, -1, 0), (0, 0, -1), (1, 0, 0))}


@pytest.mark.parametrize("plane", AXES)
def test_turns_to_up_front_right_and_back(plane):
    """The voxel that lies furthest up, front and right in the patient is the last of the turned volume."""
    spacing = (3.0, 2.0, 1.5)
    matrix = np.eye(4)
    for column, (axis, own) in enumerate(zip(AXES[plane], spacing[::-1], strict=True)):
        matrix[:3, column] = np.array(axis) * own
    shape = (4, 5, 6)
    voxels = np.zeros(shape, np.float32)
    indices = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    places = indices[..., ::-1] @ matrix[:3, :3].T
    last = np.unravel_index(int(places.sum(-1).argmax()), shape)
    voxels[last] = 1
    turn = turn_of(Volume(voxels, "v", spacing, matrix))
    turned = turn.there(voxels)
    assert turned[-1, -1, -1] == 1
    np.testing.assert_array_equal(turn.back(turned), voxels)


def test_resampling_keeps_the_lengths():
    ball = np.zeros((20, 30, 30), np.float32)
    ball[5:15, 10:20, 10:20] = 200
    half = resampled(ball, (2.0, 0.5, 1.0))
    assert half.shape == (40, 15, 30)
    assert half.sum() == pytest.approx(ball.sum(), rel=0.05)
    assert resampled(ball, (1.0, 1.01, 0.99)) is ball
