"""A trained segmentation network on one picture or volume: onto its canvas, through the network, and back to the original."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from consilium.errors import MemberError
from consilium.imaging.canvas import picture, resampled, stretched, turn_of
from consilium.nn import mask_judge, sliding
from consilium.nn.sliding import Windows
from consilium.types import Array, Image, Volume

if TYPE_CHECKING:
    from torch import Tensor, nn

# Probabilities of a volume are stretched back smoothly up to this size; beyond it the labels are, nearest neighbour.
_MOST_BYTES = 2**28


@dataclass(frozen=True)
class Recipe:
    """How pictures were prepared for the network: pictures fit a square of `side` with `channels`; volumes have axes (up, front,
    right), `spacing_mm`, and are seen in windows of `size`. `swap`: which label each becomes in the mirror."""

    dims: int
    swap: tuple[int, ...]
    side: int = 0
    channels: int = 1
    size: tuple[int, int, int] = (0, 0, 0)
    spacing_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)


def recipe_of(canvas: Mapping[str, Any], swap: Sequence[int]) -> Recipe:
    """A Recipe from a card or a config; MemberError where it is none."""
    try:
        if canvas["dims"] == 2:
            found = Recipe(2, tuple(swap), int(canvas["side"]), int(canvas["channels"]))
            sound = found.side > 0 and found.channels in (1, 3)
        else:
            (a, b, c), (x, y, z) = canvas["size"], canvas["spacing_mm"]
            found = Recipe(3, tuple(swap), size=(int(a), int(b), int(c)), spacing_mm=(float(x), float(y), float(z)))
            sound = canvas["dims"] == 3 and min(found.size) > 0 and min(found.spacing_mm) > 0
    except (KeyError, TypeError, ValueError) as error:
        raise MemberError(f"the card's canvas lacks or garbles {error}. Train the segmenter again.") from error
    if not sound or sorted(found.swap) != list(range(len(found.swap))):
        raise MemberError(f"no canvas is described by {found}. Train the segmenter again.")
    return found


@dataclass(frozen=True, eq=False)
class Outline:
    """`labels` uint8 at the original size; `signs` (labels without background, 3), see mask_judge.SIGNS."""

    labels: Array
    signs: Array


def logits(shares: Array) -> Array:
    """Log-odds of shares in [0, 1], those near 0 and 1 as if at 0.01 and 0.99: closer, they say no more."""
    inside = np.clip(shares, 0.01, 0.99)
    return np.log(inside / (1 - inside))


def expected_dice(coefficients: Array, signs: Array) -> Array:
    """(..., 4) intercept and slopes, (..., 3) signs -> (...) the Dice to expect: logistic in the log-odds of the signs."""
    return 1 / (1 + np.exp(-(coefficients[..., 0] + (coefficients[..., 1:] * logits(signs)).sum(axis=-1))))


def largest_parts(labels: Array) -> Array:
    """Of each label the largest connected part alone, its holes filled, for what is one body by nature."""
    from scipy import ndimage

    found = np.zeros_like(labels)
    for label, box in enumerate(ndimage.find_objects(labels), 1):
        if box is None:
            continue
        parts, count = ndimage.label(labels[box] == label)
        largest = parts == 1 + int(np.argmax(np.bincount(parts.reshape(-1))[1:])) if count > 1 else parts == 1
        filled = ndimage.binary_fill_holes(largest) & (
            (labels[box] == 0) | (labels[box] == label)
        )  # no other body is filled
        found[box][filled] = label
    return found


def outlined(net: nn.Module, shown: Image | Volume, recipe: Recipe) -> Outline:
    """The outline of what the network was trained for, in a picture or a volume as the recipe says."""
    return of_volume(net, shown, recipe) if isinstance(shown, Volume) else of_image(net, shown, recipe)


def of_image(net: nn.Module, image: Image, recipe: Recipe) -> Outline:
    """The outline of a picture of any size, depth and exposure."""
    import torch
    from torch.nn import functional

    canvas = picture(image, recipe.side, recipe.channels)
    pixels = canvas.pixels if recipe.channels == 3 else canvas.pixels[..., None]
    seen = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]
    with torch.inference_mode():
        plain, mirrored = mask_judge.both_ways(net, mask_judge.entered(seen), recipe.swap)
        found = mask_judge.signs(plain, mirrored)[0]
        rows, columns = (
            slice(canvas.top, canvas.top + canvas.rows),
            slice(canvas.left, canvas.left + canvas.columns),
        )
        inside = (plain + mirrored)[:, :, rows, columns]
        size = image.pixels.shape[:2]
        whole = functional.interpolate(inside, size, mode="bilinear", align_corners=False)[0]
        labels = whole.argmax(0).to(torch.uint8).numpy()
    return Outline(labels, found.numpy())


def of_volume(net: nn.Module, volume: Volume, recipe: Recipe) -> Outline:
    """The outline of a volume of any spacing, orientation and size, through windows where it is larger than the canvas."""
    turn = turn_of(volume)
    turned = turn.there(volume.voxels)
    spacing = [volume.spacing_mm[axis] for axis in turn.axes]
    up, front, right = (own / wanted for own, wanted in zip(spacing, recipe.spacing_mm, strict=True))
    seen = np.ascontiguousarray(resampled(stretched(turned), (up, front, right)))
    probabilities, labels, found = _through(net, seen, recipe, turned.size)
    if labels.shape != turned.shape:
        labels = _stretched_back(probabilities, labels, turned.shape)
    return Outline(np.ascontiguousarray(turn.back(labels)), found)


def _through(net: nn.Module, seen: Array, recipe: Recipe, own: int) -> tuple[list[Tensor], Array, Array]:
    """(averaged answers a slab, empty where they would be too large, there or stretched to the volume's `own` voxels; labels;
    signs), on the grid of `seen`."""
    import torch

    parts = len(recipe.swap)

    def answer(windows: Tensor) -> Tensor:
        return torch.cat(mask_judge.both_ways(net, mask_judge.entered(windows), recipe.swap), 1)

    labels, kept, tallies = np.empty(seen.shape, np.uint8), [], None
    keep = max(seen.size, own) * parts * 4 <= _MOST_BYTES
    for first, slab in sliding.slabs(seen, answer, Windows(recipe.size)):
        plain, mirrored = slab[None, :parts], slab[None, parts:]
        mean = (plain + mirrored)[0]
        labels[first : first + slab.shape[1]] = mean.argmax(0).numpy()
        here = mask_judge.tallies(plain, mirrored)
        tallies = here if tallies is None else mask_judge.joined(tallies, here)
        if keep:
            kept.append(mean)
    if tallies is None:
        raise ValueError("the volume has no voxels")
    return kept, labels, mask_judge.of_tallies(tallies)[0].numpy()


def _stretched_back(probabilities: list[Tensor], labels: Array, shape: tuple[int, ...]) -> Array:
    import torch
    from torch.nn import functional

    if probabilities:
        whole = torch.cat(probabilities, 1)[None]
        return (
            functional.interpolate(whole, shape, mode="trilinear", align_corners=False)[0]
            .argmax(0)
            .numpy()
            .astype(np.uint8)
        )
    places = [
        np.minimum(((np.arange(own) + 0.5) * had / own).astype(int), had - 1)
        for own, had in zip(shape, labels.shape, strict=True)
    ]
    return labels[np.ix_(*places)]
