"""smollm2: SmolLM2-135M-Instruct, a small language model that runs on any CPU. It reads the written evidence; no pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consilium.protocols import Card
from consilium.types import Completion, Message

if TYPE_CHECKING:
    from consilium.nn.likelihood import Inputs
    from consilium.nn.pretrained import Precision

WEIGHTS = "smollm2-135m-instruct"
CARD = Card(
    kind="generalist",
    name="smollm2",
    version="135m-instruct",
    summary="SmolLM2-135M-Instruct: 135 million parameters, text only, 8192 tokens of context. It repeats and rewords the "
    "evidence it is shown; it has next to no medical knowledge of its own.",
    trained_on={
        "SmolTalk and UltraFeedback, after 2 trillion tokens of web text, by its publisher": "Apache-2.0 (model)"
    },
    licence="Apache-2.0",
    not_for=("reading images", "medical knowledge that the prompt does not state", "any use on patients by itself"),
)


def load(folder: str | Path | None = None, device: str = "auto", dtype: Precision = "auto") -> SmolLM2:
    """The model, from the named weights (fetched once) or from `folder`, a Llama checkpoint with tokenizer and chat template.

    dtype  "auto" (bfloat16 where the processor computes in it, else float32), "bfloat16", "float16" or "float32".
    Raises WeightsMissingError where there are no weights, WeightsError where they are incomplete.
    """
    from transformers import AutoTokenizer, LlamaForCausalLM

    from consilium import weights
    from consilium.nn.pretrained import explained, load_model, pick_device, pick_dtype

    source = str(folder if folder is not None else weights.folder(WEIGHTS))
    device = pick_device(device)
    model = load_model(LlamaForCausalLM, source, device=device, dtype=pick_dtype(dtype, device), offline=True)
    with explained(source, offline=True):
        tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
    return SmolLM2(model, tokenizer)


@dataclass(frozen=True)
class SmolLM2:
    """Replies to the text of the messages; image parts are not sent."""

    model: Any
    tokenizer: Any
    card: Card = CARD
    sees_images: bool = False

    def generate(self, messages: Sequence[Message], max_tokens: int = 128) -> Completion:
        from consilium.nn.likelihood import complete

        return complete(self.model, self.tokenizer, self._inputs(messages), max_tokens)

    def score(self, messages: Sequence[Message], options: Sequence[str]) -> tuple[float, ...]:
        from consilium.nn.likelihood import rate

        return rate(self.model, self.tokenizer, self._inputs(messages), options)

    def _inputs(self, messages: Sequence[Message]) -> Inputs:
        # Control tokens that a report or a question happens to spell stay plain text.
        encoded = self.tokenizer.apply_chat_template(
            [{"role": message.role, "content": message.text} for message in messages],
            add_generation_prompt=True,
            sanitize_control_tokens=True,
            return_dict=True,
            return_tensors="pt",
        )
        return {"input_ids": encoded["input_ids"].to(self.model.device)}
