"""Outlines as masks that need no DICOM: NIfTI of a volume, PNG of a picture, and what their labels mean as JSON beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from consilium.errors import UsageError
from consilium.formats.out.coding import colour, tidy
from consilium.imaging.stack import grid
from consilium.types import Image, Opinion, Segmentation, Volume

_LABEL_INTENT = 1002
_DESCRIPTION = 79


def nifti(segmentation: Segmentation, volume: Volume) -> Any:
    """The labels as a nibabel Nifti1Image of uint8 (columns, rows, slices) with the volume's own orientation; where slices are
    missing and the others fit an even grid, on that grid, the missing ones empty.

    Raises UsageError where the labels are not of the volume's size.
    """
    import nibabel

    _check_size(segmentation, volume.voxels.shape)
    labels, affine = segmentation.labels, np.array(volume.orientation, dtype=float)
    fitted = grid(volume)
    if fitted is not None:
        labels = np.zeros((fitted[0][-1] + 1, *labels.shape[1:]), np.uint8)
        labels[fitted[0]] = segmentation.labels
        affine[:3, 2] *= fitted[1] / volume.spacing_mm[0]
    image = nibabel.Nifti1Image(np.ascontiguousarray(labels.swapaxes(0, 2)), affine)
    header = image.header
    header.set_xyzt_units("mm")
    header.set_intent(_LABEL_INTENT, name="Label")
    header["descrip"] = _description(segmentation).encode("ascii", "replace")
    image.set_sform(affine, code=1)
    # a quaternion has no shear, as a tilted gantry makes one
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    image.set_qform(affine, code=int(np.allclose(axes.T @ axes, np.eye(3), atol=1e-4)))
    return image


def png(segmentation: Segmentation, image: Image) -> Any:
    """The labels as a Pillow picture: its pixel values are the labels, its palette gives each a colour.

    Raises UsageError where the labels are not of the picture's size.
    """
    from PIL import Image as Pillow

    _check_size(segmentation, image.pixels.shape[:2])
    rows, columns = segmentation.labels.shape
    picture = Pillow.frombytes("P", (columns, rows), segmentation.labels.astype(np.uint8).tobytes())
    picture.putpalette([0, 0, 0, *(part for index in range(255) for part in colour(index))])
    return picture


def meanings(segmentation: Segmentation, opinion: Opinion) -> dict[str, Any]:
    """What the labels stand for, who drew them and how far to trust them: the JSON beside a mask."""
    counts = np.bincount(segmentation.labels.ravel(), minlength=len(segmentation.concepts) + 1)
    confidence = (*segmentation.confidence, *[None] * len(segmentation.concepts))
    return {
        "specialist": opinion.specialist,
        "version": opinion.version,
        "licence": opinion.licence,
        "caution": opinion.caution,
        "image_uid": segmentation.image_uid,
        "labels": {
            str(label): {
                "value": concept.value,
                "scheme": concept.scheme,
                "meaning": concept.meaning,
                "confidence": confidence[label - 1],
                "voxels": int(counts[label]),
            }
            for label, concept in enumerate(segmentation.concepts, 1)
        },
    }


def write_mask(segmentation: Segmentation, opinion: Opinion, shown: Image | Volume, stem: Path) -> tuple[Path, Path]:
    """Writes `stem`.nii.gz or `stem`.png, and `stem`.json, which also names the slices that the volume lacks; returns both."""
    said = meanings(segmentation, opinion)
    if isinstance(shown, Volume):
        if (fitted := grid(shown)) is not None:
            missing = np.setdiff1d(np.arange(fitted[0][-1]), fitted[0])
            said |= {"missing_slices": missing.tolist()}
        path = stem.with_name(f"{stem.name}.nii.gz")
        nifti(segmentation, shown).to_filename(path)
    else:
        path = stem.with_name(f"{stem.name}.png")
        png(segmentation, shown).save(path)
    beside = stem.with_name(f"{stem.name}.json")
    beside.write_text(json.dumps(said, indent=1, ensure_ascii=False), encoding="utf-8")
    return path, beside


def _description(segmentation: Segmentation) -> str:
    named = [f"{label} {concept.meaning}" for label, concept in enumerate(segmentation.concepts, 1)]
    return tidy("; ".join(named), _DESCRIPTION)


def _check_size(segmentation: Segmentation, size: tuple[int, ...]) -> None:
    if segmentation.labels.shape != size:
        raise UsageError(
            f"the outline is {segmentation.labels.shape}, what it lies on is {size}; outline the picture at its own size"
        )
