"""What a prompt may look like, and what is said of one that cannot be followed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from consilium.consult.council import case_of
from consilium.errors import UsageError
from consilium.nn.prompts import UNNAMED, prompt_of
from consilium.types import Case, Image, Study, Volume

PICTURE = Image(np.zeros((40, 60), np.uint8), "sha256:picture")
STACK = Volume(np.zeros((5, 40, 60), np.int16), "sha256:stack", (2.0, 1.0, 1.0), np.eye(4))


def case(*shown: Image | Volume) -> Case:
    return case_of([Study("CT", None, shown)], "How large is it?")


@pytest.mark.parametrize(
    "box", [[3, 4, 20.5, 30], (3, 4, 20.5, 30), "[3, 4, 20.5, 30]", "3,4,20.5,30", [[3, 4, 20.5, 30]]]
)
def test_a_box_is_read_from_numbers_and_from_text(box: Any) -> None:
    prompt = prompt_of(case(PICTURE), {"box": box, "target": "  left   kidney "})
    assert prompt.kind == "box" and prompt.places.tolist() == [[3, 4, 20.5, 30]]
    assert prompt.target == "left kidney" and prompt.picture is PICTURE
    assert prompt_of(case(PICTURE), {"box": box}).target == UNNAMED


def test_several_boxes_and_points_are_read() -> None:
    boxes = prompt_of(case(PICTURE), {"box": "[[0, 0, 5, 5], [10, 10, 59, 39]]"})
    points = prompt_of(case(PICTURE), {"point": [[1, 2], [59, 39]]})
    assert boxes.kind == "box" and boxes.places.shape == (2, 4)
    assert points.kind == "point" and points.places.tolist() == [[1, 2], [59, 39]]


def test_a_slice_and_a_span_count_from_one() -> None:
    prompt = prompt_of(case(STACK), {"box": [0, 0, 9, 9], "slice": "2", "through": [1, 5]})
    assert prompt.index == 1 and prompt.span == (0, 4) and prompt.shown is STACK
    assert prompt.picture.uid == "sha256:stack#1"


def test_the_picture_that_is_meant_is_named() -> None:
    both = case(PICTURE, STACK)
    assert prompt_of(both, {"box": [0, 0, 9, 9], "image": 1}).shown == PICTURE
    assert prompt_of(both, {"box": [0, 0, 9, 9], "image": 2, "slice": 5}).index == 4
    with pytest.raises(UsageError, match="say which image is meant: image=1 to 2"):
        prompt_of(both, {"box": [0, 0, 9, 9]})


@pytest.mark.parametrize(
    ("shown", "args", "said"),
    [
        (None, {"box": [0, 0, 9, 9]}, "holds no picture"),
        (PICTURE, {}, "give box="),
        (PICTURE, None, "give box="),
        (PICTURE, {"box": None, "target": "x"}, "give box="),
        (PICTURE, {"box": [0, 0, 9, 9], "point": [1, 1]}, "one of the two"),
        (PICTURE, {"boxes": [0, 0, 9, 9]}, "no argument is called boxes"),
        (PICTURE, {"box": [0, 0, 9]}, r"x0 < x1 below 60 \(columns\)"),
        (PICTURE, {"box": [9, 0, 0, 9]}, "x0 < x1"),
        (PICTURE, {"box": [0, 0, 60, 9]}, "below 60"),
        (PICTURE, {"box": [-1, 0, 9, 9]}, "x0 < x1"),
        (PICTURE, {"box": []}, "x0 < x1"),
        (PICTURE, {"box": [0, 0, float("nan"), 9]}, "x0 < x1"),
        (PICTURE, {"box": "the left lung"}, "made of numbers"),
        (PICTURE, {"box": [[1, 2, 3, 4], [1, 2]]}, "made of numbers"),
        (PICTURE, {"point": [60, 0]}, r"x below 60 \(columns\)"),
        (PICTURE, {"box": [0, 0, 9, 9], "slice": 1}, "for volumes"),
        (PICTURE, {"box": [0, 0, 9, 9], "image": 2}, "image=1 to 1"),
        (STACK, {"box": [0, 0, 9, 9]}, "slice=1 to 5"),
        (STACK, {"box": [0, 0, 9, 9], "slice": 0}, "slice=1 to 5"),
        (STACK, {"box": [0, 0, 9, 9], "slice": 6}, "slice=1 to 5"),
        (STACK, {"box": [0, 0, 9, 9], "slice": 1.5}, "slice=1 to 5"),
        (STACK, {"box": [0, 0, 9, 9], "slice": 3, "through": [4, 5]}, "around slice 3"),
        (STACK, {"box": [0, 0, 9, 9], "slice": 3, "through": [1, 6]}, "between 1 and 5"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_what_is_needed(shown: Any, args: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        prompt_of(case(*([] if shown is None else [shown])), args)
