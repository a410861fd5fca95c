"""A drawn cohort and the polygenic_risk specialist made of its files, as a user would make one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tests.genomics.cohort import Cohort, draw

from consilium.train.polygenic import Recipe, make
from consilium.types import Array

BARS = ("p1e-4", "p0.01", "p0.3")
PEOPLE, VARIANTS, TRAITS = 1500, 400, 5
NAME = "heart_risk"
OUTCOMES = ("angina", "gout")


@dataclass(frozen=True)
class Made:
    room: Path
    genotypes: Path
    cohort: Cohort
    weights: Array
    split: Array
    targets: Array
    age: Array
    male: Array


def weights_of(random: np.random.Generator) -> Array:
    """(traits, 3, variants): the wider the bar, the more variants have a weight."""
    weights = random.normal(0, 0.1, (TRAITS, 1, VARIANTS)) * np.ones((1, 3, 1))
    share = random.random((TRAITS, 1, VARIANTS))
    return np.where(share < np.array([0.3, 0.6, 1.0])[None, :, None], weights, 0.0)


def write_scores(folder: Path, cohort: Cohort, weights: Array) -> list[Path]:
    """One file a trait, the effect allele by turns the alternate and the reference."""
    paths = []
    for t in range(TRAITS):
        lines = [
            "#genome_build=GRCh38",
            "\t".join(("rsID", "chr_name", "chr_position", "effect_allele", "other_allele", *BARS)),
        ]
        for v, (chromosome, position, name, ref, alt) in enumerate(cohort.sites):
            alleles, sign = ((alt, ref), 1) if (v + t) % 2 else ((ref, alt), -1)
            numbers = [repr(float(sign * w)) for w in weights[t, :, v]]
            lines.append("\t".join((name, chromosome, str(position), *alleles, *numbers)))
        paths.append(folder / f"trait{t}.tsv")
        paths[-1].write_text("\n".join(lines) + "\n")
    return paths


@dataclass(frozen=True)
class Files:
    """A cohort as its owner has it: genotypes, a scoring file a trait, a table of people; and what was drawn."""

    genotypes: Path
    scores: list[Path]
    people: Path
    cohort: Cohort
    weights: Array
    split: Array
    targets: Array
    age: Array
    male: Array


def cohort_files(folder: Path, outcomes: tuple[str, str] = OUTCOMES, iid: str = "P") -> Files:
    """iid: what ids begin with."""
    random = np.random.default_rng(7)
    cohort = draw(PEOPLE, VARIANTS, missing=0.01, seed=3)
    weights = weights_of(random)
    dosage = np.where(cohort.counts < 0, 0.5, cohort.counts)
    genetic = weights[:, 2] @ dosage
    genetic = (genetic - genetic.mean(axis=1, keepdims=True)) / genetic.std(axis=1, keepdims=True)
    age, male = random.uniform(40, 70, PEOPLE), random.random(PEOPLE) < 0.5
    liability = np.stack([genetic[0] + genetic[1], genetic[2] - genetic[3]]) + 0.5 * (age - 55) / 8
    targets = (liability + random.normal(size=liability.shape) > 0.8).astype(int)
    split = np.repeat(["reference", "train", "test"], [400, 800, 300])
    rows = ["\t".join(("IID", "age", "sex", "split", *outcomes))]
    for i in range(PEOPLE):
        facts = (f"{iid}{i}", f"{age[i]:.1f}", "male" if male[i] else "female", split[i])
        rows.append("\t".join((*facts, *(str(value) for value in targets[:, i]))))
    (folder / "people.tsv").write_text("\n".join(rows) + "\n")
    genotypes = cohort.write_bed(folder, "cohort")
    fam = genotypes.with_suffix(".fam")
    fam.write_text(fam.read_text().replace(" P", f" {iid}"))
    scores = write_scores(folder, cohort, weights)
    return Files(genotypes, scores, folder / "people.tsv", cohort, weights, split, targets, age, male)


def make_member(folder: Path) -> Made:
    files = cohort_files(folder)
    recipe = Recipe(
        NAME,
        files.genotypes,
        files.scores,
        files.people,
        ancestry="people drawn by lot",
        licence="Apache-2.0",
        data_licence="CC0-1.0",
        components=4,
        build="GRCh38",
    )
    make(recipe, folder / "room")
    drawn = (files.cohort, files.weights, files.split, files.targets, files.age, files.male)
    return Made(folder / "room", files.genotypes, *drawn)
