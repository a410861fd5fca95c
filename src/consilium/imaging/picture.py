"""Pictures for screens and prompts: sizes, PNG and JPEG bytes, heat maps, and the slices that a volume is seen by."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from consilium.imaging.slices import chosen, three_windows
from consilium.imaging.window import to_display
from consilium.types import Array, Image, Region, Segmentation, Study, Volume

VIEWS = 3
_FIRST, _LAST = 0.35, 0.65
_OPACITY = 0.6
# Anchors of inferno (Smith and van der Walt, CC0): even in lightness, so it reads in grey and without red-green vision
_HEAT = np.array(
    [
        [0, 0, 4],
        [40, 11, 84],
        [101, 21, 110],
        [159, 42, 99],
        [212, 72, 66],
        [245, 125, 21],
        [250, 193, 39],
        [252, 255, 164],
    ]
)


def resize(rgb: Array, rows: int, columns: int) -> Array:
    """uint8 (h, w, 3) to uint8 (rows, columns, 3), bicubic."""
    from PIL import Image as Pillow

    return np.asarray(Pillow.fromarray(rgb).resize((columns, rows), Pillow.Resampling.BICUBIC))


def thumbnail_jpeg(image: Image, side: int = 96) -> bytes:
    """A small JPEG, at most `side` pixels wide and high, of the image as it is shown."""
    from PIL import Image as Pillow

    picture = Pillow.fromarray(to_display(image))
    picture.thumbnail((side, side))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=85)
    return stream.getvalue()


def png_bytes(rgb: Array) -> bytes:
    """A PNG of uint8 (rows, columns, 3)."""
    from PIL import Image as Pillow

    stream = io.BytesIO()
    Pillow.fromarray(rgb).save(stream, "PNG")
    return stream.getvalue()


def overlay(rgb: Array, region: Region) -> Array:
    """The region as a heat map over uint8 (rows, columns, 3): the higher, the brighter and the more opaque.

    A mask keeps hard edges; relevance is stretched smoothly. Zero leaves the picture as it is.
    """
    grid = _stretched(region, *rgb.shape[:2])
    anchors = np.linspace(0.0, 1.0, len(_HEAT))
    heat = np.stack([np.interp(grid, anchors, channel) for channel in _HEAT.T], axis=-1)
    opacity = _OPACITY * grid[..., None]
    return np.rint(rgb * (1.0 - opacity) + heat * opacity).astype(np.uint8)


def _stretched(region: Region, rows: int, columns: int) -> Array:
    from PIL import Image as Pillow

    how = Pillow.Resampling.NEAREST if region.kind == "mask" else Pillow.Resampling.BICUBIC
    grid = Pillow.fromarray(np.nan_to_num(region.grid.astype(np.float32)))
    return np.clip(np.asarray(grid.resize((columns, rows), how)), 0.0, 1.0)


def views(shown: Study | Image | Volume, per_volume: int = VIEWS) -> tuple[Image, ...]:
    """The images to look at: an Image is itself, a Volume is `per_volume` slices spread evenly from 35 % to 65 %.

    A Volume with fewer slices in that span gives each of them once; a single view is the middle slice.
    """
    if isinstance(shown, Study):
        return tuple(view for item in shown.images for view in views(item, per_volume))
    if isinstance(shown, Image):
        return (shown,)
    parts = np.linspace(_FIRST, _LAST, per_volume) if per_volume > 1 else np.array([0.5])
    indices = dict.fromkeys(int(index) for index in np.rint(parts * (len(shown.voxels) - 1)))
    return tuple(shown.slice(index) for index in indices)


def pointed_to(
    shown: Image | Volume, segmentations: Sequence[Segmentation] = (), most: int = VIEWS, windows: bool = False
) -> tuple[Image, ...]:
    """The images that a generalist is shown: an Image is itself, a Volume is at most `most` slices (1 to 85), ascending.

    Where experts outlined something in the volume, the slices that their masks point to come first (`slices.chosen`). Where they
    did not, the usual few are those of `views`, by which encoders and specialists see it too; more are chosen by what they show.

    windows  slices in HU are shown in three windows at once, red, green and blue, as MedGemma 1.5 was trained on CT; a generalist
             that was not sees false colours. The uid stays that of the slice.

    Raises UsageError for more than 85 slices, and for an outline that does not fit its volume.
    """
    if isinstance(shown, Image):
        return (shown,)
    outlines = [s for s in segmentations if s.image_uid == shown.uid and s.labels.any()]
    if most <= VIEWS and not outlines:
        seen = views(shown, most)
    else:
        seen = tuple(shown.slice(index) for index in chosen(shown, outlines, most))
    if windows and shown.units == "HU":
        return tuple(replace(three_windows(image), uid=image.uid) for image in seen)
    return seen
