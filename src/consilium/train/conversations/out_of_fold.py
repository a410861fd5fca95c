"""What a shipped specialist would have said of pictures that it was not trained on: its head fitted again per fold, as
train.specialist does, with the shape that its card names; each picture is judged by the fit that did not see it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from consilium import registry
from consilium.datasets.folder import FolderDataset, Record
from consilium.errors import MemberError
from consilium.nn import fit_head, light_head, region
from consilium.nn.light_head import LightHead, to_probabilities
from consilium.protocols import Card, Encoder
from consilium.train.folds import folds
from consilium.types import Array, Code, Finding, Opinion, Score


@dataclass(frozen=True, eq=False)
class Judged:
    """Rows of pictures: probabilities (n, classes) of the card's concepts, foreignness (n,); beyond `limit` it abstains.
    `local`: its accuracy on the known pictures most like each, () where the specialist keeps none."""

    card: Card
    exclusive: bool
    probabilities: Array
    foreignness: Array
    limit: float
    local: tuple[Score, ...] = ()

    def opinion(self, row: int) -> Opinion:
        """As the light specialist says it, but for the region."""
        far = float(self.foreignness[row])
        if far > self.limit:
            reason = f"unlike the pictures it was trained on ({far:.2f} times as far as most of them)"
            return stated(self.card, None, self.exclusive, abstained=reason)
        caution = ""
        if far > 1:
            caution = (
                f"{far:.2f} times as far as most of its training pictures: its probabilities are not calibrated here"
            )
        said = stated(self.card, self.probabilities[row], self.exclusive, caution=caution)
        return replace(said, reliability=(*said.reliability, *self.local[row : row + 1]))


def stated(card: Card, probabilities: Array | None, exclusive: bool, caution: str = "", abstained: str = "") -> Opinion:
    """An Opinion with these probabilities (classes,) of the card's concepts and the sums of its groups, most probable first."""
    found: list[Finding] = []
    if probabilities is not None:
        by_label = {code.meaning: float(p) for code, p in zip(card.concepts, probabilities, strict=True)}
        found = [Finding(Code.local(label), p, not caution, source=card.name) for label, p in by_label.items()]
        for group, members in card.groups.items():
            p = min(1.0, sum(by_label[member] for member in members))
            found.append(Finding(Code.local(group), p, not caution, source=card.name))
    findings = tuple(sorted(found, key=lambda finding: -(finding.probability or 0)))
    return Opinion(
        card.name, card.version, findings, abstained or None, caution, exclusive, card.scores, licence=card.licence
    )


def judge(name: str, data: FolderDataset, records: Sequence[Record], features: Array, encoder: Encoder) -> Judged:
    """The specialist `name` on the set it was trained on, out of fold. `records` are the pictures of train and val that it
    was trained on, `features` (n, d) theirs. MemberError where it was trained on another encoder or on other classes."""
    import torch

    folder, made, head = _shipped(name, encoder)
    card = registry.read_card(folder / "card.json")
    if tuple(code.meaning for code in card.concepts) != data.classes:
        raise MemberError(f"specialist {name} knows other classes than {data.folder}; train it again on that set.")
    targets = data.targets(records)
    shape = fit_head.Shape(int(made["fit"]["hidden"]), float(made["fit"]["decay"]))  # type: ignore[index]
    threads = torch.get_num_threads()
    # Sums over threads differ in their last bit, and the shards must not.
    torch.set_num_threads(1)
    try:
        own = folds(records, bool(data.patient_column))
        held = fit_head.out_of_fold(features, targets, data.exclusive, shape, own)
    finally:
        torch.set_num_threads(threads)
    fitted = fit_head.calibrate(held.logits, targets, data.exclusive)
    logits = held.logits * fitted["calibration.slope"] + fitted["calibration.offset"]
    foreignness = held.distances / head.tensors["foreign.own"]
    p = to_probabilities(logits, data.exclusive)
    return Judged(card, data.exclusive, p, foreignness, head.limit, _local(head, p, features, targets, own))


def bystander(name: str, features: Array, encoder: Encoder) -> Judged:
    """The shipped specialist `name` on pictures (n, d) of a set that it was not trained on."""
    folder, made, head = _shipped(name, encoder)
    p, far = head.probabilities(features), head.foreignness(features)
    card, local = registry.read_card(folder / "card.json"), region.scores(head.tensors, features)
    return Judged(card, bool(made["exclusive"]), p, np.asarray(far), head.limit, local)


def _local(head: LightHead, p: Array, features: Array, targets: Array, own: Array) -> tuple[Score, ...]:
    """The accuracy near each picture from pictures of other folds; () where the specialist keeps no known pictures."""
    if "region.places" not in head.tensors:
        return ()
    gate = fit_head.spread(features)
    gate |= fit_head.foreign(gate, features)
    return region.held_out_scores(gate, features, region.correct(p, targets, head.exclusive), own)


def _shipped(name: str, encoder: Encoder) -> tuple[Path, dict[str, object], LightHead]:
    member = registry.get("specialists", name)
    if member.folder is None or not member.fits(encoder.card.version):
        raise MemberError(
            f"specialist {name} is no light specialist on features of {encoder.card.version}; train it again."
        )
    made = json.loads((member.folder / "card.json").read_text(encoding="utf-8"))
    if made["loader"] != "light":
        raise MemberError(f"specialist {name} is no light specialist: its held-out judgements lie in its own folder.")
    return member.folder, made, light_head.load(member.folder / "model.safetensors", bool(made["exclusive"]))
