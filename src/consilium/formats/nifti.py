"""NIfTI-1 and NIfTI-2 in one file (.nii, .nii.gz): the first volume, upright."""

from __future__ import annotations

import gzip
import io
import math
from typing import Any

import numpy as np

from consilium.formats.limits import check_claim, check_total, guarded
from consilium.formats.space import upright
from consilium.formats.volume import study_of
from consilium.types import Array, Study

_HEADER_BYTES = 540
_MILLIMETRES = {"meter": 1000.0, "micron": 0.001}


def read_nifti(data: bytes) -> Study:
    """One Study with one Volume, or with one Image per slice where the voxels are coloured.

    Raises DamagedFileError where the file is not what its header says, UnsafeFileError where it claims too much.
    """
    with guarded("read the NIfTI file", quote=False):
        notes: list[str] = []
        image, pixdim = _open(data)
        voxels = _first_volume(image, notes)
        affine = _affine(image, pixdim, notes)
        pixels, turned = upright(voxels, affine)
    return study_of(pixels, turned, "NIfTI", notes)


def gunzip_nifti(data: bytes) -> bytes:
    """Unpack .nii.gz, and never more of it than its own header claims."""
    with guarded("unpack the gzip file"), gzip.open(io.BytesIO(data)) as stream:
        head = stream.read(_HEADER_BYTES)
        header = _header_class(head).from_fileobj(io.BytesIO(head), check=False)
        claimed = int(header["vox_offset"]) + header.get_data_dtype().itemsize * math.prod(header.get_data_shape())
        check_total(claimed)
        return head + stream.read(max(0, claimed - len(head)))


def _header_class(data: bytes) -> Any:
    import nibabel

    return nibabel.Nifti2Header if data[4:7] == b"n+2" else nibabel.Nifti1Header


def _open(data: bytes) -> tuple[Any, Array]:
    """The image, and its spacings as they stand in the header: nibabel makes 1 of 0."""
    import nibabel

    header = _header_class(data).from_fileobj(io.BytesIO(data), check=False)
    shape = header.get_data_shape()
    check_claim(shape or (0,), 1, header.get_data_dtype().itemsize)
    image_class = nibabel.Nifti2Image if data[4:7] == b"n+2" else nibabel.Nifti1Image
    return image_class.from_stream(io.BytesIO(data)), np.array(header["pixdim"])


def _first_volume(image: Any, notes: list[str]) -> Array:
    proxy = image.dataobj
    while len(proxy.shape) > 3:
        if proxy.shape[-1] > 1:
            notes.append(f"first of {proxy.shape[-1]} volumes along axis {len(proxy.shape)}")
        proxy = proxy[..., 0]
    voxels = np.asarray(proxy)
    voxels = voxels.reshape(voxels.shape + (1,) * (3 - voxels.ndim))
    if voxels.dtype.names:
        if set(voxels.dtype.names) - {"R", "G", "B"}:
            notes.append("alpha channel dropped")
        return np.stack([voxels[name] for name in "RGB"], axis=-1)
    if voxels.dtype.kind == "c":
        notes.append("complex values shown by their magnitude")
        return np.abs(voxels).astype(np.float32)
    return voxels.astype(np.float32) if voxels.dtype.kind == "f" else voxels.astype(voxels.dtype.newbyteorder("="))


def _affine(image: Any, pixdim: Array, notes: list[str]) -> Array:
    header = image.header
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        notes.append("the header says no orientation: left and right are not known")
    affine = np.asarray(image.affine, dtype=float)
    if int(header["sform_code"]) and int(header["qform_code"]):
        sides = [np.linalg.det(np.asarray(form, float)[:3, :3]) for form in (header.get_sform(), header.get_qform())]
        if sides[0] * sides[1] < 0:
            notes.append("the header's two orientations (sform, qform) disagree on left and right: the sform taken")
    blank = [axis + 1 for axis, zoom in enumerate(pixdim[1 : 1 + min(3, len(image.shape))]) if not zoom]
    if blank and not int(header["sform_code"]):
        notes.append(
            f"the header gives no spacing along axis {', '.join(map(str, blank))}: 1 mm taken, no size is real there"
        )
    unit = header.get_xyzt_units()[0]
    if unit in _MILLIMETRES:
        notes.append(f"lengths in the header are in {unit}s: taken as such")
        affine[:3] *= _MILLIMETRES[unit]
    return affine
