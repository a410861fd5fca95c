"""State dicts of others: safetensors, or .pt read as weights alone; loaded whole into a network or refused by tensor name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consilium.errors import MemberError

if TYPE_CHECKING:
    import torch

_NESTED = ("state_dict", "model_state_dict", "model", "network")
_SHOWN = 5


def read(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a .safetensors file or of a .pt file that holds a state dict, be it nested once ({"model": ...}) or saved
    from DataParallel ("module."). MemberError where the file is damaged or holds objects that only running code could restore.
    """
    found = _read(path)
    for key in _NESTED:
        inner = found.get(key)
        if isinstance(inner, Mapping):
            found = inner
            break
    tensors = {name: value for name, value in found.items() if hasattr(value, "shape")}
    if not tensors:
        raise MemberError(f"{path} holds no tensors by name: a state dict is needed, as `model.state_dict()` gives it.")
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def _read(path: Path) -> Mapping[str, Any]:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, EOFError, RuntimeError) as error:
        raise MemberError(f"{path} cannot be read: {error}. Copy or fetch it again.") from error
    except (
        Exception
    ) as error:  # what torch raises for pickled objects is pickle's own error, whose module is not imported here
        raise MemberError(
            f"{path} is no plain state dict, and code inside a checkpoint is never run ({type(error).__name__}). Where you "
            "trust it, load it there and save `safetensors.torch.save_file(model.state_dict(), ...)`."
        ) from error
    if not isinstance(found, Mapping):
        raise MemberError(f"{path} holds {type(found).__name__}, not a state dict. Save `model.state_dict()`.")
    return found


def fill(network: torch.nn.Module, tensors: Mapping[str, torch.Tensor], path: Path) -> torch.nn.Module:
    """The network with these weights, in evaluation mode; MemberError names the tensors that are missing, left over or of
    another shape."""
    own = network.state_dict()
    counters = {name for name in own if name.endswith("num_batches_tracked")}
    shapes = {
        n: f"{tuple(tensors[n].shape)}, not {tuple(own[n].shape)}"
        for n in own
        if n in tensors and tensors[n].shape != own[n].shape
    }
    wrong = {
        "lacks": [name for name in own if name not in tensors and name not in counters],
        "has beside them": [name for name in tensors if name not in own],
        "has in another shape": [f"{name} {shape}" for name, shape in shapes.items()],
    }
    said = [f"{how} {_listed(names)}" for how, names in wrong.items() if names]
    if said:
        raise MemberError(
            f"{path} does not fit its network: it {'; it '.join(said)}. Give the weights of that very network."
        )
    network.load_state_dict({name: tensors.get(name, own[name]) for name in own})
    return network.eval()


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
