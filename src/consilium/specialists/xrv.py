"""TorchXRayVision's chest X-ray classifiers, from weights that the user has: 18 labels, VILA-M3's choice of voters for each.

Outputs that a model was never trained on have no vote (the library gives 0.5 for them). The scores are normalised so that 0.5
is each model's operating point: they are no probabilities, and the opinion says so. Tables and sources: adapter/xrv.toml.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from consilium.errors import MemberError, UsageError
from consilium.imaging.window import to_display
from consilium.protocols import Card
from consilium.registry import read_card
from consilium.specialists.adapter import card as cards
from consilium.specialists.adapter import weights
from consilium.specialists.adapter.say import Speaker, pictures
from consilium.types import Array, Case, Image, Opinion

if TYPE_CHECKING:
    import torch

CAUTION = "its scores are no probabilities: 0.5 is where each of TorchXRayVision's models has its operating point"
_SUFFIXES = (".safetensors", ".pt")
_WHITE = 1024.0
_TABLES = Path(__file__).parent / "adapter" / "xrv.toml"


@cache
def tables() -> dict[str, Any]:
    """labels, points (model -> values), voters (label -> models) and data (model -> names)."""
    return tomllib.loads(_TABLES.read_text(encoding="utf-8"))


@dataclass(frozen=True, eq=False)
class Voter:
    """One model: `side` in pixels of the square that it sees, `points` (18,) its operating points, NaN where untrained."""

    name: str
    network: torch.nn.Module
    points: Array

    @property
    def side(self) -> int:
        return side_of(self.name)

    def scores(self, image: Image) -> Array:
        """(18,) in [0, 1], NaN where it was not trained."""
        import torch

        square = torch.from_numpy(prepared(image))[None, None]
        size = (self.side, self.side)
        with torch.inference_mode():
            seen = torch.nn.functional.interpolate(square, size=size, mode="bilinear", antialias=True)
            raw = torch.sigmoid(self.network(seen))[0].double().numpy()
        return normalised(raw, self.points)


def side_of(name: str) -> int:
    """densenet121-res224-all -> 224."""
    return int(name.split("-")[1].removeprefix("res"))


def prepared(image: Image) -> Array:
    """The middle square of the picture as it is shown, float32 from -1024 (black) to 1024 (white)."""
    grey = to_display(image)[..., 0].astype(np.float32)
    rows, columns = grey.shape
    side = min(rows, columns)
    top, left = rows // 2 - side // 2, columns // 2 - side // 2
    return (2 * grey[top : top + side, left : left + side] / 255 - 1) * _WHITE


def normalised(raw: Array, points: Array) -> Array:
    """Sigmoid outputs -> 0 to 0.5 below the operating point, 0.5 to 1 from there on; NaN where there is none."""
    return np.where(raw < points, raw / (2 * points), 1 - (1 - raw) / (2 * (1 - points)))


def voters_of(label: str, present: Sequence[str]) -> tuple[str, ...]:
    """Which of the models that are present have a vote on a label: chosen for it, and trained on it."""
    known = tables()
    place = known["labels"].index(label)
    chosen = known["voters"].get(label, list(known["points"]))
    return tuple(name for name in present if name in chosen and not np.isnan(known["points"][name]["values"][place]))


@dataclass(frozen=True, eq=False)
class Ensemble:
    """A Specialist: for each label the mean of its voters' scores, over the views of a case."""

    card: Card
    speaker: Speaker
    voters: tuple[Voter, ...]

    def examine(self, case: Case, args: Mapping[str, Any] | None = None) -> Opinion:
        """Scores of each label with a caution, or an abstention."""
        studies, why = self.speaker.admitted(case)
        if not studies:
            return self.speaker.abstain(why)
        return self.speaker.judge(np.stack([self._one(image) for image in pictures(studies)]))

    def _one(self, image: Image) -> Array:
        said = {voter.name: voter.scores(image) for voter in self.voters}
        labels = tables()["labels"]
        named = [code.value for code in self.card.concepts]
        return np.array(
            [np.mean([said[v][labels.index(label)] for v in voters_of(label, list(said))]) for label in named]
        )


def load(folder: Path, **_: Any) -> Ensemble:
    """The ensemble in `folder`; MemberError where weights are damaged or of another network."""
    card, made = read_card(folder / "card.json"), cards.opened(folder)
    return Ensemble(card, Speaker.of(card, made), tuple(_voter(folder / name) for name in made["files"]))


def _voter(path: Path) -> Voter:
    from consilium.specialists.adapter import backbones

    known = tables()
    tensors = weights.read(path)
    if all(name.startswith("model.") or name == "op_threshs" for name in tensors):
        tensors = {name.removeprefix("model."): value for name, value in tensors.items()}
    own = tensors.pop("op_threshs", None)
    points = np.array(known["points"][path.stem]["values"]) if own is None else own.double().numpy()
    trained = ~np.isnan(np.array(known["points"][path.stem]["values"]))
    if points.shape != trained.shape or not np.array_equal(~np.isnan(points), trained):
        raise MemberError(
            f"{path} has operating points (op_threshs) for other labels than {path.stem}. Name the file after its model."
        )
    network = backbones.of_name(path.stem, len(known["labels"]))
    return Voter(path.stem, weights.fill(network, tensors, path), points)


def add(folder: Path, home: Path, name: str = "") -> Card:
    """Makes a specialist under HOME/specialists of a folder of weights named as the library names them, such as
    densenet121-res224-all.safetensors, and of a card.toml, if there is one.

    A label whose voters are all absent is not named: the summary says which. UsageError where no file is known by name,
    MemberError where one does not fit.
    """
    files = {
        path.name: path
        for path in sorted(folder.iterdir())
        if path.stem in tables()["points"] and path.suffix in _SUFFIXES
    }
    present = [path.stem for path in files.values()]
    if not files or len(set(present)) != len(present):
        raise UsageError(
            f"{folder} holds {', '.join(files) or 'no weights known by name'}; give each model once, as .safetensors or .pt: "
            f"{', '.join(tables()['points'])}."
        )
    fields = _fields(present) | (cards.read(folder / "card.toml") if (folder / "card.toml").is_file() else {})
    card = cards.card_of(fields | ({"name": name} if name else {}), str(folder))
    if card.concepts != tuple(cards.card_of(_fields(present), "").concepts):
        raise UsageError(f"{folder}/card.toml names other concepts than these models have. Leave them out.")
    made = {"loader": "xrv", "exclusive": False, "calibrated": False, "caution": CAUTION}
    return read_card(cards.install(home, card, made, files, lambda made_folder: load(made_folder)) / "card.json")


def _fields(present: Sequence[str]) -> dict[str, Any]:
    """The card of an ensemble of these models."""
    known = tables()
    heard = [label for label in known["labels"] if voters_of(label, present)]
    mute = [label for label in known["labels"] if label not in heard]
    without = f" Not named, since no model with a vote is here: {', '.join(map(_spoken, mute))}." if mute else ""
    return {
        "name": "xrv",
        "summary": f"TorchXRayVision's chest X-ray classifiers ({', '.join(present)}), VILA-M3's voters for each label.{without}",
        "modality": ["CR", "DX"],
        "body_part": ["CHEST"],
        "concepts": [{"value": label, "scheme": "99XRV", "meaning": _spoken(label)} for label in heard],
        "licence": "Apache-2.0 (the library); the data have terms of their own",
        "trained_on": {name: "see the data set's own terms" for model in present for name in known["data"][model]},
        "not_for": ["decisions about patients: nothing was measured of it here", "lateral views"],
    }


def _spoken(label: str) -> str:
    return label.lower().replace("_", " ")
