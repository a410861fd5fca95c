"""Files in: `read` turns a picture, a scan, a folder or a ZIP into Studies, by content and never by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path

from consilium.errors import ReadError
from consilium.types import Image, Study, Volume

__all__ = ["read"]

_NAMED = 12


def read(path: str | Path, *, modality: str | None = None, body_part: str | None = None) -> tuple[Study, ...]:
    """The Studies that lie under `path`: a file, a folder or a ZIP.

    DICOM slices of one series become one Volume, DICOM pictures of one examination one Study, plain pictures
    (PNG, JPEG, TIFF ...) one Study together, each NIfTI or NRRD file a Study. `modality` and `body_part`, in DICOM's
    words, override what headers say. Files beside readable ones that cannot be read are named in the notes of every
    Study, by number in the order of names.

    Raises UsageError where there is no file, and the first ReadError where no file can be read.
    """
    from consilium.formats.anatomy import normal_body_part, normal_modality
    from consilium.formats.archive import listing
    from consilium.formats.volume import not_finite

    found = listing(Path(path))
    pile = _Pile()
    for number, load in enumerate(found.loaders, 1):
        pile.add(load, number)
    studies = pile.studies()
    notes = (*found.notes, *(_refusal(reason, numbers) for reason, numbers in pile.refusals.items()))
    part, kind = normal_body_part(body_part), normal_modality(modality)
    told = (replace(study, notes=(*study.notes, *not_finite(study.images), *notes)) for study in studies)
    return tuple(_told(study, kind, part) for study in told)


def _refusal(reason: str, numbers: Sequence[int]) -> str:
    named = ", ".join(map(str, numbers[:_NAMED])) + (" ..." if len(numbers) > _NAMED else "")
    return f"left out, in order of names: {len(numbers)} files ({named}): {reason}"


def _told(study: Study, modality: str | None, body_part: str | None) -> Study:
    if modality is not None:
        study = replace(study, modality=modality, modality_source="user")
    if body_part is not None:
        study = replace(study, body_part=body_part, body_part_source="user")
    return study


@dataclass
class _Pile:
    """What has been read so far, still loose."""

    frames: list = field(default_factory=list)
    pictures: list[Study] = field(default_factory=list)
    volumes: list[Study] = field(default_factory=list)
    refusals: dict[str, list[int]] = field(default_factory=dict)
    errors: list[ReadError] = field(default_factory=list)
    size: int = 0

    def add(self, load: Callable[[], bytes], number: int) -> None:
        try:
            self._read(load())
        except ReadError as error:
            self.errors.append(error)
            self.refusals.setdefault(f"{type(error).__name__}: {error}", []).append(number)

    def _read(self, data: bytes) -> None:
        from consilium.formats.archive import unpacked
        from consilium.formats.sniff import sniff

        data = unpacked(data)
        kind = sniff(data)
        if kind == "DICOM":
            from consilium.formats.dicom import read_dicom

            frames = read_dicom(data)
            self._weigh([frame.image for frame in frames])
            self.frames += frames
            return
        study = _reader(kind)(data)
        self._weigh(study.images)
        (self.volumes if kind in {"NIfTI", "NRRD"} else self.pictures).append(study)

    def _weigh(self, images: Sequence[Image | Volume]) -> None:
        from consilium.formats.limits import check_total

        self.size += sum((image.voxels if isinstance(image, Volume) else image.pixels).nbytes for image in images)
        check_total(self.size)

    def studies(self) -> tuple[Study, ...]:
        """All Studies. Raises the first error where there are none, rather of a would-be picture than of a text."""
        from consilium.formats.series import assemble
        from consilium.formats.sniff import AuxiliaryFileError

        if not (self.frames or self.pictures or self.volumes):
            raise min(self.errors, key=lambda error: isinstance(error, AuxiliaryFileError))
        pictures = (reduce(_joined, self.pictures),) if self.pictures else ()
        return (*assemble(self.frames), *self.volumes, *pictures)


def _reader(kind: str) -> Callable[[bytes], Study]:
    from consilium.formats.nifti import read_nifti
    from consilium.formats.nrrd import read_nrrd
    from consilium.formats.raster import read_raster

    readers: dict[str, Callable[[bytes], Study]] = {"NIfTI": read_nifti, "NRRD": read_nrrd}
    return readers.get(kind, lambda data: read_raster(data, kind))


def _joined(a: Study, b: Study) -> Study:
    formats = dict.fromkeys((*a.file_format.split(", "), b.file_format))
    notes = tuple(dict.fromkeys((*a.notes, *b.notes)))
    return replace(a, images=(*a.images, *b.images), file_format=", ".join(formats), notes=notes)
