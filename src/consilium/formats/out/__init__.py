"""Results out: `write` turns a Consultation into files that viewers and archives open (DICOM SEG and SR, FHIR, NIfTI, PNG)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from consilium.errors import NothingError, UsageError, extra
from consilium.types import Consultation, Image, Opinion, Segmentation, Volume

if TYPE_CHECKING:
    from consilium.formats.out.seg import Outline
    from consilium.formats.out.sources import Traced

__all__ = ["KINDS", "Written", "write"]

KINDS = ("seg", "sr", "fhir", "masks", "overlays")


@dataclass(frozen=True)
class Written:
    """The files that were written, and notes of what could not be, and why. `lost`: those of the notes that tell of something
    the consultation holds and a file lacks or misplaces; the others tell that there was nothing to write."""

    paths: tuple[Path, ...]
    notes: tuple[str, ...]
    lost: tuple[str, ...] = ()


def write(
    held: Consultation,
    folder: Path,
    sources: Sequence[Path] = (),
    kinds: Sequence[str] = KINDS,
    subject: tuple[str, str] | None = None,
) -> Written:
    """Writes what `kinds` name and the consultation holds into `folder`, all of it or nothing.

    seg    segmentation-NN-SPECIALIST.dcm  a DICOM SEG for each picture that a specialist outlined parts of
    sr     report.dcm                      a DICOM SR (TID 1500) of every opinion on the pictures, referring to those SEG that are
                                           written too
    fhir   fhir-r4.json, fhir-r5.json      Bundles of DiagnosticReport, Observations (those on the genome too), ImagingStudy
    masks  mask-NN-SPECIALIST.nii.gz or .png, with .json: what its labels mean, and which slices (from 0) are missing in the
           volume and so empty in the mask
    overlays  overlay-NN-SPECIALIST.png    what was outlined over its picture, or over the slice that shows most of it

    sources  the files or folders that the case was read from: DICOM results refer to the instances in them. They belong to the
             patient's study and carry its patient, as DICOM demands; no other file and no file name says who it is.
    subject  (system, value) of the patient's identifier for FHIR, if the caller wants one there.
    Raises UsageError for an unknown kind, a source that is not there, or a library that is not installed.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise UsageError(f"no result is called {', '.join(unknown)}; there are: {', '.join(KINDS)}")
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".writing-", dir=folder) as place:
        making = _Making(held, _traced(sources, kinds), Path(place))
        steps = {"seg": making.seg, "sr": making.sr, "fhir": lambda: making.fhir(subject), "masks": making.masks}
        steps["overlays"] = making.overlays
        for kind in (kind for kind in KINDS if kind in kinds):
            steps[kind]()
        lost = tuple(note for note, is_lost in making.notes.items() if is_lost)
        return Written(_moved(making.paths, folder), tuple(making.notes), lost)


def _traced(sources: Sequence[Path], kinds: Sequence[str]) -> Mapping[str, Traced]:
    from consilium.formats.out.sources import trace

    needed = {"seg", "sr"} & set(kinds)
    _require("highdicom" if needed else None, "fhir.resources" if "fhir" in kinds else None)
    return trace(sources) if needed or "fhir" in kinds else {}


def _require(*modules: str | None) -> None:
    from importlib.util import find_spec

    for module in filter(None, modules):
        if find_spec(module.partition(".")[0]) is None:
            raise UsageError(f"{module} is not installed, and DICOM and FHIR need it: {extra('dicom')}")


def _moved(paths: Sequence[Path], folder: Path) -> tuple[Path, ...]:
    """The finished files in their place. What stood in the way of one is seen before any is moved."""
    targets = tuple(folder / path.name for path in paths)
    for target in targets:
        if target.is_dir():
            raise UsageError(f"{target.name} is a folder where a result should go; choose another folder")
    for path, target in zip(paths, targets, strict=True):
        os.replace(path, target)
    return targets


