"""Shards: the same from the same mixture, resumed where they were stopped, never read when they are not what was written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image as Pillow
from tests.train import small_sets

from consilium.errors import DataError
from consilium.train import shards

RECIPE = small_sets.RECIPE.replace(", guided = 2", "")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "data.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return small_sets.breast(tmp_path / "sets")


def content(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_the_same_recipe_gives_the_same_bytes(config: Path, data: Path, tmp_path: Path) -> None:
    counts = [shards.build(config, data, tmp_path / name) for name in ("a", "b")]
    assert content(tmp_path / "a") == content(tmp_path / "b") and counts[0] == counts[1]
    config.write_text(RECIPE.replace("seed = 7", "seed = 8"), encoding="utf-8")
    shards.build(config, data, tmp_path / "c")
    assert content(tmp_path / "a") != content(tmp_path / "c")


def test_groups_are_read_as_they_were_counted(config: Path, data: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    counts = shards.build(config, data, tmp_path / "out", lambda done, total: seen.append((done, total)))
    assert list(counts) == ["alignment", "instruction"] and seen[0][0] == 16 and seen[-1][0] == seen[-1][1]
    for stage, of in counts.items():
        groups = list(shards.read(tmp_path / "out", stage))
        assert len(groups) == of["groups"] == len({group["id"] for group in groups})
        assert sum(len(group["branches"]) for group in groups) == of["branches"]
        assert of["by"]["licence"] == {"CC BY 4.0": {"groups": of["groups"], "branches": of["branches"]}}
        assert set(groups[0]) == {"id", "dataset", "licence", "split", "images", "system", "branches"}
        assert all((data / group["images"][0]["path"]).is_file() for group in groups)
    assert counts["alignment"]["groups"] == 48 and counts["alignment"]["synthetic"] == 48
    assert 48 + 36 > counts["instruction"]["groups"] > 48, "1.5 gives a second group to some train pictures"
    text = shards.table(counts)
    assert "alignment: 48 groups" in text and "CC BY 4.0" in text and "description" in text and "val" in text


def test_a_finished_shard_is_not_made_again(
    config: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shards.build(config, data, out)
    before, lost = content(out), out / "instruction/shard-00001.jsonl"
    lost.unlink()
    (out / "instruction/shard-00002.jsonl").write_text("cut", encoding="utf-8")
    made: list[str] = []
    write = shards._write
    monkeypatch.setattr(shards, "_write", lambda path, part: made.append(path.name) or write(path, part))
    shards.build(config, data, out)
    assert made == ["shard-00001.jsonl", "shard-00002.jsonl"] and content(out) == before


def test_a_build_that_was_stopped_goes_on(config: Path, data: Path, tmp_path: Path) -> None:
    shards.build(config, data, tmp_path / "whole")

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shards.build(config, data, tmp_path / "out", stop)
    with pytest.raises(DataError, match="not complete"):
        list(shards.read(tmp_path / "out", "alignment"))
    shards.build(config, data, tmp_path / "out")
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_what_another_recipe_made_is_made_again_and_leaves_nothing(config: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shards.build(config, data, out)
    config.write_text(RECIPE.replace("shard = 16", "shard = 64"), encoding="utf-8")
    shards.build(config, data, out)
    assert [path.name for path in sorted((out / "alignment").iterdir())] == ["manifest.json", "shard-00000.jsonl"]
    assert len(list(shards.read(out, "alignment"))) == 48


def test_a_picture_replaced_under_its_name_is_told_anew(config: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shards.build(config, data, out)
    group = next(group for group in shards.read(out, "alignment") if group["images"])
    path, digest = group["images"][0]["path"], group["images"][0]["digest"]
    Pillow.new("L", (90, 70), 7).save(data / path)
    shards.build(config, data, out)
    found = {image["path"]: image["digest"] for g in shards.read(out, "alignment") for image in g["images"]}
    assert found[path] != digest


@pytest.mark.parametrize("said", [{"shards": [], "complete": True}, {"shards": [{"name": 3}]}, []])
def test_a_damaged_manifest_is_mended_by_making_the_data_again(
    config: Path, data: Path, tmp_path: Path, said: object
) -> None:
    out = tmp_path / "out"
    shards.build(config, data, out)
    before, manifest = content(out), out / "alignment" / "manifest.json"
    made_from = json.loads(manifest.read_text(encoding="utf-8"))["made_from"]
    manifest.write_text(
        json.dumps({**said, "made_from": made_from} if isinstance(said, dict) else said), encoding="utf-8"
    )
    shards.build(config, data, out)
    assert content(out) == before


@pytest.mark.parametrize("harm", ["gone", "changed", "cut"])
def test_a_shard_that_is_not_what_was_written_is_named(config: Path, data: Path, tmp_path: Path, harm: str) -> None:
    shards.build(config, data, tmp_path / "out")
    path = tmp_path / "out/instruction/shard-00001.jsonl"
    whole = path.read_bytes()
    path.unlink() if harm == "gone" else path.write_bytes(
        whole[:-20] if harm == "cut" else whole.replace(b"yes", b"no ")
    )
    with pytest.raises(DataError, match=r"shard-00001\.jsonl"):
        list(shards.read(tmp_path / "out", "instruction"))


def test_a_folder_without_a_manifest_is_refused(config: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no shards instruction in .*; there are: none"):
        list(shards.read(tmp_path, "instruction"))
    shards.build(config, data, tmp_path / "out")
    manifest = tmp_path / "out/alignment/manifest.json"
    manifest.write_text(json.dumps({"complete": True}), encoding="utf-8")
    with pytest.raises(DataError, match="names no shards"):
        list(shards.read(tmp_path / "out", "alignment"))
