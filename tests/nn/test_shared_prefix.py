"""Prompts that share their beginning: the same numbers as transformers computes, whatever was asked before."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from tests.generalists import tiny_native
from tests.generalists.tiny_native import ask, picture

from consilium.errors import MemberError, UsageError
from consilium.nn import llava
from consilium.nn.branches import tree
from consilium.nn.eyes import Eyes
from consilium.nn.eyes import picture as as_shown
from consilium.nn.int8 import Int8Linear
from consilium.nn.lean_llama import LeanLlama
from consilium.nn.packed import PackedLinear, can_pack
from consilium.nn.prompt_tokens import Prompt, Writer
from consilium.nn.shared_prefix import BLOCK, SharedPrefix
from consilium.types import Message

OPTIONS = ["pneumonia", "pneumonia, bacterial", "no", "no finding, or a large effusion"]
CARDS = "Specialist chest: pneumonia 91 %, effusion 12 %. Most similar known cases: nodule, mass, pneumonia. " * 2


class Bench:
    """One checkpoint twice: plain transformers, and our reader on a copy of its own."""

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        self.model, self.processor = llava.load(folder, dtype=dtype)
        mine, _ = llava.load(folder, dtype=dtype)
        self.writer = Writer(self.processor, mine.config.image_seq_length)
        self._mine = mine
        self.lean = LeanLlama(mine.model.language_model, mine.lm_head)
        self.reader = self.fresh()

    def fresh(self) -> SharedPrefix:
        return SharedPrefix(self.lean, Eyes(self._mine, self.processor))

    def inputs(self, messages: tuple[Message, ...]) -> dict[str, torch.Tensor]:
        """What transformers' own processor makes of the messages."""
        turns = [
            {
                "role": message.role,
                "content": [
                    {"type": "text", "text": part}
                    if isinstance(part, str)
                    else {"type": "image", "image": as_shown(part)}
                    for part in message.parts
                ],
            }
            for message in messages
        ]
        return self.processor.apply_chat_template(
            turns, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )

    def likelihoods(self, messages: tuple[Message, ...], option: str) -> list[float]:
        """Each token of the option and the end of the turn, by one full pass of transformers."""
        inputs = self.inputs(messages)
        reply = torch.tensor([self.writer.reply(option)])
        start = inputs["input_ids"].shape[1]
        whole = torch.cat([inputs["input_ids"], reply], 1)
        with torch.inference_mode():
            logits = self.model(
                input_ids=whole,
                pixel_values=inputs["pixel_values"].to(self.model.dtype),
                attention_mask=torch.ones_like(whole),
            ).logits.float()
        return logits[0, start - 1 : -1].log_softmax(-1).gather(-1, reply.T)[:, 0].tolist()

    def ours(self, messages: tuple[Message, ...], reader: SharedPrefix | None = None) -> list[list[float]]:
        replies = [self.writer.reply(option) for option in OPTIONS]
        return [list(r) for r in (reader or self.reader).log_likelihoods(self.writer.prompt(messages), replies)]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tiny_native.write(tmp_path_factory.mktemp("native")).checkpoint)


def test_the_prompt_is_what_the_processor_writes(bench: Bench) -> None:
    for messages in (ask(), ask("Again?", picture(1), picture(2)), (Message("user", ("No picture at all.",)),)):
        prompt = bench.writer.prompt(messages)
        assert list(prompt.ids) == bench.inputs(messages)["input_ids"][0].tolist()
        assert len(prompt.images) == sum(not isinstance(part, str) for m in messages for part in m.parts)


def test_options_are_rated_as_transformers_rates_them(bench: Bench) -> None:
    for messages in (ask(cards=CARDS), ask("Is it so?", picture(1), picture(2), cards=CARDS)):
        for option, found in zip(OPTIONS, bench.ours(messages), strict=True):
            assert found == pytest.approx(bench.likelihoods(messages, option), abs=2e-4)


