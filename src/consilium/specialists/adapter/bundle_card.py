"""The card of a MONAI bundle: from its metadata.json, with what the user's card.toml says instead."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from consilium.errors import UsageError
from consilium.specialists.adapter import card as cards

# What [bundle] of card.toml may say.
SETTINGS = ("labels", "leave_out", "activation", "recipe")
TABLES = ("brats", "vista3d")
ACTIVATIONS = ("softmax", "sigmoid", "none")
_ROOM = Path(__file__).parent
_MODALITIES = {
    "CT": ("CT",),
    "MR": ("MR",),
    "MRI": ("MR",),
    "MG": ("MG",),
    "MAMMOGRAM": ("MG",),
    "US": ("US",),
    "ULTRASOUND": ("US",),
    "CR": ("CR", "DX"),
    "DX": ("CR", "DX"),
    "CXR": ("CR", "DX"),
    "XRAY": ("CR", "DX"),
    "PT": ("PT",),
    "PET": ("PT",),
    "OCT": ("OPT",),
    "SM": ("SM",),
}


@cache
def table(name: str) -> dict[str, Any]:
    """A published label table: "brats" or "vista3d"."""
    return tomllib.loads((_ROOM / f"{name}.toml").read_text(encoding="utf-8"))


def describe(folder: Path, meta: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of a card, and what the loader needs to know: `inputs` (names of channels), `dimensions`, `labels` (number ->
    concept), `overlap`, `task` and the settings.

    given  the fields of card.toml. UsageError where metadata and card leave open what must be known.
    """
    settings = _settings(given.get("bundle", {}), str(folder))
    entry, exit_ = _format(meta, "inputs", folder), _format(meta, "outputs", folder)
    labels, overlap = _labels(exit_, settings)
    known = table(settings["labels"]) if settings["labels"] else {}
    fields = {
        "name": re.sub(r"[^A-Za-z0-9]+", "_", folder.resolve().name).strip("_")[:64],
        "summary": str(meta.get("description") or meta.get("task") or "").strip(),
        "modality": list(_MODALITIES.get(str(entry.get("modality", "")).upper().replace("-", ""), ())),
        "concepts": list(labels.values()),
        "licence": _licence(folder, meta),
        "evidence": _evidence(meta),
        "not_for": [*filter(None, [str(meta.get("intended_use", ""))]), *cards.NOT_FOR],
        "trained_on": {str(meta["data_source"]).strip(): "see the bundle"} if meta.get("data_source") else {},
        "arguments": {"labels": "what to outline: names or numbers of its classes"} if settings["recipe"] else {},
    }
    if meta.get("version"):
        fields["version"] = str(meta["version"])
    fields |= {name: value for name, value in given.items() if name != "bundle"}
    if not fields["modality"]:
        raise UsageError(
            f"{folder}/configs/metadata.json says the modality {entry.get('modality')!r}, which is no term of DICOM. Write a "
            'card.toml with modality = ["CT"] or what it sees.'
        )
    names = _channels(entry)
    made = settings | {
        "inputs": known.get("inputs", names),
        "dimensions": len(entry.get("spatial_shape", ())) or 3,
        "labels": {str(number): label for number, label in labels.items()},
        "overlap": overlap,
        "task": "segmentation" if exit_.get("format", "segmentation") == "segmentation" else "classification",
        "leave_out": [*settings["leave_out"], *known.get("leave_out", ())],
    }
    return fields, made


def _settings(given: Any, where: str) -> dict[str, Any]:
    settings = {"labels": "", "leave_out": [], "activation": "", "recipe": ""} | dict(given)
    unknown = sorted(set(settings) - set(SETTINGS))
    right = (
        settings["labels"] in ("", *TABLES)
        and settings["activation"] in ("", *ACTIVATIONS)
        and settings["recipe"] in ("", "vista3d")
        and isinstance(settings["leave_out"], list)
    )
    if unknown or not right:
        raise UsageError(
            f"{where}: [bundle] of card.toml takes labels ({', '.join(TABLES)}), leave_out (a list of steps), activation "
            f"({', '.join(ACTIVATIONS)}) and recipe (vista3d); found {dict(given)}."
        )
    if settings["recipe"]:
        settings["labels"] = settings["recipe"]
    return settings


def _format(meta: Mapping[str, Any], side: str, folder: Path) -> Mapping[str, Any]:
    """The one input or output that metadata describes."""
    described = meta.get("network_data_format", {}).get(side, {})
    if len(described) != 1:
        raise UsageError(
            f"{folder}/configs/metadata.json describes the {side} {', '.join(described) or 'not at all'}; one is needed."
        )
    return next(iter(described.values()))


def _channels(entry: Mapping[str, Any]) -> list[str]:
    count, named = int(entry.get("num_channels", 1)), entry.get("channel_def", {})
    return [str(named.get(str(i), i)) for i in range(count)]


def _labels(exit_: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[dict[int, str], bool]:
    """Number of the channel or label -> concept, without the background; whether they may overlap."""
    if settings["labels"]:
        known, first = table(settings["labels"]), 1 if settings["labels"] == "vista3d" else 0
        return dict(enumerate(known["labels"], first)), bool(known.get("overlap", False))
    named = {int(number): str(label) for number, label in exit_.get("channel_def", {}).items()}
    concepts = {number: label for number, label in sorted(named.items()) if label.lower() != "background"}
    return concepts, len(concepts) == len(named)


def _licence(folder: Path, meta: Mapping[str, Any]) -> str:
    for name in ("LICENSE", "docs/license.txt", "docs/LICENSE"):
        path = folder / name
        if path.is_file():
            lines = (line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
            return f"{next(filter(None, lines), 'empty')[:80]} ({name} of the bundle)"
    return f"not stated by the bundle ({meta.get('copyright', 'no copyright named')})"


def _evidence(meta: Mapping[str, Any]) -> str:
    figures = ", ".join(f"{name} {value}" for name, value in meta.get("eval_metrics", {}).items())
    return f"by the bundle's own metadata, not measured here: {figures}" if figures else ""
