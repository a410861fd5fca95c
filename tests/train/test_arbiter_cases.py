"""Held-out cases for the arbiter: val pictures alone, opinions of folds without them, precedents of other patients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tests.train import small_sets

from consilium.consult.arbiter import FEATURES, GENERALIST, PRECEDENTS
from consilium.datasets.folder import read_folder
from consilium.encoders import patch_statistics
from consilium.errors import DataError
from consilium.train import specialist
from consilium.train.arbiter import Weighed, fit
from consilium.train.arbiter_cases import Asked, gather
from consilium.train.specialist import Recipe
from consilium.train.suite import Options, train_suite
from consilium.train.suite_store import read_held_out

ASKED = Asked("Which is it?", {"benign": "lesion", "malignant": "lesion", "normal": "normal"})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("cases")
    small_sets.breast(place / "sets", 90)
    recipe = Recipe("drawn", ("US",), ("BREAST",), groups={"lesion": ("benign", "malignant")})
    options = Options(members=("linear", "neighbours"), seeds=1, index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONSILIUM_HOME", str(place / "home"))
        patch.setattr(specialist, "interval", partial(specialist.interval, resamples=20))
        train_suite(
            read_folder(place / "sets/breast_ultrasound_busi"), recipe, patch_statistics.load(), place / "home", options
        )
        yield place


def cases(place: Path, rated: Mapping[int, Mapping[str, float]]) -> list[Weighed]:
    data = read_folder(place / "sets/breast_ultrasound_busi")
    members = sorted((place / "home/suites/drawn/members").iterdir())
    return gather(data, ASKED, members, rated, patch_statistics.load())


def test_every_val_picture_is_taken_as_it_is_and_twice_from_afar(place: Path) -> None:
    data = read_folder(place / "sets/breast_ultrasound_busi")
    val = [row for row, record in enumerate(data.records) if record.split == "val"]
    found = cases(place, {row: {"lesion": 0.7, "normal": 0.3} for row in val[:4]})
    assert len(found) == 3 * len(val)
    fresh, with_fresh = FEATURES.index("precedents that no specialist learnt"), 0
    for number, row in enumerate(val):
        taken = found[3 * number : 3 * number + 3]
        names = ["drawn_linear", "drawn_neighbours", PRECEDENTS]
        assert [piece.name for piece in taken[0].pieces] == names + ([GENERALIST] if number < 4 else [])
        assert all([piece.name for piece in case.pieces] == names for case in taken[1:])
        assert all(ASKED.options[case.truth] == ASKED.words[data.records[row].labels[0]] for case in taken)
        assert [case.afar for case in taken[1:]] == [1.0, 1.0] and taken[0].afar < 1
        known = [case.pieces[2].values[:, fresh] for case in taken]
        assert not known[0].any() and not known[1].any()
        with_fresh += bool(known[2].any())
    assert with_fresh > len(val) / 2  # of its own cluster, where that has train pictures among the nearest


def test_the_opinions_are_those_of_the_fold_without_the_picture(place: Path) -> None:
    member = place / "home/suites/drawn/members/drawn_linear"
    held, first = read_held_out(member), cases(place, {})[0]
    row = held.splits.index("val")
    lesion = held.probabilities[row][[held.classes.index(name) for name in ("benign", "malignant")]].sum()
    logs = np.log(np.maximum([lesion, 1 - lesion], 1e-3))
    wanted = (logs - logs.mean()) / 2  # one of two members
    assert first.pieces[0].values[:, FEATURES.index("specialists")] == pytest.approx(wanted, abs=1e-4)


def test_they_can_be_fitted_on(place: Path) -> None:
    found = fit(cases(place, {}))
    assert found.made["left_out_loss"]["alone"] < np.log(2)


def test_without_members_there_is_nothing_to_gather(place: Path) -> None:
    data = read_folder(place / "sets/breast_ultrasound_busi")
    with pytest.raises(DataError, match="no judgement of a val picture"):
        gather(data, ASKED, [], {}, patch_statistics.load())
