"""A network on a volume of any size, window by window, in bounded memory.

Windows overlap; where they do, their answers are averaged with a Gaussian that trusts the middle of each (Isensee et al. 2021).
Answers are kept only for the slab of planes that windows still to come will touch; planes that are done leave it at once.
A window that holds one value alone gives the answer of every such window: the network sees it once a value, not once a place.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from consilium.errors import UsageError
from consilium.types import Array

if TYPE_CHECKING:
    from torch import Tensor

Answer = Callable[["Tensor"], "Tensor"]
"""(b, channels, ...) windows, of the volume's dtype -> (b, answers, ...) float."""

# Standard deviation of the Gaussian as a share of the window's side, and its least share of the middle's weight.
_SIGMA, _FLOOR = 0.125, 1e-3
_MOST_VALUES = 16


@dataclass(frozen=True)
class Windows:
    """`size` of a window (planes, rows, columns), share of it that neighbours `overlap`, and how many are answered `at_once`."""

    size: tuple[int, int, int]
    overlap: float = 0.5
    at_once: int = 1

    def __post_init__(self) -> None:
        if min(self.size) < 1 or not 0 <= self.overlap < 1 or self.at_once < 1:
            raise UsageError(f"no windows are {self}; give sides and a batch from 1, and an overlap from 0 to below 1.")


def labels(volume: Array, answer: Answer, windows: Windows, fill: float = 0) -> Array:
    """(slices, rows, columns) or (channels, slices, rows, columns) -> uint8 (slices, rows, columns): which of the network's
    answers is highest. Volumes smaller than a window are set in its middle, with `fill` around them."""
    found = np.empty(volume.shape[-3:], np.uint8)
    for first, slab in slabs(volume, answer, windows, fill, weighed=False):
        found[first : first + slab.shape[1]] = slab.argmax(0).to("cpu").numpy()
    return found


def slabs(
    volume: Array, answer: Answer, windows: Windows, fill: float = 0, weighed: bool = True
) -> Iterator[tuple[int, Tensor]]:
    """Yields (first plane, averaged answers (answers, planes, rows, columns) float32) from the first plane to the last.

    What is yielded is valid until the next is asked for. `weighed` False leaves sums undivided: their order is the same.
    """
    padded, before = _padded(volume if volume.ndim == 4 else volume[None], windows.size, fill)
    shape, size = padded.shape[1:], windows.size
    starts = [_starts(side, own, windows.overlap) for side, own in zip(shape, size, strict=True)]
    across = list(itertools.product(starts[1], starts[2]))
    crop, sums = _Crop(before, volume.shape[-3:]), _Sums(size, shape, weighed)
    for first, following in zip(starts[0], [*starts[0][1:], shape[0]], strict=True):
        for place, answers in _answered(padded[:, first : first + size[0]], across, answer, windows):
            sums.add(place, answers)
        if (kept := crop(first, sums.done(following - first))) is not None:
            yield kept
        sums.move_on(following - first)


class _Sums:
    """The answers so far of the planes that one row of windows touches, each weighed by the Gaussian of its window."""

    def __init__(self, size: Sequence[int], shape: Sequence[int], weighed: bool) -> None:
        self._size, self._shape, self._weighed = size, shape, weighed
        self._summed: Tensor | None = None

    def add(self, place: tuple[int, int], answers: Tensor) -> None:
        if self._summed is None:
            self._gauss = _gaussian(self._size).to(answers.device)
            wide = (self._size[0], *self._shape[1:])
            self._summed = answers.new_zeros((len(answers), *wide))
            self._weight = answers.new_zeros(wide if self._weighed else (0,))
        rows, columns = (slice(p, p + own) for p, own in zip(place, self._size[1:], strict=True))
        self._summed[:, :, rows, columns].addcmul_(answers, self._gauss)
        if self._weighed:
            self._weight[:, rows, columns].add_(self._gauss)

    def done(self, planes: int) -> Tensor:
        """The first planes, which no window to come touches."""
        if self._summed is None:
            raise RuntimeError("no window was added")
        found = self._summed[:, :planes]
        return found.div_(self._weight[:planes]) if self._weighed else found

    def move_on(self, planes: int) -> None:
        if self._summed is not None:
            _move_on(self._summed, planes)
            if self._weighed:
                _move_on(self._weight[None], planes)


