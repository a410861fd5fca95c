"""The people of the native generalist's part of the polygenic study: whose pictures it learns from and is tested on, what it is
asked of them, and what the light models say of the same. Not a command itself."""

from __future__ import annotations

import string
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import polygenic as study
import polygenic_cohort as cohorts
import polygenic_models as models
import polygenic_pictures as drawn
from consilium.errors import DataError
from consilium.genomics import risk_image
from consilium.genomics.risk_image import Layout
from consilium.train import polygenic_simulate as sim
from consilium.types import Array, Case, Image
from polygenic_cohort import Cohort, Sizes

REGIME, SEED = "modified", 0
WATCHED = 16
"""Training people, the last, on whom the loss is watched; nothing is chosen by it."""
AGE_YEARS = (55.0, 8.5)
"""Years at the mean age, and years to a unit of its spread."""
FEW = f"{models.LINEAR}, of the native's training people"
OWN = "demographics, of its own labels"


@dataclass(frozen=True, eq=False)
class People:
    """n people: percentiles (n, traits, 3), age in years (n,), sex (n,) of female and male, y (n, diseases) of 0 and 1."""

    percentiles: Array
    age: Array
    sex: Array
    y: Array

    def __len__(self) -> int:
        return len(self.age)


@dataclass(frozen=True, eq=False)
class Bench:
    """The people that the native learns from, is watched on and is tested on; `nearest`: for each disease without labels the one
    with labels that it is most correlated with; what the light models say of the test people, (n, diseases) by name of the
    model, of diseases with labels and of those without."""

    layout: Layout
    learnt: People
    watched: People
    test: People
    nearest: tuple[int, ...]
    labelled: dict[str, Array]
    unlabelled: dict[str, Array]

    @property
    def known(self) -> int:
        """How many diseases have labels."""
        return self.test.y.shape[1] - len(self.nearest)

    @property
    def questions(self) -> tuple[str, ...]:
        """What is asked for: the diseases with labels; the others, each with its nearest, since their names tell nothing."""
        names = [f"disease {letter}" for letter in string.ascii_uppercase[: self.test.y.shape[1]]]
        related = zip(names[self.known :], self.nearest, strict=True)
        return (
            *names[: self.known],
            *(f"{name}, which shares much of its genetics with {names[k]}" for name, k in related),
        )

    def picture(self, people: People, i: int) -> Image:
        return risk_image.draw(people.percentiles[i], self.layout)

    def cases(self, people: People, i: int, image: Image) -> list[Case]:
        """Every question about a person who is shown by this picture."""
        words = risk_image.demographic_text(float(people.age[i]), str(people.sex[i]))
        return [risk_image.reading(f"simulated-{i}", image, words, outcome) for outcome in self.questions]


def bench(sizes: Sizes, kept: Path, learnt: int, tested: int) -> Bench:
    """Makes the cohort, its haplotypes kept in a file, and what the light models say; DataError where it has too few people."""
    if tested > sizes.test or learnt + WATCHED > sizes.train:
        raise DataError(
            f"{tested} test people and {learnt} + {WATCHED} training people are asked for; the cohort has {sizes.test} and "
            f"{sizes.train}. Ask for fewer."
        )
    kept.parent.mkdir(parents=True, exist_ok=True)
    cohort = cohorts.make(sizes, sim.Assumptions(), SEED, study.haplotypes(sizes, kept))
    data = study.data_of(cohort, REGIME)
    k, first, last = cohort.told.trained, cohort.parts["train"], cohort.parts["test"]
    rows = (
        slice(first.start, first.start + learnt),
        slice(first.stop - WATCHED, first.stop),
        slice(last.start, last.start + tested),
    )
    y = np.concatenate([np.full((first.start, cohort.told.outcomes), np.nan), *data.y])
    people = [_people(cohort, part, y[part]) for part in rows]
    nearest = np.corrcoef(data.y[0], rowvar=False)[k:, :k].argmax(axis=1)
    labelled, unlabelled = ({name: p[:tested] for name, p in said.items()} for said in _light(cohort, data, learnt))
    return Bench(_layout(cohort), *people, tuple(map(int, nearest)), labelled, unlabelled)


def _people(cohort: Cohort, rows: slice, y: Array) -> People:
    age = np.round(AGE_YEARS[0] + AGE_YEARS[1] * cohort.people.age[rows])
    return People(cohort.percentiles[rows], age, np.where(cohort.people.sex[rows] > 0, "male", "female"), y)


def _layout(cohort: Cohort) -> Layout:
    """Relatives are neighbours, and a trait's patch is a patch of the vision encoder."""
    correlation = np.corrcoef(cohort.trait_z, rowvar=False)
    names = [f"trait {i}" for i in range(len(correlation))]
    return drawn.widened(risk_image.by_correlation(names, cohorts.BAR_NAMES, correlation, drawn.PATCH))


def _light(cohort: Cohort, data: models.Data, few: int) -> tuple[dict[str, Array], dict[str, Array]]:
    """What the light models of the polygenic study say of all test people: of diseases with labels, of those without."""
    k, own = cohort.told.trained, study.own_scores(cohort, REGIME)
    first, rest = models.of_outcomes(data, range(k)), models.of_outcomes(data, range(k, cohort.told.outcomes))
    said, head, found = models.trained(first, boosting=False, net=True, elastic=False)
    unseen = models.never_trained(first, head, found, rest, own)
    kept = {name: unseen[name] for name in (models.BASELINE, models.INDEX)}
    kept[OWN] = models.trained(rest, boosting=False, net=False, elastic=False)[0]["demographics"]
    if few:
        try:
            said[FEW], kept[FEW] = _of_few(_first(first, few), _first(rest, few), own)
        except DataError as error:
            print(f"no light models of {few} people: {error}", flush=True)
    return said, kept


def _of_few(first: models.Data, rest: models.Data, own: Array) -> tuple[Array, Array]:
    """Ridge of some training people alone: of diseases with labels; of the others, by their nearest with labels."""
    said, head, found = models.trained(first, boosting=False, net=False, elastic=False)
    return said[models.LINEAR], models.never_trained(first, head, found, rest, own)[models.BASELINE]


def _first(data: models.Data, few: int) -> models.Data:
    """The first training people alone, the same test people."""
    return replace(data, **{name: (getattr(data, name)[0][:few], getattr(data, name)[1]) for name in "xdy"})
