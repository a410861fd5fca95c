"""Likelihoods from the reused cache against one plain forward pass for each option; greedy text against `generate`."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from consilium.errors import UsageError
from consilium.nn import likelihood
from consilium.nn.denormals import flushed_denormals

SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.4,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
# Different lengths, shared beginnings, one the beginning of another, and the padding's own id; more than one batch.
OPTIONS = [[5], [5, 6], [5, 6, 7], [9, 0, 0, 3], [9, 0], [0], *([i, i + 1, i + 2] for i in range(10, 20))]


@pytest.fixture(scope="module", params=["full attention", "sliding window"])
def model(request: pytest.FixtureRequest):
    torch.manual_seed(3)
    if request.param == "full attention":
        return LlamaForCausalLM(LlamaConfig(**SIZES)).eval()
    return MistralForCausalLM(MistralConfig(**SIZES, sliding_window=8)).eval()


@pytest.fixture
def prompt() -> dict[str, torch.Tensor]:
    return {"input_ids": torch.randint(2, 97, (1, 21), generator=torch.Generator().manual_seed(1))}


@torch.inference_mode()
def naive(model, prompt: dict[str, torch.Tensor], option: list[int]) -> float:
    """One full forward pass over prompt and option."""
    ids = torch.cat([prompt["input_ids"], torch.tensor([option])], dim=1)
    logprobs = model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
    start = prompt["input_ids"].shape[1]
    return sum(float(logprobs[start + i - 1, token]) for i, token in enumerate(option))


def test_the_cache_gives_what_a_full_pass_for_each_option_gives(model, prompt) -> None:
    expected = [naive(model, prompt, option) for option in OPTIONS]
    assert max(expected) - min(expected) > 1
    assert likelihood.log_likelihoods(model, prompt, OPTIONS) == pytest.approx(expected, abs=1e-3)


def test_an_option_does_not_depend_on_its_company(model, prompt) -> None:
    alone = [likelihood.log_likelihoods(model, prompt, [option])[0] for option in OPTIONS]
    assert likelihood.log_likelihoods(model, prompt, OPTIONS) == pytest.approx(alone, abs=1e-4)


def test_the_prompt_is_read_once(model, prompt, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []
    forward = model.forward

    def counted(*args, **kwargs):
        seen.append(tuple(kwargs["input_ids"].shape))
        return forward(*args, **kwargs)

    monkeypatch.setattr(model, "forward", counted)
    likelihood.log_likelihoods(model, prompt, OPTIONS[:6])
    assert seen == [(1, 21), (4, 3)]


def test_greedy_text_is_that_of_generate(model, prompt) -> None:
    # A stop token that cannot come first, so that the text ends both ways.
    free, _ = likelihood.greedy(model, prompt, 12, frozenset())
    assert len(free) == 12
    expected = model.generate(**prompt, max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0)
    assert list(free) == expected[0, 21:].tolist()
    stop = next(token for token in free if token != free[0])
    stopped, logprobs = likelihood.greedy(model, prompt, 12, frozenset({stop}))
    assert stopped == free[: free.index(stop)] and len(logprobs) == len(stopped)


def test_greedy_log_probabilities_are_those_of_the_text(model, prompt) -> None:
    ids, logprobs = likelihood.greedy(model, prompt, 6, frozenset())
    assert sum(logprobs) == pytest.approx(naive(model, prompt, list(ids)), abs=1e-3)
    assert all(value <= 0 for value in logprobs)


def test_a_prompt_longer_than_the_context_is_refused(model) -> None:
    long = {"input_ids": torch.full((1, 60), 5)}
    with pytest.raises(UsageError, match=r"60 tokens and up to 5 .* holds 64"):
        likelihood.complete(model, None, long, 5)


def test_no_tokens_is_no_request(model, prompt) -> None:
    with pytest.raises(UsageError, match="max_tokens is 0"):
        likelihood.complete(model, None, prompt, 0)


def test_denormals_stay_flushed_to_the_end_of_the_outermost_block() -> None:
    small = torch.tensor(1e-39)
    with flushed_denormals():
        with flushed_denormals():
            pass
        assert float(small * 0.5) == 0
    assert float(small * 0.5) > 0
