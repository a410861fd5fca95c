"""Tiny random checkpoints, written as the real ones are: network, tokenizer, processor, chat template."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPVisionConfig,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

SENTENCES = (
    "Question: what does the image show? Options: pneumonia, effusion, no finding. Answer with one option only.",
    "Specialist chest says: pneumonia 91 %, effusion 12 %. History: cough and fever for three days.",
    "USER: system user assistant ASSISTANT: The answer is nodule, mass or large pleural effusion.",
)
TEMPLATE = (
    "{% for message in messages %}<|turn|>{{ message['role'] }}\n{% if message['content'] is string %}"
    "{{ message['content'] }}{% else %}{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)
_SPECIAL = ["<pad>", "<|end|>", "<|turn|>", "<image>"]


def tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """Byte-level BPE of a few hundred tokens: words have different lengths, any text can be written."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=340, special_tokens=_SPECIAL, initial_alphabet=alphabet)
    core.train_from_iterator(SENTENCES, trainer)
    special = {"pad_token": "<pad>", "eos_token": "<|end|>", "extra_special_tokens": ["<|turn|>", "<image>"]}
    made = PreTrainedTokenizerFast(tokenizer_object=core, **special)
    made.chat_template = template
    return made


def text_config(made: PreTrainedTokenizerFast, context: int = 2048) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(made),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        # Spread wide, so that a random network prefers some tokens clearly.
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=made.eos_token_id,
        pad_token_id=made.pad_token_id,
    )


def write_llama(folder: Path, context: int = 2048) -> Path:
    made = tokenizer()
    torch.manual_seed(0)
    LlamaForCausalLM(text_config(made, context)).save_pretrained(folder)
    made.save_pretrained(folder)
    return folder


def write_llava(folder: Path, template: str | None = TEMPLATE) -> Path:
    made = tokenizer(template)
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text_config(made),
        image_token_id=made.convert_tokens_to_ids("<image>"),
        image_seq_length=4,
        vision_feature_layer=-1,
    )
    images = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    torch.manual_seed(0)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    LlavaProcessor(
        images,
        made,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    ).save_pretrained(folder)
    return folder


def write_idefics3(folder: Path) -> Path:
    made = tokenizer()
    images = Idefics3ImageProcessorPil(
        size={"longest_edge": 64}, max_image_size={"longest_edge": 32}, do_image_splitting=True
    )
    processor = Idefics3Processor(images, made, image_seq_len=4, chat_template=TEMPLATE)
    config = Idefics3Config(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 8,
        },
        text_config=text_config(made).to_dict(),
        scale_factor=2,
        image_token_id=processor.image_token_id,
        pad_token_id=made.pad_token_id,
    )
    torch.manual_seed(0)
    Idefics3ForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
