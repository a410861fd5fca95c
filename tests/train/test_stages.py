"""Stages follow each other on tiny networks: each starts from the last one's result and leaves an ordinary checkpoint."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image as Pillow
from safetensors.torch import load_file
from tests.train import tiny_bases

from consilium import registry
from consilium.errors import DataError, UsageError
from consilium.nn import llava
from consilium.nn.feature_store import Stored
from consilium.train import mix, result, stages
from consilium.train.plan import read_recipe
from consilium.train.warmstart import choices

RECIPE = """
name = "tiny"
vision = "{vision}"
language = "{language}"
encoder = "tiny"
layer = 2
rank = 4
precision = "float32"
seed = 1
mixture = "none.toml"

[stages.warmstart]
mix = {{ talk = 1.0 }}
epochs = 3
batch = 8
shown = 3

[stages.alignment]
after = "warmstart"
mix = {{ talk = 0.5 }}
rate = 1e-3
tokens = 400
shown = 3

[stages.instruction]
after = "alignment"
mix = {{ talk = 1.0 }}
up = {{ rare = 2 }}
learns = ["projector", "lora"]
rate = 5e-3
tokens = 400
shown = 3
epochs = 2
"""


class KnownPictures:
    """Stands for the encoder: it has seen every picture of the tiny shards."""

    def load(self, layer: int = 9, folder: str = "") -> KnownPictures:
        return self

    def recall(self, digest: str) -> Stored:
        tokens = tiny_bases.tokens_of(digest).numpy()
        pooled = torch.cat([torch.from_numpy(tokens[0]), torch.from_numpy(tokens[1:]).mean(0)]).numpy()
        return Stored(pooled, tokens[1:].reshape(2, 2, -1))


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> stages.Places:
    monkeypatch.setattr(registry, "get", lambda kind, name: KnownPictures())
    made = tiny_bases.groups()
    tiny_bases.write_shards(tmp_path / "shards", "talk", made)
    (tmp_path / "data" / "tiny").mkdir(parents=True)
    for group in made:
        Pillow.new("L", (20, 20), 128).save(tmp_path / "data" / group["images"][0]["path"])
    return stages.Places(tmp_path / "shards", tmp_path / "data", tmp_path / "out")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    vision, language = tiny_bases.write_bases(tmp_path / "bases")
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE.format(vision=vision, language=language), encoding="utf-8")
    return path


def test_the_whole_chain_learns_and_leaves_a_checkpoint(config: Path, places: stages.Places) -> None:
    recipe = read_recipe(config)
    facts = {stage.name: stages.run_stage(recipe, stage, places, how=("cpu", "")) for stage in recipe.chain()}
    assert facts["warmstart"]["val_right"] == 1.0  # the tiny pictures tell their diagnosis plainly
    assert facts["instruction"]["val_loss"] < facts["alignment"]["val_loss"]
    page = (places.out / "instruction" / "samples.html").read_text(encoding="utf-8")
    assert "What is it?" in page and page.count("<tr") > 3 and (places.out / "instruction" / "curves.png").is_file()
    folder = stages.write_checkpoint(recipe, recipe.stage("instruction"), places)
    first = (folder / "model.safetensors").read_bytes()
    stages.write_checkpoint(recipe, recipe.stage("instruction"), places)
    assert (folder / "model.safetensors").read_bytes() == first  # rows that no text uses are drawn from one seed
    model, _ = llava.load(folder)
    student, _ = stages.make_student(recipe)
    stages.take(student, places.out / "instruction" / stages.LEARNT)
    path = "layers.0.self_attn.q_proj"
    a, b = student.lora()[f"model.language_model.{path}"]
    base = student.language.get_submodule(f"base_model.model.{path}").base_layer.weight
    merged = model.model.language_model.get_submodule(path).weight
    torch.testing.assert_close(merged, base + 2.0 * b @ a, rtol=2e-2, atol=2e-2)
    assert not torch.allclose(merged, base, rtol=2e-2, atol=2e-2)


def test_a_stage_starts_from_the_result_before_it(config: Path, places: stages.Places) -> None:
    recipe = read_recipe(config)
    with pytest.raises(UsageError, match="run that stage first"):
        stages.run_stage(recipe, recipe.stage("alignment"), places)
    stages.run_stage(recipe, recipe.stage("warmstart"), places)
    warm = load_file(places.out / "warmstart" / stages.LEARNT)
    assert not any("lora" in name for name in warm)  # untrained LoRA adds nothing and is left out
    student, _ = stages.make_student(recipe)
    stages.take(student, places.out / "warmstart" / stages.LEARNT)
    assert torch.equal(student.learnt()["projector.linear_1.weight"], warm["projector.linear_1.weight"])


def test_a_finished_warm_start_is_not_begun_anew(config: Path, places: stages.Places) -> None:
    recipe = read_recipe(config)
    epochs: list[int] = []
    told = stages.Told(epoch=lambda number, loss, right: epochs.append(number))
    first = stages.run_stage(recipe, recipe.stage("warmstart"), places, told)
    assert stages.run_stage(recipe, recipe.stage("warmstart"), places, told) == first and epochs == [1, 2, 3]
    other = read_recipe(config, ["stages.warmstart.epochs=2"])
    stages.run_stage(other, other.stage("warmstart"), places, told)
    assert epochs == [1, 2, 3, 1, 2]


def test_a_stage_may_start_from_the_shipped_adapter(
    config: Path, places: stages.Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = read_recipe(config)
    for name in ("warmstart", "alignment", "instruction"):
        stages.run_stage(recipe, recipe.stage(name), places)
    (tmp_path / "adapter").mkdir()
    shutil.copy(places.out / "instruction" / "adapter.safetensors", tmp_path / "adapter")
    monkeypatch.setattr(result.generalists, "__file__", str(tmp_path / "__init__.py"))
    student, _ = stages.make_student(recipe)
    stages.take_shipped(student, recipe)
    learnt = load_file(places.out / "instruction" / stages.LEARNT)
    assert set(student.learnt()) == set(learnt)
    for name, tensor in student.learnt().items():
        torch.testing.assert_close(tensor, learnt[name], rtol=1e-2, atol=1e-3)
    (stage,) = read_recipe(config, ["stages.instruction.after=shipped"]).chain()
    assert stage.name == "instruction"
    for change, why in (("rank=3", "of another rank"), ("layer=1", "another layer"), ("blocks=1", "another blocks")):
        other = read_recipe(config, [change])
        with pytest.raises(UsageError, match=f"does not fit recipe .*{why}"):
            stages.take_shipped(stages.make_student(other)[0], other)


def test_adapted_blocks_of_the_encoder_are_learnt_and_merged(config: Path, places: stages.Places) -> None:
    recipe = read_recipe(config, ["blocks=1", "stages.warmstart.blocks_rate=0.01"])
    stages.run_stage(recipe, recipe.stage("warmstart"), places)
    folder = stages.write_checkpoint(recipe, recipe.stage("warmstart"), places)
    plain, _ = llava.build(recipe.vision, recipe.language, 2)
    adapted, _ = llava.load(folder)
    before, after = plain.model.vision_tower.state_dict(), adapted.model.vision_tower.state_dict()
    moved = {name for name in before if not torch.allclose(before[name], after[name], atol=1e-2, rtol=1e-2)}
    assert moved and all(".layers.1." in name for name in moved)


def test_mix_and_up_sampling_say_how_often_a_group_comes(config: Path, places: stages.Places) -> None:
    recipe = read_recipe(config)
    whole = [g["id"] for g in mix.groups(recipe.stage("instruction"), places.shards) if g["split"] == "train"]
    rare = {g["id"] for g in tiny_bases.groups() if g["dataset"] == "rare"}
    assert all(whole.count(i) == (2 if i in rare else 1) for i in set(whole))
    half = [g["id"] for g in mix.groups(recipe.stage("alignment"), places.shards) if g["split"] == "train"]
    assert 0 < len(half) < len(set(whole)) and len(set(half)) == len(half)
    only = replace(recipe.stage("instruction"), only=("rare",))
    assert {g["dataset"] for g in mix.groups(only, places.shards)} == {"rare"}


def test_a_stage_may_keep_a_part_of_what_it_changed(config: Path, places: stages.Places) -> None:
    for change, name in (([], "whole"), (["stages.instruction.keep=0.25"], "part")):
        recipe = read_recipe(config, change)
        for stage in recipe.chain():
            if stage.name == "instruction" or not (places.out / stage.name).exists():
                stages.run_stage(recipe, stage, places)
        (places.out / "instruction").rename(places.out / name)
    before, whole, part = (load_file(places.out / n / stages.LEARNT) for n in ("alignment", "whole", "part"))
    for name, tensor in whole.items():
        start = before.get(name, torch.zeros_like(tensor) if "lora_B" in name else tensor)
        assert torch.allclose(part[name], start + 0.25 * (tensor - start), atol=1e-6)
    with pytest.raises(UsageError, match="at most 1"):
        read_recipe(config, ["stages.instruction.keep=1.5"])


def test_guided_conversations_are_weighed_by_their_condition(config: Path, places: stages.Places) -> None:
    made = tiny_bases.groups()
    for number, group in enumerate(made):
        group["branches"][0] |= {"condition": ("as_is", "adversarial")[number % 2]} | (
            {"eyes": "misled"} if number % 4 == 0 else {}
        )
    tiny_bases.write_shards(places.shards, "talk", made)
    stage = replace(read_recipe(config).stage("instruction"), up={"misled": 3, "adversarial": 0})
    came = [g["id"] for g in mix.groups(stage, places.shards) if g["split"] == "train"]
    for number, group in enumerate(made):
        if group["split"] == "train":
            assert came.count(group["id"]) == (0 if number % 2 else 3 if number % 4 == 0 else 1)


def test_blind_trains_on_the_questions_alone(config: Path, places: stages.Places) -> None:
    changes = ["stages.instruction.blind=true", 'stages.instruction.after=""']
    recipe = read_recipe(config, changes)
    places.data.rename(places.data.with_name("gone"))
    facts = stages.run_stage(recipe, recipe.stage("instruction"), places)
    assert facts["val_loss"] > 0.2  # without the picture the diagnosis is a guess


def test_a_changed_shard_stops_the_stage(config: Path, places: stages.Places) -> None:
    shard = places.shards / "talk" / "shard-00000.jsonl"
    shard.write_text(shard.read_text(encoding="utf-8").replace("glioma", "glioms", 1), encoding="utf-8")
    recipe = read_recipe(config)
    with pytest.raises(DataError, match=r"shard-00000\.jsonl"):
        stages.run_stage(recipe, recipe.stage("warmstart"), places)


def test_choices_are_closed_questions_whose_options_are_seen() -> None:
    made = tiny_bases.group(1, "glioma")
    made["branches"].append(
        {"messages": [["user", "Q\nOptions: yes, no. Answer with one option only."], ["assistant", "yes"]]}
    )
    (choice,) = choices([made])
    assert choice.options == ("glioma", "notumor") and choice.right == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("stages.instruction.speed=3", "no setting speed"),
        ('stages.instruction.learns=["eyes"]', "learns eyes; it may learn projector, lora"),
        ("stages.instruction.mix={}", "does not say what it learns from"),
        ("depth=3", "has no setting depth; there are: name, vision"),
        ("rank", "KEY=VALUE"),
        ("stages.instrution.epochs=0.5", "there is no instrution; there are: warmstart, alignment, instruction"),
        ('precision="fp8"', "precision is 'fp8'; float32 or bfloat16"),
        ("stages.alignment.shown=0", "shown is 0; a number of at least 1"),
        ("stages.alignment.epochs=-1", "epochs is -1; a number above 0"),
        ("stages.alignment.save_every=0", "save_every is 0"),
        ('stages.alignment.rate="fast"', "rate is 'fast'; a number above 0"),
        ('stages.alignment.mix="talk"', "a table"),
        ("stages.alignment.tokens=40.5", "a whole number"),
        ('layer="2"', "layer is '2'; a whole number"),
        ('activation="swish9"', "gelu or relu or silu or linear"),
        ("seed=99999999999999999999999", "seed is 9"),
        ("stages.alignment.rate=inf", "rate is inf"),
        ("stages.alignment.mix.talk=inf", "a table"),
        ('name="../../x"', "which a folder can bear"),
        ("stages.alignment.keep=2", "at most 1"),
        ('stages.warmstart.after="instruction"', "comes after itself"),
        ('stages.alignment.after="warmup"', "comes after 'warmup'; there are: warmstart"),
    ],
)
def test_a_wrong_recipe_is_refused_with_what_there_is(config: Path, change: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_recipe(config, [change])


def test_shards_that_there_are_not_are_named(config: Path, places: stages.Places) -> None:
    recipe = read_recipe(config, ["stages.alignment.mix.tolk=1"])
    with pytest.raises(DataError, match=r"no shards tolk in .*; there are: talk"):
        list(mix.groups(recipe.stage("alignment"), places.shards))


def test_a_run_of_another_network_is_not_gone_on_with(config: Path, places: stages.Places) -> None:
    recipe = read_recipe(config)
    for stage in recipe.chain():
        stages.run_stage(recipe, stage, places, how=("cpu", ""))
    other = read_recipe(config, ["layer=1", 'activation="relu"'])
    with pytest.raises(UsageError, match="layer 2, now 1; activation gelu, now relu"):
        stages.run_stage(other, other.stage("instruction"), places, how=("cpu", ""))


def test_groups_that_there_are_not_are_refused(config: Path, places: stages.Places) -> None:
    recipe = read_recipe(config, ["stages.instruction.up.brian=3"])
    with pytest.raises(UsageError, match="names brian under up or only"):
        list(mix.groups(recipe.stage("instruction"), places.shards))


def test_a_stage_of_another_rank_is_refused_and_a_damaged_one_named(config: Path, places: stages.Places) -> None:
    recipe = read_recipe(config)
    for stage in recipe.chain():
        stages.run_stage(recipe, stage, places, how=("cpu", ""))
    learnt = places.out / "instruction" / stages.LEARNT
    for rank in (1, 8):  # one would be spread over four rows without an error
        student, _ = stages.make_student(read_recipe(config, [f"rank={rank}"]))
        with pytest.raises(UsageError, match="does not fit this recipe"):
            stages.take(student, learnt)
    learnt.write_bytes(learnt.read_bytes()[:500])
    with pytest.raises(DataError, match="run that stage again"):
        stages.take(student, learnt)


def test_a_few_questions_warm_the_projector_too(config: Path, places: stages.Places) -> None:
    for epochs, batch in ((10, 64), (1, 64)):  # ten steps and one: the rise would be no step long
        recipe = read_recipe(config, [f"stages.warmstart.epochs={epochs}", f"stages.warmstart.batch={batch}"])
        assert stages.run_stage(recipe, recipe.stage("warmstart"), places, how=("cpu", ""))["val_right"] >= 0


def test_an_unknown_stage_is_refused(config: Path) -> None:
    with pytest.raises(UsageError, match="warmstart, alignment, instruction"):
        read_recipe(config).stage("fine-tuning")


def test_facts_are_kept_beside_the_result(config: Path, places: stages.Places) -> None:
    recipe = read_recipe(config)
    facts = stages.run_stage(recipe, recipe.stage("warmstart"), places)
    assert json.loads((places.out / "warmstart" / "facts.json").read_text(encoding="utf-8")) == facts
