"""From a generalist's words to one of the options, or to nothing: an answer is never guessed."""

from __future__ import annotations

import re
from collections.abc import Sequence

_LEAD = re.compile(
    r"^(?:(?:the\s+)?(?:final\s+|correct\s+)?(?:answer|diagnosis|option|response)\s*(?:is|:|-)\s*)+", re.I
)


def normalise(text: str) -> str:
    """Lower case, one space between words, no surrounding punctuation, hyphens and underscores as spaces."""
    return re.sub(r"\s+", " ", re.sub(r"[_\-]", " ", text.casefold())).strip(" \t\n.,;:!?\"'`*()[]")


def choices(text: str, options: Sequence[str], none: str) -> tuple[str, ...] | None:
    """The options that `text` lists, in their order; (`none`,) where it lists that alone. None where any part of the list is no
    option: half an answer is not taken for the whole."""
    wanted = {normalise(option): option for option in (*options, none)}
    body = text.strip().splitlines()[0] if text.strip() else ""
    parts = [normalise(_LEAD.sub("", part.strip())) for part in re.split(r"[,;|]|\band\b", body)]
    said = {wanted.get(part) for part in parts if part}
    if not said or None in said or len(wanted) <= len(options):
        return None
    return tuple(option for option in options if option in said) or (none,)


def choice(text: str, options: Sequence[str]) -> str | None:
    """The option that `text` states: its whole, its first line, or its first sentence equals one, after normalising and
    after a lead such as "The answer is". A text that merely mentions an option ("no pneumonia") states none."""
    wanted = {normalise(option): option for option in options}
    if len(wanted) < len(options):
        return None
    body = text.strip()
    first_line = body.splitlines()[0] if body else ""
    sentence = re.split(r"(?<=[.;!?])\s|,\s", first_line, maxsplit=1)[0]
    for part in (body, first_line, sentence):
        said = normalise(_LEAD.sub("", part.strip()))
        if said in wanted:
            return wanted[said]
    return None
