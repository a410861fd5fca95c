"""What of a case goes into a bundle: arrays channel first, axes in the order in which MONAI reads files (column, row, slice)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from consilium.imaging.picture import views
from consilium.types import Array, Image, Study, Volume


@dataclass(frozen=True, eq=False)
class Stack:
    """values (channels, columns, rows[, slices]) float32; affine (4, 4): these indices to millimetres (RAS+); shown: the picture
    that results are said of."""

    values: Array
    affine: Array
    shown: Image | Volume
    study: Study
    caution: str = ""


def stacks(studies: Sequence[Study], inputs: Sequence[str], dimensions: int) -> tuple[list[Stack], str]:
    """One Stack for each picture or volume that a network of these input channels can see, and why there is none."""
    if dimensions == 3:
        return _volumes(studies, inputs)
    made, refused = [], ""
    for study in studies:
        caution = _seen_of_volume(study)
        for image in views(study):
            values, why = _channels(image, len(inputs))
            refused = refused or why
            if values is not None:
                made.append(Stack(values, _affine(image), image, study, caution))
    return made, refused or "it takes pictures; the case holds none"


def _seen_of_volume(study: Study) -> str:
    """That a network for pictures sees some slices of a volume alone; "" where there is no volume."""
    within = {item.uid for item in study.images if isinstance(item, Volume)}
    slices = [uid.rpartition("#")[2] for image in views(study) if (uid := image.uid).rpartition("#")[0] in within]
    told = ", ".join(str(int(number) + 1) for number in slices if number.isdecimal())
    return (
        f"it sees single pictures: of the volume slices {told} alone, which says nothing of the others" if told else ""
    )


def _volumes(studies: Sequence[Study], inputs: Sequence[str]) -> tuple[list[Stack], str]:
    volumes = [(study, item) for study in studies for item in study.images if isinstance(item, Volume)]
    if not volumes:
        return [], "it takes volumes; the case holds pictures alone"
    if len(inputs) == 1:
        return [Stack(_turned(v)[None], v.orientation, v, study) for study, v in volumes], ""
    made = list(_together(volumes, inputs))
    return (
        made,
        f"it takes {len(inputs)} volumes of one size and place ({', '.join(inputs)}); the case holds {len(volumes)} volumes",
    )


def _together(volumes: Sequence[tuple[Study, Volume]], inputs: Sequence[str]) -> Iterator[Stack]:
    study, first = volumes[0]
    same = all(
        v.voxels.shape == first.voxels.shape and np.allclose(v.orientation, first.orientation, atol=1e-3)
        for _, v in volumes
    )
    if len(volumes) == len(inputs) and same:
        values = np.stack([_turned(v) for _, v in volumes])
        caution = f"nothing in the files says which is which: they were taken as {', '.join(inputs)}, in their order"
        yield Stack(values, first.orientation, first, study, caution)


def _turned(volume: Volume) -> Array:
    """(slices, rows, columns) -> (columns, rows, slices) float32."""
    return np.ascontiguousarray(volume.voxels.T, np.float32)


def _channels(image: Image, channels: int) -> tuple[Array | None, str]:
    """(channels, columns, rows), grey as it is stored; None, with the reason, where colours would have to be made up."""
    pixels = image.pixels.astype(np.float32)
    grey = pixels if pixels.ndim == 2 else pixels[..., 0]
    coloured = pixels.ndim == 3 and not (pixels == grey[..., None]).all()
    if channels == 1 and coloured:
        return None, "it takes grey pictures; this one is coloured"
    if channels not in (1, 3):
        return None, f"it takes {channels} channels; the picture has {1 if pixels.ndim == 2 else 3}"
    layers = [pixels[..., i] for i in range(3)] if coloured else [grey] * channels
    return np.stack([np.ascontiguousarray(layer.T) for layer in layers]), ""


def _affine(image: Image) -> Array:
    rows, columns = image.spacing_mm or (1.0, 1.0)
    return np.diag([columns, rows, 1.0, 1.0])
