"""Conversations from labels: the right answer among the options, nothing given away, nothing asserted that is not labelled."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest
from tests.train import small_sets

from consilium.consult.prompt import compose
from consilium.errors import DataError
from consilium.train.conversations import asked, covid, diagnosis, lung_us, nih_cxr14, reader, vqa_rad
from consilium.train.conversations.group import Branch, Item
from consilium.train.conversations.plan import Digests, plan
from consilium.train.mixture import Mixture, Source

BREAST = Source("breast_ultrasound_busi", "diagnosis", "CC BY 4.0", {"instruction": 1}, 3, "US", "BREAST")
FILMS = Source("nih_cxr14_subset", "nih_cxr14", "NIH", {"instruction": 1}, 3, "CR", "CHEST")


def lines(branch: Branch) -> dict[str, str]:
    """The served text by its leads: Image, Question, Options."""
    text = branch.messages[0][1]
    return dict(line.split(": ", 1) for line in text.splitlines())


def options(branch: Branch) -> list[str]:
    shown = lines(branch).get("Options", "").removesuffix(". Answer with one option only.")
    return shown.split(", ") if shown else []


def talks(source: Source, items: list[Item], times: int = 40) -> list[tuple[Item, Branch]]:
    module = reader(source)
    return [(i, b) for i in items for turn in range(times) for b in module.talk(i, source, Random(f"{i.path} {turn}"))]


def test_the_prompt_is_the_one_that_is_served() -> None:
    branch = asked.ask("diagnosis", "What is it?", "a", ("a", "b"), ("CT", "CHEST"))
    served = compose(asked.case("What is it?", ("a", "b"), ("CT", "CHEST")))
    assert branch.messages == (("user", served[-1].text), ("assistant", "a")) and asked.system() == served[0].text
    assert lines(branch)["Image"] == "chest CT."


def test_closed_answers_are_among_their_options_and_shuffled(tmp_path: Path) -> None:
    told = talks(BREAST, diagnosis.items(BREAST, small_sets.breast(tmp_path)))
    closed = [(i.labels[0], b.messages[-1][1], options(b)) for i, b in told if options(b)]
    assert closed and all(answer in shown for _, answer, shown in closed)
    for label in small_sets.CLASSES:
        places = Counter(shown.index(answer) for own, answer, shown in closed if own == label and len(shown) == 3)
        assert len(places) == 3 and min(places.values()) > sum(places.values()) / 5


def test_yes_and_no_are_balanced_and_true(tmp_path: Path) -> None:
    told = talks(BREAST, diagnosis.items(BREAST, small_sets.breast(tmp_path)))
    answers = [(i.labels[0], lines(b)["Question"], b.messages[-1][1]) for i, b in told if b.kind == "yes_no"]
    share = sum(answer == "yes" for *_, answer in answers) / len(answers)
    assert 0.45 < share < 0.55
    for label, question, answer in answers:
        if "malignant" in question:
            assert (answer == "yes") == (label == "malignant")


def test_what_is_asked_stands_nowhere_in_the_prompt(tmp_path: Path) -> None:
    told = talks(BREAST, diagnosis.items(BREAST, small_sets.breast(tmp_path)))
    asked_part = [b for _, b in told if b.messages[-1][1] == "breast"]
    asked_kind = [b for _, b in told if b.messages[-1][1] == "ultrasound"]
    assert asked_part and all("breast" not in lines(b)["Image"] for b in asked_part)
    assert asked_kind and all(lines(b)["Image"] == "medical." for b in asked_kind)


def test_descriptions_are_varied_marked_synthetic_and_say_the_label(tmp_path: Path) -> None:
    items = diagnosis.items(BREAST, small_sets.breast(tmp_path))
    told = [diagnosis.describe(i, BREAST, Random(f"{i.path} {turn}")) for i in items for turn in range(9)]
    benign = [b for i in items for b in [diagnosis.describe(i, BREAST, Random(i.path))] if i.labels == ("benign",)]
    assert len({b.messages[-1][1] for b in told if b}) > 24 and all(b and b.synthetic for b in told)
    assert all(b and "benign" in b.messages[-1][1].lower() for b in benign)


def test_a_set_of_questions_keeps_all_of_them_and_its_split(tmp_path: Path) -> None:
    source = Source("vqa_rad", "vqa_rad", "CC0 1.0", {"instruction": 1}, 8)
    items = vqa_rad.items(source, small_sets.questions(tmp_path))
    assert [(i.split, len(i.facts["questions"])) for i in items] == [
        ("train", 5),
        ("train", 4),
        ("val", 1),
        ("test", 1),
    ]
    answers = sorted(b.messages[-1][1] for i in items[:2] for b in vqa_rad.talk(i, source, Random(1)))
    assert answers == ["2", "axial", "brain", "fat", "left  side", "no", "no", "no", "yes"]
    for _, branch in talks(source, items):
        if branch.messages[-1][1] == "brain" or "chest" in lines(branch)["Question"]:
            assert lines(branch)["Image"] == "medical."
        assert sorted(options(branch)) in ([], ["no", "yes"])
    shown = Counter(lines(b)["Image"] for _, b in talks(source, items) if "large" in lines(b)["Question"])
    assert 0.4 < shown["head medical."] / sum(shown.values()) < 0.8


def films(data: Path) -> Path:
    rows = [
        {
            "path": f"{i}.png",
            "labels": labels,
            "split": split,
            "patient_id": str(i),
            "age": "50",
            "sex": "F",
            "view": "PA",
        }
        for i, (labels, split) in enumerate(
            [("No Finding", "train"), ("Edema|Pneumonia", "train"), ("Edema|Mass", "val"), ("Mass", "test")]
        )
    ]
    small_sets.drawn(data / FILMS.folder, rows)
    box = {
        "path": "1.png",
        "label": "Pneumonia",
        "split": "train",
        "patient_id": "1",
        "x": "20",
        "y": "40",
        "w": "40",
        "h": "20",
    }
    small_sets.index(data / FILMS.folder, [box], "boxes.csv")
    return data


def test_no_is_said_of_films_without_finding_alone(tmp_path: Path) -> None:
    told = talks(FILMS, nih_cxr14.items(FILMS, films(tmp_path)), 80)
    findings = [(i, lines(b)["Question"], b.messages[-1][1]) for i, b in told if b.kind == "yes_no"]
    for item, question, answer in findings:
        about_none = any(word in question for word in ("normal", "free", "without", "abnormal", "show a finding"))
        if item.labels != ("No Finding",) and not about_none:
            assert answer == "yes" and any(nih_cxr14.plain(label) in question for label in item.labels)
        if item.labels == ("No Finding",) and not about_none:
            assert answer == "no"
    listed = {(i.path, b.messages[-1][1]) for i, b in told if b.kind == "report"}
    assert {text for _, text in listed} == {"no finding", "edema, mass", "mass"}


def test_the_left_of_the_picture_is_the_right_of_the_patient(tmp_path: Path) -> None:
    told = talks(FILMS, nih_cxr14.items(FILMS, films(tmp_path)))
    assert {b.messages[-1][1] for _, b in told if b.kind == "location"} == {"right", "upper", "right upper zone"}


def test_a_blank_sign_is_never_asked_for(tmp_path: Path) -> None:
    source = Source("lung_us_pocus", "lung_us", "per clip", {"instruction": 1}, 3, "US", "CHEST")
    blank = dict.fromkeys(("effusion", "consolidation", "a_lines", "pleural_irregular", "air_bronchogram"), "")
    row = {"label": "COVID-19", "patient_id": "1", "licence": "CC BY 2.0", "b_lines": "1", **blank}
    rows = [row | {"path": f"{s}.png", "split": s, "patient_id": s} for s in ("train", "val", "test")]
    rows[1]["label"], rows[2]["label"] = "healthy", "healthy"
    small_sets.drawn(tmp_path / source.folder, rows)
    items = lung_us.items(source, tmp_path)
    assert items[0].facts["signs"] == {"B-lines": True} and items[0].licence == "CC BY 2.0"
    signs = {lines(b)["Question"] for _, b in talks(source, items) if b.kind == "yes_no"}
    assert signs and all("B-lines" in question for question in signs)


def test_a_film_that_another_set_tests_on_is_not_learnt_from(tmp_path: Path) -> None:
    row = {"label": "COVID-19", "view": "ap", "sex": "m"}
    hannover = [
        row | {"path": f"images/{name}.png", "split": "train", "patient_id": patient}
        for name, patient in (("x", "h1"), ("y", "h1"), ("z", "h2"))
    ]
    notes = {"path": "n.png", "split": "test", "patient_id": "9", "label": "COVID-19", "view": "PA", "sex": "F"}
    notes |= {"orig_filename": "x.png", "licence": "CC BY 3.0", "licence_class": "open", "modality": "X-ray"}
    small_sets.drawn(tmp_path / covid.HANNOVER, hannover)
    small_sets.drawn(tmp_path / covid.NOTES, [notes])
    source = Source(covid.HANNOVER, "covid", "CC BY 3.0", {"instruction": 1})
    assert [item.split for item in covid.items(source, tmp_path)] == ["test", "test", "train"]
    closed = Source(covid.NOTES, "covid", "", {}, where={"licence_class": "nc"})
    assert covid.items(closed, tmp_path) == []


def mixture_of(*sources: Source, seed: int = 1) -> Mixture:
    return Mixture(seed, 16, sources, {}, "")


def test_a_plan_mixes_train_before_val_and_never_test(tmp_path: Path) -> None:
    small_sets.breast(tmp_path)
    made = [entry.make() for entry in plan("instruction", mixture_of(BREAST), tmp_path, Digests(tmp_path))]
    assert [g.split for g in made] == ["train"] * 36 + ["val"] * 12
    assert len({g.id for g in made}) == len(made) and [g.path for g in made[:36]] != sorted(g.path for g in made[:36])
    assert all(len(g.digest) == 64 and g.licence == "CC BY 4.0" and 1 <= len(g.branches) <= 3 for g in made)
    other = [entry.id for entry in plan("instruction", mixture_of(BREAST, seed=2), tmp_path, Digests(tmp_path))]
    assert other != [entry.id for entry in plan("instruction", mixture_of(BREAST), tmp_path, Digests(tmp_path))]


def test_a_picture_that_is_also_tested_on_is_left_out(tmp_path: Path) -> None:
    small_sets.breast(tmp_path)
    folder = tmp_path / BREAST.folder / "images"
    (folder / "0.png").write_bytes((folder / "24.png").read_bytes())
    made = [entry.make() for entry in plan("instruction", mixture_of(BREAST), tmp_path, Digests(tmp_path))]
    assert len(made) == 47 and not any(g.path.endswith("/0.png") for g in made)


def test_a_picture_that_does_not_read_is_an_error(tmp_path: Path) -> None:
    small_sets.breast(tmp_path)
    (tmp_path / BREAST.folder / "images/3.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"3\.png"):
        plan("instruction", mixture_of(BREAST), tmp_path, Digests(tmp_path))


def test_real_sets_are_told_without_their_test_part(shared_data: Path) -> None:
    source = Source("vqa_rad", "vqa_rad", "CC0 1.0", {"instruction": 1}, 8)
    made = [entry.make() for entry in plan("instruction", mixture_of(source), shared_data, Digests(shared_data))]
    items = vqa_rad.items(source, shared_data)
    tested = {item.path for item in items if item.split == "test"}
    assert made and not tested & {g.path for g in made} and max(len(g.branches) for g in made) <= 8
