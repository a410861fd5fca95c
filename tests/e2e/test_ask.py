"""From files to a signed consultation in processes of their own, as installed: shipped specialists, index and generalist."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture
from tests import phantoms

from consilium import registry
from consilium.consult.panel import ROUTER
from consilium.formats import record
from consilium.types import Consultation, Opinion

pytestmark = pytest.mark.weights

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
# Those of the package that are asked a closed question: who outlines is asked an open one, who is on call by name.
SHIPPED = sorted(
    name
    for name, member in registry.find("specialists").items()
    if name != ROUTER and member.origin == "shipped" and not member.card.outlines and not member.card.on_call
)
COUNT = 50
TUMOURS = "glioma,meningioma,pituitary,notumor"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def environment(pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Offline, with a home and a cache that begin empty."""
    folder = tmp_path_factory.mktemp("user")
    places = {
        "HOME": folder / "home",
        "CACHE": folder / "cache",
        "WEIGHTS": pretrained,
        "OFFLINE": "1",
        "FEATURES": "1",
    }
    return {**os.environ, **{f"CONSILIUM_{name}": str(place) for name, place in places.items()}, "COLUMNS": "100"}


@pytest.fixture(scope="module")
def run(environment: dict[str, str]) -> Run:
    def call(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command(*words), env=environment, cwd=ROOT, capture_output=True, text=True, timeout=200)

    return call


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "consilium", *map(str, words)]


def spoke(held: Consultation) -> set[str]:
    return {opinion.specialist for opinion in held.opinions if opinion.abstained is None}


def reasons(opinions: tuple[Opinion, ...]) -> dict[str, str]:
    return {opinion.specialist: opinion.abstained for opinion in opinions if opinion.abstained is not None}


@pytest.fixture(scope="module")
def chest(run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Consultation, str, Path]:
    """The first example of the README: the consultation, what was printed, and the folder."""
    out = tmp_path_factory.mktemp("chest") / "new" / "folder"
    question = "Does this chest X-ray show pneumonia?"
    done = run("ask", "examples/chest_xray.jpg", question, "--options", "normal,pneumonia", "--out", out)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return record.read(out / "consultation.json"), done.stdout, out


def test_the_record_is_the_whole_consultation(chest: tuple[Consultation, str, Path]) -> None:
    held, _, out = chest
    assert record.from_json(record.to_json(held)) == held
    assert sorted(path.name for path in out.iterdir()) == ["consultation.html", "consultation.json"]
    assert "chest_xray" not in (out / "consultation.json").read_text(encoding="utf-8")
    assert {"consilium", "clip_vit_b16", "native", "exact"} <= set(held.versions)
    assert all(held.licences.values()) and held.timings_s["total"] >= held.timings_s["encoder"] > 0


def test_the_classifier_routes_it_to_the_chest_x_ray_specialists(chest: tuple[Consultation, str, Path]) -> None:
    held, _, _ = chest
    (study,) = held.case.studies
    assert (study.modality, study.modality_source) == ("CR", "classifier")
    assert (study.body_part, study.body_part_source) == ("CHEST", "classifier")
    assert [opinion.specialist for opinion in held.opinions] == SHIPPED
    assert spoke(held) == {"cxr_findings", "cxr_pneumonia"}
    said = reasons(held.opinions)
    assert set(said) == set(SHIPPED) - spoke(held)
    assert all(reason.endswith("the study is CR") for reason in said.values())


def test_precedents_are_other_chest_x_rays(chest: tuple[Consultation, str, Path]) -> None:
    held, _, _ = chest
    assert len(held.precedents) == 5
    assert {precedent.modality for precedent in held.precedents} == {"CR"}
    similarities = [precedent.similarity for precedent in held.precedents]
    assert similarities == sorted(similarities, reverse=True) and similarities[0] < 0.9999
    assert all(precedent.licence and precedent.thumbnail for precedent in held.precedents)


def test_the_answer_is_an_option_or_an_abstention_and_cites_who_spoke(chest: tuple[Consultation, str, Path]) -> None:
    held, printed, _ = chest
    answer = held.answer
    assert (answer.choice in held.case.options) != bool(answer.abstained)
    assert set(answer.citations) == spoke(held) | {precedent.case_id for precedent in held.precedents}
    prompt, reply = held.exchange[-2:]
    assert all((f"Specialist {name}" in prompt.text) == (name in spoke(held)) for name in SHIPPED)
    assert (prompt.role, reply.role, reply.text) == ("user", "assistant", answer.text)
    assert (answer.choice or "Abstained") in printed and all(name in printed for name in SHIPPED)
    assert "Not a medical device." in printed


def test_the_page_needs_nothing_from_elsewhere(chest: tuple[Consultation, str, Path]) -> None:
    page = (chest[2] / "consultation.html").read_text(encoding="utf-8")
    assert not re.search(
        r"""(?:src|href|action|srcset|poster|data)\s*=\s*["']?\s*(?:https?:)?//""", page, re.IGNORECASE
    )
    assert not re.search(r"(?:url\(|@import)\s*[\"']?\s*(?:https?:)?//", page, re.IGNORECASE)
    assert all(name in page for name in SHIPPED) and "Not a medical device" in page
    assert page.count("data:image/") >= 6


