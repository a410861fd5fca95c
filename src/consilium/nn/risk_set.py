"""A light set encoder of a risk image, in torch: patches are a set, each with what its trait is; an outcome asks for its own.

Each trait t has a place e_t (r numbers: its coordinates in genetic correlation), each outcome k such a place too, from its
summary statistics alone, so that an outcome without a single label can be asked for:

    value_t = phi(x_t)                     a small network, shared by all patches; x_t the three bars of p
    genetic_k = sum_t <a(e_k) * b(e_t), value_t>
    logit_k = bias_k + demographic_k . d + exp(scale_k + (gate_shared + gate(e_k)) . d) * genetic_k

The order of the patches does not matter, nor how many there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from consilium.types import Array

if TYPE_CHECKING:
    import torch

HIDDEN = 32
_BATCH, _EPOCHS, _RATE, _DECAY = 256, 8, 3e-3, 3e-3


def fit(
    x: Array, targets: Array, demographics: Array, places: tuple[Array, Array], seed: int = 20240, epochs: int = _EPOCHS
) -> torch.nn.Module:
    """(n, traits, 3) normal scores, (n, k) targets (NaN: not labelled), (n, q) terms, places of the traits (traits, r) and of the
    outcomes (k, r) -> the encoder, fitted by Adam."""
    import torch
    from torch.nn import functional

    torch.manual_seed(seed)
    of_traits, of_outcomes = (torch.as_tensor(np.asarray(place, np.float32)) for place in places)
    model = _module(x.shape[2], of_traits, of_outcomes, demographics.shape[1])
    arrays = [torch.as_tensor(np.asarray(values, np.float32)) for values in (x, targets, demographics)]
    known = ~arrays[1].isnan()
    optimiser = torch.optim.AdamW(model.parameters(), _RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * -(-len(x) // _BATCH))
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(_BATCH):
            optimiser.zero_grad()
            logits, own = model(arrays[0][rows], arrays[2][rows]), known[rows]
            functional.binary_cross_entropy_with_logits(logits[own], arrays[1][rows][own]).backward()
            optimiser.step()
            schedule.step()
    return model.eval()


def logits(model: torch.nn.Module, x: Array, demographics: Array) -> Array:
    """(n, traits, 3), (n, q) -> (n, k) logits of the trained outcomes, not calibrated."""
    import torch

    with torch.inference_mode():
        given = [torch.as_tensor(np.asarray(values, np.float32)) for values in (x, demographics)]
        return np.asarray(model(*given).numpy(), np.float64)


def _module(bars: int, of_traits: torch.Tensor, of_outcomes: torch.Tensor, terms: int) -> torch.nn.Module:
    import torch
    from torch import nn

    places = of_traits.shape[1]

    class SetEncoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.bent = nn.Linear(bars, HIDDEN), nn.Linear(bars, HIDDEN)
            self.back = nn.Linear(HIDDEN, HIDDEN)
            self.key, self.query = nn.Linear(places, HIDDEN), nn.Linear(places, HIDDEN)
            self.gate = nn.Linear(places, terms)
            k = len(of_outcomes)
            self.bias, self.scale = nn.Parameter(torch.full((k,), -2.0)), nn.Parameter(torch.full((k,), -3.0))
            self.demographic = nn.Parameter(torch.zeros(k, terms))

        def forward(self, x: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
            value = self.linear(x) + self.back(torch.tanh(self.bent(x)))
            pooled = (value * self.key(of_traits)).sum(dim=1)
            genetic = pooled @ self.query(of_outcomes).T
            factor = torch.exp(torch.clamp(self.scale + d @ self.gate(of_outcomes).T, -8, 3))
            return self.bias + d @ self.demographic.T + factor * genetic

    return SetEncoder()
