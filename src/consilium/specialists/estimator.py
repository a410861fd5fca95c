"""Classifiers that users have: an ONNX model or the parameters of a scikit-learn estimator, with a card of what they take.

A folder with card.toml and model.onnx is added by `add`; a fitted estimator is written by `export`. docs/adapters.md shows both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from consilium.errors import MemberError, UsageError
from consilium.imaging import texture
from consilium.nn.light_head import to_probabilities
from consilium.protocols import Card, Encoder
from consilium.registry import read_card
from consilium.specialists.adapter import card as cards
from consilium.specialists.adapter import heads, inputs, onnx_model, sklearn_parts
from consilium.specialists.adapter.onnx_model import OnnxModel
from consilium.specialists.adapter.say import Speaker, pictures
from consilium.types import Array, Case, Opinion

OUTPUTS = ("probabilities", "logits")
MARGINS = "its scores are margins pressed into [0, 1]: they are no probabilities"
_ONNX, _TENSORS = "model.onnx", "model.safetensors"


@dataclass(frozen=True, eq=False)
class Estimator:
    """A Specialist by somebody's classifier. model: an ONNX session, or the tensors and the table of `heads`."""

    card: Card
    speaker: Speaker
    made: Mapping[str, Any]
    encoder: Encoder
    model: OnnxModel | tuple[Mapping[str, Array], Mapping[str, Any]]

    def examine(self, case: Case, args: Mapping[str, Any] | None = None) -> Opinion:
        """The mean of its probabilities over the views, or an abstention where it may not see the case or gives none."""
        studies, why = self.speaker.admitted(case)
        if not studies:
            return self.speaker.abstain(why)
        taken = inputs.features(self.made["input"], pictures(studies), self.encoder)
        if not np.isfinite(taken).all():
            return self.speaker.abstain("the features of the picture are not finite")
        return self.speaker.judge(self.probabilities(taken))

    def probabilities(self, taken: Array) -> Array:
        """(n, ...) what its card says it takes -> (n, c)."""
        if not isinstance(self.model, OnnxModel):
            return heads.probabilities(*self.model, taken)
        scores = self.model.scores(taken).astype(np.float64)
        if self.made["output"]["kind"] == "probabilities" or scores.shape[1] != len(self.card.concepts):
            return scores
        return to_probabilities(scores, self.speaker.exclusive)


def load(folder: Path, encoder: Encoder, **_: Any) -> Estimator:
    """The classifier in `folder`; MemberError where it was fitted on other features or its file cannot be run."""
    card, made = read_card(folder / "card.json"), cards.opened(folder)
    inputs.demand(made["input"], encoder, card.name)
    return Estimator(card, Speaker.of(card, made), made, encoder, _model(folder, made))


def _model(folder: Path, made: Mapping[str, Any]) -> OnnxModel | tuple[Mapping[str, Array], Mapping[str, Any]]:
    if (folder / _ONNX).is_file():
        return onnx_model.load(folder / _ONNX, made["output"].get("name", ""))
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(folder / _TENSORS), made["model"]
    except (OSError, SafetensorError) as error:
        raise MemberError(f"{folder / _TENSORS} cannot be read: {error}. Export the estimator again.") from error


def add(folder: Path, home: Path, name: str = "", encoder: Encoder | None = None) -> Card:
    """Makes a specialist under HOME/specialists of a folder with card.toml and model.onnx, or of one that `export` wrote.

    name  what to call it, instead of what the card says. encoder: the council's, to see that features fit; None: not seen to.
    UsageError where the card cannot be followed, MemberError where the model cannot be run or gives another count of numbers
    than the card names concepts.
    """
    if (folder / "card.json").is_file():
        return _moved(folder, home, name, encoder)
    fields = cards.read(folder / "card.toml", ("input", "output")) | ({"name": name} if name else {})
    if not (folder / _ONNX).is_file():
        raise UsageError(
            f"{folder} has no {_ONNX}. Give one, or write a scikit-learn estimator with `export`: docs/adapters.md."
        )
    card = cards.card_of(fields, str(folder / "card.toml"))
    made = _made(fields, card, str(folder / "card.toml"))
    if encoder is not None:
        inputs.demand(made["input"], encoder, card.name)
    files = {_ONNX: folder / _ONNX}
    target = cards.install(home, card, made, files, lambda copied: _prove(copied, folder, card, made, encoder))
    return read_card(target / "card.json")