@dataclass(eq=False)
class _Making:
    """What has been made so far, in a folder that nobody looks into; each note with whether it tells of something lost."""

    held: Consultation
    traced: Mapping[str, Traced]
    place: Path
    paths: list[Path] = field(default_factory=list)
    notes: dict[str, bool] = field(default_factory=dict)
    outlines: list[tuple[Opinion, tuple[int, ...], Outline]] = field(default_factory=list)

    def seg(self) -> None:
        from consilium.formats.out.coding import slug
        from consilium.formats.out.seg import build

        for number, (opinion, chosen) in enumerate(self._drawn("seg"), 1):
            parts = [opinion.segmentations[index] for index in chosen]
            try:
                outline = build(opinion, parts, self.traced, number)
            except UsageError as error:
                self._note(f"seg: {opinion.specialist}", error)
                continue
            self.notes |= dict.fromkeys([f"seg: {note}" for note in outline.notes], False)
            self.outlines.append((opinion, chosen, outline))
            self._save(outline.dataset, f"segmentation-{number:02d}-{slug(opinion.specialist)}.dcm")

    def sr(self) -> None:
        from consilium.formats.out.sr import build

        try:
            report = build(self.held, self.traced, self.outlines)
        except UsageError as error:
            self._note("sr", error)
            return
        self.notes |= dict.fromkeys([f"sr: {note}" for note in report.notes], True)
        self._save(report.items[0], "report.dcm")

    def fhir(self, subject: tuple[str, str] | None) -> None:
        from consilium.formats.out.fhir import RELEASES, build

        for release in RELEASES:
            path = self.place / f"fhir-{release.lower()}.json"
            path.write_text(build(self.held, self.traced, release, subject), encoding="utf-8")
            self.paths.append(path)

    def masks(self) -> None:
        from consilium.formats.out.coding import slug
        from consilium.formats.out.masks import write_mask
        from consilium.imaging.stack import grid

        number = 0
        for opinion, chosen in self._drawn("masks"):
            for segmentation in (opinion.segmentations[index] for index in chosen):
                number += 1
                stem = self.place / f"mask-{number:02d}-{slug(opinion.specialist)}"
                try:
                    shown = self._shown(segmentation)
                    self.paths += write_mask(segmentation, opinion, shown, stem)
                    if isinstance(shown, Volume) and any(self._uneven(shown)) and grid(shown) is None:
                        odd = "NIfTI has its slices at even distances, which those of the volume are not"
                        self.notes[f"masks: {stem.name}: {odd}"] = True
                except UsageError as error:
                    self._note(f"masks: {opinion.specialist}", error)

    def overlays(self) -> None:
        from PIL import Image as Picture

        from consilium.formats.out.coding import slug
        from consilium.imaging.overlay import draw

        for number, (opinion, chosen) in enumerate(self._drawn("overlays"), 1):
            parts = [opinion.segmentations[index] for index in chosen]
            path = self.place / f"overlay-{number:02d}-{slug(opinion.specialist)}.png"
            try:
                drawn = draw(self._shown(parts[0]), parts, opinion.findings)
            except UsageError as error:
                self._note(f"overlays: {opinion.specialist}", error)
                continue
            Picture.fromarray(drawn.pixels).save(path)
            self.paths.append(path)

    def _drawn(self, kind: str) -> Iterator[tuple[Opinion, tuple[int, ...]]]:
        """Each specialist and picture with the places of his segmentations of it."""
        found = False
        for opinion in self.held.opinions:
            pictures: dict[str, list[int]] = {}
            for index, segmentation in enumerate(opinion.segmentations):
                pictures.setdefault(segmentation.image_uid, []).append(index)
            for chosen in pictures.values():
                found = True
                yield opinion, tuple(chosen)
        if not found:
            self.notes[f"{kind}: nothing was outlined"] = False

    def _note(self, whose: str, error: UsageError) -> None:
        self.notes[f"{whose}: {error}"] = not isinstance(error, NothingError)

    def _uneven(self, volume: Volume) -> Iterator[str]:
        """What was noted on reading of the distances of its slices."""
        from consilium.formats.series import UNEVEN

        for study in self.held.case.studies:
            if any(item.uid == volume.uid for item in study.images):
                yield from (note for note in study.notes if note.startswith(UNEVEN))

    def _shown(self, segmentation: Segmentation) -> Image | Volume:
        """The picture or volume of the case that was outlined."""
        from consilium.formats.out.sources import pictures

        for shown in pictures(self.held):
            if shown.uid == segmentation.image_uid:
                return shown
            uid, _, number = segmentation.image_uid.rpartition("#")
            if isinstance(shown, Volume) and shown.uid == uid and number.isdigit() and int(number) < len(shown.voxels):
                return shown.slice(int(number))
        raise UsageError(
            "the case does not hold the picture that was outlined; write the consultation with its pictures"
        )

    def _save(self, dataset: Any, name: str) -> None:
        from consilium.formats.out.sources import discreet

        with discreet():
            dataset.save_as(self.place / name, enforce_file_format=True)
        self.paths.append(self.place / name)
