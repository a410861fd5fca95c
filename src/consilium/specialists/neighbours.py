"""Specialists by likeness: the class shares of the 11 known pictures nearest by the shared encoder's features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from consilium.nn import neighbours
from consilium.nn.judging import Judge, open_member
from consilium.nn.light_head import CALIBRATION, FOREIGN
from consilium.protocols import Encoder


def load(folder: Path, encoder: Encoder, **_: Any) -> Judge:
    """The specialist trained into `folder`; MemberError where it was trained on another encoder's features."""
    opened = open_member(folder, encoder, (*neighbours.REQUIRED, *CALIBRATION, *FOREIGN))
    return Judge(
        opened.card,
        opened.exclusive,
        opened.tensors,
        encoder,
        lambda images, pooled: neighbours.raw_logits(opened.tensors, pooled, opened.exclusive),
    )
