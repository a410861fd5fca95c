"""A suite: six different members, loaded as the panel loads them; what is held out; who is kept; what a second run repeats."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tests import phantoms
from tests.train import small_sets

from consilium import formats, registry
from consilium.consult.council import case_of
from consilium.datasets.folder import FolderDataset, read_folder
from consilium.encoders import patch_statistics
from consilium.errors import DataError, MemberError, UsageError
from consilium.nn import convnet, fit_head, judging, light_head, region
from consilium.nn.trees import Boost
from consilium.protocols import Entry, Specialist
from consilium.specialists import light
from consilium.train import specialist as specialist_module
from consilium.train import suite as training
from consilium.train import suite_report, suite_store, suite_vote
from consilium.train.specialist import Recipe, prepare
from consilium.train.suite import Options, train_suite
from consilium.train.suite_ground import Ground, clusters
from consilium.train.suite_members import MEMBERS, METHODS
from consilium.types import Image, Opinion, Precedent, Study

RECIPE = Recipe("drawn", ("US",), ("BREAST",), groups={"lesion": ("benign", "malignant")}, data_licence="CC0")
OPTIONS = Options(seeds=1, second_encoder="patch_statistics")
NAMES = tuple(f"drawn_{member}" for member in MEMBERS)


@pytest.fixture(scope="module")
def brisk() -> Iterator[None]:
    """Short ladders, a network that is trained in a second, intervals from few draws: none of it is under test here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(specialist_module, "interval", partial(specialist_module.interval, resamples=20))
        short = {name: method.ladder[-1:] for name, method in METHODS.items()} | {"texture": (Boost(15, 2),)}
        for name, ladder in short.items():
            patch.setitem(METHODS, name, replace(METHODS[name], ladder=ladder))
        patch.setattr(fit_head, "LADDER", (fit_head.Shape(0, 0.1),))
        patch.setattr(convnet, "EPOCHS", 2)
        patch.setattr(convnet, "SIZE", 64)
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, brisk: None) -> Iterator[Path]:
    """A folder of drawings, and a home with a suite trained on it, two seeds."""
    place = tmp_path_factory.mktemp("suite")
    hard(small_sets.breast(place / "sets", 90) / "breast_ultrasound_busi")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONSILIUM_HOME", str(place / "home"))
        patch.setenv("CONSILIUM_CACHE", str(place / "cache"))
        # What is kept is under test elsewhere; here every member is to be there.
        patch.setattr(training, "left_out", lambda *_: {})
        train_suite(data(place), RECIPE, patch_statistics.load(), place / "home", replace(OPTIONS, seeds=2))
        yield place


