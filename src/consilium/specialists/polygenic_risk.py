"""Polygenic risk: a person's genome, age and sex to the probability of each outcome that a cohort taught it.

A trained folder (card.json, head.safetensors, layout.json and what genomics.risk_table reads), made by train.polygenic. Nothing
is shipped: no cohort of people is open. It sees no pictures; it works on Case.genome.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from consilium.errors import BuildError, MemberError, UsageError
from consilium.genomics import risk_image
from consilium.genomics.build import demand_same
from consilium.genomics.genome import InMemory
from consilium.genomics.risk_image import Layout
from consilium.genomics.risk_table import RiskTable, Standings, read_risk_table
from consilium.genomics.run import MIN_OVERLAP
from consilium.nn.light_head import read
from consilium.nn.risk_head import REQUIRED, RiskHead
from consilium.protocols import Card
from consilium.registry import read_card
from consilium.types import Array, Case, Finding, Genome, Image, Opinion

FARTHEST = 1.5
"""Foreignness of ancestry beyond which it abstains; 1 is where 99 % of the reference people end."""

ARGUMENTS = {"age": "number of years", "sex": "one of female or male"}
HEAD, LAYOUT = "head.safetensors", "layout.json"
_MIDDLE = 50.0


@dataclass(frozen=True, eq=False)
class PolygenicRisk:
    """A Specialist. ages: the least and the greatest age, in years, that it learnt from; sexes: those."""

    card: Card
    table: RiskTable
    layout: Layout
    head: RiskHead
    ages: tuple[float, float]
    sexes: tuple[str, ...] = ("female", "male")

    def examine(self, case: Case, args: Mapping[str, Any] | None = None) -> Opinion:
        """Calibrated probabilities, or an abstention: no genome, age or sex; another build; too few of the variants; another
        ancestry. Age and sex come from `args`, else from the history. UsageError where `args` cannot be used."""
        if case.genome is None:
            return self._abstain("the case holds no genome")
        if len(case.genome.samples) != 1:
            return self._abstain(f"the genome is of {len(case.genome.samples)} people: it judges one")
        age, sex, why = self._demographics(case, args or {})
        if age is None or sex is None:
            return self._abstain(why)
        try:
            demand_same(InMemory(case.genome).build, self.table.reference.build, f"specialist {self.card.name}")
        except BuildError as error:
            return self._abstain(str(error))
        stands = self.table.standings(InMemory(case.genome))
        why = self._why_not(stands)
        if why:
            return replace(self._abstain(why), foreignness=float(stands.foreignness[0]))
        percentiles, cautions = self._usable(stands)
        x = values(risk_image.draw(percentiles, self.layout), self.layout)
        probabilities = self.head.probabilities(x[None], self.head.terms(np.array([age]), [sex]))[0]
        named = zip(self.card.concepts, probabilities, strict=True)
        findings = [Finding(code, float(p), True, source=self.card.name) for code, p in named]
        return replace(
            self._abstain(None),
            findings=tuple(sorted(findings, key=lambda finding: -(finding.probability or 0))),
            caution="; ".join(cautions),
            foreignness=float(stands.foreignness[0]),
        )

    def picture(self, genome: Genome) -> Image:
        """The risk image of a genome that it does not abstain on; UsageError with the reason where it would."""
        stands = self.table.standings(InMemory(genome))
        why = self._why_not(stands)
        if why:
            raise UsageError(f"{why}. No risk image is drawn.")
        return risk_image.draw(self._usable(stands)[0], self.layout)

    def reading(self, case: Case, outcome: str) -> Case:
        """The case in which a generalist reads the picture for itself: under `solo` the answer's probability of "yes" is
        p+ / (p+ + p-), the share of its likelihood."""
        age, sex, why = self._demographics(case, {})
        if case.genome is None or age is None or sex is None:
            raise UsageError(f"{why or 'the case holds no genome'}. There is nothing to read.")
        told = risk_image.demographic_text(age, sex)
        return risk_image.reading(f"{case.id}-risk-image", self.picture(case.genome), told, outcome)

    def _demographics(self, case: Case, args: Mapping[str, Any]) -> tuple[float | None, str | None, str]:
        """(age, sex, why one of them is not known or of no use)."""
        age, sex = risk_image.read_demographics(case.history)
        if "age" in args:
            age = _number(args["age"])
        sex = str(args["sex"]).lower() if "sex" in args else sex
        if args:
            risk_image.demographic_text(0 if age is None else age, sex or "male")
        if age is None or sex is None:
            missing = " and ".join(n for n, value in (("age", age), ("sex", sex)) if value is None)
            return age, sex, f"it needs {missing}: say for example {risk_image.demographic_text(58, 'female')!r}"
        if not self.ages[0] <= age <= self.ages[1]:
            return None, sex, f"it learnt from people of {self.ages[0]:g} to {self.ages[1]:g} years, not of {age:g}"
        if sex not in self.sexes:
            return age, None, f"it learnt from {' and '.join(self.sexes)} people alone"
        return age, sex, ""

    def _why_not(self, stands: Standings) -> str:
        overlap = float(stands.overlap[0].mean())
        if overlap < MIN_OVERLAP:
            return f"the genome has {overlap:.0%} of its scores' variants, on average; {MIN_OVERLAP:.0%} are needed. Impute it"
        told = float(stands.ancestry[0])
        if told < MIN_OVERLAP:
            return (
                f"the genome has {told:.0%} of the variants that tell ancestry; {MIN_OVERLAP:.0%} are needed. Impute it"
            )
        if stands.foreignness[0] > FARTHEST:
            return (
                f"the genome's ancestry is unlike that of the reference {self.table.reference.name} (foreignness "
                f"{stands.foreignness[0]:.1f}, at most {FARTHEST:g})"
            )
        return ""

    def _usable(self, stands: Standings) -> tuple[Array, list[str]]:
        """Percentiles (traits, 3), those of scores with too few variants in the middle; and what speaks against them."""
        low = stands.overlap[0] < MIN_OVERLAP
        cautions = []
        if low.any():
            cautions.append(
                f"{int(low.sum())} of {low.size} scores have too few variants and count as the reference's median"
            )
        if stands.foreignness[0] > 1:
            cautions.append("the ancestry lies at the edge of the reference's")
        return np.where(low, _MIDDLE, stands.percentiles[0]), cautions

    def _abstain(self, reason: str | None) -> Opinion:
        return Opinion(
            self.card.name,
            self.card.version,
            abstained=reason,
            exclusive=False,
            reliability=self.card.scores,
            licence=self.card.licence,
        )


def values(image: Image, layout: Layout) -> Array:
    """What the head reads off a picture: (traits * 3,) normal scores."""
    return risk_image.normal_scores(risk_image.decode(image, layout)).ravel()


def load(folder: Path, **_: Any) -> PolygenicRisk:
    """The specialist in `folder`; MemberError where its files do not fit one another."""
    card = read_card(folder / "card.json")
    table = read_risk_table(folder)
    tensors = read(folder / HEAD, REQUIRED)
    try:
        told = json.loads((folder / LAYOUT).read_text(encoding="utf-8"))
        ages = (float(told["ages"][0]), float(told["ages"][1]))
        sexes = tuple(map(str, told.get("sexes", ("female", "male"))))
        lists = {name: tuple(told["layout"][name]) for name in ("traits", "bars", "cells")}
        layout = Layout(**(told["layout"] | lists))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MemberError(f"{folder / LAYOUT} is no layout: {error}. Train the specialist again.") from error
    shape = (len(card.concepts), len(table.traits) * len(table.bars))
    if tensors["weight"].shape != shape or (layout.traits, layout.bars) != (table.traits, table.bars):
        raise MemberError(f"the head, the layout and the scores in {folder} are of different traits. Train it again.")
    return PolygenicRisk(card, table, layout, RiskHead(tensors), ages, sexes)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise UsageError(f"age {value!r} is no number. Give years.") from error
