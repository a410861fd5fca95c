"""Frames laid together: slices of a series become a Volume, pictures of an examination become one Study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from consilium.formats.dicom import Frame, Place
from consilium.formats.space import LPS_TO_RAS
from consilium.imaging.stack import GAP, gaps
from consilium.types import Array, Image, Study, Volume

# Slices nearer than this are in one place: so many mm, or this share of a pixel where pixels are finer.
_SAME_PLACE_MM, _SAME_PLACE_PIXELS = 0.01, 0.1
# How the notes begin that say that slices lie at uneven distances.
UNEVEN = ("gaps after", "uneven spacing")
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
        return ("slices", frame.series or frame.study, frame.patient)
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
            each = "volume" if any(len(layer) > 1 for layer in layers) else "image"
            notes.append(f"{len(layers)} slices lie in the same place: one {each} for each repetition")
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
    """Slices ordered along their normal. Where several lie in one place, one layer for each acquisition or echo, if that tells
    them apart; else the n-th slice at a place goes to the n-th layer. Copies are left out."""
    normal = _placed(frames[0]).normal
    near = min(_SAME_PLACE_MM, _SAME_PLACE_PIXELS * min(_spaced(frames[0])))
    ordered = sorted(frames, key=lambda frame: (round(_height(frame, normal) / near), frame.number))
    places: list[list[Frame]] = []
    for frame in ordered:
        if not places or _height(frame, normal) - _height(places[-1][0], normal) > near:
            places.append([])
        places[-1].append(frame)
    places = _without_copies(places)
    if copies := len(frames) - sum(map(len, places)):
        notes.append(f"copies of slices left out: {copies}")
    most = max(map(len, places))
    for told in (lambda number: number[:2], lambda number: number[1:2], lambda number: number[:1]):
        by_kind: dict[tuple[float, ...], list[Frame]] = {}
        for here in places:
            for frame in here:
                by_kind.setdefault(told(frame.number), []).append(frame)
        apart = all(len({told(frame.number) for frame in here}) == len(here) for here in places)
        if most > 1 and apart and len(by_kind) == most:
            return list(by_kind.values())
    return [[here[n] for here in places if n < len(here)] for n in range(most)]


def _height(frame: Frame, normal: Array) -> float:
    return float(_placed(frame).position @ normal)


def _without_copies(places: Sequence[Sequence[Frame]]) -> list[list[Frame]]:
    """Without what is the same instance; and, where a place has more slices than is usual in the series, without what looks the
    same: two phases may look alike where both are empty."""
    once = [list({frame.image.uid: frame for frame in reversed(here)}.values())[::-1] for here in places]
    alike = [list({frame.image.digest: frame for frame in reversed(here)}.values())[::-1] for here in once]
    usual = max(Counter(map(len, alike)).items(), key=lambda pair: (pair[1], pair[0]))[0]
    return [seen if len(here) > usual else here for here, seen in zip(once, alike, strict=True)]


def _volume(layer: Sequence[Frame], number: int, notes: list[str]) -> Volume:
    first = layer[0]
    place, spacing = _placed(first), _spaced(first)
    positions = np.stack([_placed(frame).position for frame in layer])
    heights = (positions - positions[0]) @ place.normal
    steps = np.diff(heights)
    step = float(np.median(steps))
    even = _is_even(steps, step, notes)
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
        () if even else tuple(round(float(height), 6) for height in heights),
    )


def _is_even(steps: Array, step: float, notes: list[str]) -> bool:
    """Whether the distances (slices - 1,) are all about `step`; what is odd of them is noted."""
    before = len(notes)
    found, missing = gaps(steps, step)
    if len(found):
        after = ", ".join(str(gap + 1) for gap in found[:8])
        notes.append(f"gaps after slices {after}: about {missing} slices of {step:.4g} mm are missing")
    usual = steps[steps <= GAP * step]
    if np.abs(usual - step).max(initial=0) > _UNEVEN * step:
        notes.append(f"uneven spacing of slices: {usual.min():.4g} to {usual.max():.4g} mm, {step:.4g} mm taken")
    return len(notes) == before


def _common_window(layer: Sequence[Frame], notes: list[str]) -> tuple[float, float] | None:
    windows = [frame.image.window for frame in layer if frame.image.window is not None]
    if not windows:
        return None
    if len(set(windows)) > 1:
        notes.append("windows differ between slices: their median taken")
    low, high = np.median(np.asarray(windows), axis=0)
    return float(low), float(high)
