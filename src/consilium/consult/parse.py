"""From a generalist's words to one of the options, or to nothing: an answer is never guessed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_LEAD = re.compile(
    r"^(?:(?:the\s+)?(?:final\s+|correct\s+)?(?:answer|diagnosis|option|response)\s*(?:is|:|-)\s*)+", re.I
)
# What takes back the option that stands before it.
_DENIED = re.compile(
    r"^(?:no$|no[,.;] |(?:(?:is|was|has been) )?(?:absent|unlikely|improbable|ruled out|excluded|negative|denied|"
    r"not (?:present|seen|likely|shown|visible|evident|found))\b)"
)
_BULLET = re.compile(r"^\s*(?:[-*\u2022]|\d{1,2}[.)])\s+")


def normalise(text: str) -> str:
    """Lower case, one space between words, no surrounding punctuation, hyphens and underscores as spaces."""
    return re.sub(r"\s+", " ", re.sub(r"[_\-]", " ", text.casefold())).strip(" \t\n.,;:!?\"'`*()[]")


def choices(text: str, options: Sequence[str], none: str) -> tuple[str, ...] | None:
    """The options that `text` lists, in their order; (`none`,) where it lists that alone. The list stands on the first line, or
    an item a line. None where any part of it is no option: half an answer is not taken for the whole."""
    wanted = {normalise(option): option for option in (*options, none)}
    if len(wanted) <= len(options):
        return None
    lines = [line for line in text.splitlines() if normalise(line)]
    listed = [_listed(line, wanted) for line in lines]
    whole = listed if _BULLET.match(text.strip()) or all(None not in said for said in listed[1:]) else listed[:1]
    said = set().union(*whole)
    if not said or None in said:
        return None
    return tuple(option for option in options if option in said) or (none,)


def _listed(line: str, wanted: Mapping[str, str]) -> set[str | None]:
    """The options in one line, None among them for whatever is none. An option that holds a comma or an "and" is one option."""
    found: set[str | None] = set()
    body = _LEAD.sub("", _BULLET.sub("", line.strip()))
    if normalise(body) in wanted:
        return {wanted[normalise(body)]}
    for part in re.split(r"[,;|]", body):
        if normalise(part) in wanted or not normalise(part):
            found |= {wanted[normalise(part)]} if normalise(part) else set()
        else:
            found |= {
                wanted.get(normalise(_LEAD.sub("", p.strip()))) for p in re.split(r"\band\b", part) if normalise(p)
            }
    return found


def choice(text: str, options: Sequence[str]) -> str | None:
    """The option that `text` states: its whole, its first line, or its first sentence equals one, after normalising and
    after a lead such as "The answer is". A text that merely mentions an option ("no pneumonia"), asks for it ("pneumonia? no")
    or takes it back ("pneumonia, unlikely") states none."""
    wanted = {normalise(option): option for option in options}
    if len(wanted) < len(options):
        return None
    body = text.strip()
    first_line = body.splitlines()[0] if body else ""
    sentence, *more = re.split(r"(?<=[.;!?])\s|,\s", first_line, maxsplit=1)
    taken_back = bool(more) and (sentence.endswith("?") or bool(_DENIED.match(normalise(more[0]))))
    for part in (body, first_line, *([] if taken_back else [sentence])):
        said = normalise(_LEAD.sub("", part.strip()))
        if said in wanted:
            return wanted[said]
    return None
