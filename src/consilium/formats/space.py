"""Patient space: from LPS (DICOM, most NRRD) to RAS+, and volumes turned the way that radiologists look at them."""

from __future__ import annotations

import numpy as np

from consilium.types import Array

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

# (column, row, slice) directions of DICOM pictures, by the patient axis that the slices are stacked along
_SEEN_FROM = {0: ("P", "I", "R"), 1: ("L", "I", "P"), 2: ("L", "P", "S")}


def upright(voxels: Array, affine: Array) -> tuple[Array, Array]:
    """Turn (i, j, k) voxels with their RAS+ affine into (slices, rows, columns) with that of (column, row, slice).

    No value is resampled: axes are swapped and flipped. The slices stay the plane of acquisition (the axis with the
    coarsest spacing, axial where the voxels are about cubic), with the head or the front of the patient up.
    """
    from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

    stored = io_orientation(affine)
    if np.isnan(stored).any():
        raise ValueError("the axes of the volume do not span space")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    wanted = axcodes2ornt(_SEEN_FROM[_slice_axis(voxels.shape, spacing, stored)])
    turn = ornt_transform(stored, wanted)
    turned = apply_orientation(voxels, turn)
    return np.ascontiguousarray(turned.swapaxes(0, 2)), affine @ inv_ornt_aff(turn, voxels.shape[:3])


def _slice_axis(shape: tuple[int, ...], spacing: Array, stored: Array) -> int:
    """The patient axis (0 right-left, 1 back-front, 2 foot-head) that the slices are stacked along."""
    if 1 in shape[:3]:
        return int(stored[shape[:3].index(1), 0])
    coarsest = int(np.argmax(spacing))
    others = np.delete(spacing, coarsest)
    return int(stored[coarsest, 0]) if spacing[coarsest] >= 1.5 * others.max() else 2
