"""A quantised GGUF file of the Llama family becomes an ordinary Llama checkpoint in bfloat16, with its tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from consilium.weights import checkpoint

if TYPE_CHECKING:
    import torch

_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_INNER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def convert(original: Path, out: Path) -> None:
    """Reads the one ``*.gguf`` of `original`; writes config.json, model.safetensors and the tokenizer with its chat template.

    bfloat16 holds 4-bit weights well: it halves the folder and picks the same next token as float32.
    """
    import torch
    from gguf import GGUFReader, dequantize
    from transformers import AutoTokenizer, LlamaForCausalLM

    (quantised,) = original.glob("*.gguf")
    reader = GGUFReader(quantised)
    tokenizer = AutoTokenizer.from_pretrained(original, gguf_file=quantised.name)
    config = _config(reader, tokenizer)
    tensors = {}
    for stored in reader.tensors:
        tensor = torch.tensor(dequantize(stored.data, stored.tensor_type))
        name = _hub_name(stored.name)
        if name.endswith("q_proj.weight"):
            tensor = _rotary_halves(tensor, config.num_attention_heads)
        elif name.endswith("k_proj.weight"):
            tensor = _rotary_halves(tensor, config.num_key_value_heads)
        tensors[name] = tensor.to(torch.bfloat16)
    config.tie_word_embeddings = "lm_head.weight" not in tensors
    checkpoint.write(out, LlamaForCausalLM, config, tensors)
    tokenizer.save_pretrained(out)


def _hub_name(name: str) -> str:
    """``blk.3.attn_q.weight`` -> ``model.layers.3.self_attn.q_proj.weight``."""
    if name.startswith("blk."):
        _, layer, part, kind = name.split(".")
        return f"model.layers.{layer}.{_INNER[part]}.{kind}"
    part, kind = name.split(".")
    return f"{_OUTER[part]}.{kind}"


def _rotary_halves(matrix: torch.Tensor, heads: int) -> torch.Tensor:
    """GGUF interleaves the two halves of each head's rotary pairs; transformers keeps them apart."""
    rows, columns = matrix.shape
    return matrix.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _config(reader: Any, tokenizer: Any) -> Any:
    from transformers import LlamaConfig

    def field(name: str) -> Any:
        return reader.fields[f"llama.{name}"].contents()

    return LlamaConfig(
        vocab_size=field("vocab_size"),
        hidden_size=field("embedding_length"),
        intermediate_size=field("feed_forward_length"),
        num_hidden_layers=field("block_count"),
        num_attention_heads=field("attention.head_count"),
        num_key_value_heads=field("attention.head_count_kv"),
        max_position_embeddings=field("context_length"),
        rms_norm_eps=field("attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": field("rope.freq_base")},
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="bfloat16",
    )
