"""Light specialists: a trained folder (card.json, model.safetensors) over the shared encoder's features.

It abstains on a picture unlike those it was trained on. For its most probable concept it shows where the evidence lies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from consilium.nn.judging import Judge, open_member, relevance
from consilium.nn.light_head import REQUIRED, LightHead, raw_logits
from consilium.protocols import Card, Encoder
from consilium.types import Array, Case, Image, Opinion, Region


class LightSpecialist:
    """Examines every view of a case that is like its training pictures and averages their logits."""

    def __init__(self, card: Card, head: LightHead, encoder: Encoder) -> None:
        self.card = card
        self.head = head
        self.encoder = encoder
        self._judge = Judge(card, head.exclusive, head.tensors, encoder, self._logits, self._evidence, patches=True)

    def examine(self, case: Case, args: Mapping[str, Any] | None = None) -> Opinion:
        """Findings with calibrated probabilities, or an abstention where no view is like the training pictures."""
        return self._judge.examine(case, args)

    def _logits(self, images: Sequence[Image], pooled: Array) -> Array:
        return raw_logits(self.head.tensors, pooled)

    def _evidence(self, image: Image, pooled: Array, patches: Array | None, concept: int) -> Region | None:
        return None if patches is None else relevance(self.head, pooled, patches, concept, image)


def load(folder: Path, encoder: Encoder, **_: Any) -> LightSpecialist:
    """The specialist trained into `folder`; MemberError where it was trained on another encoder's features."""
    opened = open_member(folder, encoder, REQUIRED)
    return LightSpecialist(opened.card, LightHead(opened.tensors, opened.exclusive), encoder)
