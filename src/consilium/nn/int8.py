"""Matrices in 8 bits with activations as they are: what one token at a time waits for is the memory that weights fill.

torch.ao's dynamic quantisation, which rounds activations too, was tried and left: a few channels of this language model are
so large that one scale for all takes the rest away (0.11 to 2 nats of divergence from float32; these matrices: 0.006).
"""

from __future__ import annotations

from typing import Any

import torch

# Above this many rows the 8-bit kernel is slower than unpacking the matrix for one product.
_FEW_ROWS = 4


class Int8Linear(torch.nn.Module):
    """A linear layer with weights in 8 bits and one scale a row.

    many  a layer that stands in where more than a few rows come at once; None unpacks the matrix each time.
    """

    def __init__(self, linear: Any, many: torch.nn.Module | None = None) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        # The scale is rounded first, so that the rounding of the weights makes up for it.
        scale = (weight.abs().amax(1).clamp(min=1e-8) / 127).to(linear.weight.dtype)
        self.scale = scale
        self.weight = (weight / scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8)
        self.bias = None if linear.bias is None else linear.bias.detach()
        # Not a child: its parameters are counted where they belong.
        self._many = (many,)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """(n, in) -> (n, out)."""
        if len(rows) <= _FEW_ROWS:
            product = torch.ops.aten._weight_int8pack_mm(rows, self.weight, self.scale)
        elif self._many[0] is not None:
            return self._many[0](rows)
        else:
            product = torch.nn.functional.linear(rows, self.weight.to(rows.dtype)) * self.scale
        return product if self.bias is None else product + self.bias
