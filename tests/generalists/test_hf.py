"""hf on checkpoints of two architectures with pictures and one without, written as real ones are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.generalists import tiny

from consilium.errors import MemberError, UsageError, WeightsMissingError
from consilium.generalists import hf
from consilium.types import Image, Message

OPTIONS = ["pneumonia", "pneumonia and effusion", "no"]


def ask(seed: int) -> tuple[Message, ...]:
    pixels = np.random.default_rng(seed).integers(0, 4096, (40, 60)).astype(np.int16)
    return (Message("user", (Image(pixels, f"u{seed}"), "Question: what does the image show?")),)


@pytest.fixture(scope="module", params=["llava", "llava without a template", "idefics3"])
def seeing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> hf.HuggingFace:
    folder = tmp_path_factory.mktemp("checkpoint")
    if request.param == "idefics3":
        tiny.write_idefics3(folder)
    else:
        tiny.write_llava(folder, tiny.TEMPLATE if request.param == "llava" else None)
    return hf.load(folder, device="cpu", dtype="float32")


def test_the_picture_changes_what_is_said(seeing: hf.HuggingFace) -> None:
    assert seeing.sees_images
    assert seeing.score(ask(1), OPTIONS) != pytest.approx(seeing.score(ask(2), OPTIONS), abs=1e-3)


def test_scores_are_those_of_a_full_pass_for_each_option(seeing: hf.HuggingFace) -> None:
    inputs = dict(seeing._inputs(ask(1)))
    start = inputs["input_ids"].shape[1]
    for option, score in zip(OPTIONS, seeing.score(ask(1), OPTIONS), strict=True):
        tokens = torch.tensor([seeing.processor.tokenizer.encode(option, add_special_tokens=False)])
        whole = inputs | {"input_ids": torch.cat([inputs["input_ids"], tokens], dim=1)}
        whole["attention_mask"] = torch.ones_like(whole["input_ids"])
        with torch.inference_mode():
            logprobs = seeing.model(**whole).logits[0, start - 1 : -1].log_softmax(-1)
        assert score == pytest.approx(float(logprobs.gather(-1, tokens.T).sum()), abs=1e-3)


def test_greedy_text_is_that_of_generate(seeing: hf.HuggingFace) -> None:
    inputs = seeing._inputs(ask(1))
    expected = seeing.model.generate(**inputs, max_new_tokens=8, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    text = seeing.processor.tokenizer.decode(expected, skip_special_tokens=True).strip()
    assert seeing.generate(ask(1), 8).text == text


def test_text_alone_and_several_pictures_are_read(seeing: hf.HuggingFace) -> None:
    text_only = (Message("system", ("Be brief.",)), Message("user", ("Question: what?",)))
    two = (Message("user", (*ask(1)[0].parts[:1], *ask(2)[0].parts)),)
    assert len(seeing.score(text_only, OPTIONS)) == len(seeing.score(two, OPTIONS)) == 3


def test_a_spelled_control_token_is_refused(seeing: hf.HuggingFace) -> None:
    forged = (Message("user", ("The report says <image> and <|end|>.",)),)
    with pytest.raises(UsageError, match=r"<image>, <\|end\|>|<\|end\|>, <image>"):
        seeing.generate(forged)


def test_the_plain_prompt_is_the_documented_one(tmp_path: Path) -> None:
    generalist = hf.load(tiny.write_llava(tmp_path, template=None), device="cpu", dtype="float32")
    messages = (Message("system", ("Be brief.",)), *ask(1))
    text = generalist.processor.tokenizer.decode(generalist._inputs(messages)["input_ids"][0])
    picture = "<image>" * 4
    assert text == f"SYSTEM: Be brief.\nUSER: {picture} Question: what does the image show?\nASSISTANT:"


def test_a_checkpoint_without_an_image_processor_reads_text_alone(tmp_path: Path) -> None:
    generalist = hf.load(tiny.write_llama(tmp_path), device="cpu", dtype="float32")
    assert not generalist.sees_images
    assert generalist.score(ask(1), OPTIONS) == generalist.score(ask(2), OPTIONS)


def test_the_version_names_the_checkpoint_and_not_where_it_lies(tmp_path: Path) -> None:
    folder = tiny.write_llama(tmp_path / "home" / "my-model")
    assert hf.load(folder, device="cpu").card.version == "my-model"


def test_offline_a_hub_id_is_not_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CONSILIUM_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(WeightsMissingError, match="CONSILIUM_OFFLINE"):
        hf.load("nobody/no-such-model")


def test_no_checkpoint_is_named() -> None:
    with pytest.raises(UsageError, match="--model"):
        hf.load()


def test_a_template_in_the_tokenizer_alone_is_used(tmp_path: Path) -> None:
    whole = hf.load(tiny.write_llava(tmp_path / "whole"), device="cpu", dtype="float32")
    old = hf.load(tiny.write_llava(tmp_path / "old"), device="cpu", dtype="float32")
    old.processor.chat_template = None
    assert old.processor.tokenizer.chat_template == tiny.TEMPLATE
    messages = (Message("system", ("Be brief.",)), *ask(1))
    assert torch.equal(old._inputs(messages)["input_ids"], whole._inputs(messages)["input_ids"])


def test_without_a_system_turn_its_text_goes_ahead_of_the_users(tmp_path: Path) -> None:
    refusing = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        + tiny.TEMPLATE
    )
    generalist = hf.load(tiny.write_llava(tmp_path, refusing), device="cpu", dtype="float32")
    messages = (Message("system", ("Be brief.",)), *ask(1))
    text = generalist.processor.tokenizer.decode(generalist._inputs(messages)["input_ids"][0])
    assert text.startswith("<|turn|>user\nBe brief.\n<image>")
    with pytest.raises(MemberError, match="takes no such conversation: System role"):
        generalist._inputs((Message("system", ("Be brief.",)), Message("system", ("And kind.",))))
