"""The native generalist reads risk images: a cohort of a few people and networks of toy size, from haplotypes to figures."""

from __future__ import annotations

import functools
import importlib
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from tests.train import tiny_bases

from consilium import registry
from consilium.genomics import risk_image
from consilium.specialists.polygenic_risk import PolygenicRisk
from consilium.train import polygenic_simulate as sim
from consilium.train import result, stages
from consilium.train.plan import read_recipe
from consilium.types import Case, Genome, Image
from consilium.weights import convert_native

ROOT = Path(__file__).parents[2]
SIZES = {"gwas": 300, "reference": 100, "train": 300, "test": 60}
TESTED, LEARNT = 40, 5


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setenv("CONSILIUM_FEATURES", "0")
    # Two diseases with labels, one without, each in half of the people: a few people tell their AUC.
    few = functools.partial(sim.Assumptions, trained=2, never=1, prevalence=(0.45, 0.55))
    monkeypatch.setattr(sim, "Assumptions", few)
    return importlib.import_module("polygenic_native")


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """recipe: the study's over toy networks; checkpoint: what is shipped of them."""
    vision, language = tiny_bases.write_bases(tmp_path / "bases")
    text = (ROOT / "configs/train/risk.toml").read_text(encoding="utf-8")
    for name, value in (("clip-vit-b16", vision), ("smollm2-135m-instruct", language)):
        text = text.replace(name, str(value))
    recipe = tmp_path / "risk.toml"
    text = text.replace("layer = 9", "layer = 2").replace("rank = 16", "rank = 4")
    # accelerate keeps its precision for the whole process, which other tests share
    recipe.write_text(text.replace("bfloat16", "float32"), encoding="utf-8")
    made = read_recipe(recipe)
    student, _ = stages.make_student(made)
    result.write_result(student, made, tmp_path / "adapter", {"stage": "none"})
    convert_native.convert([vision, language], tmp_path / "adapter/adapter.safetensors", tmp_path / "checkpoint")
    monkeypatch.setattr(result.generalists, "__file__", str(tmp_path / "__init__.py"))
    return SimpleNamespace(recipe=recipe, checkpoint=tmp_path / "checkpoint")


def write_haplotypes(path: Path) -> Path:
    random, people = np.random.default_rng(0), sum(SIZES.values())
    frequency = random.uniform(0.1, 0.5, 160)
    counts = random.binomial(2, frequency[:, None], (160, people)).astype(np.int8)
    np.savez(path, counts=counts, names=np.array([f"{1 + i // 40}:{1000 * (1 + i % 40)}:A:G" for i in range(160)]))
    return path


def run(study: ModuleType, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    sizes = [f"--{name}={value}" for name, value in SIZES.items()]
    sizes += [f"--test-people={TESTED}", f"--train-people={LEARNT}"]
    monkeypatch.setattr(sys, "argv", ["polygenic_native.py", *sizes, "--device=cpu", *words])
    study.main()


def test_a_small_study_is_told_beside_the_light_models_and_goes_on_where_it_stood(
    study: ModuleType, tiny: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = write_haplotypes(tmp_path / "haplotypes.npz")
    words = [f"--recipe={tiny.recipe}", f"--folder={tiny.checkpoint}", f"--haplotypes={kept}"]
    words += [f"--records={tmp_path / 'records'}", "--steps=2"]
    run(study, monkeypatch, *words)
    models = importlib.import_module("polygenic_models")
    out = tmp_path / f"records/polygenic_native.{TESTED}.{LEARNT}.json"
    report = json.loads(out.read_text(encoding="utf-8"))
    assert report["people"] == {"learnt from": LEARNT, "tested": TESTED} and report["learning"]["steps"] == 2
    assert str(tmp_path) not in out.read_text(encoding="utf-8") and "--steps 2" in report["command"]
    for part, baseline in (("with labels", "ridge, all scores"), ("without labels", models.BASELINE)):
        told = report[part]
        assert {study.SHIPPED, study.TUNED, baseline} <= set(told["models"])
        gap = told["compared"][f"{study.TUNED} - {baseline}"]["mean AUC"]
        auc = [told["models"][name]["mean AUC"]["value"] for name in (study.TUNED, baseline)]
        assert gap["value"] == pytest.approx(auc[0] - auc[1], abs=2e-5)
        assert gap["low"] <= gap["value"] <= gap["high"] and gap["n"] == TESTED and 0 <= gap["p"] <= 1
    assert study.SWAPPED in report["with labels"]["models"]

    answers = {path.name: path.read_bytes() for path in (tmp_path / "records/polygenic_native").glob("*.jsonl")}
    monkeypatch.setattr(study, "generalist", lambda *_: pytest.fail("every answer is kept"))
    monkeypatch.setattr(study.stages, "run_stage", lambda *_: pytest.fail("it has learnt"))
    run(study, monkeypatch, *words)
    again = json.loads(out.read_text(encoding="utf-8"))
    assert {**again, "cpu_s": 0} == {**report, "cpu_s": 0}
    assert {p.name: p.read_bytes() for p in (tmp_path / "records/polygenic_native").glob("*.jsonl")} == answers


def test_a_reduced_study_never_takes_the_place_of_the_whole(study: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="full size"):
        run(study, monkeypatch, f"--out={study.OUT}")


def test_its_answers_are_those_that_are_served(study: ModuleType, tiny: SimpleNamespace) -> None:
    served = registry.get("generalists", "native").load(folder=tiny.checkpoint, device="cpu", length_normalised=False)
    image = risk_image.draw(np.full((4, 3), 30.0), risk_image.at_random("abcd", ("1", "2", "3")))
    case = risk_image.reading("case", image, risk_image.demographic_text(58, "female"), "gout")
    messages = study.prompt.compose(case)
    ours = study.generalist(tiny.checkpoint, "cpu").score(messages, case.options)
    assert ours == pytest.approx(served.score(messages, case.options), rel=0.02)


def test_a_generalist_is_asked_as_the_specialist_asks() -> None:
    image = Image(np.zeros((16, 16, 3), np.uint8), "picture", units="RGB")
    genome = Genome(("one",), (), np.zeros((1, 0), np.float32), "GRCh38")
    own = SimpleNamespace(_demographics=lambda case, args: (58.0, "female", ""), picture=lambda genome: image)
    asked = PolygenicRisk.reading(own, Case("case", "", genome=genome), "gout")  # type: ignore[arg-type]
    assert asked == risk_image.reading(asked.id, image, risk_image.demographic_text(58, "female"), "gout")
