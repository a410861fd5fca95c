"""echo: a generalist without weights or knowledge. It repeats what the prompt names most often; for docs, demos and tests."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from consilium.errors import UsageError
from consilium.protocols import Card
from consilium.types import Completion, Message

CARD = Card(
    kind="generalist",
    name="echo",
    version="1",
    summary="Has no weights and no knowledge: names the option that the prompt mentions most often, or repeats its question.",
    licence="Apache-2.0",
    not_for=("any use on patients: it repeats evidence and weighs nothing", "a baseline of medical skill"),
)
_OPTIONS = re.compile(r"(?:^Options:|possible diagnoses are:) (.+?)\.(?:\s|$)", re.MULTILINE)


def load() -> Echo:
    """The generalist; there is nothing to load."""
    return Echo()


@dataclass(frozen=True)
class Echo:
    """A pure function of the prompt's text: image parts are not looked at, the same prompt gives the same reply."""

    card: Card = CARD
    sees_images: bool = False

    def generate(self, messages: Sequence[Message], max_tokens: int = 128) -> Completion:
        """The option that the prompt mentions most often, the first of those with as many; a token is a word.

        The options stand in the prompt as ``Options: a, b.`` or ``possible diagnoses are: 'a', 'b'.``; a prompt without
        them is answered by the last line of its last message.
        """
        if max_tokens < 1:
            raise UsageError(f"max_tokens is {max_tokens}; ask for at least 1 token.")
        listed = _OPTIONS.search(_text(messages))
        if listed:
            options = [option.strip("'\"") for option in listed.group(1).split(", ")]
            counts = _mentions(_text(messages), options)
            reply = options[counts.index(max(counts))]
        else:
            reply = messages[-1].text.strip().rpartition("\n")[2] if messages else ""
        words = reply.split()[:max_tokens]
        return Completion(" ".join(words), len(words))

    def score(self, messages: Sequence[Message], options: Sequence[str]) -> tuple[float, ...]:
        """log((1 + mentions of the option) / (the sum of that over all options)): the numbers' exponentials sum to one."""
        if not options or not all(option.strip() for option in options):
            raise UsageError(f"score needs options with text in them; found {list(options)}.")
        weights = [1 + count for count in _mentions(_text(messages), options)]
        return tuple(math.log(weight / sum(weights)) for weight in weights)


def _text(messages: Sequence[Message]) -> str:
    return "\n".join(message.text for message in messages)


def _mentions(text: str, options: Sequence[str]) -> list[int]:
    """How often each option stands in `text` as whole words, whatever the case.

    A mention counts for the longest option that it matches: "no nodule" is no mention of "nodule".
    """
    longest_first = sorted({option.lower() for option in options}, key=len, reverse=True)
    pattern = "|".join(map(re.escape, longest_first))
    found = re.findall(rf"(?<!\w)(?:{pattern})(?!\w)", text.lower())
    return [found.count(option.lower()) for option in options]
