"""Members who mislead on purpose, in the seats of those whom they replace: what is asked is whether the generalist notices.

The card, the version and the stated reliability stay those of the member replaced, so that the prompt is the one that is
served; only what is said is forced.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from consilium.consult.panel import Panel
from consilium.consult.parse import normalise
from consilium.evaluate.plan import YES, Ask
from consilium.protocols import Card, Entry, Generalist, Retriever, Specialist
from consilium.types import Array, Case, Code, Finding, Opinion, Precedent

# With what probability a forced specialist claims what it claims, and denies what it denies.
SURE = 0.95


@dataclass(frozen=True)
class Stance:
    """Which of its concepts or groups a specialist is to claim; `claimed` False: to deny."""

    concept: str
    claimed: bool


def stance(card: Card, ask: Ask, says: str, against: str, words: Mapping[str, str]) -> Stance | None:
    """How the specialist with this card can say that `says` holds rather than `against`: by claiming what it knows of the
    one, else by denying what it knows of the other; None where it knows neither. `words`: label -> option."""
    if ask.asked:
        own = _known(card, [ask.asked, ask.words])
        return None if own is None else Stance(own, says == YES)
    claim, denial = (_known(card, _names(option, words)) for option in (says, against))
    if claim is not None:
        return Stance(claim, True)
    return None if denial is None else Stance(denial, False)


def _names(option: str, words: Mapping[str, str]) -> list[str]:
    return [option, *(label for label, said in words.items() if said == option)]


def _known(card: Card, names: Sequence[str]) -> str | None:
    mine = {normalise(name): name for name in (*card.groups, *(concept.meaning for concept in card.concepts))}
    return next((mine[normalise(name)] for name in names if normalise(name) in mine), None)


@dataclass
class Forced:
    """A specialist in another's seat, whose stance is given. It speaks where the other would have abstained."""

    inner: Specialist
    stance: Stance
    card: Card = field(init=False)

    def __post_init__(self) -> None:
        self.card = self.inner.card

    def examine(self, case: Case, args: Mapping[str, Any] | None = None) -> Opinion:
        own = self.inner.examine(case, args)
        shares = self._exclusive() if own.exclusive else self._any_number()
        groups = {name: min(1.0, sum(shares[m] for m in members)) for name, members in self.card.groups.items()}
        codes = {concept.meaning: concept for concept in self.card.concepts}
        findings = [
            Finding(codes.get(name, Code.local(name)), p, True, source=self.card.name)
            for name, p in (shares | groups).items()
        ]
        ranked = tuple(sorted(findings, key=lambda finding: -(finding.probability or 0)))
        return replace(own, findings=ranked, abstained=None, caution="", foreignness=None)

    def _members(self) -> set[str]:
        """The concepts that the stance is about: one, or those of a group."""
        return set(self.card.groups.get(self.stance.concept, (self.stance.concept,)))

    def _exclusive(self) -> dict[str, float]:
        names = [concept.meaning for concept in self.card.concepts]
        members = self._members() & set(names)
        others = len(names) - len(members)
        inside = SURE if self.stance.claimed else 1 - SURE
        if not others:
            return dict.fromkeys(names, 1 / len(names))
        return {name: inside / len(members) if name in members else (1 - inside) / others for name in names}

    def _any_number(self) -> dict[str, float]:
        names = [concept.meaning for concept in self.card.concepts]
        claimed = self._members() if self.stance.claimed else set()
        return {name: SURE if name in claimed else 1 - SURE for name in names}


@dataclass
class Poisoned:
    """An index whose cases are the similar ones, but all bear one label."""

    inner: Retriever
    label: str
    card: Card = field(init=False)

    def __post_init__(self) -> None:
        self.card = self.inner.card

    def __len__(self) -> int:
        return len(self.inner)

    def add(self, entries: Sequence[Entry]) -> int:
        return self.inner.add(entries)

    def delete_patient(self, patient_id: str) -> int:
        return self.inner.delete_patient(patient_id)

    def search(
        self,
        query: Array,
        k: int = 5,
        *,
        modality: str | None = None,
        label: str | None = None,
        exclude_digests: Sequence[str] = (),
        exclude_patients: Sequence[str] = (),
    ) -> tuple[Precedent, ...]:
        found = self.inner.search(
            query,
            k,
            modality=modality,
            label=label,
            exclude_digests=exclude_digests,
            exclude_patients=exclude_patients,
        )
        return tuple(replace(precedent, label=self.label) for precedent in found)


@dataclass
class Reseated(Panel):
    """A panel with the members of another, but for those that are replaced. None is loaded twice."""

    base: Panel | None = None
    instead: Mapping[str, Specialist] = field(default_factory=dict)

    def specialist(self, name: str) -> Specialist:
        return self.instead[name] if name in self.instead else self._base.specialist(name)

    @property
    def generalist(self) -> Generalist:
        return self._base.generalist

    @property
    def has_generalist(self) -> bool:
        return self._base.has_generalist

    @property
    def generalist_card(self) -> Card:
        return self._base.generalist_card

    @property
    def _base(self) -> Panel:
        if self.base is None:
            raise ValueError("a Reseated panel is made by reseat().")
        return self.base


def reseat(
    panel: Panel, instead: Mapping[str, Specialist] | None = None, *, empty: bool = False, label: str | None = None
) -> Reseated:
    """`panel` with some specialists replaced, without specialists (`empty`), or with an index that knows one label."""
    index = panel.retriever
    if label is not None and index is not None:
        index = Poisoned(index, label)
    return Reseated(
        panel.encoder,
        {} if empty else dict(panel.specialists),
        panel.generalist_name,
        index,
        panel.router,
        panel.generalist_options,
        panel.explains,
        panel.arbiter_file,
        base=panel,
        instead=instead or {},
    )


def drawn(names: Sequence[str], *seed: str) -> str:
    """One of the names, the same in every run."""
    return names[int.from_bytes(hashlib.sha256("\0".join(seed).encode()).digest()[:4], "big") % len(names)]
