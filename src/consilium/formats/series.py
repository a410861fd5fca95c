"""Frames laid together: slices of a series become a Volume, pictures of an examination become one Study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from consilium.formats.dicom import Frame, Place
from consilium.formats.space import LPS_TO_RAS
from consilium.types import Array, Image, Study, Volume

_SAME_PLACE_MM = 0.01
_GAP = 1.5
_UNEVEN = 0.02


def assemble(frames: Sequence[Frame]) -> tuple[Study, ...]:
    """One Study per series of slices; pictures without a place join the others of their study, modality, body part.

    What is odd (gaps, doubles, uneven spacing, mixed geometry, several patients) is said in the notes of its Study.
    """
    groups: dict[tuple[str | None, ...], list[Frame]] = {}
    for frame in frames:
        groups.setdefault(key_of(frame), []).append(frame)
    shared = _several_patients(frames)
    return tuple(_study(group, shared) for group in groups.values())


def key_of(frame: Frame) -> tuple[str | None, ...]:
    if is_slice(frame):
        return ("slices", frame.series or frame.study)
    return ("pictures", frame.study or frame.series, frame.modality, frame.body_part)


def is_slice(frame: Frame) -> bool:
    return frame.place is not None and frame.image.spacing_mm is not None and frame.image.pixels.ndim == 2


def _several_patients(frames: Sequence[Frame]) -> tuple[str, ...]:
    count = len({frame.patient for frame in frames})
    return (f"the files are of {count} different patients",) if count > 1 else ()


def _study(frames: Sequence[Frame], notes: tuple[str, ...]) -> Study:
    first = frames[0]
    said: list[str] = []
    images: tuple[Image | Volume, ...]
    if is_slice(first):
        images = tuple(_solids(frames, said))
    else:
        images = tuple(frame.image for frame in sorted(frames, key=lambda frame: (frame.series, frame.number)))
    counts = Counter(note for frame in frames for note in frame.notes)
    repeated = [f"{note} ({n} of {len(frames)} frames)" if n < len(frames) else note for note, n in counts.items()]
    return Study(
        modality=first.modality,
        body_part=first.body_part,
        images=images,
        modality_source="header" if first.modality else "unknown",
        body_part_source="header" if first.body_part else "unknown",
        file_format="DICOM",
        notes=(*notes, *said, *repeated),
    )


def _solids(frames: Sequence[Frame], notes: list[str]) -> Iterable[Image | Volume]:
    """Volumes of the slices of one series, and Images of slices that are alone."""
    parts = by_geometry(frames)
    if len(parts) > 1:
        notes.append(f"the series mixes {len(parts)} geometries (orientation, size, spacing or frame of reference)")
    number = 0
    for part in parts:
        layers = layers_of(part, notes)
        if len(layers) > 1:
            notes.append(f"{len(layers)} slices lie in the same place: one volume for each repetition")
        for layer in layers:
            if len(layer) == 1:
                yield layer[0].image
            else:
                yield _volume(layer, number, notes)
                number += 1


def by_geometry(frames: Sequence[Frame]) -> list[list[Frame]]:
    parts: list[list[Frame]] = []
    for frame in frames:
        for part in parts:
            if _same_geometry(part[0], frame):
                part.append(frame)
                break
        else:
            parts.append([frame])
    return parts


def _same_geometry(a: Frame, b: Frame) -> bool:
    place, other = _placed(a), _placed(b)
    return (
        a.image.pixels.shape == b.image.pixels.shape
        and a.image.units == b.image.units
        and place.reference == other.reference
        and bool(np.allclose(place.axes, other.axes, atol=1e-3))
        and bool(np.allclose(_spaced(a), _spaced(b), rtol=1e-3))
    )


def _placed(frame: Frame) -> Place:
    if frame.place is None:
        raise ValueError("this frame has no place")
    return frame.place


def _spaced(frame: Frame) -> tuple[float, float]:
    if frame.image.spacing_mm is None:
        raise ValueError("this frame has no spacing")
    return frame.image.spacing_mm


def layers_of(frames: Sequence[Frame], notes: list[str]) -> list[list[Frame]]:
    """Slices ordered along their normal; the n-th slice at a place goes to the n-th layer. Copies are left out."""
    normal = _placed(frames[0]).normal
    ordered = sorted(frames, key=lambda frame: (round(_height(frame, normal), 2), frame.number))
    layers: list[list[Frame]] = []
    here: list[Frame] = []
    copies = 0
    for frame in ordered:
        if here and _height(frame, normal) - _height(here[0], normal) > _SAME_PLACE_MM:
            here = []
        if any(_is_copy(frame, other) for other in here):
            copies += 1
            continue
        here.append(frame)
        if len(here) > len(layers):
            layers.append([])
        layers[len(here) - 1].append(frame)
    if copies:
        notes.append(f"copies of slices left out: {copies}")
    return layers


def _height(frame: Frame, normal: Array) -> float:
    return float(_placed(frame).position @ normal)


def _is_copy(a: Frame, b: Frame) -> bool:
    return a.image.uid == b.image.uid or a.image.digest == b.image.digest


def _volume(layer: Sequence[Frame], number: int, notes: list[str]) -> Volume:
    first = layer[0]
    place, spacing = _placed(first), _spaced(first)
    positions = np.stack([_placed(frame).position for frame in layer])
    steps = np.diff(positions @ place.normal)
    step = float(np.median(steps))
    _note_steps(steps, step, notes)
    lean = (positions[-1] - positions[0]) / float(steps.sum())
    if np.linalg.norm(lean - place.normal) > _UNEVEN:
        notes.append("slices are shifted against each other (gantry tilt)")
    to_lps = np.eye(4)
    to_lps[:3, 0] = place.axes[:3] * spacing[1]
    to_lps[:3, 1] = place.axes[3:] * spacing[0]
    to_lps[:3, 2] = lean * step
    to_lps[:3, 3] = positions[0]
    uid = first.series or first.image.uid
    return Volume(
        np.stack([frame.image.pixels for frame in layer]),
        f"{uid}/{number}" if number else uid,
        (step, *spacing),
        LPS_TO_RAS @ to_lps,
        _common_window(layer, notes),
        first.image.units,
    )


def _note_steps(steps: Array, step: float, notes: list[str]) -> None:
    gaps = np.flatnonzero(steps > _GAP * step)
    if len(gaps):
        missing = int(np.rint(steps[gaps] / step - 1).sum())
        after = ", ".join(str(gap + 1) for gap in gaps[:8])
        notes.append(f"gaps after slices {after}: about {missing} slices of {step:.4g} mm are missing")
    even = steps[steps <= _GAP * step]
    if np.abs(even - step).max(initial=0) > _UNEVEN * step:
        notes.append(f"uneven spacing of slices: {even.min():.4g} to {even.max():.4g} mm, {step:.4g} mm taken")


def _common_window(layer: Sequence[Frame], notes: list[str]) -> tuple[float, float] | None:
    windows = [frame.image.window for frame in layer if frame.image.window is not None]
    if not windows:
        return None
    if len(set(windows)) > 1:
        notes.append("windows differ between slices: their median taken")
    low, high = np.median(np.asarray(windows), axis=0)
    return float(low), float(high)
