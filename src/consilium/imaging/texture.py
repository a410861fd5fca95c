"""Classical radiomics of a picture as it is shown: plain numbers of shades, of texture and of edges, in numpy and scipy.

First-order statistics, grey-level co-occurrence (Haralick 1973), local binary patterns (Ojala 2002), gradients by
direction, energies of Haar wavelets and of differences of Gaussians, a coarse grid, colour. No weights.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from consilium.imaging.picture import resize
from consilium.imaging.window import to_display
from consilium.types import Array, Image

VERSION = "1"
SIDE, LEVELS, DIRECTIONS, GRID = 128, 16, 8, 4
# About what a picture costs, for the sum on a card: some 400 operations a pixel, by count of the filters and tables below.
OPERATIONS = 400 * SIDE * SIDE


def describe(image: Image) -> dict[str, float]:
    """Name -> value, always the same names in the same order; finite also of a blank picture."""
    rgb = resize(to_display(image), SIDE, SIDE).astype(np.float32) / 255
    grey = rgb.mean(axis=2)
    found: dict[str, float] = {}
    for part in (_shades, _cooccurrence, _patterns, _edges, _wavelets, _bands, _layout):
        found |= part(grey)
    return found | _colour(rgb)


def vector(image: Image) -> Array:
    """(d,) float32: the values of `describe`."""
    return np.array(list(describe(image).values()), np.float32)


def _shades(grey: Array) -> dict[str, float]:
    mean, std = float(grey.mean()), float(grey.std())
    z = (grey - mean) / max(std, 1e-6)
    share = np.bincount(_levels(grey).ravel(), minlength=LEVELS) / grey.size
    quantiles = {f"shade.q{q}": float(np.percentile(grey, q)) for q in (5, 10, 25, 50, 75, 90, 95)}
    return quantiles | {
        "shade.mean": mean,
        "shade.std": std,
        "shade.skewness": float((z**3).mean()),
        "shade.kurtosis": float((z**4).mean()),
        "shade.entropy": _entropy(share),
        "shade.uniformity": float((share**2).sum()),
    }


def _levels(grey: Array) -> Array:
    return np.minimum((grey * LEVELS).astype(int), LEVELS - 1)


def _entropy(share: Array) -> float:
    some = share[share > 0]
    return float(-(some * np.log2(some)).sum())


def _cooccurrence(grey: Array) -> dict[str, float]:
    """Haralick's figures at two distances: mean and range over four directions. Levels are quantiles of the picture, so that
    brightness and contrast do not speak here again."""
    cuts = np.quantile(grey, np.linspace(0, 1, LEVELS + 1)[1:-1])
    levels = np.searchsorted(cuts, grey)
    found: dict[str, float] = {}
    for step in (1, 4):
        figures = [_haralick(_pairs(levels, step * dy, step * dx)) for dy, dx in ((0, 1), (1, 1), (1, 0), (1, -1))]
        for name in figures[0]:
            values = [figure[name] for figure in figures]
            found[f"glcm{step}.{name}"] = float(np.mean(values))
            found[f"glcm{step}.{name}.range"] = float(np.ptp(values))
    return found


def _pairs(levels: Array, dy: int, dx: int) -> Array:
    """(LEVELS, LEVELS) shares of pairs of levels, made symmetric."""
    rows, columns = levels.shape
    a = levels[: rows - dy, max(0, -dx) : columns - max(0, dx)]
    b = levels[dy:, max(0, dx) : columns - max(0, -dx)]
    table = np.bincount((a * LEVELS + b).ravel(), minlength=LEVELS**2).reshape(LEVELS, LEVELS).astype(float)
    return (table + table.T) / (2 * table.sum())


def _haralick(p: Array) -> dict[str, float]:
    i, j = np.indices(p.shape)
    mean = (i * p).sum()
    variance = ((i - mean) ** 2 * p).sum()
    return {
        "contrast": float(((i - j) ** 2 * p).sum()),
        "homogeneity": float((p / (1 + (i - j) ** 2)).sum()),
        "energy": float((p**2).sum()),
        "entropy": _entropy(p),
        "correlation": float(((i - mean) * (j - mean) * p).sum() / max(variance, 1e-9)),
    }


def _patterns(grey: Array) -> dict[str, float]:
    """Shares of the rotation-invariant uniform local binary patterns of 8 neighbours, at distances 1 and 3."""
    found: dict[str, float] = {}
    for radius in (1, 3):
        core = grey[radius:-radius, radius:-radius]
        ring = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]
        rows, columns = grey.shape
        bits = np.stack(
            [
                grey[radius * (1 + y) : rows - radius * (1 - y), radius * (1 + x) : columns - radius * (1 - x)] >= core
                for y, x in ring
            ]
        )
        changes = (bits != np.roll(bits, 1, axis=0)).sum(axis=0)
        code = np.where(changes <= 2, bits.sum(axis=0), 9)
        shares = np.bincount(code.ravel(), minlength=10) / code.size
        found |= {f"lbp{radius}.{k}": float(share) for k, share in enumerate(shares)}
    return found


def _edges(grey: Array) -> dict[str, float]:
    from scipy.ndimage import gaussian_filter

    found: dict[str, float] = {}
    for sigma in (1, 3):
        down, across = np.gradient(gaussian_filter(grey, sigma))
        size = np.hypot(down, across)
        turn = np.minimum(((np.arctan2(down, across) % np.pi) / np.pi * DIRECTIONS).astype(int), DIRECTIONS - 1)
        weight = np.bincount(turn.ravel(), weights=size.ravel(), minlength=DIRECTIONS)
        found |= {f"edge{sigma}.mean": float(size.mean()), f"edge{sigma}.std": float(size.std())}
        found[f"edge{sigma}.q95"] = float(np.percentile(size, 95))
        found |= {f"edge{sigma}.to{k}": float(w) for k, w in enumerate(weight / max(weight.sum(), 1e-9))}
    return found


def _wavelets(grey: Array) -> dict[str, float]:
    found: dict[str, float] = {}
    low = grey
    for level in (1, 2, 3, 4):
        a, b, c, d = low[::2, ::2], low[::2, 1::2], low[1::2, ::2], low[1::2, 1::2]
        for name, band in (("across", a - b + c - d), ("down", a + b - c - d), ("both", a - b - c + d)):
            found[f"haar{level}.{name}"] = float(np.log(np.mean(band**2) + 1e-8))
        low = (a + b + c + d) / 4
    return found


def _bands(grey: Array) -> dict[str, float]:
    from scipy.ndimage import gaussian_filter

    blurred = [gaussian_filter(grey, sigma) for sigma in (1, 2, 4, 8, 16)]
    found: dict[str, float] = {}
    for k, (fine, coarse) in enumerate(pairwise(blurred)):
        band = fine - coarse
        found |= {f"band{k}.mean": float(np.abs(band).mean()), f"band{k}.max": float(band.max())}
        found[f"band{k}.min"] = float(band.min())
    return found


def _layout(grey: Array) -> dict[str, float]:
    cells = grey.reshape(GRID, SIDE // GRID, GRID, SIDE // GRID)
    means, stds = cells.mean(axis=(1, 3)).ravel(), cells.std(axis=(1, 3)).ravel()
    return {f"cell{k}.mean": float(v) for k, v in enumerate(means)} | {
        f"cell{k}.std": float(v) for k, v in enumerate(stds)
    }


def _colour(rgb: Array) -> dict[str, float]:
    """How the channels differ from grey; all 0 of a grey picture."""
    tint = rgb - rgb.mean(axis=2, keepdims=True)
    saturation = np.ptp(rgb, axis=2)
    found = {f"tint.{name}": float(tint[..., k].mean()) for k, name in enumerate(("red", "green", "blue"))}
    found |= {f"tint.{name}.std": float(tint[..., k].std()) for k, name in enumerate(("red", "green", "blue"))}
    return found | {"saturation.mean": float(saturation.mean()), "saturation.std": float(saturation.std())}
