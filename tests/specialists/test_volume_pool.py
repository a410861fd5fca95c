"""Training a specialist for volumes, and what it says and refuses to say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from consilium import registry
from consilium.consult.council import case_of
from consilium.datasets.folder import read_folder
from consilium.encoders import patch_statistics
from consilium.errors import DataError, MemberError
from consilium.specialists import volume_pool as member
from consilium.train import volume_pool
from consilium.train.specialist import Recipe
from consilium.train.volume_pool import Labelled, Volumes
from consilium.types import Image, Study, Volume

COUNTS = {"train": 40, "val": 20, "test": 20}


def block(label: int, seed: int) -> Volume:
    """Twelve slices of noise; a bright ball in some of them where the label is 1."""
    draw = np.random.default_rng(seed)
    voxels = draw.normal(90, 12, (12, 32, 32))
    if label:
        middle = draw.integers(4, 8)
        slices, rows, columns = np.ogrid[:12, :32, :32]
        voxels[(4 * (slices - middle)) ** 2 + (rows - 16) ** 2 + (columns - 15) ** 2 < 90] += 100
    return Volume(voxels.clip(0, 255).astype(np.uint8), f"v{seed}", (4.0, 1.0, 1.0), np.eye(4))


def volumes() -> Volumes:
    parts, seed = {}, 0
    for split, count in COUNTS.items():
        labels = np.arange(count) % 2
        own = [block(int(label), seed + i) for i, label in enumerate(labels)]
        parts[split] = Labelled(own, np.eye(2, dtype=np.float32)[labels], tuple(v.uid for v in own))
        seed += count
    return Volumes("balls", ("clear", "ball"), True, parts)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    room = tmp_path_factory.mktemp("home") / "specialists"
    recipe = Recipe("balls", ("CT",), ("ABDOMEN",), data_licence="CC0-1.0", command="a test")
    volume_pool.train(volumes(), recipe, patch_statistics.load(), room, slices=3)
    return room / "balls"


def asked(folder: Path, *items: Image | Volume, modality: str = "CT"):
    found = member.load(folder, patch_statistics.load())
    return found.examine(case_of([Study(modality, "ABDOMEN", items)], "What is seen?"))


def test_the_card_says_what_was_measured(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSILIUM_HOME", str(trained.parents[1]))
    card = registry.get("specialists", "balls").card
    scores = {score.metric: score for score in card.scores}
    assert scores["AUROC"].value > 0.9 and scores["AUROC"].n == COUNTS["test"] and scores["AUROC ball"].low > 0.5
    assert card.trained_on == {"balls": "CC0-1.0"} and card.concepts[1].meaning == "ball"
    loaded = registry.get("specialists", "balls").load(encoder=patch_statistics.load())
    assert isinstance(loaded, member.VolumePool) and loaded.slices == 3


def test_it_tells_volumes_apart(trained: Path) -> None:
    said = asked(trained, block(1, 900))
    assert said.abstained is None and said.exclusive and said.findings[0].concept.meaning == "ball"
    assert sum(f.probability or 0 for f in said.findings) == pytest.approx(1)
    assert said.reliability and said.foreignness is not None
    assert asked(trained, block(0, 901)).findings[0].concept.meaning == "clear"


def test_it_abstains_on_what_it_cannot_judge(trained: Path) -> None:
    flat = asked(trained, Image(np.zeros((32, 32), np.uint8), "1"))
    assert flat.abstained == "the case holds no volume, and it judges volumes" and flat.reliability
    stripes = replace(block(0, 902), voxels=np.tile(np.uint8([0, 255]), (12, 32, 16)))
    foreign = asked(trained, stripes)
    assert foreign.abstained and foreign.abstained.startswith("unlike the volumes") and (foreign.foreignness or 0) > 1
    both = asked(trained, stripes, block(1, 903))
    assert both.abstained is None and "1 of 2 volumes are unlike" in both.caution


def test_a_folder_that_does_not_fit_is_refused(trained: Path, tmp_path: Path) -> None:
    for change, words in (({"slices": 0}, "0 slices"), ({"encoder": "another"}, "features of another")):
        broken = tmp_path / next(iter(change))
        broken.mkdir()
        for name in ("card.json", "model.safetensors"):
            (broken / name).write_bytes((trained / name).read_bytes())
        told = json.loads((broken / "card.json").read_text()) | change
        (broken / "card.json").write_text(json.dumps(told))
        with pytest.raises(MemberError, match=words):
            member.load(broken, patch_statistics.load())


def test_what_cannot_be_learnt_from_is_refused(tmp_path: Path) -> None:
    data, encoder = volumes(), patch_statistics.load()
    with pytest.raises(DataError, match="modality"):
        volume_pool.train(data, Recipe("balls"), encoder, tmp_path)
    with pytest.raises(DataError, match="no volumes in val"):
        volume_pool.train(
            replace(data, parts={**data.parts, "val": Labelled((), np.zeros((0, 2)), ())}),
            Recipe("b", ("CT",)),
            encoder,
            tmp_path,
        )
    assert not list(tmp_path.iterdir())


def test_a_folder_of_nifti_files_is_read(tmp_path: Path) -> None:
    rows = ["path,label,split"]
    for number, split in enumerate(("train", "train", "val", "test")):
        nibabel.Nifti1Image(block(number % 2, number).voxels.T, np.eye(4)).to_filename(tmp_path / f"{number}.nii.gz")
        rows.append(f"{number}.nii.gz,{('clear', 'ball')[number % 2]},{split}")
    (tmp_path / "index.csv").write_text("\n".join(rows))
    found = volume_pool.of_folder(read_folder(tmp_path))
    assert found.exclusive and found.classes == ("ball", "clear") and len(found.parts["train"].volumes) == 2
    assert found.parts["train"].volumes[0].voxels.shape == (12, 32, 32)
    assert found.parts["train"].targets.tolist() == [[0, 1], [1, 0]]
