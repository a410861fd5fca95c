"""Summary statistics of a study: which columns are what, effects as betas, p-values and their order.

The programs whose headers are known: plink, plink2, REGENIE, SAIGE, BOLT-LMM, GCTA, METAL, daner, the GWAS Catalog (GWAS-SSF and
harmonised). Names are compared by `plain`: capitals and signs do not matter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from consilium.errors import ScoringFileError
from consilium.genomics import tables
from consilium.genomics.score_columns import known_roles, listed, plain
from consilium.genomics.scoring_file import ScoreOptions
from consilium.types import Array

_BETAS = ("beta", "effect", "effectsize", "b", "logor", "lnor", "logoddsratio", "effectweight")
_EFFECTS = ("hmbeta", "hmoddsratio", *_BETAS, "or", "oddsratio", "ora1", "hazardratio")
_RATIOS = {"hmoddsratio", "or", "oddsratio", "ora1", "hazardratio"}
_P_VALUES = ("p", "pvalue", "pval", "pboltlmm", "pboltlmminf")
_LOG_P = re.compile(r"(neg|negative|minus|m|n)?log10p(v|val|value)?|mlogp|nlp")

_HARMONISED = {"effect_allele": "hmeffectallele", "other_allele": "hmotherallele", "id": "hmrsid"}
_ADDITIVE = "ADD"

_SMALLEST_P = float(np.nextafter(0, 1))
_LEAST_EFFECTS = 20
_CENTRE, _WITHIN = (0.8, 1.25), (0.5, 2.0)


@dataclass(frozen=True)
class Reading:
    """What the names of the columns do not say. effect and p name columns that are not called as usual; effect_is and p_is say
    what the numbers there are: log odds or odds, p-values or -log10 of them; columns: role -> column (score_columns.ALIASES)."""

    effect: str | None = None
    p: str | None = None
    effect_is: Literal["beta", "or"] | None = None
    p_is: Literal["p", "log10p"] | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Statistics:
    """The columns of one file. effect_is is None where neither name nor user says it: then it is a beta, unless it looks like
    odds. `columns` are the roles of all that is read, `test` the column that names the test of each row, if there is one."""

    file: str
    effect: str
    p: str
    effect_is: Literal["beta", "or"] | None
    p_is: Literal["p", "log10p"]
    columns: Mapping[str, str]
    test: str | None

    def options(self, build: str | None) -> ScoreOptions:
        """How to read the file as a table of two weights: effect and p, of the additive tests alone."""
        columns = {**self.columns, "effect_weight": f"{self.effect}+{self.p}"}
        return ScoreOptions(columns, build, "keep", (self.test, _ADDITIVE) if self.test else None)


def statistics_of(path: Path, how: Reading) -> Statistics:
    """Raises ScoringFileError where no column is known to be the effect, the p-value or the allele that the effect is of."""
    names = tables.layout(path).names
    if not names:
        raise ScoringFileError(f"{path.name} has no header. Give a table whose first line names its columns.")
    has_alleles = {_HARMONISED["effect_allele"], _HARMONISED["other_allele"]} <= {plain(name) for name in names}
    effects = [name for name in _called(names, _EFFECTS) if has_alleles or not _is_harmonised(name)]
    p_values = [*_called(names, _P_VALUES), *(name for name in names if _LOG_P.fullmatch(plain(name)))]
    effect, p = how.effect or _filled(path, effects), how.p or _filled(path, p_values)
    if effect is None or p is None:
        raise ScoringFileError(
            f"{path.name} names no {'effect' if effect is None else 'p-value'} known here; its columns: {listed(names, 20)}. "
            "Say which with --effect and --p-value."
        )
    test = next((name for name in names if plain(name) == "test"), None)
    columns = _columns(path, names, effect, how.columns)
    return Statistics(path.name, effect, p, how.effect_is or _kind(effect), how.p_is or _scale(path, p), columns, test)


def _called(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """The names that are known, in the order of `known`."""
    return [name for one in known for name in names if plain(name) == one]


def _is_harmonised(name: str) -> bool:
    return name.lower().startswith("hm_")


def _filled(path: Path, candidates: Sequence[str]) -> str | None:
    """The first of the columns that is not blank in all rows; the first where all are, None where there is none."""
    if len(candidates) < 2:
        return next(iter(candidates), None)
    shape, seen = tables.layout(path), set[str]()
    for batch in tables.batches(path, shape, shape.names, dict.fromkeys(candidates, "string")):
        seen |= {name for name in candidates if batch.column(name).null_count < batch.num_rows}
        if candidates[0] in seen:
            break
    return next((name for name in candidates if name in seen), candidates[0])


def _columns(path: Path, names: Sequence[str], effect: str, declared: Mapping[str, str]) -> dict[str, str]:
    """Role -> column, without the weights. A harmonised effect is of the harmonised allele, and no other is."""
    told = dict(declared)
    if _is_harmonised(effect):
        told = {role: name for role, known in _HARMONISED.items() for name in _called(names, [known])} | told
    roles = known_roles(path, names, told)
    by_name = plain(roles.get("effect_allele", ("",))[0])
    if "effect_allele" not in told and (_is_harmonised(effect) or by_name in {"", "allele"}):
        raise ScoringFileError(
            f"{path.name} does not say which allele its effects are of; its columns: {listed(names, 20)}. Say it with --columns "
            "effect_allele=NAME --columns other_allele=NAME."
        )
    return {role: called[0] for role, called in roles.items() if role != "effect_weight"}


def _kind(effect: str) -> Literal["or"] | None:
    """Whether the name says that these are ratios: OR, OR(A1), OR_meta, OddsRatio; not log(OR)."""
    words = set(re.split("[^a-z0-9]+", effect.lower()))
    is_log = words & {"log", "ln", "beta"} or plain(effect).startswith(("log", "ln"))
    is_ratio = plain(effect) in _RATIOS or "or" in words or "oddsratio" in plain(effect)
    return "or" if is_ratio and not is_log else None


def _scale(path: Path, p: str) -> Literal["p", "log10p"]:
    name = plain(p)
    if _LOG_P.fullmatch(name) or "log10" in name:
        return "log10p"
    if "logp" in name:
        raise ScoringFileError(
            f"the name of column {p!r} of {path.name} does not say which logarithm it holds. If it is -log10 p, say --p-is "
            "log10p; else give a column of p-values with --p-value."
        )
    return "p"


def betas(found: Statistics, effects: Array) -> Array:
    """Effects (n,) as they are added up: of odds ratios the natural logarithm; NaN where blank.

    Raises ScoringFileError where all are blank, ratios are not positive, or effects look like ratios and are not said to be."""
    known = effects[np.isfinite(effects)]
    if not len(known):
        raise ScoringFileError(
            f"column {found.effect!r} of {found.file} holds no effect: all rows are blank. Name another with --effect."
        )
    if found.effect_is == "or":
        if np.any(effects <= 0):
            raise ScoringFileError(
                f"{found.file} has odds ratios that are not positive in column {found.effect!r}. Correct them, or say "
                "--effect-is beta where they are logarithms."
            )
        return np.log(effects)
    if found.effect_is is None and _like_ratios(known):
        raise ScoringFileError(
            f"the effects in column {found.effect!r} of {found.file} are all positive and lie around 1, as odds ratios do. Say "
            "which they are: --effect-is or, or --effect-is beta."
        )
    return effects


def _like_ratios(effects: Array) -> bool:
    if len(effects) < _LEAST_EFFECTS or effects.min() <= 0:
        return False
    low, middle, high = np.quantile(effects, [0.25, 0.5, 0.75])
    return bool(_CENTRE[0] <= middle <= _CENTRE[1] and low >= _WITHIN[0] and high <= _WITHIN[1])


def p_values(found: Statistics, values: Array) -> tuple[Array, Array]:
    """P-values (n,), and numbers (n,) that rise as they do, also where a p is too small for a float; NaN where blank.

    Logarithms may be -log10 p, or log10 p with its sign. Raises ScoringFileError where all are blank or some are no p-values."""
    if np.isnan(values).all():
        raise ScoringFileError(
            f"column {found.p!r} of {found.file} holds no p-value: all rows are blank. Name another with --p-value."
        )
    if found.p_is == "p":
        _demand(found, values, lambda v: (v >= 0) & (v <= 1), "p-values", "If they are -log10 p, say --p-is log10p.")
        return values, values
    logs = values if np.nanmax(values) <= 0 else -values
    _demand(found, values, lambda _: logs <= 0, "-log10 p", "If they are p-values, say --p-is p.")
    return np.maximum(10.0**logs, _SMALLEST_P), logs


def _demand(found: Statistics, values: Array, right: Callable[[Array], Array], what: str, hint: str) -> None:
    wrong = values[~np.isnan(values) & ~right(values)]
    if len(wrong):
        raise ScoringFileError(
            f"column {found.p!r} of {found.file} holds {len(wrong)} numbers that are no {what}, such as {wrong[0]:g}. {hint} "
            "Else correct them, or name another column with --p-value."
        )