def hard(folder: Path) -> None:
    """Every ninth label is wrong, so that every member errs."""
    with (folder / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows[4::9]:
        row["label"] = {"benign": "malignant", "malignant": "normal", "normal": "benign"}[row["label"]]
    small_sets.index(folder, rows)


def data(place: Path) -> FolderDataset:
    return read_folder(place / "sets/breast_ultrasound_busi")


def loaded(name: str) -> Specialist:
    return registry.get("specialists", name).load(encoder=patch_statistics.load())


def asked(specialist: Specialist, pixels: np.ndarray) -> Opinion:
    return specialist.examine(case_of([Study("US", "BREAST", (Image(pixels, "sha256:x"),))], "?"))


@pytest.mark.parametrize("name", NAMES)
def test_a_member_keeps_the_contract(name: str, place: Path) -> None:
    specialist = loaded(name)
    card = specialist.card
    assert isinstance(specialist, Specialist) and card == registry.get("specialists", name).card
    assert card.version and card.trained_on == {"breast_ultrasound_busi": "CC0"} and card.modalities == ("US",)
    assert {"AUROC", "macro-F1", "ECE", "abstained", "AUROC lesion"} <= {score.metric for score in card.scores}
    record = next(r for r in data(place).records if r.split == "test")
    case = case_of(formats.read(record.path, modality="US", body_part="BREAST"), "?")
    opinion = specialist.examine(case)
    assert (opinion.specialist, opinion.version, opinion.licence) == (name, card.version, card.licence)
    assert opinion == specialist.examine(case) and opinion.abstained is None and opinion.foreignness is not None
    said = {finding.concept.meaning: finding.probability for finding in opinion.findings}
    assert set(said) == {"benign", "malignant", "normal", "lesion"} and opinion.exclusive
    assert sum(said[c.meaning] for c in card.concepts) == pytest.approx(1, abs=1e-5)
    assert said["lesion"] == pytest.approx(said["benign"] + said["malignant"], abs=1e-5)
    assert [f.probability for f in opinion.findings] == sorted(said.values(), reverse=True)
    assert opinion.reliability[:-1] == card.scores
    local = opinion.reliability[-1]
    assert local.metric == "local accuracy" and 0 <= local.low <= local.value <= local.high <= 1
    assert 10 < local.n <= 25
    empty = specialist.examine(case_of([], "?"))
    assert empty.abstained == "the case holds no picture" and empty.reliability == card.scores


def test_all_abstain_on_the_same_foreign_picture(place: Path) -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    foreign = [asked(loaded(name), stripes) for name in NAMES]
    assert all(o.abstained and "unlike the pictures it was trained on" in o.abstained for o in foreign)
    assert len({round(o.foreignness or 0, 3) for o in foreign}) == 1 and not any(o.findings for o in foreign)
    assert all(o.reliability == loaded(o.specialist).card.scores for o in foreign[:2])


def test_members_that_see_patches_show_where(place: Path) -> None:
    for name in ("drawn_linear", "drawn_mlp", "drawn_dino"):
        shown = [f.region for f in asked(loaded(name), _drawing(place)).findings if f.region is not None]
        assert len(shown) == 1 and shown[0].grid.shape == (14, 14) and shown[0].grid.min() >= 0


def _drawing(place: Path) -> np.ndarray:
    image = formats.read(next(r.path for r in data(place).records if r.labels == ("malignant",)))[0].images[0]
    assert isinstance(image, Image)
    return image.pixels


def test_most_members_learn(place: Path) -> None:
    report = json.loads((place / "home/suites/drawn/suite.json").read_text())
    found = {m["name"]: m["over_seeds"]["test"]["AUROC"] for m in report["members"]}
    assert tuple(found) == NAMES and all(len(m["runs"]) == 2 for m in report["members"])
    good = [name for name, figure in found.items() if figure["mean"] > 0.7]
    assert len(good) >= 4, found
    assert all(figure["spread"] is not None for figure in found.values())


def test_members_say_how_much_they_count_beside_the_others(place: Path) -> None:
    report = json.loads((place / "home/suites/drawn/suite.json").read_text())
    drawing, pool = _drawing(place), report["pool"]
    assert tuple(pool) == NAMES and "How much each counts" in (place / "home/suites/drawn/suite.html").read_text()
    for side in (judging.NEAR, judging.AFAR):
        assert np.mean([weight[side] for weight in pool.values()]) == pytest.approx(1, abs=1e-3)
    assert pool["drawn_convnet"][judging.AFAR] == min(weight[judging.AFAR] for weight in pool.values())
    for name in NAMES:
        said = asked(loaded(name), drawing)
        tensors = {side: np.array([value]) for side, value in pool[name].items()}
        assert said.weight == pytest.approx(judging.weight_of(tensors, said.foreignness or 0), abs=1e-6)


def test_the_held_out_file_says_what_was_unseen(place: Path) -> None:
    folder = data(place)
    records = [r for r in folder.records if r.split != "test"]
    for name in NAMES:
        kept = suite_store.read_held_out(place / "home/specialists" / name)
        n = len(records)
        assert kept.probabilities.shape == (n, 3) and kept.probabilities.dtype == np.float32
        assert kept.classes == folder.classes and list(kept.splits) == [r.split for r in records] and kept.seed == 0
        assert np.array_equal(kept.labels, folder.targets(records)) and len(set(kept.digests)) == n
        known = ~np.isnan(kept.probabilities).any(axis=1)
        assert np.allclose(kept.probabilities[known].sum(1), 1, atol=1e-4) and np.isfinite(kept.foreignness).all()
        if name == "drawn_convnet":
            assert list(known) == [r.split == "val" for r in records] and np.isnan(kept.shifted["probabilities"]).all()
        else:
            assert known.all() and np.isfinite(kept.shifted["probabilities"]).all()
            assert ((kept.local_accuracy > 0) & (kept.local_accuracy < 1)).all()
        assert set(kept.folds) == {0, 1, 2, 3, 4} > set(kept.shifted["folds"]) - {4} >= {0, 1, 2}
        patients = {}
        for record, fold in zip(records, kept.shifted["folds"], strict=True):
            assert patients.setdefault(record.patient, fold) == fold


@pytest.mark.usefixtures("brisk")
def test_no_held_out_judgement_comes_from_the_own_fold(tmp_path: Path, home: Path) -> None:
    """Labels drawn at random: whoever had seen a picture would know its label."""
    folder = phantoms.folder_of(tmp_path / "set", 100)
    rows = [line.split(",") for line in (folder / "index.csv").read_text().splitlines()[1:]]
    draw = np.random.default_rng(5)
    text = "\n".join(",".join([path, draw.choice(["a", "b"]), split, patient]) for path, _, split, patient in rows)
    (folder / "index.csv").write_text("path,label,split,patient_id\n" + text)
    members = ("linear", "neighbours", "texture")
    options = replace(OPTIONS, members=members, index=False)
    train_suite(read_folder(folder), Recipe("chance", ("CR",)), patch_statistics.load(), home, options)
    for member in members:
        kept = suite_store.read_held_out(home / "suites/chance/members" / f"chance_{member}")
        for said in (kept.probabilities, kept.shifted["probabilities"]):
            assert (said.argmax(1) == kept.labels.argmax(1)).mean() < 0.65, member


def test_local_accuracy_is_that_of_the_nearest_and_never_of_the_own_fold() -> None:
    draw = np.random.default_rng(0)
    features = np.concatenate([draw.normal(0, 1, (100, 6)), draw.normal(8, 1, (100, 6))]).astype(np.float32)
    right = np.repeat([0.0, 1.0], 100).astype(np.float32)
    gate = {"foreign.centre": features.mean(0), "foreign.scale": features.std(0), "foreign.basis": np.eye(6)[:4]}
    kept = {**gate, **region.tensors(gate, features, right)}
    near, far = region.scores(kept, np.array([[0.0] * 6, [8.0] * 6], np.float32))
    assert near.value == pytest.approx(5 / 35) and far.value == pytest.approx(30 / 35) and near.n == 25
    assert near.low < near.value < near.high < far.low
    # Each half is one fold: what is known of a picture then comes from the other half alone.
    apart = region.held_out_scores(gate, features, right, np.repeat([0, 1], 100))
    assert {s.value for s in apart[:100]} == {1.0} and {s.value for s in apart[100:]} == {0.0}
    mixed = region.held_out_scores(gate, features, right, np.arange(200) % 5)
    assert max(s.value for s in mixed[:100]) < 0.3 and min(s.value for s in mixed[100:]) > 0.7
    unknown = region.tensors(gate, features, np.where(right == 1, np.nan, right))
    assert len(unknown["region.right"]) == 100 and region.tensors(gate, features, np.full(200, np.nan)) == {}
    assert region.scores(gate, features) == ()


def test_an_ordinary_specialist_states_it_and_an_older_one_does_not(place: Path, tmp_path: Path) -> None:
    encoder = patch_statistics.load()
    card = specialist_module.train(data(place), replace(RECIPE, name="plain"), encoder, tmp_path)
    said = asked(light.load(tmp_path / "plain", encoder), _drawing(place))
    assert said.reliability[:-1] == card.scores and said.reliability[-1].metric == "local accuracy"
    path = tmp_path / "plain/model.safetensors"
    older = {name: value for name, value in light_head.read(path, ()).items() if not name.startswith("region.")}
    light_head.save(older, path)
    assert replace(said, reliability=card.scores) == asked(light.load(tmp_path / "plain", encoder), _drawing(place))


def test_what_is_right_of_several_labels() -> None:
    targets = np.array([[1, 0], [1, np.nan], [np.nan, np.nan]], np.float32)
    p = np.array([[0.9, 0.9], [0.9, 0.9], [0.9, 0.9]])
    assert region.correct(p, targets, False)[:2] == pytest.approx([0.5, 1.0])
    assert np.isnan(region.correct(p, targets, False)[2])
    lone = region.correct(np.array([[np.nan, np.nan], [0.2, 0.8]]), np.eye(2), True)
    assert np.isnan(lone[0]) and lone[1] == 1


def test_a_second_run_repeats_nothing_and_a_kill_costs_one_member(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worked: list[tuple[str, int]] = []
    real = training.run

    def counted(name, ground, seed, *rest, **more):  # type: ignore[no-untyped-def]
        worked.append((name, seed))
        return real(name, ground, seed, *rest, **more)

    monkeypatch.setattr(training, "run", counted)
    encoder, home = patch_statistics.load(), place / "home"
    before = (home / "specialists/drawn_mlp/card.json").read_text()
    again = train_suite(data(place), RECIPE, encoder, home, replace(OPTIONS, seeds=2))
    assert worked == [] and all(run["trained_before"] for member in again.members for run in member.runs)
    (home / "suites/drawn/members/drawn_neighbours/held_out.safetensors").unlink()
    (home / "suites/drawn/seeds/drawn_linear-1.json").write_text('{"fingerp')
    train_suite(data(place), RECIPE, encoder, home, replace(OPTIONS, seeds=2))
    assert worked == [("linear", 1), ("neighbours", 0)]
    assert (home / "specialists/drawn_mlp/card.json").read_text() == before
    worked.clear()
    options = replace(OPTIONS, members=("neighbours",), index=False)
    train_suite(data(place), replace(RECIPE, groups={}), encoder, place / "other", options)
    train_suite(data(place), RECIPE, encoder, place / "other", options)
    assert worked == [("neighbours", 0), ("neighbours", 0)], "another recipe is another training"


def test_the_report_is_whole(place: Path) -> None:
    room = place / "home/suites/drawn"
    report, page = json.loads((room / "suite.json").read_text()), (room / "suite.html").read_text()
    assert all(name in page for name in NAMES) and "http" not in page.replace("https://www.w3.org", "")
    assert ("data:image/png;base64," in page) or ("matplotlib is not installed" in page)
    phi = np.array(report["diversity"]["phi"], float)
    assert (
        phi.shape == (6, 6) and np.allclose(phi, phi.T, equal_nan=True) and -1 <= report["diversity"]["mean_phi"] <= 1
    )
    assert 0 <= report["diversity"]["double_fault"] <= 1 and report["index"]["size"] == 54
    for member in report["members"]:
        assert all(run["cost"]["cpu_seconds"] >= 0 and run["cost"]["flops"] > 0 for run in member["runs"]), member[
            "name"
        ]
        assert json.loads((room / "members" / member["name"] / "card.json").read_text())["fit"]["cost"]["flops"] > 0


def test_without_matplotlib_the_page_says_so(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    names = ("a", "b")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    table = np.array([[1.0, np.nan], [np.nan, 1.0]])
    assert suite_report.heat_map(suite_vote.Diversity(names, table, table)) is None


def test_the_precedents_are_the_train_part(place: Path) -> None:
    encoder = patch_statistics.load()
    index = registry.get("retrievers", "lance").load(
        folder=place / "home/indices/drawn", encoder_key=encoder.card.version
    )
    records = data(place).of("train")
    assert len(index) == len(records)
    image = formats.read(records[0].path)[0].images[0]
    found = index.search(encoder.embed([image]).pooled[0], 1)
    assert found[0].label == records[0].labels[0] and found[0].similarity > 0.999 and found[0].licence == "CC0"


@pytest.mark.usefixtures("brisk")
def test_several_labels_with_blanks(tmp_path: Path, home: Path) -> None:
    folder = phantoms.folder_of(tmp_path / "set", 70)
    with (folder / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        mass = row.pop("label") == "mass"
        row |= {
            "mass": "" if number % 7 == 0 else str(int(mass)),
            "odd": "" if number % 5 == 0 else str(number % 3 % 2),
        }
    small_sets.index(folder, rows)
    found = read_folder(folder, label_columns=["mass", "odd"])
    recipe = Recipe("several", ("CR",))
    made = train_suite(found, recipe, patch_statistics.load(), home, replace(OPTIONS, index=False))
    assert len(made.members) == 6 and 0 <= made.diversity.double_fault <= 1
    for member in made.members:
        specialist = (
            registry.get("specialists", member.name).load(encoder=patch_statistics.load()) if member.kept else None
        )
        if specialist is None:
            continue
        opinion = specialist.examine(case_of([Study("CR", None, (Image(phantoms.draw("mass", 901), "x"),))], "?"))
        said = {f.concept.meaning: f.probability for f in opinion.findings}
        assert not opinion.exclusive and set(said) == {"mass", "odd"} and all(0 <= p <= 1 for p in said.values())
        assert opinion.reliability[-1].metric == "local accuracy"
    kept = suite_store.read_held_out(home / "suites/several/members/several_texture")
    assert np.isnan(kept.labels).any() and np.isfinite(kept.probabilities).all()
    aurocs = {m.name: m.runs[0]["test"]["AUROC"] for m in made.members}
    assert aurocs["several_texture"] > 0.6 and aurocs["several_linear"] > 0.6


def test_who_adds_nothing_at_twice_the_cost_is_left_out() -> None:
    draw = np.random.default_rng(1)
    targets = np.eye(2)[draw.integers(2, size=400)]
    good = 0.75 * targets + 0.25 * (1 - targets)
    chance = np.full_like(targets, 0.5)
    said = {"a": good, "b": good.copy(), "idle": chance}
    cheap = {"a": 1.0, "b": 1.0, "idle": 1.9}
    assert suite_vote.left_out(said, targets, True, cheap) == {}
    gone = suite_vote.left_out(said, targets, True, cheap | {"idle": 2.0})
    assert list(gone) == ["idle"] and "adds nothing" in gone["idle"] and "2.0 times" in gone["idle"]
    assert suite_vote.left_out(said | {"idle": targets * 0.98 + 0.01}, targets, True, cheap | {"idle": 9.0}) == {}
    # Of two that are the same and dear, one stays.
    twins = {"a": chance, "b": chance, "c": chance, "x": good, "y": good.copy()}
    costs = {"a": 1.0, "b": 1.0, "c": 1.0, "x": 5.0, "y": 4.0}
    assert suite_vote.left_out(twins, targets, True, costs) == {}
    # A member that judged val alone is compared on val alone.
    part = np.where(np.arange(400)[:, None] < 40, 1 - targets, np.nan)
    assert list(suite_vote.left_out({"a": good, "b": good, "p": part}, targets, True, cheap | {"p": 9.0})) == ["p"]


def test_who_is_not_kept_is_reported_but_not_installed(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(OPTIONS, members=("linear", "neighbours"), index=False)
    home, encoder = tmp_path / "home", patch_statistics.load()
    train_suite(data(place), RECIPE, encoder, home, options)
    assert sorted(p.name for p in (home / "specialists").iterdir()) == ["drawn_linear", "drawn_neighbours"]
    stranger = home / "specialists/other"
    (home / "specialists/drawn_linear").rename(stranger)
    monkeypatch.setattr(training, "left_out", lambda *_: {"neighbours": "adds nothing"})
    made = train_suite(data(place), RECIPE, encoder, home, options)
    assert made.kept == ("drawn_linear",) and made.members[1].reason == "adds nothing"
    assert sorted(p.name for p in (home / "specialists").iterdir()) == ["drawn_linear", "other"]
    report = json.loads((home / "suites/drawn/suite.json").read_text())
    assert [(m["kept"], m["reason"]) for m in report["members"]] == [(True, ""), (False, "adds nothing")]
    assert (home / "suites/drawn/members/drawn_neighbours/model.safetensors").is_file()


def test_errors_correlate_as_they_are_drawn() -> None:
    targets = np.eye(2)[np.zeros(8, int)]
    wrong = {"a": [1, 1, 0, 0, 0, 0, 0, 0], "b": [1, 1, 0, 0, 0, 0, 0, 0], "c": [0, 0, 1, 1, 0, 0, 0, 0], "d": [0] * 8}
    said = {name: np.eye(2)[errors] * 0.8 + 0.1 for name, errors in wrong.items()}
    found = suite_vote.diversity(said, targets, True)
    assert found.phi[0, 1] == pytest.approx(1) and found.phi[0, 2] == pytest.approx(-1 / 3)
    assert np.isnan(found.phi[0, 3]) and found.both_wrong[0, 1] == 0.25 and found.both_wrong[0, 2] == 0
    assert found.mean_phi == pytest.approx((1 - 1 / 3 - 1 / 3) / 3) and found.double_fault == pytest.approx(0.25 / 6)


def test_clusters_hold_patients_together_and_the_first_is_central() -> None:
    draw = np.random.default_rng(2)
    centres = np.array([[0, 0], [6, 0], [0, 9], [-14, 0], [0, -20]])
    x = np.concatenate([c + draw.normal(0, 0.3, (30, 2)) for c in centres]).astype(np.float32)
    found = clusters(x, np.zeros(150, int))
    assert sorted(len(set(found[i * 30 : (i + 1) * 30])) for i in range(5)) == [1] * 5 and len(set(found)) == 5
    own = (x - x.mean(0)) / x.std(0)
    far = [np.linalg.norm(own[found == fold].mean(0)) for fold in range(5)]
    assert far == sorted(far)
    torn = clusters(x, np.zeros(150, int), [f"p{i % 10}" for i in range(150)])
    assert all(len(set(torn[i::10])) == 1 for i in range(10))
    assert set(clusters(x[:3], np.array([0, 0, 1]))) <= {0, 1}


def test_what_cannot_be_asked_is_said(place: Path, tmp_path: Path) -> None:
    encoder = patch_statistics.load()
    for options, said in ((replace(OPTIONS, members=("svm",)), "svm"), (replace(OPTIONS, seeds=0), "--seeds is 0")):
        with pytest.raises(UsageError, match=said):
            train_suite(data(place), RECIPE, encoder, tmp_path, options)
    (tmp_path / "held_out.safetensors").write_bytes(b"cut")
    with pytest.raises(DataError, match="Train the suite again"):
        suite_store.read_held_out(tmp_path)


def test_a_member_of_another_encoder_or_a_damaged_one_is_refused(place: Path, tmp_path: Path) -> None:
    class Other(patch_statistics.PatchStatistics):
        card = replace(patch_statistics.CARD, version="2")

    for name in NAMES:
        with pytest.raises(MemberError, match="Train it again: consilium specialist suite FOLDER"):
            registry.get("specialists", name).load(encoder=Other())
    for name, key, value in (
        ("drawn_dino", "second_encoder", {"name": "patch_statistics", "version": "9"}),
        ("drawn_texture", "texture", "0"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        made = json.loads((place / "home/specialists" / name / "card.json").read_text()) | {key: value}
        (folder / "card.json").write_text(json.dumps(made))
        (folder / "model.safetensors").write_bytes(
            (place / "home/specialists" / name / "model.safetensors").read_bytes()
        )
        module = registry.get("specialists", name)
        with pytest.raises(MemberError, match="Train it again"):
            replace(module, folder=folder).load(encoder=patch_statistics.load())


def test_a_corrected_label_or_split_is_corrected_in_the_index(place: Path, tmp_path: Path) -> None:
    encoder, home = patch_statistics.load(), tmp_path / "home"
    shutil.copytree(place / "home", home)
    index = registry.get("retrievers", "lance").load(folder=home / "indices/drawn", encoder_key=encoder.card.version)
    foreign = Entry(
        np.ones(encoder.embed([Image(_drawing(place), "")]).pooled.shape[1]), Precedent("x", "kept", 1.0), "", "of mine"
    )
    index.add([foreign])
    folder = tmp_path / "breast_ultrasound_busi"
    shutil.copytree(place / "sets/breast_ultrasound_busi", folder)
    with (folder / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    records = read_folder(folder).of("train")
    first = records[0].row["path"]
    moved = next(r for r in records if r.patient != records[0].patient)
    for row in rows:
        if row["path"] == first:
            row["label"] = "normal" if row["label"] != "normal" else "benign"
        if row["path"] in {r.row["path"] for r in records if r.patient == moved.patient}:
            row["split"] = "test"
    small_sets.index(folder, rows)
    ready = prepare(read_folder(folder), RECIPE, encoder)
    told = training._precedents(Ground(ready, encoder, None, lambda *_: None), home / "indices/drawn")
    assert told == {"name": "drawn", "added": 0, "size": len(read_folder(folder).of("train")) + 1}
    (found,) = index.search(encoder.embed([formats.read(folder / first)[0].images[0]]).pooled[0], 1)
    assert found.label == next(r.labels[0] for r in read_folder(folder).records if r.row["path"] == first)
    (other,) = index.search(encoder.embed([formats.read(moved.path)[0].images[0]]).pooled[0], 1)
    assert other.case_id != f"breast_ultrasound_busi-{formats.read(moved.path)[0].images[0].digest[:12]}"


def test_a_part_of_the_ladder_is_weighed_beside_those_that_are_there(place: Path, tmp_path: Path) -> None:
    encoder, home = patch_statistics.load(), tmp_path / "home"
    shutil.copytree(place / "home", home)

    def weights() -> list[float]:
        rooms = (home / "specialists" / name / "model.safetensors" for name in NAMES)
        return [float(light_head.read(room, ())[judging.NEAR][0]) for room in rooms]

    before = weights()
    train_suite(data(place), RECIPE, encoder, home, replace(OPTIONS, members=("linear",), seeds=2, index=False))
    assert weights() == before


def test_another_first_seed_is_another_model(place: Path, tmp_path: Path) -> None:
    encoder, home = patch_statistics.load(), tmp_path / "home"
    shutil.copytree(place / "home", home)
    before = registry.read_card(home / "specialists/drawn_mlp/card.json").version
    train_suite(data(place), RECIPE, encoder, home, replace(OPTIONS, members=("mlp",), first_seed=1, index=False))
    assert registry.read_card(home / "specialists/drawn_mlp/card.json").version != before
    held = suite_store.read_held_out(home / "suites/drawn/members/drawn_mlp")
    ready = prepare(data(place), RECIPE, encoder)
    assert held.seed == 1 and (held.folds == Ground(ready, encoder, None, lambda *_: None).folds(1)).all()
