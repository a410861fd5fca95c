"""Segmentation networks of MONAI, built from what a card says and kept as half-precision tensors.

A description is plain data: kind, dims (2 or 3), inputs, outputs (labels and background), filters (features a level).
Nothing of a card is called or handed on by name, so a foreign card can build nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from consilium.errors import MemberError, MissingPackageError, extra
from consilium.types import Array

if TYPE_CHECKING:
    from torch import nn

KINDS = ("dynunet", "unet", "segresnet")
_MOST_FILTERS = 1024
# MONAI's DynUNet lists its blocks a second time under this name; the heads serve training alone.
_NOT_KEPT = ("skip_layers.", "deep_supervision_heads.")


@dataclass(frozen=True)
class Description:
    """What a network is: `filters` is the number of features a level, from the finest; each level halves the size.

    `deep`: while training it answers at its coarser levels too, (b, answers, outputs, ...), stretched to full size.
    """

    kind: str
    dims: int
    inputs: int
    outputs: int
    filters: tuple[int, ...]
    deep: bool = False

    @property
    def step(self) -> int:
        """Every side of an input must be a multiple of this."""
        return int(2 ** (len(self.filters) - 1))


def described(data: Mapping[str, Any]) -> Description:
    """A Description from a card or a config; MemberError where it describes no network of these kinds."""
    try:
        found = Description(
            str(data["kind"]),
            int(data["dims"]),
            int(data["inputs"]),
            int(data["outputs"]),
            tuple(int(count) for count in data["filters"]),
            bool(data.get("deep", False)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise MemberError(
            f"the description of the network lacks or garbles {error}. Train the segmenter again."
        ) from error
    sound = found.kind in KINDS and found.dims in (2, 3) and found.inputs in (1, 3) and 2 <= found.outputs <= 256
    if not sound or not 2 <= len(found.filters) <= 8 or not all(1 <= f <= _MOST_FILTERS for f in found.filters):
        raise MemberError(
            f"no network is described by {found}: kind is one of {', '.join(KINDS)}, dims 2 or 3, inputs 1 or 3, outputs from 2, "
            "filters two to eight levels. Train the segmenter again."
        )
    return found


def build(what: Description) -> nn.Module:
    """The network with random weights: (b, inputs, ...) -> (b, outputs, ...) logits. MemberError where MONAI is missing."""
    try:
        from monai.networks.nets.dynunet import DynUNet
        from monai.networks.nets.segresnet import SegResNet
        from monai.networks.nets.unet import UNet
    except ImportError as error:
        raise MissingPackageError(f"segmenters need MONAI: {extra('segment')}") from error
    levels = len(what.filters)
    if what.kind == "unet":
        return UNet(what.dims, what.inputs, what.outputs, what.filters, (2,) * (levels - 1), num_res_units=2)
    if what.kind == "segresnet":
        return SegResNet(what.dims, what.filters[0], what.inputs, what.outputs)
    strides = (1, *(2,) * (levels - 1))
    return DynUNet(
        what.dims,
        what.inputs,
        what.outputs,
        (3,) * levels,
        strides,
        strides[1:],
        filters=what.filters,
        deep_supervision=what.deep,
        deep_supr_num=max(1, min(2, levels - 2)),
    )


def kept(net: nn.Module) -> dict[str, Array]:
    """The tensors that an answer needs, float16."""
    return {
        name: value.detach().float().cpu().numpy().astype(np.float16)
        for name, value in net.state_dict().items()
        if not name.startswith(_NOT_KEPT)
    }


def restored(what: Description, tensors: Mapping[str, Array]) -> nn.Module:
    """The network with the weights that `kept` gave, float32, ready to answer; MemberError where they do not fit it."""
    import torch

    net = build(Description(what.kind, what.dims, what.inputs, what.outputs, what.filters))
    state = {name: torch.from_numpy(np.array(value, np.float32)) for name, value in tensors.items()}
    try:
        missing, unknown = net.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise MemberError(f"the weights do not fit the network: {error}. Train the segmenter again.") from error
    missing = [name for name in missing if not name.startswith(_NOT_KEPT)]
    if missing or unknown:
        raise MemberError(
            f"the weights do not fit the network: {_some(missing)} are missing, {_some(unknown)} unknown. Train it again."
        )
    return net.eval()


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "") if names else "none"
