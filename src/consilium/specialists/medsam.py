"""medsam: outlines what a box or a point marks, in any medical picture, by LiteMedSAM. It does not say what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from consilium.errors import UsageError
from consilium.imaging.measure import measure, sides_known
from consilium.nn.prompts import ARGUMENTS, UNNAMED, Prompt, prompt_of
from consilium.protocols import Card
from consilium.types import Array, Case, Code, Opinion, Score, Segmentation, Volume

if TYPE_CHECKING:
    from consilium.nn.lite_medsam import Prompted

WEIGHTS = "litemedsam"
LEAST = 0.5


@dataclass(frozen=True)
class Expected:
    """From the quality that the decoder foresees to the Dice that masks of that quality had on the validation pictures."""

    foreseen: tuple[float, ...]
    dice: tuple[float, ...]

    def __call__(self, quality: Array) -> Array:
        return np.interp(quality, self.foreseen, self.dice)


BOXED = Expected(
    (0.0, 0.394, 0.848, 0.872, 0.892, 0.914, 0.926, 0.956, 0.986),
    (0.0, 0.591, 0.763, 0.804, 0.874, 0.874, 0.874, 0.874, 0.974),
)
POINTED = Expected(
    (0.0, 0.743, 0.779, 0.809, 0.833, 0.839, 0.852, 0.889, 0.966),
    (0.0, 0.044, 0.436, 0.436, 0.659, 0.659, 0.669, 0.693, 0.882),
)

CARD = Card(
    kind="specialist",
    name="medsam",
    version="1.0.0",
    summary="Outlines what a box marks in any medical picture, and measures it. It is shown its target and does not find it",
    modalities=("CR", "CT", "DMS", "DX", "ES", "GM", "MG", "MR", "NM", "OP", "OPT", "PT", "RG", "SM", "US", "XA", "XC"),
    concepts=(Code.local(UNNAMED),),
    arguments=ARGUMENTS,
    on_call=True,
    trained_on={
        "public medical sets of many modalities (its authors, Ma et al., list none for these weights)": "each its own",
    },
    licence="Apache-2.0",
    evidence="results/medsam.json",
    scores=(
        Score("Dice by a box, skin_ham10000", 0.8956, 0.8815, 0.9087, 100),
        Score("Dice by a box, lgg_mri_genomics", 0.8294, 0.8029, 0.8524, 100),
        Score("Dice by a box, cxr_lungmask_v7_covid", 0.873, 0.8646, 0.8819, 174),
    ),
    not_for=(
        "finding or naming a lesion: it outlines what it is shown, and does not always notice that nothing is there",
        "small targets in large pictures: it sees the whole picture at 256 x 256 pixels",
        "a claim of generalisation: the sets that it was measured on may be among those that its authors trained on",
    ),
)


def load(**_: Any) -> Medsam:
    """The specialist. Its weights are obtained when it is first given a prompt."""
    return Medsam()


def _prompted() -> Prompted:
    from consilium import weights
    from consilium.nn.lite_medsam import Prompted, restored

    return Prompted(restored(weights.folder(WEIGHTS)))


@dataclass(eq=False)
class Medsam:
    """One encoder pass a picture: further prompts on the same picture cost the decoder alone. `opened` gives the network."""

    opened: Callable[[], Prompted] = _prompted
    card: Card = CARD

    @cached_property
    def prompted(self) -> Prompted:
        return self.opened()

    def examine(self, case: Case, args: Mapping[str, Any] | None = None) -> Opinion:
        """The outline of what `args` mark, with its measures; an abstention where nothing is marked, nothing stands out there,
        or the outline is expected to miss."""
        try:
            return self._outlined(prompt_of(case, args))
        except UsageError as reason:
            return Opinion(
                CARD.name,
                CARD.version,
                abstained=str(reason),
                exclusive=False,
                reliability=CARD.scores,
                licence=CARD.licence,
            )

    def _outlined(self, prompt: Prompt) -> Opinion:
        if prompt.kind == "box":
            found, expected = self.prompted.boxed(prompt.picture, prompt.places), BOXED
        else:
            found, expected = self.prompted.pointed(prompt.picture, prompt.places), POINTED
        worth = expected(found.quality)
        if not found.masks.any(axis=(1, 2)).all():
            raise UsageError("it finds no outline where it was shown; give a box that fits the target closely")
        if worth.min() < LEAST:
            raise UsageError(
                f"its outline would be unsure: it expects a Dice of {worth.min():.2f}, and {LEAST} is the least it gives; "
                "give a box that fits the target closely"
            )
        carried = [self._carried(prompt, mask, float(own)) for mask, own in zip(found.masks, worth, strict=True)]
        mask = np.logical_or.reduce(
            [one for one, _, _ in carried]
        )  # each by itself: a box about all of them is another prompt
        confidence, caution = (
            min(own for _, own, _ in carried),
            "; ".join(dict.fromkeys(said for _, _, said in carried if said)),
        )
        concept = Code.local(prompt.target)
        segmentation = Segmentation(mask.astype(np.uint8), prompt.shown.uid, (concept,), (confidence,))
        return Opinion(
            CARD.name,
            CARD.version,
            measure(segmentation, prompt.shown, oriented=sides_known(prompt.study), source=CARD.name),
            caution=caution,
            exclusive=False,
            reliability=CARD.scores,
            licence=CARD.licence,
            segmentations=(segmentation,),
        )

    def _carried(self, prompt: Prompt, mask: Array, confidence: float) -> tuple[Array, float, str]:
        """The mask in the shape of what was segmented, the mean expected Dice of its slices, and where it ended too early."""
        if not isinstance(prompt.shown, Volume) or prompt.index is None:
            return mask, confidence, ""
        from consilium.nn.prompted_slices import carried

        first, last = prompt.span or (prompt.index, prompt.index)
        through = carried(self.prompted, prompt.shown, (prompt.index, mask), (first, last), BOXED, LEAST)
        done = (prompt.index, *through.worth)
        caution = ""
        if (min(done), max(done)) != (first, last):
            caution = (
                f"outlined from slice {min(done) + 1} to {max(done) + 1} of the {first + 1} to {last + 1} asked for: beyond, "
                "nothing stood out surely enough"
            )
        return through.mask, float(np.mean([confidence, *through.worth.values()])), caution
