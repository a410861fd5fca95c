"""The parts of MONAI and torch that a bundle may name, built from plain data. What is not one of them is refused by name."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from consilium.errors import MemberError, extra
from consilium.specialists.adapter.config import OPEN

_ROOMS = ("monai.networks.nets", "monai.networks.blocks", "monai.transforms", "monai.inferers", "torch.nn")
# Functions that give a network; every other component is a class.
_MAKERS = frozenset({"vista3d132", *(f"resnet{n}" for n in (10, 18, 34, 50, 101, 152, 200))})
# These fetch weights or call what their arguments name.
_CLOSED = frozenset(
    {
        "Transchex",
        "TorchVisionFCModel",
        "TorchVisionFullyConvModel",
        "TorchVision",
        "TorchVisiond",
        "TorchIO",
        "TorchIOd",
    }
)
_SETTINGS = ("_target_", "_desc_", "_disabled_", "_mode_", "_requires_")
# Where the work is done is decided here.
_DEVICES = ("device", "sw_device")


def targets(plain: Any) -> list[str]:
    """Every `_target_` within plain data, outermost first."""
    if isinstance(plain, Mapping):
        own = [str(plain["_target_"])] if "_target_" in plain else []
        return own + [name for inner in plain.values() for name in targets(inner)]
    return [name for inner in plain for name in targets(inner)] if isinstance(plain, list) else []


def off(plain: Any) -> bool:
    """Whether a component is switched off (`_disabled_`)."""
    return isinstance(plain, Mapping) and str(plain.get("_disabled_", False)).lower() == "true"


def build(plain: Any) -> Any:
    """Plain data with its components made; MemberError where one is not open to bundles or cannot be made so."""
    if isinstance(plain, list):
        return [build(inner) for inner in plain if not off(inner)]
    if not isinstance(plain, Mapping):
        return plain
    if "_target_" not in plain:
        return {name: build(inner) for name, inner in plain.items()}
    target = str(plain["_target_"])
    made = found(target)
    if plain.get("_mode_", "default") != "default":
        raise MemberError(
            f"the bundle builds {target} in the mode {plain['_mode_']!r}, which is not done. Write it out."
        )
    arguments = {k: build(v) for k, v in plain.items() if k not in _SETTINGS and k not in _DEVICES}
    fetching = [name for name in arguments if "url" in name]
    if fetching:
        raise MemberError(
            f"the bundle would fetch from a {', '.join(fetching)} of {target}: nothing is fetched. Give its weights."
        )
    if "pretrained" in inspect.signature(made).parameters:
        arguments["pretrained"] = False
    try:
        return made(**arguments)
    except ImportError as error:
        raise MemberError(f"{target} of the bundle needs a package that is not here: {error}. Install that.") from error
    except (TypeError, ValueError, AttributeError, RuntimeError, KeyError) as error:
        raise MemberError(f"{target} of the bundle cannot be built in this release of MONAI: {error}.") from error


def found(target: str) -> Any:
    """The class (or network function) of a name such as UNet or monai.networks.nets.UNet.

    A dotted name may lead through a module to anything that it imports, so where the thing is defined counts too.
    """
    demand_monai()
    thing = _dotted(target) if "." in target else _short(target)
    home = f"{getattr(thing, '__module__', '')}."
    inside = target.startswith(OPEN) or "." not in target
    if (
        thing is None
        or not inside
        or not home.startswith(OPEN)
        or target.rpartition(".")[2] in _CLOSED
        or not _fit(thing)
    ):
        raise MemberError(
            f"the bundle asks for {target}, which is not built: only networks, transforms and inferers of {', '.join(OPEN)} are, "
            "since anything else could run code. Leave the step out ([bundle] leave_out in card.toml), or write a specialist of "
            "your own in Python."
        )
    return thing


def _fit(thing: Any) -> bool:
    import torch
    from monai.inferers.inferer import Inferer
    from monai.transforms.transform import Transform

    if inspect.isclass(thing):
        return issubclass(thing, torch.nn.Module | Transform | Inferer)
    return inspect.isfunction(thing) and thing.__name__ in _MAKERS


def _dotted(target: str) -> Any:
    """Through packages as far as they go, then through classes; None where that leads nowhere."""
    parts = target.split(".")
    if not target.startswith(OPEN):
        return None
    for cut in range(len(parts) - 1, 1, -1):
        try:
            module = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        thing: Any = module
        for part in parts[cut:]:
            thing = getattr(thing, part, None)
        return thing
    return None


def _short(target: str) -> Any:
    for room in _ROOMS:
        thing = getattr(importlib.import_module(room), target, None)
        if thing is not None:
            return thing
    return None


def demand_monai() -> None:
    """MemberError where MONAI is not installed."""
    try:
        import monai.inferers
        import monai.networks.nets
        import monai.transforms  # noqa: F401
    except ImportError as error:
        raise MemberError(f"a MONAI bundle needs MONAI. Install it: {extra('segment')}.") from error
