"""Stage 3: opinions out of fold, precedents of others, the stated trust, and the answer that is always the label."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest
from tests.train import small_sets

from consilium import formats, registry
from consilium.consult import cards_prompt
from consilium.consult.council import case_of
from consilium.datasets.folder import read_folder
from consilium.encoders import patch_statistics
from consilium.errors import DataError, MemberError
from consilium.protocols import Encoder, Features
from consilium.train import guided, mixture
from consilium.train.conversations import out_of_fold, trust
from consilium.train.conversations.bench import Bench, lay
from consilium.train.conversations.group import Branch, Group
from consilium.train.features import encode
from consilium.train.specialist import Recipe, train
from consilium.types import Image


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder, a home with a specialist trained on it, and the mixture."""
    place = tmp_path_factory.mktemp("guided")
    data = small_sets.breast(place / "sets", 180)
    made = Recipe("finder", ("US",), ("BREAST",), groups={"lesion": ("benign", "malignant")})
    train(read_folder(data / "breast_ultrasound_busi"), made, patch_statistics.load(), place / "home/specialists")
    (place / "data.toml").write_text(small_sets.RECIPE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONSILIUM_HOME", str(place / "home"))
        yield place


@pytest.fixture(scope="module")
def bench(room: Path) -> Bench:
    source = mixture.read(room / "data.toml").sources[0]
    return lay(source, ("finder",), room / "sets", patch_statistics.load())


@pytest.fixture(scope="module")
def groups(room: Path) -> list[Group]:
    found = guided.plan(mixture.read(room / "data.toml"), room / "sets", patch_statistics.load())
    return [entry.make() for entry in found]


def branches(groups: list[Group], kind: str = "guided") -> list[tuple[Group, Branch]]:
    return [(group, branch) for group in groups for branch in group.branches if branch.kind == kind]


def test_an_opinion_reads_as_the_specialist_gives_it(room: Path) -> None:
    encoder = patch_statistics.load()
    specialist = registry.get("specialists", "finder").load(encoder=encoder)
    records = read_folder(room / "sets/breast_ultrasound_busi").records[:8]
    judged = out_of_fold.bystander("finder", encode(records, encoder).features, encoder)
    for row, record in enumerate(records):
        case = case_of(formats.read(record.path, modality="US", body_part="BREAST"), "?")
        said, heard = judged.opinion(row), specialist.examine(case)
        assert [f.concept for f in said.findings] == [f.concept for f in heard.findings]
        ours, theirs = ([f.probability for f in o.findings] for o in (said, heard))
        assert ours == pytest.approx(theirs, abs=1e-5)
        for name in ("specialist", "version", "abstained", "caution", "exclusive", "reliability", "licence"):
            assert getattr(said, name) == getattr(heard, name)


def test_a_specialist_does_not_speak_of_what_it_was_fitted_on(room: Path) -> None:
    """Features that say nothing but whose picture it is: a head that had seen the picture would know its label."""
    folder = read_folder(room / "sets/breast_ultrasound_busi")
    records = [record for record in folder.records if record.split != "test"]
    features = np.random.default_rng(0).normal(size=(len(records), 400)).astype(np.float32)
    judged = out_of_fold.judge("finder", folder, records, features, patch_statistics.load())
    right = judged.probabilities.argmax(1) == folder.targets(records).argmax(1)
    assert right.mean() < 0.5


def test_a_specialist_of_other_features_is_refused(room: Path) -> None:
    encoder = patch_statistics.load()
    with pytest.raises(MemberError, match="cxr_findings"):
        out_of_fold.bystander("cxr_findings", np.zeros((1, 16), np.float32), encoder)


class Blurred(patch_statistics.PatchStatistics):
    """Features at random by picture, so that any train case may be the most similar."""

    def embed(self, images: Sequence[Image], patches: bool = False) -> Features:
        seeds = [int(image.digest[:8], 16) for image in images]
        return Features(np.array([np.random.default_rng(seed).normal(size=16) for seed in seeds], np.float32))


@pytest.mark.parametrize("encoder", [patch_statistics.PatchStatistics(), Blurred()])
def test_precedents_are_train_cases_of_other_patients_and_no_near_duplicates(room: Path, encoder: Encoder) -> None:
    bench = lay(mixture.read(room / "data.toml").sources[0], ("finder",), room / "sets", encoder)
    by_name = {f"breast_ultrasound_busi-{d[:12]}": i for i, d in enumerate(bench.digests)}
    counted = 0
    for row, record in enumerate(bench.records):
        for precedent in bench.precedents(row):
            other = bench.records[by_name[precedent.case_id]]
            assert other.split == "train" and other.patient != record.patient and precedent.similarity <= 0.995
            assert (precedent.label,) == other.labels
            counted += 1
    assert counted


def test_the_answer_is_always_the_label(groups: list[Group], bench: Bench) -> None:
    label = {bench.path(row): record.labels[0] for row, record in enumerate(bench.records)}
    means = {"normal": {"normal", "no lesion", "no cancer"}, "benign": {"benign", "lesion", "no cancer"}}
    means["malignant"] = {"malignant", "lesion", "cancer"}
    for group, branch in [*branches(groups), *branches(groups, "call")]:
        elsewhere = branch.extra["condition"] in ("call_asked", "call_other", "call_absent", "call_needless")
        if "eyes" in branch.extra or elsewhere:
            continue
        answer, asked = branch.messages[-1][1], branch.messages[0][1]
        if answer in ("yes", "no"):
            assert ("malignant" in asked.split("Question: ")[1]) <= (
                (answer == "yes") == (label[group.path] == "malignant")
            )
        else:
            assert answer in means[label[group.path]] and group.split in ("train", "val")


def test_right_opinions_stand_by_another_picture_as_often_as_the_recipe_says(groups: list[Group], bench: Bench) -> None:
    row_of = {bench.path(row): row for row in range(len(bench.records))}
    own = {f"{bench.path(row)}#guided.{turn}": row for row in range(len(bench.records)) for turn in (0, 1)}
    misled = [group for group in groups if group.id in own and row_of[group.path] != own[group.id]]
    for group in misled:
        shown, meant = (bench.records[row] for row in (row_of[group.path], own[group.id]))
        assert shown.split == meant.split == group.split and shown.labels != meant.labels
        assert group.digest == bench.digests[row_of[group.path]]
        assert all(b.extra["eyes"] == "misled" and b.extra["opinion_right"] for b in group.branches)
    fit = [g for g in groups if all(b.extra["condition"] == "as_is" and b.extra["opinion_right"] for b in g.branches)]
    assert 0.15 < len(misled) / len(fit) < 0.45


def test_a_group_shares_one_system_text_that_states_the_reliability(groups: list[Group], bench: Bench) -> None:
    measured = next(score.value for score in bench.judged.card.scores if score.metric == "AUROC")
    for group, branch in branches(groups):
        form, profile = branch.extra["format"].split()
        assert len({b.extra["condition"] for b in group.branches}) == 1 and 1 <= len(group.branches) <= 3
        assert len({b.extra["format"].split()[1] for b in group.branches}) == 1
        if profile == "published":
            assert group.system == "" and "yes" not in branch.messages[0][1].split("diagnoses are: ")[1]
            continue
        said = "Specialist finder" in branch.messages[0][1]
        assert ("finder AUROC" in group.system) == said
        assert "known cases" not in branch.messages[0][1] if form == "moed" else not (said and form == "rad")
        if said:
            stated = float(group.system.split("finder AUROC ")[1].split()[0])
            assert 0.5 <= stated <= 0.7 if branch.extra["condition"] == "degraded" else stated == round(measured, 2)


def test_conditions_are_as_often_and_as_wrong_as_the_recipe_says(groups: list[Group]) -> None:
    told = branches(groups)
    right: dict[str, list[bool]] = defaultdict(list)
    for _, branch in told:
        right[branch.extra["condition"]].append(branch.extra["opinion_right"])
    share = {name: len(found) / len(told) for name, found in right.items()}
    asked_for = {"as_is": 0.4, "degraded": 0.2, "adversarial": 0.2, "missing": 0.1, "precedents_wrong": 0.1}
    assert share == pytest.approx(asked_for, abs=0.08)
    assert not any(right["adversarial"]) and all(value is None for value in right["missing"])
    degraded = [value for value in right["degraded"] if value is not None]
    assert 0.2 < np.mean(degraded) < 0.85


def test_poisoned_precedents_bear_no_true_label(bench: Bench) -> None:
    shown = [trust.show("precedents_wrong", bench, row, False, Random(row)) for row in range(len(bench.records))]
    for row, evidence in enumerate(shown):
        assert all(p.label != bench.records[row].labels[0] for p in evidence.precedents)


def test_a_poor_specialist_is_right_as_often_as_its_auroc_says() -> None:
    assert trust.right_share(0.5, 4) == 0.25 and trust.right_share(1.0, 4) == 1.0
    for seed in range(50):
        said = trust.drawn(2, 4, 0.4, Random(seed))
        assert said.argmax() == 2 and said.sum() == pytest.approx(1) and (said >= 0).all()


def test_an_expert_is_called_where_one_fits(groups: list[Group], bench: Bench) -> None:
    conditions = Counter(branch.extra["condition"] for _, branch in branches(groups, "call"))
    assert sum(conditions.values()) > 3 * 14 and conditions["call_unfitting"] and conditions["call_as_is"]
    for _, branch in branches(groups, "call"):
        offered, called = branch.messages[0][1], branch.messages[1][1]
        if branch.extra["condition"] in ("call_unfitting", "call_asked", "call_as_is"):
            fits = branch.extra["condition"] != "call_unfitting"
            assert ("<FINDER()>" in offered) == fits == (called == "<FINDER()>")
        if branch.extra["condition"] == "call_as_is":
            assert "finder" in branch.messages[2][1] and branch.messages[3][0] == "assistant"


def test_cards_are_written_with_their_slots(bench: Bench) -> None:
    text = cards_prompt.calls((bench.judged.card,))
    assert "<FINDER()> modality: breast ultrasound; task: benign, malignant, normal;" in text
    assert "AUROC" in text and text.endswith("valid arguments: none.") and cards_prompt.calls(()) == ""


def test_the_same_recipe_plans_the_same(room: Path, groups: list[Group]) -> None:
    again = guided.plan(mixture.read(room / "data.toml"), room / "sets", patch_statistics.load())
    assert [entry.make().to_json() for entry in again] == [group.to_json() for group in groups]
    splits = [group.split for group in groups]
    assert splits == sorted(splits) and {"train", "val"} == set(splits)


def test_a_source_without_a_specialist_is_named(room: Path) -> None:
    found = room / "without.toml"
    found.write_text(small_sets.RECIPE.replace("breast_ultrasound_busi = [", "other = ["), encoding="utf-8")
    with pytest.raises(DataError, match="breast_ultrasound_busi"):
        guided.plan(mixture.read(found), room / "sets", patch_statistics.load())
