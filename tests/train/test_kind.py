"""Where the kind of a folder's pictures comes from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from consilium import formats, registry
from consilium.consult.panel import DEFAULT_ENCODER
from consilium.encoders import patch_statistics
from consilium.errors import UsageError
from consilium.protocols import Encoder
from consilium.train.features import Encoded
from consilium.train.kind import kind_of

NOBODY = np.zeros((3, 16), np.float32)


def test_headers_that_all_say_so_decide() -> None:
    encoded = Encoded(NOBODY, ("a", "b", "c"), ("CR", "DX", "CR"), ("CHEST", "CHEST", "CHEST"))
    assert kind_of(encoded, patch_statistics.load()) == (("CR", "DX"), ("CHEST",))
    partly = Encoded(NOBODY, ("a", "b", "c"), ("MR", "MR", "MR"), ("HEAD", None, "HEAD"))
    assert kind_of(partly, patch_statistics.load()) == (("MR",), ())


def test_an_encoder_that_the_router_does_not_know_leaves_it_to_the_user() -> None:
    with pytest.raises(UsageError, match="--modality"):
        kind_of(Encoded(NOBODY, ("a", "b", "c"), ("CR", None, "CR"), (None,) * 3), patch_statistics.load())


@pytest.mark.weights
def test_the_router_recognises_pictures_without_headers(pretrained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSILIUM_WEIGHTS", str(pretrained))
    encoder: Encoder = registry.get("encoders", DEFAULT_ENCODER).load()
    folder = Path(__file__).parents[2] / "examples"

    def encoded(*names: str) -> Encoded:
        pictures = [formats.read(folder / f"{name}.jpg")[0].images[0] for name in names]
        unknown = (None,) * len(names)
        return Encoded(encoder.embed(pictures).pooled, names, unknown, unknown)

    assert kind_of(encoded("brain_mr", "brain_mr"), encoder) == (("MR",), ("HEAD",))
    assert kind_of(encoded("breast_us"), encoder) == (("US",), ("BREAST",))
    with pytest.raises(UsageError, match="does not recognise"):
        kind_of(encoded("brain_mr", "breast_us"), encoder)
