"""What the GSCo study weighs: the held-out cases that `arbitrated` is fitted on, and the evidence that a record tells of.

On a set with several labels a picture `arbitrated` weighs each finding by itself, as the yes-or-no question whether it is there;
so a case of the fit, and a record, is then one finding of one picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from consilium.consult.arbiter import LOCAL
from consilium.consult.prompt import Evidence
from consilium.consult.several import about
from consilium.datasets.folder import FolderDataset
from consilium.evaluate.plan import NO, YES
from consilium.evaluate.records import Row
from consilium.settings import settings
from consilium.train.arbiter import Weighed
from consilium.train.arbiter_cases import Asked, gather
from consilium.types import Case, Code, Finding, Opinion, Precedent, Score
from gsco_places import Place, encoder


def held_out(place: Place, seed: int, solo: Sequence[Row]) -> list[Weighed]:
    """The val pictures of a set with what the seed's suite said of them without having learnt them. `solo`: the records of what
    the generalist said alone."""
    folders = [settings().home / "specialists" / member for member in place.members[seed]]
    cases: list[Weighed] = []
    for label in place.data.classes if place.several else ("",):
        data, asked = place.data, Asked(place.told["question"], {c: _words(c) for c in place.data.classes})
        if label:
            data, asked = _one(data, label), Asked(_whether(label).question, {YES: YES, NO: NO})
        rated = {int(r["row"]): r["probabilities"] for r in solo if r["probabilities"] and r["asked"] == label}
        cases += [replace(case, name=place.name) for case in gather(data, asked, folders, rated, encoder())]
    return cases


def recalled(row: Row, options: Sequence[str]) -> tuple[Case, Evidence]:
    """The question of a record, and what the specialists and known cases said of it."""
    known = [Precedent("", p["label"] or "", p["similarity"]) for p in row["precedents"]]
    spoke = [told for told in row["opinions"] if told["probabilities"]]
    if not row["asked"]:
        return Case("", "", tuple(options)), Evidence([_told(told, told["probabilities"]) for told in spoke], known)
    finding = _words(row["asked"])
    opinions = [_told(told, {finding: told["probabilities"][YES]}) for told in spoke]
    return _whether(row["asked"]), Evidence(opinions, known)


def _whether(label: str) -> Case:
    """The question that `arbitrated` weighs of one label among several."""
    return about(_words(label), Case("", "", (_words(label),), multiple=True), Evidence())[0]


def _words(label: str) -> str:
    """As the question puts it."""
    return label.replace("_", " ")


def _one(data: FolderDataset, label: str) -> FolderDataset:
    """The set as if only this label had been asked for. Every picture of it must be labelled with all."""
    records = tuple(replace(r, labels=(YES if label in r.labels else NO,)) for r in data.records)
    return replace(data, records=records, classes=(NO, YES), exclusive=True)


def _told(told: Row, said: Mapping[str, float]) -> Opinion:
    findings = tuple(Finding(Code.local(option), p) for option, p in said.items())
    local = told["local_accuracy"]
    scores = () if local is None else (Score(LOCAL, local, local, local, 25),)
    return Opinion(
        told["specialist"],
        told["version"],
        findings,
        reliability=scores,
        foreignness=told["foreignness"],
        weight=told["weight"],
    )
