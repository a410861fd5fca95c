"""Which slices of a Volume a generalist is shown, and three windows in one picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from consilium.errors import UsageError
from consilium.imaging.measure import check_fits
from consilium.imaging.window import to_display, window_of
from consilium.types import Array, Image, Segmentation, Volume

# MedGemma 1.5 is shown up to 85 slices of a CT, and these windows in red, green and blue (Google-Health/medgemma, its notebook
# on CT and issues 49, 59, 76): all values, soft tissue, brain.
MOST = 85


def check_count(slices: int) -> None:
    """UsageError where a generalist cannot be shown so many slices of a volume."""
    if not 1 <= slices <= MOST:
        raise UsageError(f"of a volume 1 to {MOST} slices are shown, not {slices}.")


WINDOWS_HU = ((-1024.0, 1024.0), (-135.0, 215.0), (0.0, 80.0))
PERCENTILES = ((0.5, 99.5), (5.0, 95.0), (50.0, 99.5))

_SIDE, _SHADES, _SAMPLE = 128, 32, 2**20
_EMPTY = 256 / 16


def largest(segmentation: Segmentation, label: int | None = None) -> int:
    """The slice (from 0) in which the label, or all labels together, covers most; of several, the middle one.

    Raises UsageError where nothing is outlined or where the segmentation is of a flat picture.
    """
    if segmentation.labels.ndim != 3:
        raise UsageError(
            f"labels of {segmentation.labels.shape} are of a flat picture; only those of a volume have slices"
        )
    areas = _areas(segmentation)
    area = areas[:, 1:].sum(axis=1) if label is None else areas[:, label]
    if not area.any():
        what = "anything" if label is None else repr(segmentation.concepts[label - 1].meaning)
        raise UsageError(f"no slice was found with {what} outlined; show evenly spaced slices")
    best = np.flatnonzero(area == area.max())
    return int(best[(len(best) - 1) // 2])


def evenly(count: int, k: int) -> tuple[int, ...]:
    """At most k of `count` slices at equal steps, the first and the last among them; the middle one where k is 1."""
    _check_number(k)
    places = np.linspace(0, count - 1, min(k, count)) if k > 1 else np.array([(count - 1) // 2])
    return tuple(dict.fromkeys(int(place) for place in np.rint(places)))


def chosen(volume: Volume, segmentations: Sequence[Segmentation] = (), k: int = MOST) -> tuple[int, ...]:
    """At most k slices (from 0, ascending), k at most 85.

    First, for each label of each segmentation in turn, the slice in which it is largest. Then up to half of those left from the
    slices with anything outlined, each as far as can be from those chosen before. The rest by `saliency`: the slices that are
    not empty fall into as many stretches as slices are wanted, and each stretch gives its most salient; empty slices, evenly
    spaced, only where there are no others. Raises UsageError for a segmentation of another volume.
    """
    _check_number(k)
    for segmentation in segmentations:
        check_fits(segmentation, volume)
    count = len(volume.voxels)
    if k >= count:
        return tuple(range(count))
    chosen_so_far = _largest_of_each(segmentations)[:k]
    outlined = np.flatnonzero(sum((_areas(s)[:, 1:].sum(axis=1) for s in segmentations), np.zeros(count, np.int64)))
    for _ in range((k - len(chosen_so_far)) // 2):
        left = [int(i) for i in outlined if i not in chosen_so_far]
        if not left:
            break
        chosen_so_far.append(max(left, key=lambda i: min(abs(i - j) for j in chosen_so_far)))
    wanted = k - len(chosen_so_far)
    return tuple(sorted(chosen_so_far + (_most_salient(saliency(volume), chosen_so_far, wanted) if wanted else [])))


def saliency(volume: Volume) -> Array:
    """(slices,) how much there is to see, in [0, 2]: 0 for an empty slice, where 99 % of the places (from the 0.5 to the 99.5
    percentile) differ by less than a sixteenth of black to white; else the entropy of 32 shades as a share of the most possible,
    plus the mean gradient as a share of the steepest slice's.

    All slices are seen in one window, the volume's own or else a robust one of all its voxels, so that noise stays dark, and
    at most about 128 x 128 places of each, evenly spaced.
    """
    _, rows, columns = volume.voxels.shape
    thin = volume.voxels[:, :: max(1, rows // _SIDE), :: max(1, columns // _SIDE)]
    window = window_of(Image(thin.reshape(len(thin), -1), "", None, volume.window, volume.units))
    entropy, steepness = np.zeros(len(thin)), np.zeros(len(thin))
    for i, layer in enumerate(thin):
        shades = to_display(Image(layer, "", None, window))[..., 0]
        if np.ptp(np.percentile(shades, (0.5, 99.5))) >= _EMPTY:
            share = np.bincount(shades.ravel() // (256 // _SHADES), minlength=_SHADES) / shades.size
            some = share[share > 0]
            entropy[i] = -(some * np.log2(some)).sum() / np.log2(_SHADES)
            steepness[i] = (
                sum(np.abs(np.diff(shades.astype(np.float32), axis=axis)).sum() for axis in (0, 1)) / shades.size
            )
    return entropy + steepness / max(float(steepness.max()), 1e-9)


def three_windows(image: Image, within: Volume | None = None) -> Image:
    """One slice in three windows as an RGB Image: red shows the wide range, green the middle one, blue the narrow one.

    HU: -1024 to 1024 (all), -135 to 215 (soft tissue), 0 to 80 (brain), as MedGemma 1.5 sees CT. Other units (MR): between
    percentiles, 0.5 and 99.5, 5 and 95, 50 and 99.5 (the brighter half: fluid, oedema, contrast agent), of the finite values
    above the lowest, which is the background; of `within` where it is given, so that slices of one volume compare, else of
    the slice.

    Raises UsageError for a picture in colours.
    """
    if image.pixels.ndim != 2:
        raise UsageError("a picture in colours has no windows; show it as it is")
    windows = WINDOWS_HU if image.units == "HU" else _by_percentiles(image.pixels if within is None else within.voxels)
    channels = [to_display(Image(image.pixels, "", None, window, image.units))[..., 0] for window in windows]
    seen = Image(np.stack(channels, axis=-1), "", image.spacing_mm, units="RGB")
    return Image(seen.pixels, f"sha256:{seen.digest}", image.spacing_mm, units="RGB")


def _by_percentiles(values: Array) -> tuple[tuple[float, float], ...]:
    sample = values.reshape(-1)[:: max(1, values.size // _SAMPLE)]
    sample = sample[np.isfinite(sample)]
    above = sample[sample > sample.min()] if sample.size else sample
    if not above.size:
        return ((0.0, 1.0),) * len(PERCENTILES)
    return tuple((float(low), float(high)) for low, high in (np.percentile(above, pair) for pair in PERCENTILES))


def _check_number(k: int) -> None:
    if not 1 <= k <= MOST:
        raise UsageError(f"{k} slices were asked for; choose 1 to {MOST}, which is what a generalist can look at")


def _areas(segmentation: Segmentation) -> Array:
    """(slices, labels with the background) how many places of each."""
    size = len(segmentation.concepts) + 1
    return np.array([np.bincount(layer.ravel(), minlength=size) for layer in segmentation.labels])


def _largest_of_each(segmentations: Sequence[Segmentation]) -> list[int]:
    found: dict[int, None] = {}
    for segmentation in segmentations:
        present = np.flatnonzero(_areas(segmentation).any(axis=0))
        found |= {largest(segmentation, int(label)): None for label in present if label}
    return list(found)


def _most_salient(salient: Array, taken: Sequence[int], wanted: int) -> list[int]:
    """`wanted` further slices, one from each of as many stretches of those that are left."""
    free = np.array([i for i in range(len(salient)) if i not in taken])
    full = free[salient[free] > 0]
    if len(full) < wanted:
        empty = free[salient[free] == 0]
        more = empty[np.rint(np.linspace(0, len(empty) - 1, wanted - len(full))).astype(int)]
        return [int(i) for i in (*full, *more)]
    return [int(part[salient[part].argmax()]) for part in np.array_split(full, wanted)]
