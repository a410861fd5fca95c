"""Where a LLaVA looked: relevance of a reply over the patches of the prompt's pictures, as gradient times input.

The log-probability of a reply changes by about the sum over the picture's tokens of (gradient x embedding) when the picture is
taken away: each patch's share of that sum is its relevance. One forward and one backward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Any

import torch

from consilium.errors import UsageError
from consilium.nn.branches import given, predictions, tree
from consilium.nn.denormals import flushed_denormals
from consilium.nn.eyes import Eyes
from consilium.nn.prompt_tokens import Prompt
from consilium.types import Region


class Gradients:
    """Relevance by a LlavaForConditionalGeneration and the eyes that see for it."""

    def __init__(self, model: Any, eyes: Eyes) -> None:
        self._model = model.requires_grad_(False)
        self._eyes = eyes

    def regions(
        self, prompt: Prompt, reply: Sequence[int], others: Sequence[Sequence[int]], mean: bool
    ) -> tuple[Region, ...]:
        """One Region for each picture of the prompt: the positive relevance of its patches, over the largest of all of them.

        reply   token ids of what was answered; with `others` it is the log of its share among them all that is explained.
        mean    whether a reply is rated by the mean of its tokens' log-probabilities, else by their sum.
        """
        if not prompt.images:
            return ()
        raised = self._relevance(prompt, [reply, *others], mean)
        grids = [self._grid(raised[first : first + prompt.tokens_per_image]) for first, _ in prompt.images]
        peak = max(float(grid.max()) for grid in grids)
        scaled = [(grid / peak if peak > 0 else grid).cpu().numpy() for grid in grids]
        return tuple(Region(grid, image.uid) for grid, (_, image) in zip(scaled, prompt.images, strict=True))

    def _grid(self, raised: torch.Tensor) -> torch.Tensor:
        """Tokens of one picture -> (rows, columns), without the [CLS] token, which stands for no place."""
        side = isqrt(len(raised))
        return raised[len(raised) - side * side :].view(side, side).clamp(min=0)

    @flushed_denormals()
    def _relevance(self, prompt: Prompt, replies: Sequence[Sequence[int]], mean: bool) -> torch.Tensor:
        """(n,) gradient times input at each token of the prompt, float32."""
        network, device = self._model.model.language_model, self._model.device
        end = len(prompt.ids)
        if end + max(map(len, replies)) > network.config.max_position_embeddings:
            raise UsageError(
                f"the prompt's {end} tokens and the reply do not fit into the context; shorten the prompt."
            )
        tokens = network.embed_tokens(torch.tensor([*prompt.ids, *given(replies)], device=device))
        for first, image in prompt.images:
            tokens[first : first + prompt.tokens_per_image] = self._eyes.see(image)
        tokens = tokens.clone().requires_grad_()
        places, mask = tree(0, end, [len(reply) - 1 for reply in replies], device)
        with torch.enable_grad():
            hidden = network(
                inputs_embeds=tokens[None],
                attention_mask=None if mask is None else mask[None, None],
                position_ids=places[None],
                use_cache=False,
            ).last_hidden_state[0, end - 1 :]
            logprobs = self._model.lm_head(hidden).float().log_softmax(-1)
            (gradient,) = torch.autograd.grad(_target(logprobs, replies, mean), tokens)
        return (gradient.float() * tokens.detach().float()).sum(-1)


def _target(logprobs: torch.Tensor, replies: Sequence[Sequence[int]], mean: bool) -> torch.Tensor:
    """The log-likelihood of the first reply, less the log of the sum of all where there are others."""
    rated = []
    for rows, wanted in predictions(replies):
        chosen = logprobs[rows, wanted]
        rated.append(chosen.mean() if mean else chosen.sum())
    return rated[0] if len(rated) == 1 else rated[0] - torch.stack(rated).logsumexp(0)
