"""The gated head of a risk image, in numpy: what the scores say of each outcome, times what age and sex make of it.

    logit_k = bias_k + demographic_k . d + exp(scale_k + (gate_k + gate_shared) . d) * (weight_k . x)

x are the picture's values as normal scores (traits * 3), weight_k an unshared patch-linear layer over it that starts as a ridge
regression and stays one; d are age, sex, age squared and age times sex. With gates of 0 it is the linear model of all scores and
demographics. It is a gate over demographics, not vision: the order of the patches does not matter to it.

Tensors (float32; k outcomes, m values, q = 4):
    weight (k, m), scale (k,), bias (k,), demographic (k, q), gate.own (k, q), gate.shared (q,)
    age (2,)                                     mean and spread of age in years
    calibration.slope, calibration.offset (k,)   logit -> slope * logit + offset
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from consilium.nn.light_head import calibrated, to_probabilities
from consilium.types import Array

TERMS = ("age", "sex", "age squared", "age x sex")
REQUIRED = (
    "weight",
    "scale",
    "bias",
    "demographic",
    "gate.own",
    "gate.shared",
    "age",
    "calibration.slope",
    "calibration.offset",
)
_STEEPEST = 2.0


@dataclass(frozen=True, eq=False)
class RiskHead:
    """A head from its tensors."""

    tensors: Mapping[str, Array]

    def logits(self, x: Array, demographics: Array) -> Array:
        """(n, m) normal scores and (n, q) terms -> (n, k) calibrated logits."""
        return calibrated(self.tensors, raw_logits(self.tensors, x @ self.tensors["weight"].T, demographics))

    def probabilities(self, x: Array, demographics: Array) -> Array:
        """(n, k) in [0, 1]."""
        return to_probabilities(self.logits(x, demographics), exclusive=False)

    def terms(self, age_years: Array, sex: Sequence[str]) -> Array:
        """(n, q) of ages and "female" or "male"."""
        mean, spread = self.tensors["age"]
        return demographic_terms(age_years, sex, float(mean), float(spread))


def demographic_terms(age_years: Array, sex: Sequence[str], mean: float, spread: float) -> Array:
    """(n, 4): age in units of its spread, sex (-1 female, 1 male), age squared less 1, age times sex."""
    age = (np.asarray(age_years, np.float64) - mean) / spread
    male = np.where(np.asarray(sex) == "male", 1.0, -1.0)
    return np.stack([age, male, age**2 - 1, age * male], axis=1)


def raw_logits(tensors: Mapping[str, Array], genetic: Array, demographics: Array) -> Array:
    """(n, k) genetic values weight_k . x and (n, q) terms -> (n, k) logits before calibration."""
    exponent = tensors["scale"] + demographics @ (tensors["gate.own"] + tensors["gate.shared"]).T
    steep = np.exp(np.clip(exponent, None, tensors["scale"] + _STEEPEST))
    return tensors["bias"] + demographics @ tensors["demographic"].T + steep * genetic