def _move_on(summed: Tensor, planes: int) -> None:
    """Drops the first planes; those that follow move up, those that come are empty. In steps no longer than the move, so that no
    copy overlaps itself and none of the whole is needed."""
    depth = summed.shape[1]
    for start in range(planes, depth, planes):
        stop = min(start + planes, depth)
        summed[:, start - planes : stop - planes] = summed[:, start:stop]
    summed[:, max(0, depth - planes) :] = 0


def _answered(
    slab: Array, places: Sequence[tuple[int, int]], answer: Answer, windows: Windows
) -> Iterator[tuple[tuple[int, int], Tensor]]:
    """The answers (answers, ...) of every window of a slab, those of one value from memory."""
    known: dict[bytes, Tensor] = {}
    waiting: list[tuple[tuple[int, int], Array]] = []
    for place in places:
        window = slab[:, :, place[0] : place[0] + windows.size[1], place[1] : place[1] + windows.size[2]]
        value = _single_value(window)
        if value is None:
            waiting.append((place, window))
        else:
            if value not in known:
                known = dict(list(known.items())[1 - _MOST_VALUES :]) | {value: _asked(answer, [window])[0]}
            yield place, known[value]
        if len(waiting) == windows.at_once:
            yield from _together(waiting, answer)
            waiting = []
    if waiting:
        yield from _together(waiting, answer)


def _together(
    waiting: Sequence[tuple[tuple[int, int], Array]], answer: Answer
) -> Iterator[tuple[tuple[int, int], Tensor]]:
    answers = _asked(answer, [window for _, window in waiting])
    yield from ((place, one) for (place, _), one in zip(waiting, answers, strict=True))


def _asked(answer: Answer, some: Sequence[Array]) -> Tensor:
    import torch

    # Not around what yields: the mode would reach into the caller.
    with torch.inference_mode():
        return answer(torch.from_numpy(np.stack(some))).float()


def _single_value(window: Array) -> bytes | None:
    """The values of each channel where every one is constant; looks at few voxels first, as most windows are not."""
    corner = window[:, :1, :1, :1]
    if not (window[:, ::7, ::7, ::7] == corner).all() or not (window == corner).all():
        return None
    return corner.tobytes()


def _starts(side: int, own: int, overlap: float) -> list[int]:
    step = max(1, int(own * (1 - overlap)))
    return list(dict.fromkeys(min(start, side - own) for start in range(0, side - own + step, step)))


def _gaussian(size: Sequence[int]) -> Tensor:
    """(planes, rows, columns) weights of a window's voxels, 1 in the middle."""
    import torch

    weights = torch.ones(())
    for own in size:
        far = (torch.arange(own) - (own - 1) / 2) / (own * _SIGMA)
        weights = weights[..., None] * torch.exp(-(far**2) / 2)
    return weights.clamp_min(_FLOOR)


def _padded(volume: Array, size: Sequence[int], fill: float) -> tuple[Array, tuple[int, ...]]:
    lacking = [max(0, own - side) for own, side in zip(size, volume.shape[1:], strict=True)]
    before = tuple(missing // 2 for missing in lacking)
    if not any(lacking):
        return volume, before
    widths = [(0, 0), *((b, missing - b) for b, missing in zip(before, lacking, strict=True))]
    return np.pad(volume, widths, constant_values=fill), before


@dataclass(frozen=True)
class _Crop:
    """Takes what was padded off a slab again; None where nothing of it is left."""

    before: tuple[int, ...]
    shape: tuple[int, ...]

    def __call__(self, first: int, slab: Tensor) -> tuple[int, Tensor] | None:
        (z, y, x), (planes, rows, columns) = self.before, self.shape
        start, stop = max(first, z), min(first + slab.shape[1], z + planes)
        if start >= stop:
            return None
        return start - z, slab[:, start - first : stop - first, y : y + rows, x : x + columns]
