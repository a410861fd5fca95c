"""Reports of examinations with their pictures.

Settings of a "reports" layout (templates: rows.filled):
    tables, join, split  as for pictures; one row a picture, or a row with a list of pictures (`pictures`: column, under `root`)
    study      template of what one report belongs to; patient: template of whom
    picture    templates of the picture's path; view: column of the projection
    findings, impression, indication   columns; or text: template of the path of a free-text report, cut at its headings
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from consilium.datasets.benchmark import rows as table
from consilium.datasets.benchmark.description import Description, Layout
from consilium.datasets.benchmark.rows import Row
from consilium.datasets.benchmark.splits import known, nobody_twice, of_split, split_of, there
from consilium.datasets.folder import Record, draw_split
from consilium.errors import DataError

SECTIONS = ("findings", "impression", "indication")
_HEADING = re.compile(r"^[ \t]*([A-Z][A-Z /&-]{2,60}?)[ \t]*:", re.MULTILINE)
_HEADINGS = {
    "FINDINGS": "findings",
    "FINDING": "findings",
    "IMPRESSION": "impression",
    "IMPRESSIONS": "impression",
    "CONCLUSION": "impression",
    "INDICATION": "indication",
    "HISTORY": "indication",
    "CLINICAL HISTORY": "indication",
    "CLINICAL INFORMATION": "indication",
    "REASON FOR EXAM": "indication",
    "REASON FOR EXAMINATION": "indication",
}


@dataclass(frozen=True)
class Report:
    """One examination: its pictures with their views ("" where nobody says), the sections of its report ("": not there)."""

    study: str
    pictures: tuple[Path, ...]
    views: tuple[str, ...]
    findings: str
    impression: str
    indication: str
    split: str
    patient: str


def sections(text: str) -> dict[str, str]:
    """Findings, impression and indication of a free-text report, white space made single; "" for those it lacks."""
    found = dict.fromkeys(SECTIONS, "")
    marks = list(_HEADING.finditer(text))
    ends = [*(mark.start() for mark in marks), len(text)][1:]
    for mark, end in zip(marks, ends, strict=True):
        name = _HEADINGS.get(mark[1].strip())
        if name and not found[name]:
            found[name] = " ".join(text[mark.end() : end].split())
    return found


def from_tables(description: Description, layout: Layout, place: Path, split: str) -> tuple[Report, ...]:
    """Reads the reports of one split of a "reports" layout."""
    known(split)
    settings = layout.settings
    rows = table.joined(place, table.tables(place, settings["tables"]), settings.get("join", ()))
    studies: dict[str, list[Row]] = {}
    for row in rows:
        studies.setdefault(table.filled(settings["study"], row), []).append(row)
    heads = _split(layout, place, studies)
    nobody_twice(place, ((head.patient, head.split) for head in heads), description)
    kept: tuple[Record, ...] = of_split(description, place, heads, split)
    found = tuple(_report(layout, place, head, studies[head.row["study"]]) for head in kept)
    there([path for report in found for path in report.pictures], place)
    return found


def _split(layout: Layout, place: Path, studies: dict[str, list[Row]]) -> tuple[Record, ...]:
    """Each study's split and patient, drawn by patient where none is published."""
    settings = layout.settings
    heads = tuple(
        Record(
            place,
            (),
            split_of(rows[0], settings.get("split", {})),
            table.filled(settings.get("patient", settings["study"]), rows[0]),
            {"study": study},
        )
        for study, rows in studies.items()
    )
    return draw_split(place, heads)[0] if {head.split for head in heads} == {""} else heads


def _report(layout: Layout, place: Path, head: Record, rows: Sequence[Row]) -> Report:
    settings = layout.settings
    if "text" in settings:
        said = sections(_text(place / table.filled(settings["text"], rows[0])))
    else:
        said = {name: table.column(rows[0], settings[name]) if name in settings else "" for name in SECTIONS}
    if "pictures" in settings:
        named = [{**rows[0], "_picture": name} for name in rows[0].get(settings["pictures"], ())]
        paths = tuple(table.picture(place, [f"{settings['root']}/{{_picture}}"], row) for row in named)
    else:
        paths = tuple(table.picture(place, settings["picture"], row) for row in rows)
    views = tuple(table.column(row, settings["view"]) for row in rows) if "view" in settings else ("",) * len(paths)
    return Report(head.row["study"], paths, views, **said, split=head.split, patient=head.patient)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="strict")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"the report {path} cannot be read: {error}. Unpack the archive of reports beside the tables."
        ) from error
