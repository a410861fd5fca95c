"""Greedy text and option log-likelihoods from a causal language model, with or without pixels.

The prompt runs through the network once: greedy text goes on from its key-value cache, and copies of that cache carry the
options as one batch.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from consilium.errors import UsageError
from consilium.nn.denormals import flushed_denormals
from consilium.types import Completion

Inputs = Mapping[str, torch.Tensor]
# Each row of a batch of options holds its own copy of the prompt's cache, so the rows bound the memory.
_ROWS = 8


def complete(model: Any, tokenizer: Any, inputs: Inputs, max_tokens: int) -> Completion:
    """The greedy reply to a prompt, without the end-of-turn token, with the log-probability of each of its tokens.

    inputs  what the model's forward takes, a batch of one: input_ids (1, n), and pixel inputs where it has any.
    Raises UsageError where the prompt and `max_tokens` do not fit into the model's context.
    """
    if max_tokens < 1:
        raise UsageError(f"max_tokens is {max_tokens}; ask for at least 1 token.")
    _require_room(model, inputs, max_tokens)
    ids, logprobs = greedy(model, inputs, max_tokens, _stops(model, tokenizer))
    return Completion(tokenizer.decode(ids, skip_special_tokens=True).strip(), len(ids), logprobs)


def rate(model: Any, tokenizer: Any, inputs: Inputs, options: Sequence[str]) -> tuple[float, ...]:
    """The log-likelihood (natural, <= 0) of each option as the reply: the sum over its own tokens, no end-of-turn token.

    An option is tokenised apart from the prompt, as the tokens of a reply are. Raises UsageError on no options, an empty
    option, or one that does not fit into the model's context.
    """
    rows = [tokenizer.encode(option, add_special_tokens=False, split_special_tokens=True) for option in options]
    if not rows or not all(rows):
        raise UsageError(f"score needs options with text in them; found {list(options)}.")
    _require_room(model, inputs, max(map(len, rows)))
    return log_likelihoods(model, inputs, rows)


@flushed_denormals()
@torch.inference_mode()
def greedy(
    model: Any, inputs: Inputs, max_tokens: int, stops: frozenset[int]
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """At most `max_tokens` most probable next tokens up to the first of `stops`, and their log-probabilities."""
    cache, logits = _read(model, inputs)
    ids: list[int] = []
    logprobs: list[float] = []
    while (best := int(logits.argmax())) not in stops:
        ids.append(best)
        logprobs.append(float(logits.log_softmax(-1)[best]))
        if len(ids) == max_tokens:
            break
        step = torch.tensor([[best]], device=logits.device)
        logits = model(input_ids=step, past_key_values=cache, use_cache=True).logits[0, -1].float()
    return tuple(ids), tuple(logprobs)


@flushed_denormals()
@torch.inference_mode()
def log_likelihoods(model: Any, inputs: Inputs, options: Sequence[Sequence[int]]) -> tuple[float, ...]:
    """The summed log-probability of each option's token ids (one or more each) after the prompt."""
    cache, logits = _read(model, inputs)
    first = logits.log_softmax(-1)
    totals = [float(first[option[0]]) for option in options]
    longer = [index for index, option in enumerate(options) if len(option) > 1]
    for start in range(0, len(longer), _ROWS):
        chunk = longer[start : start + _ROWS]
        for index, rest in zip(chunk, _after_first(model, cache, [options[i] for i in chunk]), strict=True):
            totals[index] += rest
    return tuple(totals)


def _after_first(model: Any, cache: Any, options: Sequence[Sequence[int]]) -> list[float]:
    """The summed log-probability of the tokens after the first of each option. The prompt's cache is left as it was."""
    device = model.device
    # Padding stands on the right: no token of an option attends to it, so it needs no mask.
    given = pad_sequence([torch.tensor(option[:-1]) for option in options], batch_first=True).to(device)
    wanted = pad_sequence([torch.tensor(option[1:]) for option in options], batch_first=True).to(device)
    real = pad_sequence([torch.ones(len(option) - 1) for option in options], batch_first=True).to(device)
    rows = copy.deepcopy(cache)
    rows.reorder_cache(torch.zeros(len(options), dtype=torch.long, device=device))
    logits = model(input_ids=given, past_key_values=rows, use_cache=True).logits.float()
    chosen = logits.log_softmax(-1).gather(-1, wanted[..., None])[..., 0]
    return [float(total) for total in (chosen * real).sum(dim=1)]


def _read(model: Any, inputs: Inputs) -> tuple[Any, torch.Tensor]:
    """The prompt's cache and the float32 logits (vocabulary,) of the token after it."""
    output = model(**inputs, use_cache=True, logits_to_keep=1)
    return output.past_key_values, output.logits[0, -1].float()


def _require_room(model: Any, inputs: Inputs, more: int) -> None:
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    prompt = inputs["input_ids"].shape[1]
    if context is not None and prompt + more > context:
        raise UsageError(
            f"the prompt has {prompt} tokens and up to {more} are to follow, but the model's context holds {context}. "
            "Shorten the history or the question, show fewer precedents, or take a generalist with a longer context."
        )


def _stops(model: Any, tokenizer: Any) -> frozenset[int]:
    declared = model.generation_config.eos_token_id
    ends = declared if isinstance(declared, list) else [declared]
    return frozenset(end for end in (*ends, tokenizer.eos_token_id) if end is not None)