def test_several_paths_are_several_consultations_each_routed_by_itself(run: Run, tmp_path: Path) -> None:
    paths = [EXAMPLES / name for name in ("brain_mr.jpg", "chest_ct.jpg", "breast_us.jpg")]
    words = ("ask", *paths, "Which tumour?", "--options", TUMOURS, "--policy", "panel_vote", "--index", "none")
    done = run(*words, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0001", "0002", "0003"]
    mr, ct, us = (record.read(tmp_path / f"out/{n:04d}/consultation.json") for n in (1, 2, 3))
    assert [held.case.studies[0].modality for held in (mr, ct, us)] == ["MR", "CT", "US"]
    assert [spoke(held) for held in (mr, ct, us)] == [{"brain_tumor_mr"}, {"lung_ct"}, {"breast_us"}]
    assert all(set(held.versions) & set(SHIPPED) == spoke(held) for held in (mr, ct, us))
    for name in ("cxr_pneumonia", "cxr_findings"):
        assert reasons(ct.opinions)[name] == "it is for CR, DX; the study is CT"
    assert mr.answer.choice == "glioma" and mr.answer.calibrated and mr.answer.citations == ("brain_tumor_mr",)
    assert sum(mr.answer.probabilities.values()) == pytest.approx(1)
    assert all("no specialist who spoke knows" in (held.answer.abstained or "") for held in (ct, us))


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn colour gradient under a checkerboard."""
    down, across = np.mgrid[:256, :256]
    board = ((down // 32 + across // 32) % 2 * 255).astype(np.uint8)
    path = tmp_path_factory.mktemp("drawn") / "drawn.png"
    Picture.fromarray(np.stack([down.astype(np.uint8), across.astype(np.uint8), board], axis=2)).save(path)
    return path


def test_a_foreign_picture_is_not_guessed_at(run: Run, foreign: Path) -> None:
    done = run("ask", foreign, "What is it?", "--generalist", "echo")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and "--modality" in done.stderr


def test_nobody_judges_a_foreign_picture_that_is_called_a_ct(run: Run, foreign: Path, tmp_path: Path) -> None:
    done = run("ask", foreign, "What is it?", "--policy", "panel_vote", "--modality", "CT", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    held = record.read(tmp_path / "consultation.json")
    assert held.case.studies[0].modality_source == "user" and spoke(held) == set()
    assert "unlike the pictures it was trained on" in reasons(held.opinions)["lung_ct"]
    assert held.answer.choice is None and held.answer.abstained == "every specialist abstained"


def features(environment: dict[str, str]) -> dict[Path, int]:
    """Every kept feature file and when it was written."""
    kept = Path(environment["CONSILIUM_CACHE"], "features").rglob("[!.]*.safetensors")
    return {path: path.stat().st_mtime_ns for path in kept}


def kill_half_way(words: tuple[object, ...], environment: dict[str, str], pictures: int) -> None:
    """Starts the command and kills it as soon as it has kept the features of so many pictures."""
    enough = len(features(environment)) + pictures
    with subprocess.Popen(command(*words), env=environment, cwd=ROOT, stdout=subprocess.PIPE) as work:
        while len(features(environment)) < enough and work.poll() is None:
            time.sleep(0.02)
        work.send_signal(signal.SIGKILL)
    assert work.returncode == -signal.SIGKILL


def test_a_specialist_and_an_index_of_ones_own(run: Run, environment: dict[str, str], tmp_path: Path) -> None:
    folder = phantoms.folder_of(tmp_path / "phantoms", COUNT)
    seen = ("--modality", "US", "--body-part", "ABDOMEN")
    train = ("specialist", "train", folder, "--name", "mass_finder", *seen)
    room, before = Path(environment["CONSILIUM_HOME"], "specialists"), features(environment)
    kill_half_way(train, environment, 1)
    halfway = features(environment)
    assert len(before) < len(halfway) < len(before) + COUNT and not room.exists()

    done = run(*train)
    assert done.returncode == 0 and "trained mass_finder (clear, mass)" in done.stdout, done.stderr
    after = features(environment)
    assert len(after) == len(before) + COUNT and {path: after[path] for path in halfway} == halfway
    assert [path.name for path in room.iterdir()] == ["mass_finder"]

    done = run("index", "build", folder, "--name", "drawn", *seen, "--licence", "CC0")
    assert done.stdout == f"index drawn: {COUNT * 3 // 5} added, {COUNT * 3 // 5} cases in all\n", done.stderr
    assert features(environment) == after

    ask = ("ask", folder / "1.png", "A mass?", "--options", "clear,mass", "--generalist", "echo", *seen)
    done = run(*ask, "--specialists", "mass_finder", "--index", "drawn", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    held = record.read(tmp_path / "out/consultation.json")
    assert spoke(held) == {"mass_finder"} == {opinion.specialist for opinion in held.opinions}
    assert held.opinions[0].findings[0].concept.meaning == "mass"
    assert len(held.precedents) == 5 and {(p.source, p.licence) for p in held.precedents} == {("phantoms", "CC0")}
    assert held.precedents[0].similarity < 0.99999, "the case was its own precedent"


def test_the_examples_run(environment: dict[str, str], tmp_path: Path) -> None:
    def script(name: str, *words: str) -> str:
        words = (sys.executable, str(EXAMPLES / name), *words)
        done = subprocess.run(words, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert script("consult.py").startswith("answer: glioma")
    folder = phantoms.folder_of(tmp_path / "phantoms", COUNT)
    assert "AUROC" in script("train_specialist.py", str(folder), "from_python", "CR")
