"""A native generalist of toy size, made as the real one is: two base folders, an adapter, and the checkpoint of the three."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tests.generalists import tiny
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, LlamaForCausalLM, PreTrainedTokenizerFast

from consilium.nn.adapter import Adapter, write_adapter
from consilium.types import Image, Message
from consilium.weights import convert_native

LAYER, PATCHES = 2, 4


@dataclass(frozen=True)
class Made:
    vision: Path
    language: Path
    adapter: Path
    checkpoint: Path


def write(folder: Path) -> Made:
    """The bases, an adapter that changes every kind of tensor, and the checkpoint, each in its place under `folder`."""
    made = Made(folder / "vision", folder / "language", folder / "adapter.safetensors", folder / "checkpoint")
    write_bases(made)
    write_adapter(drawn_adapter(), made.adapter)
    convert_native.convert([made.vision, made.language], made.adapter, made.checkpoint)
    return made


def write_bases(made: Made) -> None:
    torch.manual_seed(0)
    sight = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2, image_size=28, patch_size=14
    )
    CLIPVisionModelWithProjection(sight).save_pretrained(made.vision)
    words = tokenizer()
    config = tiny.text_config(words)
    config.tie_word_embeddings = True
    # The model learns nothing here, so sharp and varied guesses come from wide weights.
    LlamaForCausalLM(config).save_pretrained(made.language)
    words.save_pretrained(made.language)


def drawn_adapter(seed: int = 1) -> Adapter:
    torch.manual_seed(seed)
    layers = "model.language_model.layers"
    return Adapter(
        projector={
            "linear_1.weight": torch.randn(32, 32) * 0.3,
            "linear_1.bias": torch.randn(32) * 0.3,
            "linear_2.weight": torch.randn(32, 32) * 0.3,
            "linear_2.bias": torch.randn(32) * 0.3,
        },
        lora={
            f"{layers}.0.self_attn.q_proj": (torch.randn(2, 32) * 0.2, torch.randn(32, 2) * 0.2),
            f"{layers}.1.mlp.down_proj": (torch.randn(2, 64) * 0.2, torch.randn(32, 2) * 0.2),
        },
        scale=2.0,
        layer=LAYER,
    )


def tokenizer() -> PreTrainedTokenizerFast:
    """ChatML turns, as SmolLM2 has them; the image token is added when the checkpoint is built."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=340, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    core.train_from_iterator(tiny.SENTENCES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<|pad|>", eos_token="<|im_end|>", extra_special_tokens=["<|im_start|>"]
    )


def picture(seed: int = 1) -> Image:
    pixels = np.random.default_rng(seed).integers(0, 4096, (40, 60)).astype(np.int16)
    return Image(pixels, f"u{seed}")


def ask(text: str = "Question: what does the image show?", *images: Image, cards: str = "") -> tuple[Message, ...]:
    """A prompt as `consult` writes one: a system message, the pictures, the text."""
    return (
        Message("system", (f"You are a physician who weighs evidence. {cards}",)),
        Message("user", (*(images or (picture(),)), text)),
    )
