"""An answer is read only where it is stated."""

import pytest

from consilium.consult.parse import choice

OPTIONS = ("normal", "pneumonia", "pleural effusion")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pneumonia", "pneumonia"),
        ("  Pneumonia. ", "pneumonia"),
        ("'Pleural_Effusion'", "pleural effusion"),
        ("The answer is: normal", "normal"),
        ("Final diagnosis: pneumonia", "pneumonia"),
        ("Pneumonia\nThe left base is dense.", "pneumonia"),
        ("Pneumonia. The left base is dense.", "pneumonia"),
        ("Normal, no focal opacity", "normal"),
        ("Pneumonia. No effusion.", "pneumonia"),
        ("Pneumonia, not normal", "pneumonia"),
        ("Pneumonia? No.", None),
        ("pneumonia, ruled out", None),
        ("Pneumonia; absent.", None),
        ("Pneumonia, unlikely. Normal.", None),
        ("Pneumonia. No.", None),
        ("no pneumonia", None),
        ("not normal", None),
        ("pneumonia or normal", None),
        ("The specialists say pneumonia", None),
        ("I think it might be a tumour", None),
        ("pneumoni", None),
        ("", None),
    ],
)
def test_choice(text: str, expected: str | None) -> None:
    assert choice(text, OPTIONS) == expected


def test_options_that_cannot_be_told_apart_are_never_chosen() -> None:
    assert choice("a b", ("a b", "A_b")) is None
