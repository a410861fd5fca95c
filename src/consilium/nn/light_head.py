"""A light head on frozen features, in numpy: logits, calibrated probabilities, distance from what it was trained on.

Tensors (float32), with d features, c concepts, h hidden units, k principal directions:
    centre, scale (d,)                      standardisation
    hidden.weight (h, d), hidden.bias (h,)  only where the head is a small MLP (ReLU)
    weight (c, d or h), bias (c,)
    calibration.slope, calibration.offset (c,)   logit -> slope * logit + offset
    foreign.basis (k, d), foreign.precision (k,), foreign.residual (1,)
    foreign.own, foreign.limit (1,)         distances: most of its own kind lie within the first; beyond the second, abstain
    foreign.centre, foreign.scale (d,)      only where the head judges other features than those of the foreign tensors
Only where there was a background of other modalities and body parts:
    kind.weight (m, d), kind.bias (m,)      scores of kinds of picture, row 0 its own
    known.basis, .precision, .residual, .centre, .scale, .limit   as foreign.*, of own and background pictures together
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from consilium.errors import MemberError
from consilium.types import Array

CALIBRATION = ("calibration.slope", "calibration.offset")
FOREIGN = ("foreign.basis", "foreign.precision", "foreign.residual", "foreign.own", "foreign.limit")
REQUIRED = ("centre", "scale", "weight", "bias", *CALIBRATION, *FOREIGN)


@dataclass(frozen=True, eq=False)
class LightHead:
    """A head from its tensors. `exclusive`: softmax over the concepts, else a sigmoid each."""

    tensors: Mapping[str, Array]
    exclusive: bool

    def logits(self, features: Array) -> Array:
        """(n, d) pooled features -> (n, c) calibrated logits."""
        return calibrated(self.tensors, raw_logits(self.tensors, features))

    def probabilities(self, features: Array) -> Array:
        """(n, d) -> (n, c) in [0, 1]."""
        return to_probabilities(self.logits(features), self.exclusive)

    def foreignness(self, features: Array) -> Array:
        """(n, d) -> (n,), as the function of that name."""
        return foreignness(self.tensors, features)

    @property
    def limit(self) -> float:
        """The foreignness beyond which a picture is not judged; at least 1."""
        return limit(self.tensors)

    def gradient(self, features: Array, concept: int) -> Array:
        """(d,) one picture's features -> (d,) derivative of the concept's calibrated logit by each feature."""
        weight = self.tensors["weight"][concept]
        if "hidden.weight" in self.tensors:
            hidden = self.tensors["hidden.weight"] @ standardise(self.tensors, features) + self.tensors["hidden.bias"]
            weight = (weight * (hidden > 0)) @ self.tensors["hidden.weight"]
        return weight * self.tensors["calibration.slope"][concept] / self.tensors["scale"]


def raw_logits(tensors: Mapping[str, Array], features: Array) -> Array:
    """(n, d) -> (n, c) logits before calibration."""
    x = standardise(tensors, features)
    if "hidden.weight" in tensors:
        x = np.maximum(x @ tensors["hidden.weight"].T + tensors["hidden.bias"], 0)
    return x @ tensors["weight"].T + tensors["bias"]


def standardise(tensors: Mapping[str, Array], features: Array) -> Array:
    return (features - tensors["centre"]) / tensors["scale"]


def to_probabilities(logits: Array, exclusive: bool) -> Array:
    if not exclusive:
        return 1 / (1 + np.exp(-np.clip(logits, -60, 60)))
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def distance(tensors: Mapping[str, Array], features: Array) -> Array:
    """(n, d) -> (n,) Mahalanobis distance in the k leading directions plus the scaled residual outside them: what a
    Gaussian with one shared variance for the small directions gives (probabilistic PCA; Tipping and Bishop 1999)."""
    x, along = project(tensors, features)
    inside = (along**2 * tensors["foreign.precision"]).sum(axis=1)
    outside = np.maximum((x**2).sum(axis=1) - (along**2).sum(axis=1), 0) * tensors["foreign.residual"]
    return np.sqrt(inside + outside)


def project(tensors: Mapping[str, Array], features: Array) -> tuple[Array, Array]:
    """(n, d) features -> standardised (n, d), and their places (n, k) along the directions of the foreign tensors."""
    own = {name: tensors.get(f"foreign.{name}", tensors.get(name)) for name in ("centre", "scale")}
    x = (features - own["centre"]) / own["scale"]
    return x, x @ tensors["foreign.basis"].T


def calibrated(tensors: Mapping[str, Array], logits: Array) -> Array:
    """(n, c) logits of the head -> calibrated ones."""
    return logits * tensors["calibration.slope"] + tensors["calibration.offset"]


def foreignness(tensors: Mapping[str, Array], features: Array) -> Array:
    """(n, d) -> (n,): distance from the training pictures, 1 where most of its own kind end. A picture beyond 1 that is more
    like another kind, or like none that is known, counts as beyond the limit, however near it lies."""
    far = remoteness(tensors, features)
    excess = otherness(tensors, features)
    return np.where((far > 1) & (excess > 0), np.maximum(far, limit(tensors) * (1 + excess)), far)


def remoteness(tensors: Mapping[str, Array], features: Array) -> Array:
    """(n, d) -> (n,): the distance alone, 1 where most of its own kind end."""
    return distance(tensors, features) / tensors["foreign.own"]


def otherness(tensors: Mapping[str, Array], features: Array) -> Array:
    """(n, d) -> (n,): above 0 where a picture is of another kind: by how much its nearest other kind scores above its own,
    or by what share it lies beyond all that is known, whichever is more. Zeros where the member knows no other kinds."""
    if "kind.weight" not in tensors:
        return np.zeros(len(features), np.float32)
    scores = features @ tensors["kind.weight"].T + tensors["kind.bias"]
    towards = scores[:, 1:].max(axis=1) - scores[:, 0]
    every = {name.replace("known.", "foreign."): value for name, value in tensors.items() if name.startswith("known.")}
    return np.maximum(towards, distance(every, features) / tensors["known.limit"] - 1)


def limit(tensors: Mapping[str, Array]) -> float:
    """The foreignness beyond which a picture is not judged; at least 1."""
    return float(tensors["foreign.limit"][0] / tensors["foreign.own"][0])


def save(tensors: Mapping[str, Array], path: Path) -> None:
    """Writes safetensors: integers and float16 as they are, all else as float32."""
    from safetensors.numpy import save_file

    kept = {n: v.dtype if v.dtype.kind in "iu" or v.dtype == np.float16 else np.float32 for n, v in tensors.items()}
    save_file({name: np.ascontiguousarray(value, kept[name]) for name, value in tensors.items()}, path)


def load(path: Path, exclusive: bool) -> LightHead:
    """Reads model.safetensors; MemberError where it is damaged or lacks a tensor."""
    return LightHead(read(path, REQUIRED), exclusive)


def read(path: Path, required: Sequence[str]) -> dict[str, Array]:
    """The tensors of a specialist's model; MemberError where the file is damaged or lacks a required one."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise MemberError(f"{path} cannot be read: {error}. Train the specialist again.") from error
    missing = [name for name in required if name not in tensors]
    if missing:
        raise MemberError(f"{path} lacks {', '.join(missing)}. Train the specialist again.")
    return tensors
