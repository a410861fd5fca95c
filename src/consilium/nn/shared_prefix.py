"""Option likelihoods and greedy text from a LLaVA whose prompts share their beginning: system message, pictures, cards.

Keys and values of the last prompts are kept in blocks of BLOCK tokens, so that a second question on the same case reads
neither its pictures nor its cards again. A block is always computed whole, with the same tokens before it: what is served
does not depend on what was asked before. The options of a closed question run as branches of one pass, under a mask that
keeps them apart, on one cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Lock

import torch

from consilium.errors import UsageError
from consilium.nn.branches import given, predictions, tree
from consilium.nn.denormals import flushed_denormals
from consilium.nn.eyes import Eyes
from consilium.nn.lean_llama import Cache, LeanLlama
from consilium.nn.prompt_tokens import Prompt

BLOCK = 64
_PREFIXES = 2
_BRANCH_TOKENS = 256


@dataclass(eq=False)
class _Held:
    """A cache whose first tokens are those of `keys`, a multiple of BLOCK."""

    keys: tuple[str | int, ...]
    cache: Cache


class SharedPrefix:
    """Reads prompts with one language model and one pair of eyes. Threads may share it; they wait for one another."""

    def __init__(self, lean: LeanLlama, eyes: Eyes) -> None:
        self._lean = lean
        self._eyes = eyes
        self._held: list[_Held] = []
        self._lock = Lock()
        self.read = 0
        """How many prompt tokens were run through the network so far."""

    @flushed_denormals()
    @torch.inference_mode()
    def log_likelihoods(self, prompt: Prompt, options: Sequence[Sequence[int]]) -> tuple[tuple[float, ...], ...]:
        """The log-probability of each token of each option (ids, one or more each) as the reply to `prompt`.

        Raises UsageError where they do not fit into the model's context.
        """
        self._require_room(prompt, max(map(len, options)))
        with self._lock:
            cache, start = self._prefix(prompt)
            return tuple(rated for group in _groups(options) for rated in self._branches(prompt, group, cache, start))

    @flushed_denormals()
    @torch.inference_mode()
    def greedy(
        self, prompt: Prompt, max_tokens: int, stops: frozenset[int]
    ) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """At most `max_tokens` most probable next tokens up to the first of `stops`, and their log-probabilities."""
        self._require_room(prompt, max_tokens)
        with self._lock:
            return self._reply(prompt, max_tokens, stops)

    def _reply(
        self, prompt: Prompt, max_tokens: int, stops: frozenset[int]
    ) -> tuple[tuple[int, ...], tuple[float, ...]]:
        lean, place = self._lean, len(prompt.ids)
        cache, start = self._prefix(prompt)
        cache.reserve(place + max_tokens)
        logits = lean.logits(self._run(prompt, start, place, cache)[-1:])[0]
        ids: list[int] = []
        logprobs: list[float] = []
        while (best := int(logits.argmax())) not in stops:
            ids.append(best)
            logprobs.append(float(logits[best] - logits.logsumexp(-1)))
            if len(ids) == max_tokens:
                break
            at = torch.tensor([place], device=lean.device)
            token = lean.embed(torch.tensor([best], device=lean.device))
            logits = lean.logits(lean.read(token, cache, place, at))[0]
            place += 1
        return tuple(ids), tuple(min(0.0, logprob) for logprob in logprobs)

    def _branches(
        self, prompt: Prompt, options: Sequence[Sequence[int]], cache: Cache, start: int
    ) -> Iterator[tuple[float, ...]]:
        """What follows the cached `start` tokens of the prompt, then every option but its last token, in one pass."""
        lean, end = self._lean, len(prompt.ids)
        branches = torch.tensor(given(options), dtype=torch.long, device=lean.device)
        tokens = torch.cat([self._embedded(prompt, start, end), lean.embed(branches)])
        places, mask = tree(start, end - start, [len(option) - 1 for option in options], lean.device)
        hidden = lean.read(tokens, cache, start, places, mask)[end - start - 1 :]
        logprobs = lean.logits(hidden).log_softmax(-1)
        self.read += end - start
        for rows, wanted in predictions(options):
            yield tuple(logprobs[rows, wanted].tolist())

    def _prefix(self, prompt: Prompt) -> tuple[Cache, int]:
        """A cache that holds the prompt's whole blocks, and how many tokens those are: at least one is left to read."""
        whole = (len(prompt.ids) - 1) // BLOCK * BLOCK
        wanted = prompt.keys[:whole]
        held, common = self._nearest(wanted)
        self._held = [held, *(other for other in self._held if other is not held)][:_PREFIXES]
        held.keys = wanted[:common]  # what is overwritten below must not be found if a picture cannot be read
        for first in range(common, whole, BLOCK):
            self._run(prompt, first, first + BLOCK, held.cache)
        held.keys = wanted
        return held.cache, whole

    def _nearest(self, wanted: Sequence[str | int]) -> tuple[_Held, int]:
        """The cache to go on from, and how many of its first tokens serve. What would lose most of another case's prompt
        goes on from a copy."""
        shared = [(_common(held.keys, wanted), held) for held in self._held]
        common, best = max(shared, key=lambda pair: pair[0], default=(0, None))
        if best is not None and 2 * common >= len(best.keys):
            return best, common
        fresh = _Held((), self._lean.cache())
        if best is not None:
            fresh.cache.copy_from(best.cache, common)
        return fresh, common

    def _run(self, prompt: Prompt, start: int, end: int, cache: Cache) -> torch.Tensor:
        """The last hidden states of the tokens from `start` to `end` of a prompt whose earlier ones are cached."""
        places, mask = tree(start, end - start, [], self._lean.device)
        self.read += end - start
        return self._lean.read(self._embedded(prompt, start, end), cache, start, places, mask)

    def _embedded(self, prompt: Prompt, start: int, end: int) -> torch.Tensor:
        tokens = self._lean.embed(torch.tensor(prompt.ids[start:end], device=self._lean.device))
        for first, image in prompt.images:
            last = first + prompt.tokens_per_image
            if first < end and last > start:
                seen = self._eyes.see(image)[max(0, start - first) : end - first]
                tokens[max(0, first - start) : min(last, end) - start] = seen
        return tokens

    def _require_room(self, prompt: Prompt, more: int) -> None:
        if len(prompt.ids) + more > self._lean.context:
            raise UsageError(
                f"the prompt has {len(prompt.ids)} tokens and up to {more} are to follow, but the model's context holds "
                f"{self._lean.context}. Shorten the history or the question, show fewer pictures or precedents."
            )


def _common(held: Sequence[str | int], wanted: Sequence[str | int]) -> int:
    """How many first tokens agree, in whole blocks."""
    common = 0
    while common < min(len(held), len(wanted)) and held[common : common + BLOCK] == wanted[common : common + BLOCK]:
        common += BLOCK
    return common


def _groups(options: Sequence[Sequence[int]]) -> Iterator[list[Sequence[int]]]:
    """The options in order, in groups whose tokens fit into one pass."""
    group: list[Sequence[int]] = []
    for option in options:
        if group and sum(map(len, group)) + len(option) > _BRANCH_TOKENS:
            yield group
            group = []
        group.append(option)
    yield group
