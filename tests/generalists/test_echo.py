"""echo answers by its stated rule, on the prompts that consult writes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from consilium.consult.prompt import Evidence, compose
from consilium.errors import UsageError
from consilium.generalists import echo
from consilium.types import Case, Image, Message, Precedent

PROMPT = (
    Message("user", ("A neighbour says nodule.\nNodule again.\nOptions: mass, nodule, no nodule. Answer with one.",)),
)


def test_it_names_the_option_that_is_mentioned_most() -> None:
    completion = echo.load().generate(PROMPT)
    assert completion.text == "nodule" and completion.tokens == 1 and completion.logprobs is None


def test_a_longer_option_is_no_mention_of_a_shorter_one() -> None:
    prompt = (Message("user", ("no nodule, no nodule.\nOptions: nodule, no nodule. Answer with one option only.",)),)
    assert echo.load().generate(prompt).text == "no nodule"


def test_part_of_a_word_is_no_mention() -> None:
    prompt = (Message("user", ("massive massive massive",)),)
    assert echo.load().score(prompt, ["mass", "other"]) == pytest.approx((math.log(0.5), math.log(0.5)))


def test_scores_are_logs_of_shares() -> None:
    mass, nodule, no_nodule = echo.load().score(PROMPT, ["mass", "nodule", "no nodule"])
    assert (math.exp(mass), math.exp(nodule), math.exp(no_nodule)) == pytest.approx((2 / 8, 4 / 8, 2 / 8))


@pytest.mark.parametrize("profile", ["measured", "published"])
def test_it_reads_the_options_of_either_prompt(profile) -> None:
    case = Case("c", "What is it?", ("mass", "effusion"))
    precedents = [Precedent("p1", "effusion", 0.9), Precedent("p2", "effusion", 0.8)]
    messages = compose(case, Evidence(precedents=precedents), profile)
    assert echo.load().generate(messages).text == "effusion"


def test_an_open_question_is_repeated_up_to_max_tokens() -> None:
    messages = (Message("system", ("Be brief.",)), Message("user", ("Image: CT.\nQuestion: what is seen here?",)))
    assert echo.load().generate(messages).text == "Question: what is seen here?"
    assert echo.load().generate(messages, max_tokens=2).text == "Question: what"


def test_pictures_change_nothing() -> None:
    picture = Image(np.zeros((2, 2), np.uint8), "u")
    with_picture = (Message("user", (picture, *PROMPT[0].parts)),)
    assert echo.load().generate(with_picture) == echo.load().generate(PROMPT)


@pytest.mark.parametrize("options", [[], ["mass", " "]])
def test_empty_options_are_refused(options) -> None:
    with pytest.raises(UsageError, match="options with text"):
        echo.load().score(PROMPT, options)


def test_the_card_says_that_it_knows_nothing() -> None:
    assert "no knowledge" in echo.CARD.summary
