"""The native generalist's network: a CLIP vision tower, a projector and a small language model as one ordinary LLaVA.

Nothing here is custom at load time: the folder that `save` writes is read by transformers alone, with
``LlavaForConditionalGeneration.from_pretrained`` and ``AutoProcessor.from_pretrained``.
Architecture: Liu et al., Visual Instruction Tuning (arXiv 2304.08485); staged at a small size as in LLaVA-Rad (arXiv 2403.08002).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from consilium.errors import WeightsError
from consilium.nn.pretrained import explained, load_model

IMAGE_TOKEN = "<image>"
PAD_VOCABULARY_TO = 64
# No system message of its own, unlike the language model's template: what a policy says is all that is said.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>' }}"
    "{% else %}{{ ('' if loop.first else '\n') + part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def build(
    vision_folder: str | Path, language_folder: str | Path, layer: int = 9, activation: str = "gelu"
) -> tuple[Any, Any]:
    """(LlavaForConditionalGeneration in float32, LlavaProcessor) from a CLIP vision folder and a Llama folder.

    layer       hidden layer of the vision tower that is shown, 1 to its depth; what lies above is left out of the checkpoint.
    activation  between the two layers of the projector.
    The projector and the embedding of the image token are new: drawn from the global torch seed. Raises WeightsError where
    the tokenizer does not write ChatML.
    """
    from transformers import (
        AutoTokenizer,
        CLIPVisionModelWithProjection,
        LlamaForCausalLM,
        LlavaConfig,
        LlavaForConditionalGeneration,
    )

    from consilium.nn.vision import keep_layers

    tower = load_model(
        CLIPVisionModelWithProjection, str(vision_folder), device="cpu", dtype=torch.float32, offline=True
    ).vision_model
    language = load_model(LlamaForCausalLM, str(language_folder), device="cpu", dtype=torch.float32, offline=True)
    with explained(str(language_folder), offline=True):
        tokenizer = AutoTokenizer.from_pretrained(str(language_folder), local_files_only=True)
    _demand_chatml(tokenizer, str(language_folder))
    tokenizer.add_tokens([_special(IMAGE_TOKEN)], special_tokens=True)
    language.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=PAD_VOCABULARY_TO, mean_resizing=False)
    tower.encoder.layers = keep_layers(tower.encoder.layers, layer)
    vision_config = tower.config
    vision_config.num_hidden_layers = layer
    for part in (vision_config, language.config):
        part._name_or_path = ""  # a folder of this machine, which is nobody else's business
    config = LlavaConfig(
        vision_config=vision_config,
        text_config=language.config,
        image_token_index=tokenizer.get_vocab()[IMAGE_TOKEN],
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_seq_length=tokens_per_image(vision_config),
        projector_hidden_act=activation,
        tie_word_embeddings=language.config.tie_word_embeddings,
        dtype="float32",
    )
    model = LlavaForConditionalGeneration(config)
    _fill(model.model.vision_tower, tower)
    model.model.language_model.load_state_dict(language.model.state_dict())
    model.lm_head.load_state_dict(language.lm_head.state_dict())
    model.tie_weights()
    model.generation_config = language.generation_config
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    return model.eval(), processor(tokenizer, vision_config)


def processor(tokenizer: Any, vision_config: Any) -> Any:
    """The LlavaProcessor: pictures squashed to the square as the shared encoder sees them, and the chat template."""
    from transformers import LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    side = {"height": vision_config.image_size, "width": vision_config.image_size}
    pictures = CLIPImageProcessorPil(size=side, do_center_crop=False, crop_size=side, resample=3)
    return LlavaProcessor(
        image_processor=pictures,
        tokenizer=tokenizer,
        patch_size=vision_config.patch_size,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=1,
        image_token=IMAGE_TOKEN,
        chat_template=CHAT_TEMPLATE,
    )


def save(model: Any, processor: Any, out: str | Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Writes an ordinary checkpoint folder in `dtype`: config.json, model.safetensors, tokenizer and processor files."""
    model.config.dtype = dtype
    model.to(dtype).save_pretrained(out, safe_serialization=True)
    processor.save_pretrained(out)


def load(folder: str | Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """(model, processor) of a checkpoint folder, in evaluation mode; raises what `pretrained.load_model` raises."""
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    model = load_model(LlavaForConditionalGeneration, str(folder), device=device, dtype=dtype, offline=True)
    with explained(str(folder), offline=True):
        reader = AutoProcessor.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
    return model, reader


def tokens_per_image(vision_config: Any) -> int:
    """[CLS] and one token a patch."""
    return int((vision_config.image_size // vision_config.patch_size) ** 2 + 1)


def _demand_chatml(tokenizer: Any, folder: str) -> None:
    """WeightsError where a turn's begin and end are no tokens of their own, or the end is not what ends a reply."""
    turns = {text: tokenizer.encode(text, add_special_tokens=False) for text in ("<|im_start|>", "<|im_end|>")}
    cut = [text for text, ids in turns.items() if len(ids) != 1]
    if cut or turns["<|im_end|>"] != [tokenizer.eos_token_id]:
        raise WeightsError(
            f"the language model in {folder} does not write ChatML: {', '.join(cut) or '<|im_end|>'} "
            f"{'is no token of it' if cut else 'does not end its reply'}. Take one that was tuned to it, as SmolLM2-Instruct was."
        )


def _special(text: str) -> Any:
    from transformers import AddedToken

    return AddedToken(text, normalized=False, special=True)


def _fill(target: torch.nn.Module, source: torch.nn.Module) -> None:
    """Copies every tensor of the tower; the class around it differs between transformers' CLIP models, the names do not."""
    wanted = target.state_dict()
    prefix = "vision_model." if any(name.startswith("vision_model.") for name in wanted) else ""
    target.load_state_dict({f"{prefix}{name}": tensor for name, tensor in source.state_dict().items()})
