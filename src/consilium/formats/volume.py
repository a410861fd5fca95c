"""The Study of one voxel array, as NIfTI and NRRD hold one, and what is said of arrays of any file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from consilium.errors import DamagedFileError
from consilium.types import Array, Image, Study, Volume

_MASK_VALUES = 4
_SAMPLE = 2**20


def identified(image: Image) -> Image:
    """The image under the sha256 of what it shows, for files that carry no UID."""
    return replace(image, uid=f"sha256:{image.digest}")


def plain(pixels: Array) -> Array:
    """uint8 RGB of three equal channels becomes the (rows, columns) grey that it is."""
    if pixels.ndim == 3 and (pixels[..., :1] == pixels).all():
        return np.ascontiguousarray(pixels[..., 0])
    return pixels


def not_finite(images: Sequence[Image | Volume]) -> tuple[str, ...]:
    """A note of how many values are NaN or infinite and what becomes of them; () where there are none."""
    arrays = [image.voxels if isinstance(image, Volume) else image.pixels for image in images]
    odd = sum(array.size - np.count_nonzero(np.isfinite(array)) for array in arrays if array.dtype.kind == "f")
    if not odd:
        return ()
    words = "1 value is not a finite number: it is" if odd == 1 else f"{odd} values are not finite numbers: they are"
    return (f"{words} kept, seen as black (plus infinity as white), and left out of mean intensities",)


def study_of(voxels: Array, orientation: Array, file_format: str, notes: Sequence[str]) -> Study:
    """A Study of voxels (slices, rows, columns[, 3]) with the RAS+ affine of (column, row, slice) indices.

    One slice is an Image; coloured slices are Images. Raises DamagedFileError where the spacing is no length.
    """
    across, down, along = (float(length) for length in np.linalg.norm(orientation[:3, :3], axis=0))
    spacing = (along, down, across)
    if not np.isfinite(spacing).all() or min(spacing) <= 0:
        raise DamagedFileError(f"the voxels have the spacing {spacing} mm; export the file again.")
    notes = list(notes)
    if voxels.ndim == 4 and (voxels[..., :1] == voxels).all():
        voxels = np.ascontiguousarray(voxels[..., 0])
    if voxels.ndim == 4 or len(voxels) == 1:
        units = "RGB" if voxels.ndim == 4 else ""
        images: tuple[Image | Volume, ...] = tuple(
            identified(Image(v, "", (down, across), units=units)) for v in voxels
        )
    else:
        volume = Volume(voxels, "", spacing, orientation)
        images = (replace(volume, uid=f"sha256:{volume.digest}"),)
    if voxels.ndim == 3 and _looks_like_mask(voxels):
        notes.append(f"at most {_MASK_VALUES} different values: this looks like a mask, not like a picture")
    return Study(None, None, images, file_format=file_format, notes=tuple(notes))


def _looks_like_mask(voxels: Array) -> bool:
    step = max(1, voxels.size // _SAMPLE)
    return len(np.unique(voxels.reshape(-1)[::step])) <= _MASK_VALUES
