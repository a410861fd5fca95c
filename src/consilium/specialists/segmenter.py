"""Segmenters: a trained folder (card.json, model.safetensors) of a network that outlines what it knows, and measures it.

It abstains, with the reason, on what is unlike its training pictures (by the shared encoder's features; of volumes by their
size in millimetres), where a part that is always there is not found or is of no credible size, and where the Dice that its
outline can be expected to reach is too low. `confidence` of a Segmentation is that expected Dice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from consilium.errors import MemberError
from consilium.imaging.measure import measure, sides_known
from consilium.imaging.stack import amounts
from consilium.nn import light_head
from consilium.nn.outline import Outline, Recipe, expected_dice, largest_parts, outlined, recipe_of
from consilium.nn.unet import Description, described, restored
from consilium.protocols import Card, Encoder
from consilium.registry import read_card
from consilium.types import Array, Case, Finding, Image, Opinion, Segmentation, Study, Volume

if TYPE_CHECKING:
    from torch import nn

NET = "net."
_UNLIKE = "unlike the pictures it was trained on"
_FEW_VALUES = 4
_FROM_THE_FRONT = frozenset({"CR", "DX", "RG"})


@dataclass(frozen=True, eq=False)
class Limits:
    """What is not given.

    expected   (labels, 4), see outline.expected_dice; `least`: the lowest that is given.
    sizes      (labels, 2) credible mL of a volume, or shares of a picture's area; None: any.
    extent_mm  (3, 2) lengths (up, front, right) of volumes; None: any.
    always     every part must be found; `one_body`: each is one piece, and further pieces are left out.
    """

    expected: Array
    least: float
    always: bool = False
    one_body: bool = False
    sizes: Array | None = None
    extent_mm: Array | None = None

    def dice(self, signs: Array) -> Array:
        """(labels, 3) -> (labels,) expected Dice."""
        return expected_dice(self.expected, signs)


@dataclass(eq=False)
class Segmenter:
    """A Specialist. The network is built when first needed."""

    card: Card
    description: Description
    recipe: Recipe
    limits: Limits
    tensors: Mapping[str, Array]
    encoder: Encoder | None = None

    @cached_property
    def net(self) -> nn.Module:
        return restored(self.description, {n[len(NET) :]: v for n, v in self.tensors.items() if n.startswith(NET)})

    def examine(self, case: Case, args: Mapping[str, Any] | None = None) -> Opinion:
        """Outlines and their measures of each picture or volume that it can judge; an abstention where there is none."""
        shown = [(study, item) for study in case.studies for item in study.images]
        if not shown:
            return self._opinion(abstained="the case holds no picture")
        found, reasons, foreign = [], [], []
        for study, item in shown:
            reason, foreignness = self._foreign(item)
            foreign += [] if foreignness is None else [foreignness]
            outlined = reason or self._outlined(study, item)
            if isinstance(outlined, str):
                reasons.append(outlined)
            else:
                found.append(outlined)
        farthest = min(foreign) if foreign else None
        if not found:
            return self._opinion(abstained="; ".join(dict.fromkeys(reasons)), foreignness=farthest)
        return self._opinion(
            tuple(finding for _, findings in found for finding in findings),
            segmentations=tuple(segmentation for segmentation, _ in found),
            caution=f"{len(reasons)} of {len(shown)} pictures are not outlined: {reasons[0]}" if reasons else "",
            foreignness=farthest,
        )

    def _foreign(self, item: Image | Volume) -> tuple[str | None, float | None]:
        """Why it is not looked at, or None; and how foreign it is, where that can be told."""
        if isinstance(item, Volume) != (self.recipe.dims == 3):
            kinds = ("a volume", "pictures") if self.recipe.dims == 2 else ("a single picture", "volumes")
            return f"{_UNLIKE}: this is {kinds[0]}, and it outlines {kinds[1]}", None
        if isinstance(item, Volume):
            return self._odd_volume(item), None
        if self.encoder is None or "foreign.basis" not in self.tensors:
            return None, None
        pooled = self.encoder.embed([item]).pooled
        far = float(light_head.foreignness(self.tensors, pooled)[0])
        if far > light_head.limit(self.tensors):
            return f"{_UNLIKE} ({far:.2f} times as far as most of them)", far
        return None, far

    def _odd_volume(self, volume: Volume) -> str | None:
        sample = volume.voxels.reshape(-1)[:: max(1, volume.voxels.size // 2**20 | 1)]
        if len(np.unique(sample)) <= _FEW_VALUES:
            return f"{_UNLIKE}: the volume has at most {_FEW_VALUES} different values, like a mask"
        if self.limits.extent_mm is None:
            return None
        from consilium.imaging.canvas import turn_of

        sides = [volume.voxels.shape[axis] * volume.spacing_mm[axis] for axis in turn_of(volume).axes]
        odd = any(not low <= side <= high for side, (low, high) in zip(sides, self.limits.extent_mm, strict=True))
        if not odd:
            return None
        known = " x ".join(f"{low:.0f}-{high:.0f}" for low, high in self.limits.extent_mm)
        return (
            f"{_UNLIKE}: the volume is {' x '.join(f'{side:.0f}' for side in sides)} mm (up, front, right), and it knows "
            f"{known} mm; crop the volume about what is to be outlined"
        )

    def _outlined(self, study: Study, item: Image | Volume) -> tuple[Segmentation, tuple[Finding, ...]] | str:
        outline = outlined(self.net, item, self.recipe)
        if self.limits.one_body:
            outline = Outline(largest_parts(outline.labels), outline.signs)
        dice = self.limits.dice(outline.signs)
        if (reason := self._poor(item, outline, dice)) is not None:
            return reason
        segmentation = Segmentation(outline.labels, item.uid, self.card.concepts, tuple(float(d) for d in dice))
        sides = sides_known(study)
        frontal = sides and study.modality in _FROM_THE_FRONT
        return segmentation, measure(segmentation, item, frontal, sides, self.card.name)

    def _poor(self, item: Image | Volume, outline: Outline, dice: Array) -> str | None:
        """Why an outline is not given, or None."""
        unit = " mL" if isinstance(item, Volume) else " of the picture's area"
        sizes = amounts(outline.labels, item, len(dice))
        for number, concept in enumerate(self.card.concepts):
            name, size = concept.meaning, sizes[number]
            if self.limits.always and not size:
                return f"it finds no {name}, which every picture it was trained on shows"
            low, high = (0, np.inf) if self.limits.sizes is None else self.limits.sizes[number]
            if not low <= size <= high:
                return f"its outline of the {name} is not credible: {size:.3g}{unit}; it knows {low:.3g} to {high:.3g}"
            if dice[number] < self.limits.least:
                return (
                    f"its outline of the {name} would be unsure: it expects a Dice of {dice[number]:.2f}, and "
                    f"{self.limits.least:.2f} is the least that it gives"
                )
        return None

    def _opinion(
        self,
        findings: tuple[Finding, ...] = (),
        abstained: str | None = None,
        segmentations: tuple[Segmentation, ...] = (),
        caution: str = "",
        foreignness: float | None = None,
    ) -> Opinion:
        return Opinion(
            self.card.name,
            self.card.version,
            findings,
            abstained,
            caution,
            exclusive=False,
            reliability=self.card.scores,
            licence=self.card.licence,
            foreignness=foreignness,
            segmentations=segmentations,
        )


def load(folder: Path, encoder: Encoder | None = None, **_: Any) -> Segmenter:
    """The segmenter trained into `folder`. MemberError where card or weights are damaged, or where it tells foreign pictures by
    the features of another encoder. Without an encoder it does not tell foreign pictures."""
    card = read_card(folder / "card.json")
    made = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    tensors = light_head.read(folder / "model.safetensors", ())
    try:
        told = made["segmenter"]
        description, recipe = described(told["network"]), recipe_of(told["canvas"], told["swap"])
        limits = _limits(told["limits"], len(card.concepts))
    except (KeyError, TypeError, ValueError) as error:
        raise MemberError(f"{folder / 'card.json'} lacks or garbles {error}. Train the segmenter again.") from error
    if description.outputs != len(card.concepts) + 1 or len(recipe.swap) != description.outputs:
        raise MemberError(
            f"{folder / 'card.json'} names other parts than its network gives. Train the segmenter again."
        )
    if "foreign.basis" in tensors and encoder is not None and made.get("encoder") != encoder.card.version:
        raise MemberError(
            f"segmenter {card.name} tells foreign pictures by features of {made.get('encoder')}, this council's encoder gives "
            f"{encoder.card.version}. Install it again: consilium specialist segment."
        )
    return Segmenter(card, description, recipe, limits, tensors, encoder)


def _limits(told: Mapping[str, Any], labels: int) -> Limits:
    def table(name: str, shape: Sequence[int]) -> Array | None:
        return None if told.get(name) is None else np.array(told[name], float).reshape(tuple(shape))

    expected = table("expected", (labels, 4))
    if expected is None:
        raise KeyError("expected")
    return Limits(
        expected,
        float(told["least"]),
        bool(told.get("always")),
        bool(told.get("one_body")),
        table("sizes", (labels, 2)),
        table("extent_mm", (3, 2)),
    )
