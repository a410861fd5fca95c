"""A prompt with pictures as the tokens that a LLaVA reads: its chat template written out, each picture at its places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

from consilium.errors import UsageError
from consilium.types import Image, Message


@dataclass(frozen=True, eq=False)
class Prompt:
    """Token ids, and each picture with the place of its first token; a picture takes `tokens_per_image` places."""

    ids: tuple[int, ...]
    images: tuple[tuple[int, Image], ...]
    tokens_per_image: int

    @property
    def keys(self) -> tuple[str | int, ...]:
        """What decides each token's reading: its id, or the digest of the picture whose place it is."""
        keys: list[str | int] = list(self.ids)
        for first, image in self.images:
            keys[first : first + self.tokens_per_image] = [image.digest] * self.tokens_per_image
        return tuple(keys)


class Writer:
    """Writes messages as prompts with the processor of a LLaVA, as transformers' own processor does. Threads may share it:
    whether special tokens are obeyed is a state of the tokenizer, so that they wait for one another."""

    def __init__(self, processor: Any, tokens_per_image: int) -> None:
        self._processor = processor
        self._tokenizer = processor.tokenizer
        self._lock = Lock()
        self._image = self._tokenizer.convert_tokens_to_ids(processor.image_token)
        self._tokens_per_image = tokens_per_image

    def prompt(self, messages: Sequence[Message]) -> Prompt:
        """The prompt up to the reply; UsageError where a text spells a control token."""
        refuse_control_tokens(self._tokenizer, messages)
        turns = [{"role": message.role, "content": _content(message)} for message in messages]
        text = self._processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        pictures = iter([part for message in messages for part in message.parts if isinstance(part, Image)])
        ids: list[int] = []
        images: list[tuple[int, Image]] = []
        with self._lock:
            written = self._tokenizer.encode(text, add_special_tokens=False)
        for token in written:
            if token == self._image:
                images.append((len(ids), next(pictures)))
            ids += [token] * (self._tokens_per_image if token == self._image else 1)
        return Prompt(tuple(ids), tuple(images), self._tokens_per_image)

    def reply(self, text: str) -> tuple[int, ...]:
        """The tokens of a whole reply: its text, where nothing is obeyed, and the end of the turn."""
        with self._lock:
            written = self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        return (*written, self._tokenizer.eos_token_id)

    @property
    def stops(self) -> frozenset[int]:
        """What ends a reply."""
        return frozenset({self._tokenizer.eos_token_id})

    def text(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=True).strip()


def refuse_control_tokens(tokenizer: Any, messages: Sequence[Message]) -> None:
    """UsageError on a text that spells the end of a turn, or a picture: it would be read as one."""
    control = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    text = "\n".join(message.text for message in messages)
    found = sorted(token for token in control if token in text)
    if found:
        raise UsageError(f"the text holds {', '.join(found)}, which this checkpoint obeys. Take it out of the text.")


def _content(message: Message) -> list[dict[str, str]]:
    return [{"type": "text", "text": part} if isinstance(part, str) else {"type": "image"} for part in message.parts]
