"""The mixture's file: what is read, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.train import small_sets

from consilium.errors import DataError
from consilium.train import mixture
from consilium.train.conversations import reader

SHIPPED = Path(__file__).parents[2] / "configs/train/data.toml"


def written(folder: Path, text: str) -> Path:
    path = folder / "data.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_mixture_names_readers_and_shares(tmp_path: Path) -> None:
    found = mixture.read(SHIPPED)
    assert all(reader(source) for source in found.sources)
    assert {source.name for source in found.of("guided")} == set(found.guided["specialists"])
    assert "vqa_rad" not in {source.name for source in found.of("alignment")}
    assert found.text == SHIPPED.read_text(encoding="utf-8")


def test_sources_of_a_stage_are_those_repeated_in_it(tmp_path: Path) -> None:
    text = small_sets.RECIPE.replace("alignment = 1, ", "alignment = 0, ")
    found = mixture.read(written(tmp_path, text))
    assert [source.name for source in found.of("instruction")] == ["breast_ultrasound_busi"] and not found.of(
        "alignment"
    )


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("seed = 7", "seed = ", "cannot be read"),
        ("seed = 7", "", "'seed'"),
        ("seed = 7", "seed = 7\nsteps = 3", "steps"),
        ("shard = 16", "shard = 0", "shards of 0"),
        ("alignment = 1", "pretraining = 1", "pretraining"),
        ("as_is = 0.4", "as_is = 0.5", "not to 1"),
        ('reader = "diagnosis"', 'raeder = "diagnosis"', "raeder"),
    ],
)
def test_what_is_no_recipe_is_refused_by_name(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        mixture.read(written(tmp_path, small_sets.RECIPE.replace(old, new)))


def test_a_reader_that_is_none_is_refused() -> None:
    with pytest.raises(DataError, match="no_such"):
        reader(mixture.Source("x", "no_such", "", {}))
    with pytest.raises(DataError, match="is no reader"):
        reader(mixture.Source("x", "group", "", {}))
