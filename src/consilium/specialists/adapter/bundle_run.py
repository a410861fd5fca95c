"""A bundle at work: its own preprocessing, inferer and postprocessing, and results laid back onto the picture as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from consilium.errors import MemberError
from consilium.specialists.adapter import components, weights
from consilium.specialists.adapter.config import Config
from consilium.types import Array

# Reading, laying channels first and writing are done here; the prompts of VISTA3D by their own recipe.
_DONE_HERE = frozenset(
    f"{step}{ending}"
    for step in ("LoadImage", "EnsureChannelFirst", "AddChannel", "AsChannelFirst", "SaveImage", "ToDevice")
    for ending in ("", "d")
)
_RECIPE = frozenset({"VistaPreTransformd", "VistaPostTransformd"})
_PREDICTED = "pred"


@dataclass(frozen=True, eq=False)
class Pipeline:
    """What a bundle does with a picture.

    key         under which name its transforms find the picture.
    before      its preprocessing, undone when results are laid back.
    after       name and transform of each step after the network; of Invertd its settings.
    activation  of these steps or of the card, "" where neither says it.
    overlap     whether parts may; parts: how many it is to name.
    """

    key: str
    before: Any
    network: Any
    inferer: Any
    after: tuple[tuple[str, Any], ...]
    activation: str
    overlap: bool
    parts: int

    def prepared(self, values: Array, affine: Array) -> dict[str, Any]:
        """The picture after preprocessing, as MONAI's transforms hand it on."""
        import torch
        from monai.data.meta_tensor import MetaTensor

        picture = MetaTensor(torch.from_numpy(values), affine=torch.as_tensor(affine, dtype=torch.float64))
        return _guarded("preprocessing", lambda: self.before({self.key: picture}))

    def raw(self, data: Mapping[str, Any]) -> Any:
        """(channels or classes, ...) what the network says of the prepared picture."""
        import torch

        def work() -> Any:
            with torch.inference_mode():
                said = self.inferer(batch(data[self.key]), self.network)
            return said[0] if isinstance(said, list | tuple) else said

        said = _guarded("network", work)
        if not isinstance(said, torch.Tensor):
            raise MemberError(
                f"the network of the bundle gives {type(said).__name__}; one that gives a tensor is needed."
            )
        return said[0]

    def scores(self, values: Array, affine: Array) -> Array:
        """(classes,) of a network that classifies, before activation."""
        return np.ravel(np.asarray(self.raw(self.prepared(values, affine)), np.float64))

    def masks(self, values: Array, affine: Array) -> Array | str:
        """A map of label numbers (1, ...), or a mask a channel (channels, ...), on the grid of `values`; or why there is none."""
        data = self.prepared(values, affine)
        said = self.raw(data)
        if not bool(said.isfinite().all()):
            return "its model gave numbers that are not finite"
        expected = self.parts if self.overlap else self.parts + 1
        if said.shape[0] != expected and not (said.shape[0] == 1 and expected == 2):
            named = f"{self.parts} concepts{'' if self.overlap else ' and background'}"
            return f"its model gave {said.shape[0]} maps, its card names {named}"
        return laid_back(self, data, said, values.shape[1:])


def batch(picture: Any) -> Any:
    """One picture (channels, ...) as a plain tensor (1, channels, ...)."""
    return getattr(picture, "as_tensor", lambda: picture)()[None]


def laid_back(pipeline: Pipeline, data: Mapping[str, Any], said: Any, size: Sequence[int]) -> Array:
    """The steps after the network, on what it said; integers (1 or channels, *size)."""
    from monai.data.meta_tensor import MetaTensor

    held = dict(data) | {_PREDICTED: said if isinstance(said, MetaTensor) else MetaTensor(said)}
    names = [name for name, _ in pipeline.after]
    for name, step in pipeline.after:
        if name == "Invertd":
            step = _invertd(pipeline, bool(step["nearest_interp"]))
        held = _guarded(name, lambda step=step, held=held: step(held))
    if "AsDiscreted" not in names:
        held[_PREDICTED] = _discrete(pipeline, held[_PREDICTED], "Activationsd" in names)
    if "Invertd" not in names:
        held = _guarded("Invertd", lambda: _invertd(pipeline, True)(held))
    found = np.rint(np.asarray(held[_PREDICTED])).astype(np.int64)
    if found.shape[1:] != tuple(size):
        raise MemberError(
            f"the bundle's result of {found.shape[1:]} cannot be laid back onto its picture of {tuple(size)}: one of its steps "
            "before the network cannot be undone. It cannot be asked."
        )
    return found


def _discrete(pipeline: Pipeline, said: Any, activated: bool) -> Any:
    """What a bundle leaves to the reader: the likeliest of parts that exclude each other, else whatever is likelier than not."""
    from monai.transforms.post.array import AsDiscrete

    if not pipeline.overlap and said.shape[0] > 1:
        return AsDiscrete(argmax=True)(said)
    return ((said if activated or pipeline.activation == "none" else said.sigmoid()) >= 0.5).float()


