"""Figures from records alone, against scikit-learn on the same arrays; seeds; comparisons; the arbitration matrix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as sk
from tests.evaluate import made

from consilium.errors import DataError, UsageError
from consilium.evaluate.answers import systems
from consilium.evaluate.compare import compare_all
from consilium.evaluate.matrix import matrices
from consilium.evaluate.records import write
from consilium.evaluate.score import FIGURES, score
from consilium.metrics.paired import holm

FEW = 40


def figures(path: Path) -> dict[str, float | None]:
    (system,) = systems([path])
    return {name: None if found is None else found.value for name, found in score(system, FEW).figures.items()}


def test_figures_are_scikit_learns(tmp_path: Path) -> None:
    path = made.records(tmp_path, "moed", n=60)
    truth, p = made.soft(60, 0)
    y, said = np.arange(60) % 3, p.argmax(1)
    found = figures(path)
    assert list(found) == list(FIGURES) and len(truth) == 60
    p = p / p.sum(1, keepdims=True)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(y, said)) == found["micro-F1"]
    assert found["macro-F1"] == pytest.approx(sk.f1_score(y, said, average="macro"))
    assert found["AUROC"] == pytest.approx(sk.roc_auc_score(y, p, multi_class="ovr"))
    assert found["AUPRC"] == pytest.approx(sk.average_precision_score(np.eye(3)[y], p))
    assert found["Brier"] == pytest.approx(((np.eye(3)[y] - p) ** 2).sum(1).mean())
    assert found["coverage"] == 1 and found["accuracy among answered"] == found["accuracy"]
    order = np.argsort(-p.max(1))
    wrong = (said != y)[order]
    assert found["risk at 80% coverage"] == pytest.approx(wrong[:48].mean())
    assert found["AURC"] == pytest.approx((wrong.cumsum() / np.arange(1, 61)).mean())


def test_intervals_are_over_patients(tmp_path: Path) -> None:
    (system,) = systems([made.records(tmp_path, "moed", n=60)])
    found = score(system, FEW).figures["accuracy"]
    assert found is not None and found.low < found.value < found.high and found.n == 60
    assert len(set(system.first.groups)) == 30


def test_an_abstention_is_wrong_and_covers_nothing(tmp_path: Path) -> None:
    found = figures(made.records(tmp_path, "moed", n=24, abstain=6))
    _, p = made.soft(24, 0)
    right = p.argmax(1) == np.arange(24) % 3
    assert found["coverage"] == 0.75 and found["accuracy"] == pytest.approx(right[6:].sum() / 24)
    assert found["accuracy among answered"] == pytest.approx(right[6:].mean())
    assert found["risk at 80% coverage"] is None and found["risk at 70% coverage"] is not None
    labels = ["benign", "malignant", "normal"]
    y = [labels[i % 3] for i in range(24)]
    said = ["" if i < 6 else labels[p[i].argmax()] for i in range(24)]
    assert found["macro-F1"] == pytest.approx(sk.f1_score(y, said, labels=labels, average="macro"))
    assert found["micro-F1"] == pytest.approx(sk.f1_score(y, said, labels=labels, average="micro"))


def test_what_needs_probabilities_is_none_without_them(tmp_path: Path) -> None:
    rows = [made.row(i, made.OPTIONS[i % 3], "benign") for i in range(9)]
    write(tmp_path / "moed.jsonl", made.header("moed"), rows)
    found = figures(tmp_path)
    gone = {name for name, value in found.items() if value is None}
    assert gone == {n for n in FIGURES if n in {"AUROC", "AUPRC", "ECE", "Brier", "AURC"} or "risk" in n}
    assert found["accuracy"] == pytest.approx(1 / 3)


def test_labels_asked_one_by_one_are_scored_by_label(tmp_path: Path) -> None:
    draw, rows = np.random.default_rng(3), []
    y, p = draw.uniform(size=(40, 2)) < 0.4, draw.uniform(size=(40, 2))
    for i in range(40):
        for k, label in enumerate(("Edema", "Mass")):
            yes = p[i, k]
            more = {"asked": label, "options": ("yes", "no")}
            said = "yes" if yes > 0.5 else "no"
            rows.append(made.row(i, "yes" if y[i, k] else "no", said, [yes, 1 - yes], **more))
    header = made.header("solo", options=["yes", "no"], about={"exclusive": False, "normal": "no"})
    write(tmp_path / "solo.jsonl", header, rows)
    found = figures(tmp_path)
    assert found["macro-F1"] == pytest.approx(sk.f1_score(y, p > 0.5, average="macro"))
    assert found["micro-F1"] == pytest.approx(sk.f1_score(y, p > 0.5, average="micro"))
    assert found["AUROC"] == pytest.approx(sk.roc_auc_score(y, p, average="macro"))
    assert found["AUPRC"] == pytest.approx(sk.average_precision_score(y, p, average="macro"))
    assert found["accuracy"] == pytest.approx((y == (p > 0.5)).mean())


def test_seeds_of_one_policy_are_averaged(tmp_path: Path) -> None:
    paths = []
    for number, name in enumerate(("a", "b")):
        truth, p = made.soft(24, number)
        rows = [made.row(i, truth[i], made.OPTIONS[int(p[i].argmax())], p[i].tolist()) for i in range(24)]
        version = {"generalist": {"name": "native", "version": name}}
        write(tmp_path / name / "moed.jsonl", made.header("moed", seed=name, **version), rows)
        paths.append(tmp_path / name)
    (system,) = systems(paths)
    scored = score(system, FEW)
    alone = [figures(path)["accuracy"] for path in paths]
    found = scored.figures["accuracy"]
    assert found is not None and found.value == pytest.approx(np.mean(np.array(alone, float))) and found.n == 24
    assert scored.spread["accuracy"] == pytest.approx(np.std(np.array(alone, float), ddof=1))
    assert scored.json()["seeds"] == 2
    write(
        tmp_path / "b/moed.jsonl",
        made.header("moed", seed="b", generalist={"name": "native", "version": "b"}),
        rows[:9],
    )
    with pytest.raises(DataError, match="answered different cases"):
        systems(paths)


def test_pairs_share_their_cases_or_say_which_are_missing(tmp_path: Path) -> None:
    made.records(tmp_path, "moed", n=14)
    made.records(tmp_path, "gsco", n=10, seed=1)
    found = systems([tmp_path])
    with pytest.raises(DataError, match=r"gsco lacks 4: case-0010, case-0011, case-0012, case-0013.*--intersect"):
        compare_all(found)
    tests = compare_all(found, intersect=True)
    assert [test.figure for test in tests] == ["accuracy", "macro-F1", "Brier"]
    assert all(test.found is not None and test.found.score.n == 10 for test in tests)


def test_the_order_of_the_records_does_not_matter(tmp_path: Path) -> None:
    made.records(tmp_path / "one", "moed", n=12)
    made.records(tmp_path / "one", "gsco", n=12, seed=1)
    before = compare_all(systems([tmp_path / "one"]))
    path = tmp_path / "one/gsco.jsonl"
    head, *rows = path.read_text().splitlines(keepends=True)
    path.write_text(head + "".join(reversed(rows)))
    assert compare_all(systems([tmp_path / "one"])) == before


def test_every_test_shown_is_corrected_for(tmp_path: Path) -> None:
    made.records(tmp_path, "gsco", n=16, sharp=6)
    made.records(tmp_path, "moed", n=16, sharp=0.1, seed=1)
    made.records(tmp_path, "solo", n=16, sharp=0.1, seed=2)
    tests = compare_all(systems([tmp_path]), figures=("accuracy",))
    assert len(tests) == 3
    assert [t.p_holm for t in tests] == pytest.approx(holm([t.found.p for t in tests if t.found]))
    best = next(t for t in tests if (t.first, t.second, t.figure) == ("gsco", "moed", "accuracy"))
    assert best.differs and best.found is not None and best.found.score.low > 0
    one = compare_all(systems([tmp_path]), against="solo", figures=("accuracy",))
    assert [(t.first, t.second) for t in one] == [("gsco", "solo"), ("moed", "solo")]
    with pytest.raises(UsageError, match="nothing is called 'rad'"):
        compare_all(systems([tmp_path]), against="rad")
    with pytest.raises(UsageError, match="nothing to compare"):
        compare_all(systems([tmp_path / "solo.jsonl"]))


def test_other_options_are_not_paired(tmp_path: Path) -> None:
    made.records(tmp_path, "moed")
    made.records(tmp_path, "gsco", options=["normal", "malignant", "benign"])
    with pytest.raises(DataError, match="other options"):
        compare_all(systems([tmp_path]))


def test_two_of_a_name_are_told_apart(tmp_path: Path) -> None:
    made.records(tmp_path / "small", "moed")
    made.records(tmp_path / "large", "moed", generalist={"name": "native", "version": "1"})
    made.records(tmp_path / "large", "gsco")
    assert {s.name for s in systems([tmp_path])} == {"moed echo", "moed native", "gsco"}


def test_the_matrix_counts_conflicts(tmp_path: Path) -> None:
    truth, p = made.soft(24, 0)
    solo = [made.OPTIONS[int(row.argmax())] for row in p]
    votes = [t if i % 2 else made.OPTIONS[(made.OPTIONS.index(t) + 1) % 3] for i, t in enumerate(truth)]
    made.records(tmp_path, "solo")
    rows = [made.row(i, truth[i], votes[i], [], vote=votes[i]) for i in range(24)]
    write(tmp_path / "moed.jsonl", made.header("moed"), rows)
    (matrix,) = matrices(systems([tmp_path]))
    cells = {(cell.vote, cell.solo): cell.right for cell in matrix.cells}
    expected = sum(s == t and v != t for s, t, v in zip(solo, truth, votes, strict=True))
    keeps, corrects = cells["wrong", "right"], cells["right", "wrong"]
    assert keeps is not None and (keeps.n, keeps.value) == (expected, 0)
    assert corrects is not None and corrects.value == 1
    assert cells["none", "right"] is None and sum(c.n for c in cells.values() if c) == 24


def test_splits_of_a_dataset_are_never_named_apart_paired_or_compared(tmp_path: Path) -> None:
    votes = made.soft(24, 0)[0]
    for split in ("train", "test"):
        made.records(tmp_path / split, "solo", split=split)
        made.records(tmp_path / split, "moed", seed=1, votes=votes, split=split)
    found = systems([tmp_path])
    assert [(s.split, s.name) for s in found] == [
        ("test", "moed"),
        ("test", "solo"),
        ("train", "moed"),
        ("train", "solo"),
    ]
    tests = compare_all(found, figures=["accuracy"])
    assert [(t.split, t.first, t.second) for t in tests] == [("test", "moed", "solo"), ("train", "moed", "solo")]
    assert tests[0].json()["split"] == "test"
    moed, alone = found[0], found[3]
    assert not matrices([moed, alone]) and [m.system.split for m in matrices(found)] == ["test", "train"]
    with pytest.raises(UsageError, match=r"no split of a dataset has two.*moed on made test, solo on made train"):
        compare_all([moed, alone])
