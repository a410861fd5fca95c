"""Specialists by texture: gradient-boosted trees on classical radiomics of the picture as it is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from consilium.errors import MemberError
from consilium.imaging import texture
from consilium.nn import trees
from consilium.nn.judging import Judge, open_member
from consilium.nn.light_head import CALIBRATION, FOREIGN
from consilium.protocols import Encoder


def load(folder: Path, encoder: Encoder, **_: Any) -> Judge:
    """The specialist trained into `folder`; MemberError where it was trained on another encoder's features, or on other
    texture features than this version of consilium measures."""
    opened = open_member(folder, encoder, (*trees.REQUIRED, *CALIBRATION, *FOREIGN))
    if opened.made.get("texture") != texture.VERSION:
        raise MemberError(
            f"specialist {opened.card.name} was trained on texture features of version {opened.made.get('texture')!r}, "
            f"these are of {texture.VERSION!r}. Train it again: consilium specialist suite FOLDER."
        )
    return Judge(
        opened.card,
        opened.exclusive,
        opened.tensors,
        encoder,
        lambda images, _: trees.raw_logits(opened.tensors, np.stack([texture.vector(image) for image in images])),
    )
