"""Writes every measured figure, from the files under results/, to docs/figures.md, and those by which one knows consilium into
the README between its markers.

    python benchmarks/readme_figures.py

A results file that is not there has no rows. Nothing is measured here: each figure stands with the command that did.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from figure_rows import number, p_of, sections

ROOT = Path(__file__).parents[1]
PAGE, ALL = ROOT / "README.md", ROOT / "docs/figures.md"
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"
STUDY_BEGIN, STUDY_END = "<!-- gsco -->", "<!-- /gsco -->"
STUDIED = ("best specialist", "solo", "panel_vote", "gsco", "arbitrated")
HEADER = ("figure", "value [95 % interval]", "n", "command")
INTRODUCTION = """# Figures

Written by `python benchmarks/readme_figures.py` from [results/](../results/); each section names the command that measured it.
Brackets hold 95 % intervals: bootstraps over patients or, where no patient is known, over pictures; of timings ("[least, most]")
the shortest and the longest run. ECE is the calibration error: 0 is best, but with few cases even exactly right probabilities
show more, and what they would show stands beside it ("if perfectly calibrated", with the span of 95 % of draws). Resampling
raises an ECE, so its interval may lie above its value. The router's figures say that it tells these public sets apart; each set
has its own look, which makes that easy.
"""
# File -> how the figures begin that the README shows; goals that were missed are among them.
SHOWN = {
    "specialists": (
        "cxr_pneumonia: AUROC",
        "cxr_findings: AUROC",
        "brain_tumor_mr: macro-F1",
        "lung_ct: macro-F1",
        "breast_us: macro-F1",
    ),
    "segmentation": (
        "hippocampus_mr on hippocampus_mri3d: Dice all",
        "cxr_lungs on cxr_anatomy_seg: Dice all",
    ),
    "medsam": ("medsam on skin_ham10000, by a box",),
    "install": ("`make demo`",),
    "latency": ("`consilium --help`", "one picture, peak memory"),
    "native_vqa": (
        "native, VQA-RAD image-disjoint test: closed",
        "native, less a model that never sees the picture: closed",
    ),
    "native_diagnosis": ("native alone less the light specialist, mean",),
    "native_guided": (
        "native, positives still found",
        "native, keeps its right answer",
        "native, corrects its wrong answer",
    ),
    "triggers_gated": (
        "triggers, cards that admit the picture alone, all turns",
        "triggers, cards that admit the picture alone, gate",
    ),
    "native_experts": ("experts on call: macro-F1 gained",),
    "native_experts_unlearnt": ("experts on call for what native never learnt: macro-F1 gained",),
    "native_speed": ("4 options rated", "64 tokens"),
    "prs_speed": (
        "1,000 people x 1 polygenic scores from .bed",
        "10,000 people x 1 polygenic scores from .bed",
        "10,000 people x 100 polygenic scores from .bed",
    ),
    "evaluate_speed": ("evaluating",),
    "cost_ledger": ("one stage of the generalist's training, times the operations",),
}


def main() -> None:
    results = ROOT / "results"
    page = _between(PAGE.read_text(encoding="utf-8"), BEGIN, END, block(results))
    PAGE.write_text(_between(page, STUDY_BEGIN, STUDY_END, study(results)), encoding="utf-8")
    ALL.write_text(whole(results), encoding="utf-8")


def _between(page: str, begin: str, end: str, text: str) -> str:
    before, after = page[: page.index(begin) + len(begin)], page[page.index(end) :]
    return f"{before}\n{text}\n{after}"


def study(results: Path) -> str:
    """The table of the GSCo study: macro-F1 of each policy on each set and pair, and what `arbitrated` gains; "" without it."""
    path = results / "gsco.json"
    if not path.is_file():
        return ""
    places = json.loads(path.read_text(encoding="utf-8"))["places"]
    heads = (*STUDIED, "arbitrated, 64 known cases", "arbitrated less the best specialist (p, Holm)", "ECE")
    lines = [("set, or pair trained -> judged", "n", *heads)]
    lines.append(("---",) * len(lines[0]))
    for name, place in places.items():
        figures = place["systems"]
        cells = [number(figures[of]["macro-F1"]["value"]) for of in STUDIED]
        few = place["known cases of the right set"].get("64")
        cells.append(number(few["macro-F1"]["value"]) if few else "-")
        test = next(t for t in place["tests"] if t["second"] == "best specialist")
        gain = test["difference"]
        told = (
            f"{number(gain['value'])} [{number(gain['low'])}, {number(gain['high'])}] ({p_of(test['p_holm'])})"
            if gain
            else "-"
        )
        lines.append((name, str(place["n"]), *cells, told, number(figures["arbitrated"].get("ECE", {}).get("value"))))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def block(results: Path) -> str:
    """The README's table as Markdown, from the results files that are there."""
    shown = [
        row
        for name, _, rows in sections(results)
        for row in rows
        if any(row.figure.startswith(words) for words in SHOWN.get(name, ()))
    ]
    return _table(HEADER, [row.cells() for row in shown])


def whole(results: Path) -> str:
    """docs/figures.md: every figure, by what was measured."""
    return "\n".join([INTRODUCTION, *_parts(results)])


def _parts(results: Path) -> Iterator[str]:
    for _, title, rows in sections(results):
        yield f"## {title}\n\n`{rows[0].command}`\n"
        yield _table(HEADER[:-1], [row.cells()[:-1] for row in rows]) + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, ("---",) * len(header), *rows])


if __name__ == "__main__":
    main()
