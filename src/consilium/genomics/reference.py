"""Where a score lies among people of a reference, and what ancestry alone explains of it.

What a reference knows is fixed when it is made. Each person is compared with it alone, so that the result is the same in a batch
of one and of ten thousand.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from consilium.errors import DataError, ReadError
from consilium.types import Array

QUANTILES = 1001
LEAST_PEOPLE = 100
_ROUNDS = 25


@dataclass(frozen=True)
class Distribution:
    """Scores of reference people. mean_of and log_variance_of are coefficients (1 + components,) of a line in the principal
    components: the score expected of a person's ancestry, and the logarithm of the variance about it. `quantiles` are those of
    the score, `adjusted_quantiles` of the residual in units of that deviation, both at QUANTILES equal steps."""

    mean: float
    sd: float
    residual_sd: float
    mean_of: tuple[float, ...]
    log_variance_of: tuple[float, ...]
    quantiles: tuple[float, ...]
    adjusted_quantiles: tuple[float, ...]


@dataclass(frozen=True)
class Standing:
    """One score of some people; arrays are (people,).

    z, percentile        among the reference people, whatever their ancestry.
    z_norm1              what ancestry does not explain, in units of the reference's standard deviation of that.
    z_norm2              the same in units of the deviation expected at that ancestry.
    adjusted_percentile  of z_norm2 among the reference.
    """

    z: Array
    percentile: Array
    z_norm1: Array
    z_norm2: Array
    adjusted_percentile: Array


@dataclass(frozen=True)
class Reference:
    """What was measured on `people` reference people: of each score its Distribution, and where their ancestry lies.

    centre, inverse_covariance  of the components; distance_99: the distance within which 99 % of the people lie.
    misfit, misfit_99           the mean, over variants, of squared deviations from the panel's frequencies in units of what is
                                expected: its mean, and what 99 % stay below. It tells ancestries that no component points to.
    ambiguous, strand_flips     how variants were matched when it was made (match.MatchPolicy), and are whenever it is used.
    """

    name: str
    build: str
    people: int
    components: int
    centre: tuple[float, ...]
    inverse_covariance: tuple[tuple[float, ...], ...]
    distance_99: float
    misfit: float
    misfit_99: float
    scores: Mapping[str, Distribution]
    ambiguous: Literal["drop", "keep"] = "drop"
    strand_flips: bool = True

    def standing(self, score: str, sums: Array, components: Array) -> Standing:
        """Of `sums` (people,) and principal components (people, components)."""
        known = self.scores[score]
        line = np.column_stack([np.ones(len(sums)), components])
        residual = sums - _times(line, known.mean_of)
        adjusted = residual / np.exp(_times(line, known.log_variance_of) / 2)
        return Standing(
            (sums - known.mean) / known.sd,
            _percentile(sums, known.quantiles),
            residual / known.residual_sd,
            adjusted,
            _percentile(adjusted, known.adjusted_quantiles),
        )

    def foreignness(self, components: Array, misfit: Array) -> Array:
        """How far each person's ancestry lies from the reference's, 1 where 99 % of it end; along the components or beside."""
        off = components - np.array(self.centre)
        squares = sum(
            off[:, i] * off[:, j] * value
            for i, row in enumerate(self.inverse_covariance)
            for j, value in enumerate(row)
        )
        along = np.sqrt(np.maximum(squares, 0)) / self.distance_99
        return np.maximum(along, (misfit - self.misfit) / (self.misfit_99 - self.misfit))


def _times(line: Array, coefficients: Sequence[float] | Array) -> Array:
    # Column by column: a matrix product would round otherwise for one row than for ten thousand.
    total = np.zeros(len(line))
    for column, coefficient in zip(line.T, coefficients, strict=True):
        total += column * coefficient
    return total


def _percentile(values: Array, quantiles: Sequence[float]) -> Array:
    return 100 * np.interp(values, quantiles, np.linspace(0, 1, len(quantiles)))


def fit_reference(
    name: str, build: str, sums: Mapping[str, Array], components: Array, misfit: Array | None = None
) -> Reference:
    """Measure a reference on scores (people,) and principal components (people, components).

    The people had no part in making the components: theirs would lie further out than a newcomer's. Raises DataError below
    LEAST_PEOPLE people or where a score is the same for all."""
    n, k = components.shape
    if n < LEAST_PEOPLE:
        raise DataError(f"{n} reference people are too few (at least {LEAST_PEOPLE}). Take a larger panel.")
    line = np.column_stack([np.ones(n), components])
    centre = components.mean(axis=0)
    covariance = np.atleast_2d(np.cov(components, rowvar=False)) if k else np.zeros((0, 0))
    inverse = np.linalg.pinv(covariance)
    off = components - centre
    distance = np.sqrt(np.einsum("ij,jk,ik->i", off, inverse, off))
    fitted = {score: _distribution(score, values, line) for score, values in sums.items()}
    return Reference(
        name,
        build,
        n,
        k,
        tuple(map(float, centre)),
        tuple(tuple(map(float, row)) for row in inverse),
        float(np.quantile(distance, 0.99)) or 1.0,
        *((0.0, 1.0) if misfit is None else (float(misfit.mean()), float(np.quantile(misfit, 0.99)))),
        fitted,
    )


def _distribution(score: str, values: Array, line: Array) -> Distribution:
    if not values.std() > 0:
        raise DataError(f"{score} is the same for all reference people. Take a score with variants in the panel.")
    mean_of = np.linalg.lstsq(line, values, rcond=None)[0]
    residual = values - _times(line, mean_of)
    log_variance_of = _log_variance(residual**2, line)
    adjusted = residual / np.exp(_times(line, log_variance_of) / 2)
    steps = np.linspace(0, 1, QUANTILES)
    return Distribution(
        float(values.mean()),
        float(values.std(ddof=1)),
        float(residual.std(ddof=line.shape[1])),
        tuple(map(float, mean_of)),
        tuple(map(float, log_variance_of)),
        tuple(map(float, np.quantile(values, steps))),
        tuple(map(float, np.quantile(adjusted, steps))),
    )


def _log_variance(squares: Array, line: Array) -> Array:
    """Coefficients of the logarithm of the expected square: a gamma regression with a logarithmic link, by Fisher scoring."""
    beta = np.zeros(line.shape[1])
    beta[0] = np.log(squares.mean())
    for _ in range(_ROUNDS):
        expected = np.exp(np.clip(line @ beta, beta[0] - 20, beta[0] + 20))
        step = np.linalg.lstsq(line, squares / expected - 1, rcond=None)[0]
        beta += np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-12:
            break
    return beta


def write_reference(path: Path, reference: Reference) -> None:
    half = path.with_name(path.name + ".writing")
    half.write_text(json.dumps(dataclasses.asdict(reference), indent=1) + "\n", encoding="utf-8")
    half.replace(path)


def read_reference(path: Path) -> Reference:
    """Raises ReadError where the file is not what `write_reference` wrote."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        scores = {name: _distribution_of(known) for name, known in raw.pop("scores").items()}
        rows = tuple(tuple(row) for row in raw.pop("inverse_covariance"))
        return Reference(**raw | {"centre": tuple(raw["centre"])}, inverse_covariance=rows, scores=scores)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReadError(f"{path} is no reference. Make one with `consilium genome reference`.") from error


def _distribution_of(known: Mapping[str, Any]) -> Distribution:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in known.items()}
    return Distribution(**values)
