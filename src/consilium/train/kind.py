"""What the pictures of a folder are: from their headers, else from the router where it recognises nearly all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from consilium import registry
from consilium.consult.panel import ROUTER
from consilium.consult.route import SURE
from consilium.errors import UsageError
from consilium.protocols import Encoder
from consilium.train.features import Encoded

# Share of the pictures that the router must recognise, surely, as one kind.
NEARLY_ALL = 0.9


def kind_of(encoded: Encoded, encoder: Encoder) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(modalities, body parts) of the pictures; UsageError where neither the headers nor the router say."""
    modalities = _said(encoded.modalities)
    if modalities:
        return modalities, body_parts_of(encoded)
    recognised = _by_router(encoded, encoder)
    if recognised is None:
        raise UsageError(
            "the pictures do not say their modality and the classifier does not recognise them. Say what they are with "
            "--modality (CR for X-rays, CT, MR, US, DMS for dermatoscopy, SM for slides ...)."
        )
    modality, part = recognised.split("/")
    return (modality,), (part,)


def body_parts_of(encoded: Encoded) -> tuple[str, ...]:
    """The body parts that the headers name; () unless every one names one."""
    return _said(encoded.body_parts)


def _said(words: Sequence[str | None]) -> tuple[str, ...]:
    return tuple(sorted({word for word in words if word})) if None not in words else ()


def _by_router(encoded: Encoded, encoder: Encoder) -> str | None:
    member = registry.find("specialists").get(ROUTER)
    if member is None or not member.fits(encoder.card.version):
        return None
    router = member.load(encoder=encoder)
    probabilities = router.head.probabilities(encoded.features)
    sure = (router.head.foreignness(encoded.features) <= router.head.limit) & (probabilities.max(axis=1) >= SURE)
    labels, counts = np.unique(probabilities.argmax(axis=1)[sure], return_counts=True)
    if not len(counts) or counts.max() < NEARLY_ALL * len(encoded.features):
        return None
    return str(router.card.concepts[labels[counts.argmax()]].meaning)
