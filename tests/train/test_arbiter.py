"""The arbiter's weights are found again from cases drawn by a known rule, and serve sets that they never saw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from consilium.consult import arbiter
from consilium.consult.arbiter import FEATURES, GENERALIST, Piece, softmax
from consilium.errors import DataError
from consilium.train.arbiter import PRIOR, Weighed, _parts, fit

TRUE = {"specialists": 0.6, "specialists, by their reliability here": 0.8, "generalist": 0.5}


def drawn(count: int, seed: int = 0, helps: float = TRUE["generalist"]) -> list[Weighed]:
    """Cases of three sets whose right option is drawn from the true rule."""
    draw, weights = np.random.default_rng(seed), np.array([{**TRUE, "generalist": helps}.get(f, 0.0) for f in FEATURES])
    cases = []
    for number in range(count):
        options = 2 + number % 3
        said, read, trust = draw.normal(0, 1.5, options), draw.normal(0, 1.5, options), draw.uniform()
        seat, chief = np.zeros((options, len(FEATURES))), np.zeros((options, len(FEATURES)))
        seat[:, 0], seat[:, 1], chief[:, 6] = said - said.mean(), trust * (said - said.mean()), read - read.mean()
        pieces = (Piece("finder", "", seat), Piece(GENERALIST, "", chief))
        truth = int(draw.choice(options, p=softmax((seat + chief) @ weights)))
        cases.append(Weighed(f"set {number % 3}", pieces, truth, 0.0))
    return cases


def test_the_rule_behind_the_cases_is_found() -> None:
    found = fit(drawn(1500))
    assert found.asked["generalist"] == pytest.approx(0.5, abs=0.15)
    assert found.asked["specialists"] + found.asked["specialists, by their reliability here"] == pytest.approx(
        1.4, abs=0.3
    )
    loss = found.made["left_out_loss"]
    assert loss["asked"] < loss["alone"] - 0.05 and loss["as served"] <= loss["asked"] + 0.01
    assert "generalist" not in found.alone


def test_a_generalist_that_knows_nothing_gets_no_weight() -> None:
    found = fit(drawn(1500, helps=0.0))
    assert abs(found.asked["generalist"]) < 0.1


def test_a_generalist_that_misleads_is_not_asked_and_never_counts_against_itself() -> None:
    found = fit(drawn(600, helps=-0.8))
    assert found.asked["generalist"] == 0 and found.sure == 0 and found.made["asked_share"] == 0
    assert found.made["left_out_loss"]["as served"] == found.made["left_out_loss"]["alone"]
    total = found.asked["generalist"] + found.asked["generalist, from afar"]
    assert total >= 0 and fit(drawn(600)).sure > 0


def test_with_few_cases_the_mean_of_the_specialists_remains() -> None:
    weights = fit(drawn(24)).alone
    assert weights["specialists"] == pytest.approx(PRIOR["specialists"], abs=0.5)
    with pytest.raises(DataError, match="too few"):
        fit(drawn(10))


def test_what_was_fitted_reads_back(tmp_path) -> None:  # type: ignore[no-untyped-def]
    import dataclasses
    import json

    found = fit(drawn(60))
    (tmp_path / "arbiter.json").write_text(json.dumps(dataclasses.asdict(found)))
    assert arbiter.load(tmp_path / "arbiter.json") == found


def test_a_picture_lies_in_one_part_whole() -> None:
    cases = [replace(case, name="one set", picture=f"picture {i // 3}") for i, case in enumerate(drawn(120))]
    parts = np.array(_parts(cases))
    assert parts.shape == (5, 120) and (parts.sum(axis=0) == 1).all()
    assert (parts[:, ::3] == parts[:, 1::3]).all() and (parts[:, ::3] == parts[:, 2::3]).all()
