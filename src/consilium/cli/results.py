"""Results beside the page: DICOM SEG and SR, FHIR, masks and overlays, those that fit the case or those that were named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from consilium.cli.common import split, tell_note, writing

if TYPE_CHECKING:
    from consilium.types import Consultation

AUTO, NONE = "auto", "none"
NAMES_THE_PATIENT = ".dcm"
# What `formats.out.write` writes beside the page.
_BESIDE = ("report.dcm", "fhir-r[45].json", "segmentation-*.dcm", "mask-*", "overlay-*.png")


def kinds_of(text: str) -> tuple[str, ...] | None:
    """The kinds that `--formats` names; None for auto. UsageError where there is no such kind."""
    from consilium.errors import UsageError
    from consilium.formats.out import KINDS

    if text == AUTO:
        return None
    named = () if text == NONE else tuple(split(text))
    unknown = [kind for kind in named if kind not in KINDS]
    if unknown:
        raise UsageError(f"--formats has no {', '.join(unknown)}; there are: {AUTO}, {NONE}, {', '.join(KINDS)}.")
    return named


def results(held: Consultation, source: Path | None, folder: Path, formats: str) -> tuple[Path, ...]:
    """Writes them into `folder` and returns their paths. What was lost is said on stderr. Of kinds that were named, so is what
    there was nothing to write of, and UsageError is raised where no file could be. source: of the pictures, None: there are none.
    """
    from consilium.errors import UsageError
    from consilium.formats import out

    named = kinds_of(formats)
    kinds = _fitting(held) if named is None else named
    if not kinds:
        return ()
    with writing(folder):
        done = out.write(held, folder, [source] if source else [], kinds)
    for note in done.lost if named is None else done.notes:
        tell_note(note)
    if named is not None and not done.paths:
        raise UsageError("; ".join(done.notes))
    return done.paths


def _fitting(held: Consultation) -> Sequence[str]:
    """seg, sr and fhir of a DICOM source, fhir of a genome, where their libraries are installed; masks and overlays where
    something is outlined."""
    from importlib.util import find_spec

    outlined = any(opinion.segmentations for opinion in held.opinions)
    dicom = any(study.file_format.startswith("DICOM") for study in held.case.studies)
    found = ["masks", "overlays"] if outlined else []
    if dicom and find_spec("highdicom") is not None:
        found += ["sr", *(["seg"] if outlined else [])]
    if (dicom or held.case.genome is not None) and find_spec("fhir") is not None:
        found.append("fhir")
    return found


def demand_own(held: Consultation, folder: Path) -> None:
    """UsageError where results of other pictures lie in `folder`, which would then stand beside this case's page."""
    from consilium.errors import ConsiliumError, UsageError
    from consilium.formats import record

    there = [path.name for pattern in _BESIDE for path in sorted(folder.glob(pattern))]
    before = folder / "consultation.json"
    if not there:
        return
    try:
        known = _shown(record.read(before)) if before.is_file() else None
    except ConsiliumError:
        known = None
    if known != _shown(held):
        raise UsageError(
            f"{folder} holds results of another case ({', '.join(there[:3])}{' ...' if len(there) > 3 else ''}), which would lie "
            "beside this one's page. Name another folder with --out, or empty this one."
        )


def _shown(held: Consultation) -> set[str]:
    return {item.digest for study in held.case.studies for item in study.images}
