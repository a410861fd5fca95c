"""Making a polygenic_risk specialist: what a table of people must be, and that nothing half-made is left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from consilium.errors import DataError, UsageError
from consilium.train.polygenic import Recipe, make

HEAD = "IID\tage\tsex\tsplit\tgout"
ROWS = ("P0\t50\tmale\treference\t1", "P1\t51\tfemale\ttrain\t0", "P2\t52\tmale\ttest\t")


def recipe(folder: Path, *lines: str) -> Recipe:
    (folder / "people.tsv").write_text("\n".join(lines) + "\n")
    return Recipe("risk", folder / "none.bed", (), folder / "people.tsv", "nobody", "CC0", "CC0")


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ((HEAD.replace("sex", "gender"), *ROWS), "no column sex"),
        ((HEAD,), "no column"),
        ((HEAD, *ROWS[:2]), "split"),
        ((HEAD, *ROWS, ROWS[0].replace("reference", "held out").replace("P0", "P9")), "split"),
        ((HEAD.replace("\tgout", ""), *(row.rpartition("\t")[0] for row in ROWS)), "one outcome"),
        ((HEAD, *ROWS[:2], ROWS[2] + "2"), "none of 1, 0 and blank"),
        ((HEAD, *ROWS[:2], ROWS[2].replace("52", "old")), "age that is no number"),
        ((HEAD, *ROWS[:2], ROWS[2].replace("52", "nan")), "an age"),
        ((HEAD, *ROWS[:2], ROWS[2].replace("\tmale", "\tm")), "female or male"),
        ((HEAD, *ROWS, ROWS[2]), "IID of their own"),
    ],
)
def test_a_table_of_people_that_cannot_be_used_is_told_without_naming_anyone(
    lines: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=told) as error:
        make(recipe(tmp_path, *lines), tmp_path / "room")
    assert not any(f"P{i}" in str(error.value) for i in range(3))


def test_a_name_that_is_a_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot name"):
        make(replace(recipe(tmp_path, HEAD, *ROWS), name="../risk"), tmp_path / "room")


def test_two_scoring_files_of_one_trait_leave_nothing_behind(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "height.tsv").write_text("")
    scores = (tmp_path / "a/height.tsv", tmp_path / "b/height.tsv")
    with pytest.raises(UsageError, match="called height"):
        make(replace(recipe(tmp_path, HEAD, *ROWS), scores=scores), tmp_path / "room")
    assert list((tmp_path / "room").iterdir()) == []
