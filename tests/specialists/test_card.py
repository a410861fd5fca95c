"""A card that a user wrote for a model of their own: what is written wrongly is said before the model becomes a member."""

from __future__ import annotations

import json
from typing import Any

import pytest

from consilium.errors import UsageError
from consilium.specialists.adapter import card as cards
from consilium.types import Code, Score

CARD: dict[str, Any] = {
    "name": "masses",
    "summary": "Tells masses from clear pictures.",
    "modality": ["MR"],
    "concepts": ["clear", "mass"],
    "licence": "CC0-1.0",
}
SCORE: dict[str, Any] = {"metric": "AUROC mass", "value": 0.9, "low": 0.8, "high": 1, "n": 40}


def described(changes: dict[str, Any]) -> Any:
    cards.check_fields(CARD | changes, "card.toml")
    return cards.card_of(CARD | changes, "card.toml")


def test_a_card_is_read_as_it_is_written() -> None:
    coded = {"value": "4147007", "scheme": "SCT", "meaning": "mass"}
    millimetres = {"metric": "HD95 (mm)", "value": 7.0, "low": 3, "high": 12.5, "n": 9}
    card = described(
        {
            "modality": "cr",
            "body_part": "chest",
            "concepts": ["clear", coded],
            "groups": {"ill": "mass", "all": ["clear", "mass"]},
            "scores": [SCORE, millimetres],
        }
    )
    assert card.modalities == ("CR",) and card.body_parts == ("CHEST",)
    assert card.concepts == (Code.local("clear"), Code(**coded))
    assert card.groups == {"ill": ("mass",), "all": ("clear", "mass")}
    assert card.scores == (Score("AUROC mass", 0.9, 0.8, 1.0, 40), Score("HD95 (mm)", 7.0, 3.0, 12.5, 9))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"value": "x"}, "finite numbers"),
        ({"value": True}, "finite numbers"),
        ({"high": float("nan")}, "finite numbers"),
        ({"metric": " "}, "metric is a text"),
        ({"metric": 3}, "metric is a text"),
        ({"n": -3}, "how many cases"),
        ({"n": 4.5}, "how many cases"),
        ({"low": 0.95}, "not within its interval"),
        ({"value": 7.0, "high": 8.0}, "from 0 to 1.*Write 0.87 for 87 %"),
        ({"colour": "red"}, "a table of metric, value, low, high, n"),
    ],
    ids=json.dumps,
)
def test_a_score_that_is_none_is_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=rf"card.toml: .*{words}"):
        described({"scores": [SCORE | wrong]})


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"scores": SCORE}, "a list of tables"),
        ({"scores": ["AUROC"]}, "a score is a table"),
        ({"groups": {"ill": 3}}, "found ill = 3"),
        ({"groups": {"ill": []}}, r"found ill = \[\]"),
        ({"groups": {"ill": [["mass"]]}}, "a group is a name and the list"),
        ({"groups": {"": ["mass"]}}, "a group is a name"),
        ({"groups": {"ill": ["flu"]}}, "groups name others"),
        ({"modality": "XRAY"}, r"'XRAY' is no modality of DICOM. Write terms like \[\"CR\", \"DX\"\] \(X-ray\)"),
        ({"modality": ["MR", ""]}, "'' is no modality"),
        ({"concepts": "normal"}, "it is a list, even of one"),
        ({"concepts": ["clear", ""]}, "none of them empty"),
        ({"concepts": ["clear", 3]}, "a concept is a text, or a table"),
        ({"concepts": ["clear", {"value": "1", "scheme": "SCT"}]}, "a concept is a text, or a table"),
        ({"concepts": ["clear", {"value": 1, "scheme": "SCT", "meaning": "mass"}]}, "a concept is a text, or a table"),
        ({"trained_on": {"our archive": 3}}, "trained_on is not written as"),
        ({"trained_on": ["our archive"]}, "trained_on is not written as"),
    ],
    ids=json.dumps,
)
def test_a_field_that_is_written_wrongly_is_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=rf"card.toml: .*{words}"):
        described(wrong)
