"""Routing by card: every specialist against every modality and body part."""

from itertools import product

import numpy as np
import pytest

from consilium import registry
from consilium.consult import route
from consilium.consult.panel import ROUTER
from consilium.consult.route import XRAY, demand_modality, refusal
from consilium.errors import UsageError
from consilium.protocols import Card
from consilium.types import Case, Image, Study

MODALITIES = ("CR", "DX", "CT", "MR", "US", "MG", "PT", "NM", "SM", "DMS", "OP", "OPT", "XA", "SC", "OT")
PARTS = (None, "CHEST", "HEAD", "BREAST", "ABDOMEN", "SKIN")
CARDS = {name: member.card for name, member in registry.find("specialists").items() if name != ROUTER}


@pytest.mark.parametrize(("name", "modality"), list(product(CARDS, MODALITIES)))
def test_a_specialist_sees_its_own_modalities_alone(name: str, modality: str) -> None:
    card = CARDS[name]
    own = modality in card.modalities or (modality in XRAY and bool(XRAY & set(card.modalities)))
    for part in PARTS:
        fits = part is None or not card.body_parts or part in card.body_parts
        assert (refusal(card, Study(modality, part, ())) is None) == (own and fits)


def test_a_ct_never_reaches_a_chest_x_ray_specialist() -> None:
    chest = {name: card for name, card in CARDS.items() if "CR" in card.modalities and card.body_parts}
    assert chest
    for card in chest.values():
        assert "CT" in (refusal(card, Study("CT", "CHEST", ())) or "")


def test_same_field_of_view_under_another_name() -> None:
    card = Card("specialist", "x", "1", "", ("CT",), ("CHEST",))
    assert refusal(card, Study("CT", "THORAX", ())) is None
    assert refusal(card, Study("CT", "HEAD", ()))


def test_an_unknown_modality_is_admitted_nowhere_and_asked_for() -> None:
    study = Study(None, "CHEST", ())
    assert all(refusal(card, study) for card in CARDS.values())
    with pytest.raises(UsageError, match="--modality"):
        demand_modality(Case("c", "?", (), (study,)))


def test_the_number_of_a_picture_counts_among_all_of_the_case() -> None:
    pictures = [Image(np.full((4, 4), n, np.uint8), f"sha256:{n}") for n in range(3)]
    studies = tuple(Study(m, None, (p,)) for m, p in zip(("ECG", "CR", "CR"), pictures, strict=True))
    case = Case("c", "?", studies=studies)
    assert route.among(case, studies[1:], {"image": 2}) == {"image": 1}
    assert route.among(case, studies[1:], {"image": 3, "box": [0]}) == {"image": 2, "box": [0]}
    assert route.among(case, studies[1:], {"image": 9}) == {"image": 9} and route.among(case, studies, {}) == {}
    with pytest.raises(UsageError, match="does not let it see picture 1"):
        route.among(case, studies[1:], {"image": 1})
