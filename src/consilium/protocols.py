"""What each kind of member offers, and the card by which it is known. numpy only; no implementation lives here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from consilium.types import Array, Case, Code, Completion, Image, Message, Opinion, Precedent, Score


@dataclass(frozen=True)
class Card:
    """What a member is and may do: data, cheap to read, honest.

    kind          "encoder", "specialist", "generalist" or "retriever".
    modalities    DICOM modalities it may see; empty: it sees no images.
    body_parts    DICOM body parts it may see; empty: any.
    concepts      what it can name.
    groups        concepts that stand for several of its own ({"pneumonia": ("bacterial", "viral")}).
    arguments     what `examine` takes, name -> meaning.
    on_call       it says nothing without arguments, so that only who calls it by name asks it, never a policy that asks all.
    trained_on    name -> licence of each dataset it learnt from.
    licence       under which terms it may be used.
    evidence      where the figures come from (a file under results/, or the command that measured them).
    scores        those figures, on data it never saw.
    not_for       uses that it must not be put to.
    outlines      it outlines and measures: it is asked where the question is open, or by name, for it answers no closed one.
    drafts        it writes a report, and is asked as one that outlines is.
    """

    kind: str
    name: str
    version: str
    summary: str
    modalities: tuple[str, ...] = ()
    body_parts: tuple[str, ...] = ()
    concepts: tuple[Code, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    arguments: Mapping[str, str] = field(default_factory=dict)
    trained_on: Mapping[str, str] = field(default_factory=dict)
    licence: str = ""
    evidence: str = ""
    scores: tuple[Score, ...] = ()
    not_for: tuple[str, ...] = ()
    on_call: bool = False
    outlines: bool = False
    drafts: bool = False

    @property
    def open_only(self) -> bool:
        """Whether it has nothing to say on a closed question."""
        return self.outlines or self.drafts


@dataclass(frozen=True, eq=False)
class Features:
    """What an encoder saw: `pooled` (n, d) float32, and, when asked for, `patches` (n, rows, columns, channels) float32."""

    pooled: Array
    patches: Array | None = None


@runtime_checkable
class Encoder(Protocol):
    """Turns pictures into features; the same picture gives the same features whatever the batch."""

    card: Card

    def embed(self, images: Sequence[Image], patches: bool = False) -> Features: ...


@runtime_checkable
class Specialist(Protocol):
    """Gives an Opinion on a case: findings, or an abstention with its reason. Raises only when it is broken."""

    card: Card

    def examine(self, case: Case, args: Mapping[str, Any] | None = None) -> Opinion: ...


@runtime_checkable
class Generalist(Protocol):
    """Writes, and rates given answers.

    `generate` returns greedy text of at most `max_tokens` tokens. `score` returns one number per option: the log-likelihood
    of that option's text as the assistant's next words, summed over its tokens unless the member states its own rule;
    comparable within one call only. CannotScoreError where a back-end has none.
    `sees_images` says whether image parts of a message are looked at or must not be sent.
    """

    card: Card
    sees_images: bool

    def generate(self, messages: Sequence[Message], max_tokens: int = 128) -> Completion: ...

    def score(self, messages: Sequence[Message], options: Sequence[str]) -> tuple[float, ...]: ...


@dataclass(frozen=True, eq=False)
class Entry:
    """One known case for a retriever: its pooled features (d,), the patient it belongs to, and what a Precedent shows."""

    features: Array
    precedent: Precedent
    patient_id: str = ""
    digest: str = ""


@runtime_checkable
class Retriever(Protocol):
    """Finds similar known cases by the cosine of pooled features.

    `search` never returns an entry whose digest or patient is excluded: a case must not be its own precedent.
    """

    card: Card

    def add(self, entries: Sequence[Entry]) -> int: ...

    def search(
        self,
        query: Array,
        k: int = 5,
        *,
        modality: str | None = None,
        label: str | None = None,
        exclude_digests: Sequence[str] = (),
        exclude_patients: Sequence[str] = (),
    ) -> tuple[Precedent, ...]: ...

    def delete_patient(self, patient_id: str) -> int: ...

    def __len__(self) -> int: ...


class Dataset(Protocol):
    """Iterates (case, reference label); states its split, licence and citation."""

    name: str
    split: str
    licence: str
    citation: str

    def __iter__(self) -> Iterator[tuple[Case, str]]: ...
