"""A training recipe: which networks, which stages in which order, each with what it learns from. One TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from consilium.errors import UsageError
from consilium.train import checks
from consilium.train.loop import Plan
from consilium.train.warmstart import WarmPlan

WARM = "warmstart"
SHIPPED = "shipped"
LEARNABLE = ("projector", "lora")
OWN = ("after", "mix", "learns", "blind", "only", "up", "keep")


@dataclass(frozen=True)
class Stage:
    """One stage.

    after   the stage whose result it starts from, "" for none; "shipped": from the adapter that comes with consilium.
    mix     folder of shards -> share of its groups that is learnt from (0.25: a quarter; 2: everything twice).
    learns  "projector", "lora" or both; for the warm start always the projector.
    blind   the pictures are left out: a model that knows the questions alone, to compare with.
    only    sets to learn from; empty for all.
    keep    how much of what the stage changed is kept: 1 all of it; 0.6 weights three fifths of the way from those before to
            those after (WiSE-FT; Wortsman et al. 2022), which gives back part of what the stage unlearnt.
    up      set, kind or condition of guided conversations -> how many times its share (3: thrice), so that it is not drowned.
    """

    name: str
    after: str
    mix: Mapping[str, float]
    learns: tuple[str, ...]
    plan: Plan | WarmPlan
    blind: bool = False
    only: tuple[str, ...] = ()
    up: Mapping[str, float] = field(default_factory=dict)
    keep: float = 1.0


@dataclass(frozen=True)
class Recipe:
    """Networks (names of `consilium weights`, or folders), LoRA rank, hidden layer of the vision tower, and the stages.

    blocks  how many of the tower's last blocks are adapted in the warm start; 0 keeps it frozen, so that one pass of a
            picture serves the specialists and this model.
    activation  between the projector's two layers, as transformers names it; "linear" makes it one layer deep.
    """

    name: str
    vision: str
    language: str
    encoder: str
    layer: int
    rank: int
    precision: str
    seed: int
    mixture: str
    blocks: int = 0
    activation: str = "gelu"
    stages: tuple[Stage, ...] = field(default_factory=tuple)

    def stage(self, name: str) -> Stage:
        """The stage called `name`; UsageError lists those there are."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise UsageError(f"the recipe has no stage {name!r}; there are: {', '.join(s.name for s in self.stages)}.")

    def chain(self) -> tuple[Stage, ...]:
        """The stages that lead to the last one, first to last; what branches off (a blind model) is left out."""
        chain = [self.stages[-1]]
        while chain[0].after not in ("", SHIPPED):
            chain.insert(0, self.stage(chain[0].after))
        return tuple(chain)


def read_recipe(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """The recipe in `path`, with `changes` like "stages.instruction.epochs=0.5" (values as TOML writes them).

    Raises UsageError where the file is no recipe or names something that a stage does not have.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as a recipe: {error}.") from error
    for change in changes:
        _change(table, change)
    stages = table.pop("stages", {})
    if not isinstance(stages, dict) or not stages or not all(isinstance(body, dict) for body in stages.values()):
        raise UsageError(f"{path} has no [stages.NAME]; look at configs/train/native.toml.")
    checks.check(table, Recipe, f"recipe {path}", but=("stages",))
    recipe = Recipe(**table)
    made = tuple(_stage(name, dict(body), recipe) for name, body in stages.items())
    _demand_order(made)
    return Recipe(**table, stages=made)


def _demand_order(stages: Sequence[Stage]) -> None:
    """UsageError where a stage comes after one that there is not, or after itself by way of others."""
    after = {stage.name: stage.after for stage in stages}
    for name, before in after.items():
        if before not in ("", SHIPPED, *after):
            raise UsageError(f"stage {name} comes after {before!r}; there are: {', '.join(after)}, {SHIPPED}.")
        seen = {name}
        while before not in ("", SHIPPED):
            if before in seen:
                raise UsageError(f"stage {name} comes after itself, by way of {', '.join(sorted(seen))}. Part them.")
            seen.add(before)
            before = after[before]


def _stage(name: str, body: dict[str, Any], recipe: Recipe) -> Stage:
    """The stage as it is written, whose plan takes precision and seed from the recipe where it says none."""
    kind: type[Plan] | type[WarmPlan] = WarmPlan if name == WARM else Plan
    own = {key: body.pop(key) for key in OWN if key in body}
    if kind is Plan:
        body.setdefault("precision", recipe.precision)
    body.setdefault("seed", recipe.seed)
    checks.check(
        {**own, "name": name, "mix": own.get("mix", {})},
        Stage,
        f"stage {name}",
        but=("plan",),
        free=("after", "learns"),
    )
    checks.check(body, kind, f"stage {name}", more=OWN)
    learns = tuple(own.get("learns", ["projector"]))
    if not learns or not set(learns) <= set(LEARNABLE):
        raise UsageError(f"stage {name} learns {', '.join(learns) or 'nothing'}; it may learn {', '.join(LEARNABLE)}.")
    if not own.get("mix"):
        raise UsageError(f"stage {name} does not say what it learns from: mix = {{ SHARDS = 1.0 }}.")
    kept = {key: value for key, value in own.items() if key not in ("learns", "only")}
    return Stage(name, learns=learns, plan=kind(**body), only=tuple(own.get("only", ())), **{"after": "", **kept})


def _change(table: dict[str, Any], change: str) -> None:
    key, separator, value = change.partition("=")
    path = key.strip().split(".")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"] if separator else None
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    if not separator or not all(path):
        raise UsageError(f"--set takes KEY=VALUE, such as stages.instruction.epochs=0.5; found {change!r}.")
    for depth, part in enumerate(path[:-1]):
        if depth < 2 and part not in table:
            raise UsageError(f"--set {change}: there is no {part}; there are: {', '.join(table)}.")
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise UsageError(f"--set {change}: {part} is a value and has nothing below it.")
    table[path[-1]] = parsed