def _prove(copied: Path, folder: Path, card: Card, made: Mapping[str, Any], encoder: Encoder | None) -> None:
    """Has the copied model judge a blank picture. MemberError, naming the file in `folder`, where it cannot, or gives another
    count of numbers than the card names concepts. What `export` wrote was compared with its estimator there."""
    model = _model(copied, made)
    if not isinstance(model, OnnxModel):
        return
    taken = inputs.blank(made["input"], encoder, model.shape)
    if taken is None:
        return
    found = replace(model, file=folder / _ONNX).scores(taken).shape[1]
    if found != len(card.concepts):
        raise MemberError(
            f"{folder / _ONNX} gives {found} numbers for a picture, its card names {len(card.concepts)} concepts "
            f"({', '.join(code.meaning for code in card.concepts)}). Name one for each number, in their order, or say "
            "which output gives them: `name` under [output]."
        )


def _moved(folder: Path, home: Path, name: str, encoder: Encoder | None) -> Card:
    card, made = read_card(folder / "card.json"), cards.opened(folder)
    if made.get("loader") != "estimator":
        raise UsageError(
            f"{folder} is the folder of another kind of specialist ({made.get('loader')}). Copy it whole instead."
        )
    fields = {key: value for key, value in made.items() if key not in cards.SAVED}
    card = cards.renamed(card, name)
    files = {each: folder / each for each in made["files"]}
    target = cards.install(home, card, fields, files, lambda copied: _prove(copied, folder, card, made, encoder))
    return read_card(target / "card.json")


def export(estimator: Any, folder: Path, card: Mapping[str, Any] | Path) -> Card:
    """Writes a fitted scikit-learn classifier (or Pipeline) as a member folder: card.json and model.safetensors, no pickle.

    card  the fields of a card.toml, or the path of one. [input] says which features it was fitted on, in the order and form
    that consilium gives them; `concepts` name its classes in the order of `classes_` (its own names where these are texts).
    The folder's name is the specialist's: write it to CONSILIUM_HOME/specialists/NAME, or `add` it. Of neighbours, the known
    features themselves are in the folder. UsageError where the card or the estimator cannot be followed.
    """
    from safetensors.numpy import save_file

    where = str(card) if isinstance(card, Path) else "the card"
    fields = {"name": folder.name} | (cards.read(card, ("input", "output")) if isinstance(card, Path) else dict(card))
    cards.check_fields(fields, where, ("input", "output"))
    tensors, model = sklearn_parts.parts_of(estimator)
    described = cards.card_of(fields, where)
    _check_classes(estimator, [code.meaning for code in described.concepts], where)
    several = model["link"] == "sigmoid"
    made = _made({"exclusive": not several, "output": {"kind": "probabilities"}} | fields, described, where) | {
        "model": model
    }
    if made["exclusive"] == several:
        raise UsageError(f"{where}: exclusive = {made['exclusive']} contradicts the estimator. Leave it out.")
    if model.get("margins"):
        if made["calibrated"]:
            raise UsageError(
                f"{where} says calibrated = true, but {type(estimator).__name__} gives margins alone. Calibrate it, as ONNX."
            )
        made["caution"] = MARGINS
    if (folder / "card.json").is_file() and cards.opened(folder).get("loader") != "estimator":
        raise UsageError(f"{folder} is another kind of specialist. Write the estimator to a folder of its own.")
    folder.mkdir(parents=True, exist_ok=True)
    save_file({each: np.ascontiguousarray(value) for each, value in tensors.items()}, folder / _TENSORS)
    cards.write(folder, described, made, (_TENSORS,))
    return read_card(folder / "card.json")


def _check_classes(estimator: Any, concepts: list[str], where: str) -> None:
    classes = [str(each) for each in np.ravel(estimator.classes_)]
    texts = all(isinstance(each, str) for each in estimator.classes_)
    if len(classes) != len(concepts) or (texts and classes != concepts):
        raise UsageError(
            f"{where} names the concepts {concepts}, the estimator's classes_ are {classes}. Name them in that order."
        )


def _made(fields: Mapping[str, Any], card: Card, where: str) -> dict[str, Any]:
    """What card.json says beside the card."""
    table, output = (
        dict(fields.get("input", {})),
        {"kind": "probabilities", "name": ""} | dict(fields.get("output", {})),
    )
    inputs.check(table, where)
    if table["kind"] == "texture":
        table.setdefault("texture", texture.VERSION)
    if output["kind"] not in OUTPUTS or set(output) - {"kind", "name"}:
        raise UsageError(
            f"{where}: `kind` under [output] is one of {', '.join(OUTPUTS)}, beside a `name`; found {json.dumps(output)}."
        )
    made = {
        "loader": "estimator",
        "exclusive": bool(fields.get("exclusive", len(card.concepts) > 1)),
        "calibrated": bool(fields.get("calibrated", False)),
        "input": table,
        "output": output,
    }
    if table["kind"] == "encoder features":
        made["encoder"] = table["encoder"]
    return made
