"""CLIP ViT-B/16, the shared encoder: one pass of an image serves the specialists, the retriever and the generalist."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from consilium.protocols import Card

if TYPE_CHECKING:
    from consilium.nn.pretrained import Precision
    from consilium.nn.vision import VisionEncoder

WEIGHTS = "clip-vit-b16"
LAYER = 9

CARD = Card(
    kind="encoder",
    name="clip_vit_b16",
    version="1.0.0",
    summary="CLIP ViT-B/16 vision tower, a middle layer: [CLS] token and mean of the 14 x 14 patch tokens, 1536 numbers",
    modalities=("CR", "CT", "DX", "GM", "MG", "MR", "NM", "OP", "PT", "SM", "US", "XC"),
    trained_on={"WebImageText, 400 M pictures with captions from the internet": "never released"},
    licence="MIT (as the upstream model card states)",
    evidence="results/encoder_probe.json",
    not_for=(
        "a diagnosis on its own: it gives features, which need a head trained and measured on medical images",
        "measuring: pictures are squashed to 224 x 224 pixels, so sizes and aspect are lost",
    ),
)


def load(
    layer: int = LAYER,
    device: str = "cpu",
    precision: Precision = "auto",
    batch: int = 16,
    folder: str | Path | None = None,
) -> VisionEncoder:
    """The encoder over hidden layer `layer` (1 to 12); pooled (n, 1536), patches (n, 14, 14, 768).

    precision  of the products: "float32", "bfloat16" or "auto" (bfloat16 where the device computes in it).
    folder     another CLIP vision tower in its place, of any size (to train a model on it): its own features and version.

    Raises UsageError on an option out of range, WeightsError when the weights cannot be had.
    """
    import torch
    from transformers import CLIPVisionModelWithProjection

    from consilium import weights
    from consilium.nn.pretrained import load_model
    from consilium.nn.vision import Run, Sight, VisionEncoder, keep_layers, open_store, stamped

    run = Run(device, precision, batch)
    folder = Path(folder) if folder else weights.folder(WEIGHTS)
    model = load_model(CLIPVisionModelWithProjection, str(folder), device=device, dtype=torch.float32, offline=True)
    tower = model.vision_model
    tower.encoder.layers = keep_layers(tower.encoder.layers, layer)
    sight = Sight(
        size=tower.config.image_size,
        grid=tower.config.image_size // tower.config.patch_size,
        prefix=1,
        channels=tower.config.hidden_size,
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
    )
    card = stamped(CARD, layer, weights.fingerprint(folder))
    return VisionEncoder(card, lambda pixels: tower(pixels).last_hidden_state, sight, open_store(card, run), run)
