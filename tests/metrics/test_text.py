"""What the matcher forgives and what it does not, against values worked out by hand."""

import math

import pytest

from consilium.metrics import text


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("  The Left  lung. ", "left lung"),
        ("X-ray", "xray"),
        ("T1/T2, weighted", "t1t2 weighted"),
        ("an a the", ""),
        ("Another theatre", "another theatre"),
        ("a", ""),
        ("5.6 cm", "56 cm"),
    ],
)
def test_words_are_normalised_as_squad_does(written: str, words: str) -> None:
    assert text.normalised(written) == words


@pytest.mark.parametrize(
    ("reference", "said", "exact", "f1", "recall"),
    [
        ("Yes", "yes.", 1, 1, 1),
        ("left side", "left", 0, 2 / 3, 1 / 2),
        ("left", "the left side", 0, 2 / 3, 1),
        ("right lower lobe", "left lower lobe", 0, 2 / 3, 2 / 3),
        ("lobe lobe", "lobe", 0, 2 / 3, 1 / 2),
        ("mass", "cyst", 0, 0, 0),
        ("mass", "", 0, 0, 0),
        ("the", "", 1, 1, 1),
        ("the", "mass", 0, 0, 0),
    ],
)
def test_matches_worked_out_by_hand(reference: str, said: str, exact: float, f1: float, recall: float) -> None:
    assert text.exact_match(reference, said) == exact
    assert text.token_f1(reference, said) == pytest.approx(f1)
    assert text.token_recall(reference, said) == pytest.approx(recall)


def test_f1_is_symmetric_and_recall_is_not() -> None:
    assert text.token_f1("a mass in the liver", "liver mass") == text.token_f1("liver mass", "a mass in the liver")
    assert text.token_recall("liver", "liver mass") != text.token_recall("liver mass", "liver")


def test_closed_accuracy_is_the_share_of_the_very_words() -> None:
    assert text.closed_accuracy(["Yes", "no", "left"], ["yes", "No.", "left side"]) == pytest.approx(2 / 3)
    assert math.isnan(text.closed_accuracy([], []))
    with pytest.raises(ValueError, match="zip"):
        text.closed_accuracy(["yes"], [])
