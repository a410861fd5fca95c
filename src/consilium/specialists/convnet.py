"""Specialists trained end to end: a small convolutional network on the pictures themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from consilium.errors import MemberError
from consilium.nn.judging import Judge, open_member
from consilium.nn.light_head import CALIBRATION, FOREIGN
from consilium.protocols import Encoder


def load(folder: Path, encoder: Encoder, **_: Any) -> Judge:
    """The specialist trained into `folder`; MemberError where it was trained on another encoder's features (by which it tells
    foreign pictures) or its weights fit no such network."""
    from consilium.nn import convnet

    opened = open_member(folder, encoder, (*CALIBRATION, *FOREIGN))
    try:
        net = convnet.restored(opened.tensors)
    except (RuntimeError, KeyError) as error:
        raise MemberError(
            f"the network in {folder / 'model.safetensors'} is not whole: {error}. Train it again: consilium specialist "
            "suite FOLDER."
        ) from error
    return Judge(
        opened.card,
        opened.exclusive,
        opened.tensors,
        encoder,
        lambda images, _: convnet.raw_logits(net, convnet.squares(images)),
    )
