"""Tiny random base networks in the real ones' form (CLIP tower; Llama whose tokenizer writes ChatML), and shards over them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

WORDS = (
    "system user assistant\nImage: head MR.\nQuestion: What is it? Options: glioma, notumor. Answer with one option only.",
    "You are a physician who leads a council. pneumonia normal yes no bacterial viral chest X-ray",
)
CHANNELS, PATCHES = 32, 4


def write_bases(folder: Path) -> tuple[Path, Path]:
    """(vision folder, language folder)."""
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=CHANNELS,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
        projection_dim=16,
    )
    CLIPVisionModelWithProjection(vision).save_pretrained(folder / "vision")
    made = _tokenizer()
    config = LlamaConfig(
        vocab_size=len(made),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        # Wide, so that logits over frozen random embeddings can become sure.
        initializer_range=0.3,
        bos_token_id=made.bos_token_id,
        eos_token_id=made.eos_token_id,
        pad_token_id=made.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder / "language")
    made.save_pretrained(folder / "language")
    return folder / "vision", folder / "language"


def _tokenizer() -> PreTrainedTokenizerFast:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    core.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        WORDS, trainers.BpeTrainer(vocab_size=330, special_tokens=special, initial_alphabet=alphabet)
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
    )


def group(number: int, answer: str, split: str = "train") -> dict[str, Any]:
    """A group of one picture with a closed question and an open one."""
    other = "notumor" if answer == "glioma" else "glioma"
    options = ", ".join([answer, other] if number % 2 else [other, answer])
    asked = f"Image: head MR.\nQuestion: What is it?\nOptions: {options}. Answer with one option only."
    return {
        "id": f"tiny/{number}",
        "dataset": "tiny" if number % 3 else "rare",
        "licence": "CC0",
        "split": split,
        "images": [{"path": f"tiny/{number}.png", "digest": f"{number:064x}"}],
        "system": "You are a physician who leads a council.",
        "branches": [
            {"kind": "diagnosis", "synthetic": False, "messages": [["user", asked], ["assistant", answer]]},
            {
                "kind": "vqa",
                "synthetic": False,
                "messages": [["user", "Image: medical.\nQuestion: yes?"], ["assistant", "no"]],
            },
        ],
    }


def groups(count: int = 24) -> list[dict[str, Any]]:
    return [group(i, ("glioma", "notumor")[i % 2], "val" if i % 6 == 5 else "train") for i in range(count)]


def write_shards(folder: Path, stage: str, made: list[dict[str, Any]]) -> Path:
    place = folder / stage
    place.mkdir(parents=True, exist_ok=True)
    content = "".join(json.dumps(g) + "\n" for g in made).encode()
    (place / "shard-00000.jsonl").write_bytes(content)
    shard = {"name": "shard-00000.jsonl", "sha256": hashlib.sha256(content).hexdigest(), "groups": len(made)}
    (place / "manifest.json").write_text(json.dumps({"complete": True, "shards": [shard]}), encoding="utf-8")
    return folder


def tokens_of(digest: str) -> torch.Tensor:
    """Visual tokens (1 + PATCHES, CHANNELS) that tell the two diagnoses apart, another for each picture."""
    number = int(digest, 16)
    draw = torch.Generator().manual_seed(number)
    sign = 1.0 if number % 2 else -1.0
    return torch.randn(1 + PATCHES, CHANNELS, generator=draw) * 0.5 + sign * torch.linspace(-1, 1, CHANNELS)
