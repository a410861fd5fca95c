"""The background: features of shipped open pictures of other modalities and body parts, from which a specialist tells
its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

import consilium
from consilium.consult.route import refusal
from consilium.errors import DataError
from consilium.protocols import Card
from consilium.types import Array, Study

SHIPPED = Path(consilium.__file__).parent / "specialists" / "background" / "features.safetensors"


def save(features: Array, kinds: Sequence[str], encoder_key: str, path: Path = SHIPPED) -> None:
    """(n, d) features and a kind ("CT/CHEST") each, as float16."""
    from safetensors.numpy import save_file

    names = sorted(set(kinds))
    rows = np.array([names.index(kind) for kind in kinds], np.int32)
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"encoder": encoder_key, "kinds": ",".join(names)}
    save_file({"features": features.astype(np.float16), "kind": rows}, path, metadata)


def foreign_to(card: Card, encoder_key: str, path: Path = SHIPPED) -> tuple[Array, Array]:
    """Every background picture that a member with this card may not see: (n, d) float32 features, (n,) number of its kind.

    n is 0 where the background was made with another encoder or is absent: then the limit is set by the own pictures alone.
    DataError where the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    nothing = np.empty((0, 0), np.float32), np.empty(0, np.int32)
    if not path.is_file():
        return nothing
    try:
        with safe_open(path, "numpy") as file:
            made, names = file.metadata()["encoder"], file.metadata()["kinds"].split(",")
            features, rows = file.get_tensor("features").astype(np.float32), file.get_tensor("kind")
    except (SafetensorError, OSError, KeyError) as error:
        raise DataError(f"{path} cannot be read: {error}. Install consilium again.") from error
    if made != encoder_key:
        return nothing
    kinds = [name.split("/") for name in names]
    foreign = [i for i, (modality, part) in enumerate(kinds) if refusal(card, Study(modality, part, images=()))]
    taken = np.isin(rows, foreign)
    return features[taken], rows[taken]