def _invertd(pipeline: Pipeline, nearest: bool) -> Any:
    from monai.transforms.post.dictionary import Invertd

    return Invertd(
        keys=_PREDICTED, transform=pipeline.before, orig_keys=pipeline.key, nearest_interp=nearest, to_tensor=True
    )


def _guarded(what: str, work: Any) -> Any:
    """MONAI's transforms wrap whatever goes wrong in errors of many kinds."""
    try:
        return work()
    except MemberError:
        raise
    except Exception as error:
        said = str(error).splitlines()[:1] or [""]
        raise MemberError(
            f"the {what} of the bundle failed on this picture ({type(error).__name__}: {said[0][:160]}). "
            "See that the picture is of the size and kind that the bundle is for."
        ) from error


def network_of(plan: Config, path: Path) -> Any:
    """The bundle's network with its weights: built by its configuration, or the program of a TorchScript file."""
    import torch

    if path.suffix == ".ts":
        try:
            return torch.jit.load(str(path), map_location="cpu").eval()
        except (RuntimeError, ValueError, OSError) as error:
            raise MemberError(
                f"{path} cannot be read as TorchScript: {str(error).splitlines()[0][:200]}. Copy it again."
            ) from error
    key = "network_def" if "network_def" in plan else "network"
    if key not in plan:
        raise MemberError(f"{plan.where} has no network_def: how to build its network is not said. It cannot be asked.")
    network = components.build(plan.value(key))
    if not isinstance(network, torch.nn.Module):
        raise MemberError(f"{key} of {plan.where} is no network. Correct the bundle.")
    return weights.fill(network, weights.read(path), path)


def pipeline_of(plan: Config, made: Mapping[str, Any], network: Any) -> Pipeline:
    """What a bundle does with a picture, by its configuration and its card. MemberError names a step that may not be built."""
    from monai.inferers.inferer import SimpleInferer
    from monai.transforms.compose import Compose

    left_out = {*made["leave_out"], *(_RECIPE if made["recipe"] else ())}
    before = _steps(plan, "preprocessing", left_out)
    key = _key(plan, before)
    after = _steps(plan, "postprocessing", left_out)
    inferer = SimpleInferer()
    if "inferer" in plan and not made["recipe"]:
        inferer = components.build(plan.value("inferer"))
    if not callable(inferer) or not type(inferer).__module__.startswith("monai.inferers"):
        raise MemberError(f"the inferer of {plan.where} is none of MONAI. Correct the bundle.")
    return Pipeline(
        key,
        Compose([components.build(each) for each in before if _name(each) not in _DONE_HERE]),
        network,
        inferer,
        tuple(_after(each) for each in after if _name(each) not in _DONE_HERE),
        made["activation"] or _activation(after),
        bool(made["overlap"]),
        len(made["labels"]),
    )


def _steps(plan: Config, key: str, left_out: set[str]) -> list[Any]:
    """The transforms of a Compose; those that are left out are not even read, since reading could be refused."""
    if key not in plan:
        return []
    held: Any = plan.data[key]
    for _ in range(8):
        if isinstance(held, Mapping) and "transforms" in held:
            held = held["transforms"]
        elif isinstance(held, str) and held.strip().lstrip("$").strip().startswith("@"):
            held = plan._at(held.strip().lstrip("$").strip()[1:])
    if not isinstance(held, list):
        raise MemberError(f"{key} of {plan.where} is no list of transforms. It cannot be asked.")
    kept = [each for each in held if isinstance(each, Mapping) and _name(each) not in left_out]
    return [_read(plan, each) for each in kept if not components.off(each)]


def _read(plan: Config, step: Mapping[str, Any]) -> Any:
    """One step as plain data; the transform that Invertd undoes is always the preprocessing, whatever it calls it."""
    if _name(step) in ("Invertd", *_DONE_HERE):
        step = {name: value for name, value in step.items() if name in ("_target_", "keys", "nearest_interp")}
    return plan._plain(step, 0)


def _name(step: Mapping[str, Any]) -> str:
    return str(step.get("_target_", "")).rpartition(".")[2]


def _key(plan: Config, before: Sequence[Mapping[str, Any]]) -> str:
    keys = next((step["keys"] for step in before if "keys" in step), None)
    if keys is None:
        raise MemberError(
            f"preprocessing of {plan.where} has no step with keys: transforms of dictionaries are needed."
        )
    return str(keys if isinstance(keys, str) else keys[0])


def _after(step: Mapping[str, Any]) -> tuple[str, Any]:
    name = _name(step)
    if name == "Invertd":
        return name, {"nearest_interp": step.get("nearest_interp", True)}
    return name, components.build(step)


def _activation(after: Sequence[Mapping[str, Any]]) -> str:
    for step in after:
        if _name(step) == "Activationsd":
            return "softmax" if step.get("softmax") else "sigmoid" if step.get("sigmoid") else ""
    return ""
