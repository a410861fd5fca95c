"""Pictures as somebody else's model wants them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from consilium.errors import MemberError, UsageError
from consilium.imaging import texture
from consilium.imaging.picture import resize
from consilium.imaging.window import to_display
from consilium.protocols import Encoder
from consilium.specialists.adapter.fields import is_number
from consilium.types import Array, Image

KINDS = ("encoder features", "texture", "picture")
_KNOWN = {
    "encoder features": {"kind", "encoder"},
    "texture": {"kind", "texture"},
    "picture": {"kind", "size", "channels", "layout", "scale", "mean", "std"},
}


@dataclass(frozen=True)
class PictureInput:
    """How a picture is laid before a model.

    size    (rows, columns); channels 3 (RGB) or 1 (their mean).
    scale   what white is: 1.0 or 255.0; then (value - mean) / std of each channel.
    layout  "NCHW" or "NHWC".
    """

    size: tuple[int, int]
    channels: int = 3
    layout: str = "NCHW"
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def batch(self, images: Sequence[Image]) -> Array:
        """n pictures, as they are shown -> (n, channels, rows, columns) or (n, rows, columns, channels) float32."""
        return np.stack([self._one(image) for image in images])

    def _one(self, image: Image) -> Array:
        rgb = resize(to_display(image), *self.size).astype(np.float32) / 255 * self.scale
        values = rgb if self.channels == 3 else rgb.mean(axis=2, keepdims=True)
        values = (values - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return values if self.layout == "NHWC" else np.moveaxis(values, 2, 0)


def check(table: Mapping[str, Any], where: str) -> None:
    """UsageError where [input] of a card is not one that can be followed."""
    kind = table.get("kind")
    if kind not in KINDS:
        raise UsageError(f"{where}: `kind` under [input] is {kind!r}; it is one of: {', '.join(KINDS)}.")
    unknown = sorted(set(table) - _KNOWN[kind])
    if unknown:
        raise UsageError(
            f"{where}: [input] of kind {kind!r} knows no {', '.join(unknown)}, only {', '.join(sorted(_KNOWN[kind]))}."
        )
    if kind == "encoder features" and not table.get("encoder"):
        raise UsageError(
            f"{where}: `encoder` under [input] must name the version of the encoder whose features the model was fitted on."
        )
    if kind == "picture":
        picture(table, where)


def picture(table: Mapping[str, Any], where: str) -> PictureInput:
    """The PictureInput that [input] describes; UsageError where it is none."""
    size = table.get("size")
    if not isinstance(size, list | tuple) or len(size) != 2 or not all(type(side) is int and side > 0 for side in size):
        raise UsageError(
            f"{where}: [input] of kind 'picture' needs size = [rows, columns], two whole numbers above 0; found {size!r}."
        )
    made = PictureInput(
        size=(size[0], size[1]),
        channels=table.get("channels", 3),
        layout=table.get("layout", "NCHW"),
        scale=table.get("scale", 1.0),
        mean=_numbers(table, "mean", 0.0, where),
        std=_numbers(table, "std", 1.0, where),
    )
    lengths = {1, made.channels}
    right = (
        type(made.channels) is int
        and made.channels in (1, 3)
        and made.layout in ("NCHW", "NHWC")
        and is_number(made.scale)
        and made.scale in (1, 255)
    )
    if not right or len(made.mean) not in lengths or len(made.std) not in lengths or min(made.std) <= 0:
        raise UsageError(
            f"{where}: [input] is channels 1 or 3, layout NCHW or NHWC, scale 1 or 255, mean and std one number or one a "
            f"channel, std above 0; found {dict(table)}."
        )
    return made


def _numbers(table: Mapping[str, Any], name: str, default: float, where: str) -> tuple[float, ...]:
    listed = table.get(name, [default])
    sound = isinstance(listed, list | tuple) and all(is_number(each) for each in listed)
    if not sound:
        raise UsageError(
            f"{where}: `{name}` under [input] is a list of finite numbers, like [{default}]; found {listed!r}."
        )
    return tuple(float(each) for each in listed)


def blank(table: Mapping[str, Any], encoder: Encoder | None, shape: Sequence[Any]) -> Array | None:
    """(1, ...) what [input] asks for of a black picture. Features of an encoder that is not given are noughts, as many as
    `shape`, the model's own, says; None where it leaves that open."""
    if table["kind"] != "encoder features":
        return _of([Image(np.zeros((64, 64), np.uint8), "")], table)
    if encoder is not None:
        return encoder.embed([Image(np.zeros((64, 64), np.uint8), "")]).pooled
    return np.zeros((1, shape[-1]), np.float32) if shape and isinstance(shape[-1], int) else None


def features(table: Mapping[str, Any], images: Sequence[Image], encoder: Encoder) -> Array:
    """(n, ...) what [input] asks for of n pictures."""
    if table["kind"] == "encoder features":
        return encoder.embed(images).pooled
    return _of(images, table)


def _of(images: Sequence[Image], table: Mapping[str, Any]) -> Array:
    if table["kind"] == "texture":
        return np.stack([texture.vector(image) for image in images])
    return picture(table, "the card").batch(images)


def demand(table: Mapping[str, Any], encoder: Encoder | None, name: str) -> None:
    """MemberError where this council's encoder or texture features are others than the model was fitted on, or no picture can
    be laid before it as its card says."""
    here = encoder.card.version if encoder else "none"
    if table["kind"] == "encoder features" and table["encoder"] != here:
        raise MemberError(
            f"specialist {name} was fitted on features of {table['encoder']}, this council's encoder gives {here}. Fit it on "
            "those."
        )
    if table["kind"] == "picture":
        try:
            picture(table, f"specialist {name}")
        except UsageError as error:
            raise MemberError(f"{error} Correct its card.toml, remove its folder and add it again.") from error
    if table["kind"] == "texture" and table.get("texture", texture.VERSION) != texture.VERSION:
        raise MemberError(
            f"specialist {name} was fitted on texture features of version {table['texture']!r}, these are of "
            f"{texture.VERSION!r}. Fit it on those."
        )
