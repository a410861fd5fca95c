"""DINOv2-small with registers: a lighter second encoder, 384 numbers a token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consilium.protocols import Card

if TYPE_CHECKING:
    from consilium.nn.pretrained import Precision
    from consilium.nn.vision import VisionEncoder

WEIGHTS = "dinov2-small"
LAYER = 6
SIZE = 224

CARD = Card(
    kind="encoder",
    name="dinov2_small",
    version="1.0.0",
    summary="DINOv2 ViT-S/14 with registers, a middle layer: [CLS] token and mean of the 16 x 16 patch tokens, 768 numbers",
    modalities=("CR", "CT", "DX", "GM", "MG", "MR", "NM", "OP", "PT", "SM", "US", "XC"),
    trained_on={
        "LVD-142M, 142 M curated pictures": "never released",
        "MR images with motion (fine-tuning by the publisher of these weights)": "unstated",
    },
    licence="Apache-2.0 (upstream), MIT (package)",
    evidence="results/encoder_probe.json",
    not_for=(
        "a diagnosis on its own: it gives features, which need a head trained and measured on medical images",
        "its last layers: the fine-tuning on MR motion spoilt them",
        "measuring: pictures are squashed to 224 x 224 pixels, so sizes and aspect are lost",
    ),
)


def load(layer: int = LAYER, device: str = "cpu", precision: Precision = "auto", batch: int = 16) -> VisionEncoder:
    """The encoder over hidden layer `layer` (1 to 12); pooled (n, 768), patches (n, 16, 16, 384).

    precision  of the products: "float32", "bfloat16" or "auto" (bfloat16 where the device computes in it).

    Raises UsageError on an option out of range, WeightsError when the weights cannot be had.
    """
    import torch
    from transformers import Dinov2WithRegistersModel

    from consilium import weights
    from consilium.nn.pretrained import load_model
    from consilium.nn.vision import Run, Sight, VisionEncoder, keep_layers, open_store, stamped

    run = Run(device, precision, batch)
    folder = weights.folder(WEIGHTS)
    network = load_model(Dinov2WithRegistersModel, str(folder), device=device, dtype=torch.float32, offline=True)
    network.encoder.layer = keep_layers(network.encoder.layer, layer)
    network.layernorm = torch.nn.Identity()  # trained for the last layer alone
    sight = Sight(
        size=SIZE,
        grid=SIZE // network.config.patch_size,
        prefix=1 + network.config.num_register_tokens,
        channels=network.config.hidden_size,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )
    card = stamped(CARD, layer, weights.fingerprint(folder))
    return VisionEncoder(card, lambda pixels: network(pixels).last_hidden_state, sight, open_store(card, run), run)
