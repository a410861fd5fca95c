"""The mixture's file: what is read, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.train import small_sets

from consilium.errors import DataError
from consilium.train import mixture, shards
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
        ("branches = 3", "branches = 0", "branches of source 'breast_ultrasound_busi'"),
        ("alignment = 1,", 'alignment = "1",', "repeat of source"),
        ("alignment = 1,", "alignment = -2,", "repeat of source"),
        ('modality = "US"', 'modality = ["US"]', "modality of source"),
        ("misled = 0.3", "misld = 0.3", "misld"),
        ("published = 0.2", "published = 3", "published cannot be meant"),
        ("as_is = 0.4, degraded = 0.2", "as_is = 0.8, degraded = -0.2", "conditions cannot be meant"),
        ('specialists = { breast_ultrasound_busi = ["finder"] }', "", "does not say specialists"),
        ('["finder"]', '"finder"', "specialists.breast_ultrasound_busi cannot be meant"),
    ],
)
def test_what_is_no_recipe_is_refused_by_name(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        mixture.read(written(tmp_path, small_sets.RECIPE.replace(old, new)))


def test_a_stage_without_its_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"for guided, and has no table \[guided\]"):
        mixture.read(written(tmp_path, small_sets.RECIPE.split("[guided]")[0]))


def test_a_reader_that_is_none_is_refused() -> None:
    with pytest.raises(DataError, match="no_such"):
        reader(mixture.Source("x", "no_such", "", {}))
    with pytest.raises(DataError, match="is no reader"):
        reader(mixture.Source("x", "group", "", {}))


OWN = """
seed = 3

[[sources]]
name = "our_breasts"
folder = "breast_ultrasound_busi"
reader = "diagnosis"
licence = "ours"
repeat = { alignment = 1, instruction = 1 }
branches = 7
"""
WORDS = """
[sources.words]
picture = "scan"
labels.benign = { plain = ["harmless"], findings = ["a harmless lump"] }
labels.malignant = { plain = ["cancer"], findings = ["a cancer"] }
labels.normal = { plain = ["nothing"], findings = ["no lump"] }
concepts = [{ thing = "a lump", labels = ["benign", "malignant"] }, { thing = "no lump", labels = ["normal"] }]
"""


def told(folder: Path, text: str) -> str:
    shards.build(written(folder, text), small_sets.breast(folder / "sets"), folder / "out")
    groups = [*shards.read(folder / "out", "alignment"), *shards.read(folder / "out", "instruction")]
    assert len(groups) == 96 and {group["dataset"] for group in groups} == {"our_breasts"}
    return json.dumps([branch["messages"] for group in groups for branch in group["branches"]])


def test_a_set_of_ones_own_is_told_by_its_labels(tmp_path: Path) -> None:
    text = told(tmp_path, OWN)
    assert "Would you call this picture malignant?" in text
    # What kind of picture it is and of what part nobody said: neither is asked or told.
    assert "Medical" not in text and "of the  with" not in text and "What kind of picture" not in text


def test_a_set_of_ones_own_is_told_in_its_own_words(tmp_path: Path) -> None:
    text = told(tmp_path, OWN + WORDS)
    assert "a harmless lump" in text and "a lump" in text and "this scan" in text


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("labels.benign", "labels.begnin", "has none for benign"),
        ('labels = ["normal"] }', 'labels = ["healthy"] }', "names healthy, which none"),
        ("picture =", "image =", "says image; there are: picture"),
        ('plain = ["cancer"]', 'plain = "cancer"', "plain is 'cancer'; a list of texts"),
        (', findings = ["a cancer"]', "", "findings is None"),
        (', { thing = "no lump", labels = ["normal"] }', "", "benign needs a concept that is true of it, and one"),
        ("thing = ", "thign = ", "says thign; there are: thing"),
        ('picture = "scan"', 'picture = "scan"\nclosed = ["{this}"]', "only {picture} and {thing}"),
        (
            'picture = "scan"',
            'picture = "scan"\ngroupings = [{ options = { a = ["normal"] }, questions = ["?"] }]',
            "once",
        ),
    ],
)
def test_words_that_do_not_fit_the_set_are_refused(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        told(tmp_path, OWN + WORDS.replace(old, new))


def test_a_set_with_several_labels_is_no_diagnosis(tmp_path: Path) -> None:
    data = small_sets.breast(tmp_path / "sets")
    index = data / "breast_ultrasound_busi" / "index.csv"
    index.write_text(index.read_text(encoding="utf-8").replace("path,label,", "path,labels,"), encoding="utf-8")
    with pytest.raises(DataError, match="several labels a picture"):
        shards.build(written(tmp_path, OWN), data, tmp_path / "out")
