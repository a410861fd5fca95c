"""What a specialist measured, in a line for a generalist."""

from __future__ import annotations

from dataclasses import replace

from consilium.imaging.overlay import quantity
from consilium.types import Code, Finding, Opinion

# So many measurements are told of one expert, spread over what it measured.
_TOLD = 12


def measurements(opinion: Opinion) -> str:
    """'Specialist lungs measured left lung: volume 2,310 mL; right lung: volume 2,590 mL.'; "" where it measured nothing."""
    by_concept: dict[Code, list[Finding]] = {}
    for finding in opinion.findings:
        if finding.quantity is not None:
            by_concept.setdefault(finding.concept, []).append(finding)
    each = max(1, _TOLD // max(1, len(by_concept)))
    told = [f"{code.meaning}: {', '.join(map(_amount, found[:each]))}" for code, found in by_concept.items()]
    more = f"; and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
    return f"Specialist {opinion.specialist} measured {'; '.join(told[:_TOLD])}{more}." if told else ""


def _amount(finding: Finding) -> str:
    return f"{finding.site} {quantity(replace(finding, site=''))}".strip()
