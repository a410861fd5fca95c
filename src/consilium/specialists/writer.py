"""Specialists who write: an image-text-to-text checkpoint of transformers drafts the report that a generalist then weighs.

GSCo's report generation (arXiv 2404.15127) shows the generalist a specialist's report beside those of the nearest cases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from consilium import registry
from consilium.errors import MemberError, UsageError
from consilium.protocols import Card, Generalist
from consilium.specialists.adapter import card as cards
from consilium.specialists.adapter.say import Speaker, pictures
from consilium.types import Case, Message, Opinion

CAUTION = "what it writes was measured by nobody here"
PROMPT = "Write the findings of a radiology report on this picture."
MAX_TOKENS = 200
# What a checkpoint is made of; whatever else lies in its folder (pickles, code) is not copied.
_PARTS = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt")


@dataclass(frozen=True, eq=False)
class Writer:
    """A Specialist. model: a checkpoint that sees pictures; prompt: what it is asked, whatever the council is asked."""

    card: Card
    speaker: Speaker
    model: Generalist
    prompt: str
    max_tokens: int

    def examine(self, case: Case, args: Mapping[str, Any] | None = None) -> Opinion:
        """An Opinion with a `draft` and no findings, or an abstention where it may not see the case or writes nothing."""
        studies, why = self.speaker.admitted(case)
        if not studies:
            return self.speaker.abstain(why)
        written = self.model.generate((Message("user", (*pictures(studies), self.prompt)),), self.max_tokens)
        draft = written.text.strip()
        if not draft:
            return self.speaker.abstain("it wrote nothing")
        cut = f"; it was stopped after {self.max_tokens} tokens" if written.tokens >= self.max_tokens else ""
        return replace(self.speaker.show((), ()), draft=draft, caution=self.speaker.caution + cut)


def load(folder: Path, **_: Any) -> Writer:
    """The writer in `folder`; MemberError where a file is not the one that was added, or the checkpoint sees no pictures."""
    card, made = registry.read_card(folder / "card.json"), cards.opened(folder)
    model = registry.get("generalists", "hf").load(model=folder)
    if not model.sees_images:
        raise MemberError(f"{folder} holds a checkpoint without an image processor: it could write of no picture.")
    return Writer(card, Speaker.of(card, made), model, made["prompt"], int(made["max_tokens"]))


def add(folder: Path, home: Path, name: str = "") -> Card:
    """Makes a specialist under HOME/specialists of a folder with a checkpoint (safetensors) and card.toml.

    UsageError where the card lacks something or the folder has no safetensors, MemberError where the checkpoint cannot be
    loaded. Code and pickles beside the checkpoint are left where they are.
    """
    fields = cards.read(folder / "card.toml", ("writer",)) | ({"name": name} if name else {})
    where = str(folder / "card.toml")
    card = replace(cards.card_of(fields, where, names_concepts=False), drafts=True)
    made = {"loader": "writer", "exclusive": False, "caution": CAUTION} | _asked(fields.get("writer", {}), where)
    files = {path.name: path for part in _PARTS for path in sorted(folder.glob(part)) if path.name != "card.json"}
    if not any(name.endswith(".safetensors") for name in files):
        raise UsageError(f"{folder} holds no .safetensors: save the checkpoint with save_pretrained, beside card.toml.")
    return registry.read_card(cards.install(home, card, made, files, load) / "card.json")


def _asked(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`prompt` and `max_tokens` under [writer]."""
    asked = {"prompt": PROMPT, "max_tokens": MAX_TOKENS} | dict(table)
    prompt, most = asked["prompt"], asked["max_tokens"]
    fits = isinstance(prompt, str) and bool(prompt.strip()) and type(most) is int and 1 <= most <= 4096
    if set(asked) != {"prompt", "max_tokens"} or not fits:
        raise UsageError(
            f"{where}: under [writer] stand `prompt`, a text, and `max_tokens`, 1 to 4096; found {dict(table)}."
        )
    return asked
