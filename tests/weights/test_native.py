"""Weights that are put together here: from bases and an adapter, anew when a part changes, checked like all others."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.generalists import tiny_native

from consilium import weights
from consilium.errors import ChecksumError, UsageError, WeightsError, WeightsMissingError
from consilium.nn import llava
from consilium.nn.adapter import write_adapter

MANIFEST = """
[eyes]
summary = "a tower"
licence = "MIT"
upstream = "none"
convert = "clip"

[words]
summary = "a language model"
licence = "Apache-2.0"
upstream = "none"
convert = "llama"

[chief]
summary = "both"
licence = "Apache-2.0"
upstream = "none"
convert = "native"

[chief.assembly]
bases = ["eyes", "words"]
adapter = "adapter.safetensors"
"""


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> tiny_native.Made:
    folder = tmp_path_factory.mktemp("bases")
    made = tiny_native.Made(folder / "eyes", folder / "words", folder / "none", folder / "none")
    tiny_native.write_bases(made)
    return made


@pytest.fixture
def manifest(bases: tiny_native.Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manifest whose bases are folders of the user, so that nothing is fetched."""
    mine = tmp_path / "mine"
    shutil.copytree(bases.vision, mine / "eyes")
    shutil.copytree(bases.language, mine / "words")
    monkeypatch.setenv("CONSILIUM_WEIGHTS", str(mine))
    monkeypatch.setenv("CONSILIUM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CONSILIUM_OFFLINE", "1")
    path = tmp_path / "manifest.toml"
    path.write_text(MANIFEST)
    return path


def give_adapter(manifest: Path, seed: int = 1) -> None:
    write_adapter(tiny_native.drawn_adapter(seed), manifest.parent / "adapter.safetensors")


def test_without_an_adapter_it_says_what_to_do(manifest: Path) -> None:
    assert not weights.status("chief", manifest).present
    with pytest.raises(WeightsMissingError, match=r"no adapter .*Train one.*CONSILIUM_WEIGHTS/chief"):
        weights.folder("chief", manifest=manifest)


def test_it_is_put_together_once_offline_and_is_the_merged_network(manifest: Path, bases: tiny_native.Made) -> None:
    give_adapter(manifest)
    stages: list[str] = []
    folder = weights.folder("chief", lambda stage, _: stages.append(stage), manifest)
    assert "putting chief together" in stages
    assert weights.folder("chief", lambda stage, _: pytest.fail(stage), manifest) == folder
    model, _ = llava.load(folder)
    adapter = tiny_native.drawn_adapter()
    path, (a, b) = next(iter(adapter.lora.items()))
    plain, _ = llava.build(bases.vision, bases.language, tiny_native.LAYER)
    expected = plain.get_parameter(f"{path}.weight") + 2.0 * b.bfloat16().float() @ a.bfloat16().float()
    torch.testing.assert_close(model.get_parameter(f"{path}.weight").detach(), expected.detach().bfloat16().float())


def test_its_record_names_its_parts_and_verify_finds_a_changed_bit(manifest: Path) -> None:
    give_adapter(manifest)
    folder = weights.folder("chief", manifest=manifest)
    parts = json.loads((folder / "source.json").read_text())["parts"]
    assert list(parts) == ["eyes", "words", "adapter"]
    status = weights.verify("chief", manifest)
    assert status.intact and status.origin == " + ".join(f"{name} {parts[name][:8]}" for name in parts)
    file = folder / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(ChecksumError, match="has changed"):
        weights.verify("chief", manifest)


def test_another_adapter_or_base_makes_it_anew(manifest: Path, bases: tiny_native.Made) -> None:
    give_adapter(manifest)
    before = weights.fingerprint(weights.folder("chief", manifest=manifest))
    give_adapter(manifest, seed=2)
    assert not weights.status("chief", manifest).present
    second = weights.fingerprint(weights.folder("chief", manifest=manifest))
    give_adapter(manifest, seed=1)
    mine = Path(os.environ["CONSILIUM_WEIGHTS"]) / "eyes"
    torch.manual_seed(5)
    from transformers import CLIPVisionModelWithProjection

    model = CLIPVisionModelWithProjection.from_pretrained(mine)
    with torch.no_grad():
        model.vision_model.embeddings.class_embedding.add_(1.0)
    model.save_pretrained(mine)
    third = weights.fingerprint(weights.folder("chief", manifest=manifest))
    assert len({before, second, third}) == 3


def test_the_same_parts_give_the_same_numbers(manifest: Path, tmp_path: Path, monkeypatch) -> None:
    give_adapter(manifest)
    one = weights.folder("chief", manifest=manifest)
    monkeypatch.setenv("CONSILIUM_CACHE", str(tmp_path / "another"))
    other = weights.folder("chief", manifest=manifest)
    assert weights.fingerprint(one) == weights.fingerprint(other)
    first, second = (llava.load(folder)[0].state_dict() for folder in (one, other))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_folder_of_the_user_needs_no_adapter(manifest: Path, tmp_path: Path) -> None:
    give_adapter(manifest)
    made = weights.folder("chief", manifest=manifest)
    mine = Path(os.environ["CONSILIUM_WEIGHTS"]) / "chief"
    shutil.copytree(made, mine)
    (manifest.parent / "adapter.safetensors").unlink()
    assert weights.folder("chief", manifest=manifest) == mine


def test_a_fresh_adapter_is_put_in_place_of_the_shipped_one(manifest: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh.safetensors"
    write_adapter(tiny_native.drawn_adapter(3), fresh)
    weights.assemble("chief", fresh, tmp_path / "out", manifest=manifest)
    model, processor = llava.load(tmp_path / "out")
    assert processor.chat_template and model.config.image_seq_length == tiny_native.PATCHES + 1
    with pytest.raises(UsageError, match="obtained whole"):
        weights.assemble("eyes", fresh, tmp_path / "other", manifest=manifest)


def test_an_adapter_of_another_network_leaves_nothing_behind(manifest: Path) -> None:
    drawn = tiny_native.drawn_adapter()
    write_adapter(
        replace(drawn, projector={"linear_1.weight": torch.zeros(3, 3)}), manifest.parent / "adapter.safetensors"
    )
    with pytest.raises(WeightsError, match="another base"):
        weights.folder("chief", manifest=manifest)
    assert not weights.status("chief", manifest).present


def test_the_shipped_manifest_names_the_native_generalist() -> None:
    from consilium.generalists import native

    card = weights.describe(native.WEIGHTS)
    assert card.assembly is not None
    assert [base.name for base in card.assembly.bases] == ["clip-vit-b16", "smollm2-135m-instruct"]
    assert card.assembly.adapter == Path(native.__file__).parent / "adapter" / "adapter.safetensors"
    assert "clip-vit-b16, smollm2-135m-instruct and adapter.safetensors" in card.source
