"""A Llama read without the library around it: fused matrices, one preallocated cache, rotary tables made once.

The arithmetic is transformers' own, operation by operation, so that the same tokens come out; what is left out is what a
single token spends much of its time on: Python, and weights that are laid out anew for every product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as f

from consilium.errors import MemberError
from consilium.nn.int8 import Int8Linear
from consilium.nn.packed import PackedLinear, can_pack

KNOWN = ("llama", "qwen2")
_GROW = 512


class Cache:
    """Keys and values of one sequence: `store` (layers, 2 * key heads, capacity, head width), keys first. It grows."""

    def __init__(self, layers: int, heads: int, width: int, like: torch.Tensor) -> None:
        self.store = torch.empty(layers, 2 * heads, 0, width, dtype=like.dtype, device=like.device)

    def reserve(self, tokens: int) -> None:
        """Room for `tokens` tokens in all; what is held stays."""
        layers, heads, held, width = self.store.shape
        if tokens <= held:
            return
        room = -(-tokens // _GROW) * _GROW
        grown = self.store.new_empty(layers, heads, room, width)
        grown[:, :, :held] = self.store
        self.store = grown

    def copy_from(self, other: Cache, tokens: int) -> None:
        """Takes over the first `tokens` tokens of another cache."""
        self.reserve(tokens)
        self.store[:, :, :tokens] = other.store[:, :, :tokens]


@dataclass(frozen=True, eq=False)
class _Layer:
    norm: torch.Tensor
    qkv: torch.nn.Module
    out: torch.nn.Module
    norm_after: torch.Tensor
    gate_up: torch.nn.Module
    act: Any
    down: torch.nn.Module


class LeanLlama:
    """The text network of a checkpoint. Reads embedded tokens in any number at once; holds no state but its tables.

    language, head   a LlamaModel of transformers and its output layer. Their weights are shared, or copied where a CPU reads
                     them faster in another layout (`nn.packed`).
    eight_bits       the matrices in 8 bits (`nn.int8`).
    width, context   size of a token's embedding, and how many tokens a prompt and its reply may have.
    """

    def __init__(self, language: Any, head: torch.nn.Linear, eight_bits: bool = False) -> None:
        config = language.config
        if config.model_type not in KNOWN:
            raise MemberError(f"the language model is a {config.model_type}; this engine reads {', '.join(KNOWN)}.")
        self.width, self.context = int(config.hidden_size), int(config.max_position_embeddings)
        self.embed: Any = language.embed_tokens
        how = _int8 if eight_bits else PackedLinear if can_pack(head.weight) else _as_it_is
        # Many rows at once, as options give, go through the embedding, which is there anyway.
        self.head: torch.nn.Module = Int8Linear(head, many=head) if eight_bits else how(head)
        attention = language.layers[0].self_attn
        self._heads, self._key_heads = config.num_attention_heads, config.num_key_value_heads
        self._head_width, self._scale = attention.head_dim, attention.scaling
        self._eps, self._norm = config.rms_norm_eps, language.norm.weight
        self._rotary = language.rotary_emb
        self._tables = self._rotate(_GROW)
        self._layers = [_fused(layer, how) for layer in language.layers]

    @property
    def device(self) -> torch.device:
        return self.embed.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.embed.weight.dtype

    def cache(self) -> Cache:
        return Cache(len(self._layers), self._key_heads, self._head_width, self.embed.weight)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(..., width) -> (..., vocabulary) float32."""
        return self.head(hidden).float()

    def read(
        self, tokens: torch.Tensor, cache: Cache, start: int, places: torch.Tensor, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The last hidden states (n, width) of n embedded tokens (n, width) that follow the `start` cached ones.

        places  (n,) the position of each in its sequence, as the rotary embedding counts.
        mask    (n, start + n) True where a token may look; None: everywhere.
        Their keys and values are written to the cache behind the first `start`.
        """
        n, end = len(tokens), start + len(tokens)
        cache.reserve(end)
        cos, sin = self._turn(places)
        groups = self._heads // self._key_heads
        seen = None if mask is None else mask.repeat(groups, 1)
        hidden = tokens
        for index, layer in enumerate(self._layers):
            mixed = layer.qkv(self._normed(hidden, layer.norm)).view(n, -1, self._head_width)
            turned, values = mixed.split((self._heads + self._key_heads, self._key_heads), 1)
            turned = turned * cos + _half_turned(turned) * sin
            store = cache.store[index]
            store[: self._key_heads, start:end] = turned[:, self._heads :].transpose(0, 1)
            store[self._key_heads :, start:end] = values.transpose(0, 1)
            hidden = hidden + layer.out(self._attend(turned[:, : self._heads], store[:, :end], seen))
            gate, up = layer.gate_up(self._normed(hidden, layer.norm_after)).chunk(2, -1)
            hidden = hidden + layer.down(layer.act(gate) * up)
        return self._normed(hidden, self._norm)

    def _attend(self, queries: torch.Tensor, store: torch.Tensor, seen: torch.Tensor | None) -> torch.Tensor:
        """(n, heads, width of one) queries over the cached -> (n, heads * width of one).

        The heads that share a key head are laid out as further queries of it, so that no key is repeated in memory.
        """
        n, kv, one = len(queries), self._key_heads, self._head_width
        grouped = queries.view(n, kv, -1, one).permute(1, 2, 0, 3).reshape(1, kv, -1, one)
        mixed = f.scaled_dot_product_attention(
            grouped, store[None, :kv], store[None, kv:], attn_mask=seen, scale=self._scale
        )
        return mixed.view(kv, -1, n, one).permute(2, 0, 1, 3).reshape(n, -1)

    def _normed(self, hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        exact = hidden.float()
        exact = exact * torch.rsqrt(exact.pow(2).mean(-1, keepdim=True) + self._eps)
        return weight * exact.to(hidden.dtype)

    def _turn(self, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """cos and sin (n, 1, width of one head) at these places."""
        last = int(places.max())
        if last >= len(self._tables[0]):
            self._tables = self._rotate(-(-(last + 1) // _GROW) * _GROW)
        return self._tables[0][places], self._tables[1][places]

    def _rotate(self, places: int) -> tuple[torch.Tensor, torch.Tensor]:
        cos, sin = self._rotary(self._norm, torch.arange(places, device=self._norm.device)[None])
        return cos[0, :, None], sin[0, :, None]


def _half_turned(x: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, -1)
    return torch.cat((-second, first), -1)


def _fused(layer: Any, how: Callable[[torch.nn.Linear], torch.nn.Module]) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    share = how is _as_it_is
    return _Layer(
        norm=layer.input_layernorm.weight,
        qkv=how(_stacked((attention.q_proj, attention.k_proj, attention.v_proj), share)),
        out=how(attention.o_proj),
        norm_after=layer.post_attention_layernorm.weight,
        gate_up=how(_stacked((mlp.gate_proj, mlp.up_proj), share)),
        act=mlp.act_fn,
        down=how(mlp.down_proj),
    )


def _stacked(parts: Sequence[Any], share: bool) -> torch.nn.Linear:
    """One linear layer that computes them side by side. `share`: their own weights become views of its."""
    biased = parts[0].bias is not None
    rows = [part.out_features for part in parts]
    whole = torch.nn.Linear(parts[0].in_features, sum(rows), bias=biased, device="meta")
    for name in ("weight", "bias") if biased else ("weight",):
        joined = torch.cat([getattr(part, name).data for part in parts])
        setattr(whole, name, torch.nn.Parameter(joined, requires_grad=False))
        for part, view in zip(parts, joined.split(rows), strict=True) if share else ():
            getattr(part, name).data = view
    return whole


def _as_it_is(linear: torch.nn.Linear) -> torch.nn.Module:
    return linear


def _int8(linear: torch.nn.Linear) -> torch.nn.Module:
    return Int8Linear(linear)
