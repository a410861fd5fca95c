"""hf: any image-text-to-text checkpoint of the transformers library, from a folder or the hub; text-only ones as well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consilium.errors import MemberError, UsageError
from consilium.imaging.picture import VIEWS
from consilium.imaging.slices import check_count
from consilium.nn.prompt_tokens import refuse_control_tokens
from consilium.protocols import Card
from consilium.types import Completion, Image, Message

if TYPE_CHECKING:
    from consilium.nn.likelihood import Inputs
    from consilium.nn.pretrained import Precision

CARD = Card(
    kind="generalist",
    name="hf",
    version="1",
    summary="Any image-text-to-text checkpoint of the transformers library (LLaVA, Idefics, Qwen-VL, MedGemma ...), or a "
    "text-only one, from a folder or a hub id. Its skill and its licence are those of the checkpoint.",
    licence="as the checkpoint states",
    not_for=("checkpoints that bring their own code: it is never run",),
)


def load(
    model: str | Path | None = None,
    device: str = "auto",
    dtype: Precision = "auto",
    slices: int = VIEWS,
    windows: bool = False,
) -> HuggingFace:
    """The checkpoint `model`: a folder or a hub id. Safetensors only; fetches nothing where CONSILIUM_OFFLINE is set.

    It sees images if it comes with an image processor; without one it is loaded as a text-only language model.

    slices   of a volume it is shown so many, 1 to 85.
    windows  CT in three windows at once as red, green and blue, for a checkpoint that learnt it so (MedGemma 1.5).

    Raises UsageError without `model` or with too many slices, WeightsMissingError, WeightsError, or MemberError on an unknown
    architecture.
    """
    check_count(slices)
    if not model:
        raise UsageError("hf needs a checkpoint: model=FOLDER or model=HUB_ID (on the command line --model).")
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor

    from consilium.nn.pretrained import explained, load_model, pick_device, pick_dtype
    from consilium.settings import settings

    source, offline, device = str(model), settings().offline, pick_device(device)
    with explained(source, offline):
        processor = AutoProcessor.from_pretrained(source, trust_remote_code=False, local_files_only=offline)
    sees_images = hasattr(processor, "image_processor")
    architecture = AutoModelForImageTextToText if sees_images else AutoModelForCausalLM
    network = load_model(architecture, source, device=device, dtype=pick_dtype(dtype, device), offline=offline)
    version = Path(source).name if Path(source).is_dir() else source
    return HuggingFace(network, processor, replace(CARD, version=version), sees_images, slices, windows)


@dataclass(frozen=True)
class HuggingFace:
    """Replies to the messages as the checkpoint's chat template writes them.

    A checkpoint without a template gets LLaVA's plain form: one line ``USER: parts`` for each message, a picture as the
    processor's image token, a space between the parts, and ``ASSISTANT:`` at the end.
    """

    model: Any
    processor: Any
    card: Card
    sees_images: bool
    slices: int = VIEWS
    windows: bool = False

    def generate(self, messages: Sequence[Message], max_tokens: int = 128) -> Completion:
        from consilium.nn.likelihood import complete

        return complete(self.model, self._tokenizer, self._inputs(messages), max_tokens)

    def score(self, messages: Sequence[Message], options: Sequence[str]) -> tuple[float, ...]:
        from consilium.nn.likelihood import rate

        return rate(self.model, self._tokenizer, self._inputs(messages), options)

    @property
    def _tokenizer(self) -> Any:
        return self.processor.tokenizer if self.sees_images else self.processor

    def _inputs(self, messages: Sequence[Message]) -> Inputs:
        refuse_control_tokens(self._tokenizer, messages)
        encoded = self._templated(messages) if self._template else self._plain(messages)
        device, dtype = self.model.device, self.model.dtype
        return {
            name: tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device)
            for name, tensor in encoded.items()
        }

    @property
    def _template(self) -> str | None:
        """The processor's, else its tokenizer's, where older checkpoints keep it."""
        return self.processor.chat_template or getattr(self._tokenizer, "chat_template", None)

    def _templated(self, messages: Sequence[Message]) -> Any:
        from jinja2 import TemplateError

        try:
            return self._written_by_template(messages)
        except TemplateError:
            pass
        try:  # a template without a system turn: its text goes ahead of the user's
            return self._written_by_template(_without_system(messages))
        except TemplateError as error:
            raise MemberError(
                f"the chat template of {self.card.version} takes no such conversation: {error}."
            ) from error

    def _written_by_template(self, messages: Sequence[Message]) -> Any:
        return self.processor.apply_chat_template(
            [{"role": message.role, "content": self._content(message)} for message in messages],
            chat_template=self._template,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )

    def _content(self, message: Message) -> str | list[dict[str, Any]]:
        if not self.sees_images:
            return message.text
        return [
            {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "image": _picture(part)}
            for part in message.parts
        ]

    def _plain(self, messages: Sequence[Message]) -> Any:
        pictures = [_picture(part) for message in messages for part in message.parts if isinstance(part, Image)]
        lines = [f"{message.role.upper()}: {' '.join(self._written(message))}" for message in messages]
        text = "\n".join([*lines, "ASSISTANT:"])
        if not self.sees_images:
            return self.processor(text, return_tensors="pt")
        return self.processor(text=text, images=pictures or None, return_tensors="pt")

    def _written(self, message: Message) -> list[str]:
        if not self.sees_images:
            return [message.text]
        token = getattr(self.processor, "image_token", None)
        if token is None:
            raise MemberError(
                f"{self.card.version} has neither a chat template nor an image token, so no prompt can be written for it. "
                "Add chat_template.jinja to its folder."
            )
        return [part if isinstance(part, str) else token for part in message.parts]


def _without_system(messages: Sequence[Message]) -> list[Message]:
    """What the system turns say as the beginning of the first turn of the user."""
    said = [message.text for message in messages if message.role == "system"]
    rest = [message for message in messages if message.role != "system"]
    if not said or not rest or rest[0].role != "user":
        return list(messages)
    return [Message("user", ("\n".join(said) + "\n", *rest[0].parts)), *rest[1:]]


def _picture(image: Image) -> Any:
    import PIL.Image

    from consilium.imaging.window import to_display

    return PIL.Image.fromarray(to_display(image))
