"""Pictures as the language model reads them: tokens of the vision tower through the projector, each picture once."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch

from consilium.nn.denormals import flushed_denormals
from consilium.protocols import Encoder
from consilium.types import Image

_KEPT = 16


class Eyes:
    """Gives (tokens, width) embedded tokens for a picture, in the dtype of the network.

    encoder  the council's shared encoder where it is the checkpoint's own tower, so that one pass of a picture serves all;
             its features are [CLS], then the patches row by row. None: the tower in the checkpoint reads the pictures.
    """

    def __init__(self, model: Any, processor: Any, encoder: Encoder | None = None) -> None:
        self._model = model
        self._processor = processor
        self._encoder = encoder
        self._kept: OrderedDict[str, torch.Tensor] = OrderedDict()

    def see(self, image: Image) -> torch.Tensor:
        """Raises what `imaging.window.to_display` raises on pixels that it cannot show. Not for several threads at once."""
        tokens = self._kept.pop(image.digest, None)
        if tokens is None:
            with torch.inference_mode(), flushed_denormals():
                tokens = self._own(image) if self._encoder is None else self._shared(self._encoder, image)
        self._kept[image.digest] = tokens
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return tokens

    def _shared(self, encoder: Encoder, image: Image) -> torch.Tensor:
        features = encoder.embed([image], patches=True)
        width = self._model.config.vision_config.hidden_size
        patches = torch.as_tensor(features.patches).reshape(-1, width)
        tokens = torch.cat([torch.from_numpy(features.pooled[:, :width]), patches])
        return self._model.model.multi_modal_projector(tokens.to(self._model.device, self._model.dtype))

    def _own(self, image: Image) -> torch.Tensor:
        pixels = self._processor.image_processor(images=picture(image), return_tensors="pt")["pixel_values"]
        seen = self._model.get_image_features(
            pixel_values=pixels.to(self._model.device, self._model.dtype), return_dict=True
        )
        return seen.pooler_output[0]


def last_block_is(model: Any, weights: Any) -> bool:
    """Whether the last block of a LLaVA's CLIP tower is the one in a safetensors file that is open (hub names), to bfloat16.

    Training adapts a tower from its last block on: where that is as it was, all is.
    """
    tower = getattr(model.model.vision_tower, "vision_model", model.model.vision_tower)
    depth, names = len(tower.encoder.layers), set(weights.keys())
    for name, ours in tower.encoder.layers[-1].named_parameters():
        theirs = f"vision_model.encoder.layers.{depth - 1}.{name}"
        if theirs not in names or not torch.equal(ours.cpu().bfloat16(), weights.get_tensor(theirs).bfloat16()):
            return False
    return True


def picture(image: Image) -> Any:
    """The image as it is shown, as a PIL picture."""
    import PIL.Image

    from consilium.imaging.window import to_display

    return PIL.Image.fromarray(to_display(image))
