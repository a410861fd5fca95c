"""What every generalist must do. Each built-in one is loaded here as its users load it."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.generalists import tiny, tiny_native
from tests.generalists.server import says, serve

from consilium import registry, weights
from consilium.errors import CannotScoreError, UsageError
from consilium.protocols import Card, Generalist
from consilium.settings import settings
from consilium.types import Completion, Image, Message

OPTIONS = ("pneumonia", "pleural effusion", "no finding")
MESSAGES = (
    Message("system", ("Weigh the evidence and answer.",)),
    Message(
        "user",
        (
            Image(np.arange(2048, dtype=np.int16).reshape(32, 64), "u"),
            "Specialist chest says: pneumonia 91 %.\nQuestion: what is it?\n"
            "Options: pneumonia, pleural effusion, no finding. Answer with one option only.",
        ),
    ),
)
BUILT_IN = [name for name, member in registry.find("generalists").items() if member.origin == "built in"]


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.weights) if name == "smollm2" else name for name in BUILT_IN],
    scope="module",
)
def generalist(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generalist]:
    member = registry.get("generalists", request.param)
    if request.param == "openai":
        with serve(lambda n: says("pneumonia", completion_tokens=2)) as endpoint:
            yield member.load(base_url=endpoint.base_url, model="m")
    elif request.param == "hf":
        yield member.load(model=tiny.write_llava(tmp_path_factory.mktemp("llava")), device="cpu")
    elif request.param == "native":
        yield member.load(folder=tiny_native.write(tmp_path_factory.mktemp("native")).checkpoint, device="cpu")
    elif request.param == "smollm2" and not weights.status("smollm2-135m-instruct").present and settings().offline:
        pytest.skip("needs the SmolLM2 weights, absent here, and CONSILIUM_OFFLINE is set")
    else:
        yield member.load()


def test_it_keeps_the_protocol(generalist: Generalist) -> None:
    assert isinstance(generalist, Generalist)
    assert isinstance(generalist.sees_images, bool)
    assert generalist.card.kind == "generalist" and generalist.card.version


def test_generate_gives_a_short_completion_every_time_the_same(generalist: Generalist) -> None:
    completion = generalist.generate(MESSAGES, max_tokens=4)
    assert isinstance(completion, Completion) and isinstance(completion.text, str)
    assert 0 <= completion.tokens <= 4
    if completion.logprobs is not None:
        assert len(completion.logprobs) == completion.tokens and all(value <= 0 for value in completion.logprobs)
    assert generalist.generate(MESSAGES, max_tokens=4) == completion


def test_score_gives_one_log_likelihood_for_each_option_or_says_that_it_cannot(generalist: Generalist) -> None:
    if generalist.card.name == "openai":
        with pytest.raises(CannotScoreError, match="likelihood"):
            generalist.score(MESSAGES, OPTIONS)
        return
    scores = generalist.score(MESSAGES, OPTIONS)
    assert isinstance(scores, tuple) and len(scores) == len(OPTIONS)
    assert all(isinstance(score, float) and np.isfinite(score) and score <= 0 for score in scores)
    assert generalist.score(MESSAGES, OPTIONS) == scores
    # bfloat16 rounds a batch in another order by a few hundredths.
    assert generalist.score(MESSAGES, OPTIONS[::-1])[::-1] == pytest.approx(scores, abs=0.1)


def test_what_it_is_given_stays_as_it_was(generalist: Generalist) -> None:
    messages = list(copy.deepcopy(MESSAGES))
    generalist.generate(messages, max_tokens=2)
    assert tuple(messages) == MESSAGES


def test_no_tokens_is_no_request(generalist: Generalist) -> None:
    with pytest.raises(UsageError, match="max_tokens"):
        generalist.generate(MESSAGES, max_tokens=0)


@pytest.mark.parametrize("name", BUILT_IN)
def test_its_card_is_honest_data(name: str) -> None:
    card = registry.get("generalists", name).card
    assert isinstance(card, Card) and card.name == name and card.kind == "generalist"
    assert card.summary and card.licence and card.not_for


def test_cards_are_read_without_model_libraries() -> None:
    code = (
        "import sys; from consilium import registry; "
        "[m.card for m in registry.find('generalists').values()]; "
        "print([n for n in ('torch', 'transformers', 'openai', 'PIL') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parent
    )
    assert done.stdout.strip() == "[]"
