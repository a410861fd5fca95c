"""MONAI bundles: a folder of configs/ and models/ that a user has, asked without running any code of it.

What is built is listed in adapter/components.py; formulas are read by adapter/config.py. `add` makes a member of a bundle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from consilium.errors import MemberError, UsageError
from consilium.imaging import measure
from consilium.nn.light_head import to_probabilities
from consilium.protocols import Card
from consilium.registry import read_card
from consilium.specialists.adapter import bundle_card, bundle_input, components, config, vista3d
from consilium.specialists.adapter import card as cards
from consilium.specialists.adapter.bundle_run import Pipeline, network_of, pipeline_of
from consilium.specialists.adapter.say import Speaker
from consilium.types import Array, Case, Code, Finding, Image, Opinion, Segmentation, Volume

_MODELS = ("models/model.safetensors", "models/model.pt")
_SCRIPT = "models/model.ts"


@dataclass(frozen=True, eq=False)
class Bundle:
    """A Specialist by a bundle. made: card.json, with the names of its channels and labels."""

    card: Card
    speaker: Speaker
    made: Mapping[str, Any]
    pipeline: Pipeline

    def examine(self, case: Case, args: Mapping[str, Any] | None = None) -> Opinion:
        """Outlines with what was measured of them, or uncalibrated probabilities; an abstention where it may not see the case, or
        its network gives what its card does not promise."""
        studies, why = self.speaker.admitted(case)
        if not studies:
            return self.speaker.abstain(why)
        stacks, why = bundle_input.stacks(studies, self.made["inputs"], self.made["dimensions"])
        if not stacks:
            return self.speaker.abstain(why)
        if self.made["task"] == "classification":
            return self._classified(stacks)
        segmentations: list[Segmentation] = []
        findings: list[Finding] = []
        for stack in stacks:
            outlined = self._outlined(stack, args or {})
            if isinstance(outlined, str):
                return self.speaker.abstain(outlined)
            for each in outlined:
                sides = measure.sides_known(stack.study)
                findings += measure.measure(each, stack.shown, oriented=sides, source=self.card.name)
            segmentations += outlined
        cautions = dict.fromkeys(stack.caution for stack in stacks if stack.caution)
        return self.speaker.show(tuple(segmentations), tuple(findings), "; ".join(cautions))

    def _classified(self, stacks: list[bundle_input.Stack]) -> Opinion:
        scores = [self.pipeline.scores(stack.values, stack.affine) for stack in stacks]
        if any(not np.isfinite(each).all() for each in scores):
            return self.speaker.abstain("its model gave numbers that are not finite")
        other = [each for each in scores if each.size != len(self.card.concepts)]
        if other:
            return self.speaker.abstain(
                f"its model gave {other[0].size} numbers a picture, its card names {len(self.card.concepts)} concepts"
            )
        how = self.pipeline.activation or ("softmax" if self.speaker.exclusive else "sigmoid")
        rows = np.stack(scores)
        return self.speaker.judge(rows if how == "none" else to_probabilities(rows, how == "softmax"))

    def _outlined(self, stack: bundle_input.Stack, args: Mapping[str, Any]) -> list[Segmentation] | str:
        """Segmentations, or why there are none."""
        if self.made["recipe"]:
            numbers = vista3d.prompts(args.get("labels"))
            labels = vista3d.label_map(self.pipeline, stack.values, stack.affine, numbers)
            return (
                labels
                if isinstance(labels, str)
                else [_of_map(labels, {n: self._code(n) for n in numbers}, stack.shown)]
            )
        found = self.pipeline.masks(stack.values, stack.affine)
        if isinstance(found, str):
            return found
        places = {int(number): self._code(int(number)) for number in self.made["labels"]}
        if found.shape[0] == 1 and not (self.made["overlap"] and len(places) == 1):
            return [_of_map(found[0], places, stack.shown)]
        if found.shape[0] <= max(places):
            return f"its model outlined {found.shape[0]} parts, its card names {len(places)} concepts"
        return [_of_map(np.where(found[n] > 0, n, -1), {n: code}, stack.shown) for n, code in places.items()]

    def _code(self, number: int) -> Code:
        numbers = list(self.made["labels"])
        return self.card.concepts[numbers.index(str(number))]


def _of_map(labels: Array, places: Mapping[int, Code], shown: Image | Volume) -> Segmentation:
    """Labels by number, in MONAI's order of axes -> a Segmentation whose label i is the i-th of `places`."""
    own = np.zeros(labels.shape, np.uint8)
    for i, number in enumerate(places, 1):
        own[labels == number] = i
    return Segmentation(np.ascontiguousarray(own.T), shown.uid, tuple(places.values()))


def load(folder: Path, **_: Any) -> Bundle:
    """The bundle in `folder`; MemberError where MONAI is not here, a part of it may not be built, or its weights do not fit."""
    components.demand_monai()
    card, made = read_card(folder / "card.json"), cards.opened(folder)
    plan = config.read(folder)
    weights = next((folder / name for name in (*_MODELS, _SCRIPT) if name in made["files"]), None)
    if weights is None:
        raise MemberError(f"{folder} has no weights in models/. Add the bundle again.")
    network = network_of(plan, weights)
    return Bundle(card, Speaker.of(card, made), made, pipeline_of(plan, made, network))


def add(folder: Path, home: Path, name: str = "", torchscript: bool = False) -> Card:
    """Makes a specialist under HOME/specialists of a bundle: a copy of its configuration and weights with a card from
    metadata.json, and from card.toml in the folder, if there is one, which wins.

    torchscript  take models/model.ts, a program. Said here and not in a card, which may have come with the bundle.
    UsageError where the card would leave open what must be known, MemberError where the bundle cannot be asked.
    """
    given = cards.read(folder / "card.toml", ("bundle",)) if (folder / "card.toml").is_file() else {}
    meta = config.metadata(folder)
    fields, made = bundle_card.describe(folder, meta, given)
    card = cards.card_of(fields | ({"name": name} if name else {}), str(folder))
    card = replace(card, outlines=made["task"] == "segmentation")
    if [code.meaning for code in card.concepts] != list(made["labels"].values()) and len(card.concepts) != len(
        made["labels"]
    ):
        raise UsageError(
            f"{folder}/card.toml names {len(card.concepts)} concepts, the bundle has {len(made['labels'])}: name as many."
        )
    exclusive = bool(fields.get("exclusive", not made["overlap"] or made["task"] == "classification"))
    made |= {"loader": "bundle", "exclusive": exclusive, "calibrated": bool(fields.get("calibrated", False))}
    files = {
        path.relative_to(folder).as_posix(): path for path in sorted((folder / "configs").glob("*")) if _wanted(path)
    }
    weights = _weights(folder, torchscript)
    target = cards.install(home, card, made, files | {weights: folder / weights}, lambda made_folder: load(made_folder))
    return read_card(target / "card.json")


def _wanted(path: Path) -> bool:
    return path.stem in ("inference", "metadata") and path.suffix in (".json", ".yaml", ".yml")


def _weights(folder: Path, script: bool) -> str:
    found = [name for name in ((_SCRIPT,) if script else _MODELS) if (folder / name).is_file()]
    if found:
        return found[0]
    advice = ""
    if (folder / _SCRIPT).is_file() and not script:
        advice = f" {_SCRIPT} is a program: where you trust it, add it with torchscript=True (--torchscript)."
    raise UsageError(
        f"{folder} holds neither {' nor '.join((_SCRIPT,) if script else _MODELS)}.{advice} Fetch the bundle's weights."
    )