@pytest.mark.parametrize("text", ["Question: what does the image show?", "Say more.", "effusion or mass?"])
def test_greedy_text_is_that_of_generate(bench: Bench, text: str) -> None:
    inputs = bench.inputs(ask(text, cards=CARDS))
    whole = bench.model.generate(**inputs, max_new_tokens=48, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    expected = [token for token in whole.tolist() if token != bench.processor.tokenizer.eos_token_id]
    ids, logprobs = bench.reader.greedy(bench.writer.prompt(ask(text, cards=CARDS)), 48, bench.writer.stops)
    assert list(ids) == expected and len(logprobs) == len(ids) and max(logprobs) <= 0


def test_a_second_question_reads_neither_picture_nor_cards_again(bench: Bench) -> None:
    reader = bench.fresh()
    first, second = ask("Is it pneumonia?", cards=CARDS), ask("Where is the effusion?", cards=CARDS)
    bench.ours(first, reader)
    before = reader.read
    assert before == len(bench.writer.prompt(first).ids)
    found = bench.ours(second, reader)
    shared = len(bench.writer.prompt(second).ids) - (reader.read - before)
    assert shared % BLOCK == 0 and shared >= 2 * BLOCK
    assert found == bench.ours(second, bench.fresh())


def test_what_was_asked_before_changes_no_bit(bench: Bench) -> None:
    prompts = [ask(t, picture(p), cards=CARDS) for t in ("One?", "Another one, which is longer?") for p in (1, 2, 3)]
    alone = [bench.ours(messages, bench.fresh()) for messages in prompts]
    reader = bench.fresh()
    for index in (0, 3, 1, 0, 4, 2, 5, 5, 1, 0):
        assert bench.ours(prompts[index], reader) == alone[index]


def test_another_picture_under_the_same_words_is_read(bench: Bench) -> None:
    reader = bench.fresh()
    one, other = (bench.ours(ask("What?", picture(seed), cards=CARDS), reader) for seed in (1, 2))
    assert one[0] != pytest.approx(other[0], abs=1e-3)


def test_an_option_that_begins_another_is_told_from_it(bench: Bench) -> None:
    short, longer = bench.ours(ask())[:2]
    assert short[:-1] == pytest.approx(longer[: len(short) - 1], abs=1e-4)
    assert short[-1] != pytest.approx(longer[len(short) - 1], abs=1e-3)


def test_many_options_are_rated_in_several_passes(bench: Bench) -> None:
    prompt = bench.writer.prompt(ask())
    replies = [bench.writer.reply(f"finding number {n} of very many") for n in range(60)]
    found = bench.reader.log_likelihoods(prompt, replies)
    assert len(found) == 60 and [len(r) for r in found] == [len(r) for r in replies]
    (alone,) = bench.reader.log_likelihoods(prompt, replies[41:42])
    assert found[41] == pytest.approx(alone, abs=1e-4)


def test_what_does_not_fit_is_refused(bench: Bench) -> None:
    prompt = bench.writer.prompt(ask("cough and fever " * 400))
    with pytest.raises(UsageError, match="context holds 2048"):
        bench.reader.greedy(prompt, 4, frozenset())
    with pytest.raises(UsageError, match="context holds 2048"):
        bench.reader.log_likelihoods(prompt, [(1, 2)])


def test_a_picture_that_cannot_be_shown_spoils_nothing(bench: Bench) -> None:
    import numpy as np

    from consilium.types import Image

    reader = bench.fresh()
    expected = bench.ours(ask(cards=CARDS), reader)
    broken = Image(np.zeros((2, 2, 7), np.uint8), "broken")
    with pytest.raises(Exception, match=r".+"):
        bench.ours(ask("What?", broken, cards=CARDS), reader)
    assert bench.ours(ask(cards=CARDS), reader) == expected


def test_threads_do_not_mix_their_prompts(bench: Bench) -> None:
    prompts = [ask(f"Question {n}?", picture(n), cards=CARDS) for n in range(4)]
    expected = [bench.ours(messages, bench.fresh()) for messages in prompts]
    reader, found = bench.fresh(), {}

    def work(n: int) -> None:
        found[n] = bench.ours(prompts[n], reader)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[n] for n in range(4)] == expected


def test_eight_bits_change_little(bench: Bench) -> None:
    eight = LeanLlama(bench._mine.model.language_model, bench._mine.lm_head, eight_bits=True)
    reader = SharedPrefix(eight, Eyes(bench._mine, bench.processor))
    before, after = bench.ours(ask(cards=CARDS)), bench.ours(ask(cards=CARDS), reader)
    ids, _ = reader.greedy(bench.writer.prompt(ask(cards=CARDS)), 4, frozenset())
    assert after[0] != before[0] and len(ids) == 4
    assert [sum(r) / len(r) for r in after] == pytest.approx([sum(r) / len(r) for r in before], abs=0.5)


@pytest.mark.parametrize("rows", [1, 3, 64])
def test_eight_bits_round_each_row_to_its_own_scale(rows: int) -> None:
    torch.manual_seed(0)
    linear = torch.nn.Linear(32, 24)
    with torch.no_grad():
        linear.weight[0] *= 100
        given = torch.randn(rows, 32)
        error = (Int8Linear(linear)(given) - linear(given)).abs().amax(0)
    # Each rounding is off by half a step of its row at most.
    bound = 0.5 * linear.weight.detach().abs().amax(1) / 127 * given.abs().sum(1).max() * 1.01
    assert (error < bound).all() and error[1:].max() < 0.05


@pytest.mark.parametrize("rows", [1, 4, 64])
@pytest.mark.parametrize("biased", [True, False])
def test_packed_weights_compute_the_same_bits(rows: int, biased: bool) -> None:
    torch.manual_seed(0)
    linear = torch.nn.Linear(576, 960, bias=biased).bfloat16()
    if not can_pack(linear.weight):
        pytest.skip("needs a processor that multiplies in bfloat16")
    given = torch.randn(rows, 576).bfloat16()
    with torch.inference_mode():
        assert torch.equal(PackedLinear(linear)(given), linear(given))
    assert not can_pack(linear.float().weight)


def test_in_bfloat16_the_numbers_are_those_of_transformers_within_its_rounding(tmp_path: Path) -> None:
    made = Bench(tiny_native.write(tmp_path).checkpoint, torch.bfloat16)
    for option, found in zip(OPTIONS, made.ours(ask(cards=CARDS)), strict=True):
        assert found == pytest.approx(made.likelihoods(ask(cards=CARDS), option), abs=0.25)


def test_another_architecture_is_refused() -> None:
    from transformers import GPT2Config, GPT2Model

    other = GPT2Model(GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=8))
    with pytest.raises(MemberError, match="gpt2"):
        LeanLlama(other, torch.nn.Linear(8, 8))


def test_a_tree_keeps_its_branches_apart() -> None:
    places, mask = tree(2, 2, [1, 2], torch.device("cpu"))
    assert places.tolist() == [2, 3, 4, 4, 5]
    assert mask is not None
    assert mask.int().tolist() == [
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0, 1, 0],
        [1, 1, 1, 1, 0, 1, 1],
    ]
    assert tree(9, 1, [], torch.device("cpu"))[1] is None


def test_keys_tell_pictures_apart_and_ids_do_not() -> None:
    one, other = (Prompt((7, 9, 9, 8), ((1, picture(seed)),), 2) for seed in (1, 2))
    assert one.keys[0] == other.keys[0] == 7 and one.keys[1] == one.keys[2] != other.keys[1]
