"""The held-out cases that an arbiter is fitted on: val pictures of a set, what its specialists said of them without having seen
them, the most similar train pictures, and what the generalist, which never learnt val, made of them alone.

Each picture is taken three times: with opinions of ordinary folds, and twice with those of folds that are clusters of feature
space (what `suite_ground` calls shifted), since a pool that is fitted on familiar pictures alone trusts its members too much on
others. A cluster stands for pictures of another source, and its pictures count as far afield as such, though they lie nearer:
once no known case is of that source, once FEW of them are, which nobody learnt. The generalist is left out of both: it may have
learnt the cluster, and what it would say of pictures from elsewhere is not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from consilium.consult.arbiter import weighable
from consilium.consult.prompt import Evidence
from consilium.consult.table import PRECEDENTS
from consilium.datasets.folder import FolderDataset, Record
from consilium.errors import DataError
from consilium.nn import light_head
from consilium.nn.judging import weight_of
from consilium.nn.region import METRIC
from consilium.protocols import Card, Encoder
from consilium.registry import read_card
from consilium.train.arbiter import Weighed
from consilium.train.conversations.out_of_fold import stated
from consilium.train.features import Encoded, encode
from consilium.train.specialist import NEAR
from consilium.train.suite_store import HeldOutFile, read_held_out
from consilium.types import Array, Case, Opinion, Precedent, Score

# The foreignness from which on a picture counts as wholly afar.
AFAR = 2.0
# Known cases of a new source where there are some, as when somebody adds a few of their own to the index.
FEW = 64
_LEARNT, _NEW = "learnt", "new"


@dataclass(frozen=True)
class Asked:
    """A closed question on a set with one class a picture. `words`: class -> option (several may share one)."""

    question: str
    words: Mapping[str, str]

    @property
    def options(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.words.values()))


def gather(
    data: FolderDataset,
    asked: Asked,
    members: Sequence[Path],
    rated: Mapping[int, Mapping[str, float]],
    encoder: Encoder,
) -> list[Weighed]:
    """Two cases for each val picture that every member judged held out. `members`: folders of a suite; `rated`: row of the
    picture in `data` -> the generalist's probabilities of the options from the picture alone, where it was asked.

    Raises DataError where the members know none of the val pictures.
    """
    held = [_member(folder) for folder in members]
    encoded = encode(data.records, encoder)
    known = set.intersection(*(set(member.file.digests) for member in held)) if held else set()
    rows = [i for i, r in enumerate(data.records) if r.split == "val" and encoded.digests[i] in known]
    if not rows:
        raise DataError(f"the suite holds no judgement of a val picture of {data.folder}. Train it on this folder.")
    cases, shelf = [], _Shelf(data.records, encoded, held[0].file, asked.words)
    for row in rows:
        case = Case(f"row {row}", asked.question, asked.options)
        truth = asked.options.index(asked.words[data.records[row].labels[0]])
        for shifted, found in ((False, shelf.ordinary(row)), *((True, found) for found in shelf.shifted(row))):
            said = tuple(o for member in held if (o := _opinion(member, encoded.digests[row], shifted)))
            if said:
                evidence = Evidence(said, found, learnt=frozenset((_LEARNT,)))
                pieces, afar = weighable(case, evidence, None if shifted else rated.get(row))
                cases.append(Weighed(data.name, pieces, truth, afar, data.records[row].patient))
    return cases


@dataclass(frozen=True, eq=False)
class _Member:
    card: Card
    file: HeldOutFile
    tensors: Mapping[str, Array]


def _member(folder: Path) -> _Member:
    tensors = light_head.read(folder / "model.safetensors", ())
    return _Member(read_card(folder / "card.json"), read_held_out(folder), tensors)


def _opinion(member: _Member, digest: str, shifted: bool) -> Opinion | None:
    """What the member said of the picture from a fold without it; None where it has no such judgement."""
    place = member.file.digests.index(digest)
    tensors = member.file.shifted if shifted else vars(member.file)
    p, far, local = (tensors[name][place] for name in ("probabilities", "foreignness", "local_accuracy"))
    if np.isnan(p).any():
        return None
    far = max(float(far), AFAR) if shifted else float(far)
    caution = "unlike its training pictures" if far > 1 else ""
    opinion = stated(member.card, p, exclusive=True, caution=caution)
    near = () if np.isnan(local) else (Score(METRIC, float(local), float(local), float(local), 0),)
    weight = weight_of(member.tensors, far)
    return replace(opinion, foreignness=far, reliability=(*member.card.scores, *near), weight=weight)


class _Shelf:
    """The train pictures as known cases, by their options; never of the same patient, nor a near-duplicate."""

    def __init__(
        self, records: Sequence[Record], encoded: Encoded, file: HeldOutFile, words: Mapping[str, str]
    ) -> None:
        cluster = dict(zip(file.digests, (int(fold) for fold in file.shifted["folds"]), strict=True))
        self._records, self._words, self._unit = records, words, _unit(encoded.features)
        self._cluster = np.array([cluster.get(digest, -1) for digest in encoded.digests])
        self._train = np.array([record.split == "train" for record in records])

    def ordinary(self, row: int) -> tuple[Precedent, ...]:
        """The most similar ones."""
        return self._nearest(row, self._train)

    def shifted(self, row: int) -> tuple[tuple[Precedent, ...], tuple[Precedent, ...]]:
        """The most similar ones of other clusters alone; with FEW of its own cluster among them."""
        own = self._train & (self._cluster == self._cluster[row])
        places, few = np.flatnonzero(own), np.zeros(len(own), bool)
        few[places[np.linspace(0, len(places) - 1, min(FEW, len(places))).astype(int)]] = True
        return self._nearest(row, self._train & ~own), self._nearest(row, (self._train & ~own) | few, few)

    def _nearest(self, row: int, among: Array, new: Array | None = None) -> tuple[Precedent, ...]:
        alike, records, found = self._unit @ self._unit[row], self._records, []
        for i in np.argsort(-alike, kind="stable"):
            if among[i] and alike[i] <= NEAR and records[i].patient != records[row].patient:
                source = _NEW if new is not None and new[i] else _LEARNT
                label = self._words[records[i].labels[0]]
                found.append(Precedent(f"row {i}", label, float(alike[i]), source=source))
                if len(found) == PRECEDENTS:
                    break
        return tuple(found)


def _unit(features: Array) -> Array:
    return features / np.linalg.norm(features, axis=1, keepdims=True)
