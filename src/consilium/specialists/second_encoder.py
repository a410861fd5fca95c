"""Specialists with eyes of their own: a light head on the features of a second encoder, which the card names.

Whether a picture is foreign is told by the shared encoder's features, as for every other specialist.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from consilium import registry
from consilium.errors import MemberError
from consilium.nn.judging import Judge, open_member, relevance
from consilium.nn.light_head import REQUIRED, LightHead, raw_logits
from consilium.protocols import Encoder
from consilium.settings import Settings, settings
from consilium.types import Array, Image, Region

OWN = ("foreign.centre", "foreign.scale")


def load(folder: Path, encoder: Encoder, **_: Any) -> Judge:
    """The specialist trained into `folder`; MemberError where either encoder is not the one it was trained on, WeightsError
    where the second one's weights cannot be had."""
    opened = open_member(folder, encoder, (*REQUIRED, *OWN))
    named = opened.made.get("second_encoder")
    if not isinstance(named, dict):
        raise MemberError(f"{folder / 'card.json'} names no second encoder. Train the specialist again.")
    second = _second(str(named.get("name")), settings())
    if second.card.version != named.get("version"):
        raise MemberError(
            f"specialist {opened.card.name} was trained on features of {named.get('name')} {named.get('version')}, here it "
            f"is {second.card.version}. Train it again: consilium specialist suite FOLDER."
        )
    head = LightHead(opened.tensors, opened.exclusive)

    def logits(images: Sequence[Image], _: Array) -> Array:
        return raw_logits(head.tensors, second.embed(images).pooled)

    def evidence(image: Image, _: Array, __: Array | None, concept: int) -> Region | None:
        seen = second.embed([image], patches=True)
        return None if seen.patches is None else relevance(head, seen.pooled[0], seen.patches[0], concept, image)

    return Judge(opened.card, opened.exclusive, opened.tensors, encoder, logits, evidence)


@lru_cache(maxsize=2)
def _second(name: str, _: Settings) -> Encoder:
    """One encoder for all specialists that share it, as long as the settings (folders of weights and features) hold."""
    return registry.get("encoders", name).load()
