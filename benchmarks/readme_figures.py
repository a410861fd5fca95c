"""Puts every measured figure that the README shows between its markers, from the files under results/.

    python benchmarks/readme_figures.py

A results file that is not there has no rows. Nothing is measured here: each row names the command that did.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "README.md"
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"
STUDY_BEGIN, STUDY_END = "<!-- gsco -->", "<!-- /gsco -->"
STUDIED = ("best specialist", "solo", "panel_vote", "gsco", "arbitrated")
HEADER = ("figure", "value [95 % interval]", "n", "command")
# The one or two figures by which each specialist is known; its card holds all of them.
HEADLINES = {
    "cxr_pneumonia": ("AUROC pneumonia", "macro-F1"),
    "cxr_findings": ("AUROC",),
    "brain_tumor_mr": ("macro-F1", "AUROC tumor"),
    "lung_ct": ("macro-F1", "AUROC malignant"),
    "breast_us": ("AUROC malignant", "macro-F1"),
    "modality_router": ("accuracy",),
}
# Timings have no 95 % interval: their brackets hold the shortest and the longest run.
TIMINGS = {
    "help_cpu_s": "`consilium --help`, CPU s, median [least, most]",
    "cold_ask_wall_s": "one picture, a new process, wall s, median [least, most]",
    "cold_ask_peak_gb": "one picture, peak memory, GB, median [least, most]",
    "batch_of_20_wall_s_a_case": "a batch of 20 pictures, wall s a case, median [least, most]",
    "batch_of_20_peak_gb": "a batch of 20 pictures, peak memory, GB, median [least, most]",
}


@dataclass(frozen=True)
class Row:
    """One line of the table; `score` holds value, low, high and n."""

    figure: str
    score: Mapping[str, Any]
    command: str

    def cells(self) -> tuple[str, ...]:
        value, low, high = (_number(self.score[key]) for key in ("value", "low", "high"))
        return self.figure, f"{value} [{low}, {high}]", f"{self.score['n']:,}", f"`{self.command}`"


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    page = _between(page, BEGIN, END, block(ROOT / "results"))
    PAGE.write_text(_between(page, STUDY_BEGIN, STUDY_END, study(ROOT / "results")), encoding="utf-8")


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
        cells = [_number(figures[of]["macro-F1"]["value"]) for of in STUDIED]
        few = place["known cases of the right set"].get("64")
        cells.append(_number(few["macro-F1"]["value"]) if few else "-")
        test = next(t for t in place["tests"] if t["second"] == "best specialist")
        gain = test["difference"]
        told = (
            f"{_number(gain['value'])} [{_number(gain['low'])}, {_number(gain['high'])}] ({_p(test['p_holm'])})"
            if gain
            else "-"
        )
        lines.append((name, str(place["n"]), *cells, told, _number(figures["arbitrated"].get("ECE", {}).get("value"))))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def block(results: Path) -> str:
    """The table as Markdown, from the results files that are there."""
    lines = [HEADER, ("---",) * len(HEADER), *(row.cells() for row in rows(results))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def rows(results: Path) -> Iterator[Row]:
    """Every row, file after file in the order of READERS."""
    for name, reader in READERS.items():
        path = results / f"{name}.json"
        if path.is_file():
            report = json.loads(path.read_text(encoding="utf-8"))
            yield from reader(report, report["command"])


def _specialists(report: Mapping[str, Any], command: str) -> Iterator[Row]:
    for name, made in report["specialists"].items():
        by_metric = {score["metric"]: score for score in made["scores"]}
        for metric in HEADLINES.get(name, ("AUROC",)):
            yield Row(f"{name}: {metric}", by_metric[metric], command)
        floor = by_metric["ECE if perfectly calibrated"]
        span = f"[{_number(floor['low'])}, {_number(floor['high'])}]"
        yield Row(f"{name}: ECE (if perfectly calibrated: {_number(floor['value'])} {span})", by_metric["ECE"], command)


def _abstention(report: Mapping[str, Any], command: str) -> Iterator[Row]:
    for name, shares in report["specialists"].items():
        for key, words in {"foreign": "pictures of other modalities", "own_test": "its own test pictures"}.items():
            if key in shares:
                share = shares[key]
                yield Row(f"{name}: abstains on {words}", share, command)


def _policies(report: Mapping[str, Any], command: str) -> Iterator[Row]:
    who = ", ".join(report.get("generalist", {}))
    for run, score in report["accuracy"]["all"].items():
        yield Row(f"{who and f'generalist {who}, '}{run}, all sets: accuracy", score, command)


def _latency(report: Mapping[str, Any], command: str) -> Iterator[Row]:
    for key, words in TIMINGS.items():
        if key in report:
            yield Row(words, {**report[key], "value": report[key]["median"]}, command)
    ratio = report["added_to_encoder_pass"]["ratio"]
    words = "ten specialists and a search, as a share of one encoder pass, median [least, most]"
    yield Row(words, {**ratio, "value": ratio["median"]}, command)


def _install(report: Mapping[str, Any], command: str) -> Iterator[Row]:
    once = {"low": None, "high": None, "n": report["n"]}
    yield Row(
        "`make demo` from a clean clone with empty caches, wall s",
        {"value": report["make_demo_wall_s"], **once},
        command,
    )
    yield Row("core install, GB", {"value": report["core_install_gb"], **once}, command)


def _retrieval(report: Mapping[str, Any], command: str) -> Iterator[Row]:
    for score in report["metrics"]:
        if "filter" in score["metric"] or "p95" in score["metric"]:
            continue
        yield Row(f"{score['metric']}, {report['n']:,} cases", score, command)


def _native_vqa(report: Mapping[str, Any], command: str) -> Iterator[Row]:
    name = _under_study(report)
    for key, words in {"closed_accuracy": "closed accuracy", "open_token_f1": "open token-F1"}.items():
        yield Row(f"{name}, {report['split']}: {words}", report["image_disjoint"][name][key], command)
        gap = report[f"{name}_minus"].get("question_only", {}).get(key)
        if gap:
            yield Row(f"{name}, less a model that never sees the picture: {words} ({_p(gap['p_holm'])})", gap, command)
    if "official_test_leaky" in report:
        leaky = report["official_test_leaky"]
        words = f"{name}, VQA-RAD official test, leaky ({leaky['learnt_questions']} of its questions were learnt)"
        yield Row(f"{words}: closed accuracy", leaky[name]["closed_accuracy"], command)


def _native_diagnosis(report: Mapping[str, Any], command: str) -> Iterator[Row]:
    name = _under_study(report)
    yield Row(f"{name} alone, mean of sets: macro-F1", report["figures"]["mean of sets"][name]["macro_f1"], command)
    for part, gaps in report[f"{name}_minus"].items():
        gap = gaps["light_specialist"]
        yield Row(f"{name} alone less the light specialist, {part}: macro-F1 ({_p(gap['p'])})", gap, command)


def _native_guided(report: Mapping[str, Any], command: str) -> Iterator[Row]:
    name = _under_study(report)
    for title, score in report["bars"].items():
        theirs = report["published"].get(title)
        beside = f"MedDr 40B: {theirs['value']}" if theirs else _p(score["p"])
        yield Row(f"{name}, {title} ({beside})", score, command)


def _native_speed(report: Mapping[str, Any], command: str) -> Iterator[Row]:
    words = {
        "score_of_4_options": "4 options rated on a new picture",
        "second_question_64_tokens": "64 tokens on a second question of the same case",
    }
    for task, what in words.items():
        yield Row(
            f"{what}, times as fast as the transformers pipeline [least, most]", report["tasks"][task]["bar"], command
        )
    yield Row(
        "the council with the native generalist, peak memory, GB, median [least, most]", report["peak_gb"], command
    )


def _evaluate_speed(report: Mapping[str, Any], command: str) -> Iterator[Row]:
    yield Row(
        "evaluating under arbitrated, times the seconds of the generalist alone (over blocks)", report["bar"], command
    )


def _cost_ledger(report: Mapping[str, Any], command: str) -> Iterator[Row]:
    for what, words in {"flops": "operations", "seconds": "seconds"}.items():
        figure = (
            f"one stage of the generalist's training, times the {words} of a suite of specialists [least, most step]"
        )
        yield Row(figure, report["bar"][what], command)


def _native_train_speed(report: Mapping[str, Any], command: str) -> Iterator[Row]:
    yield Row("training, times the tokens/s of the plain transformers Trainer [least, most]", report["bar"], command)


def _under_study(report: Mapping[str, Any]) -> str:
    """The name of the checkpoint that the others are compared with."""
    return next(key for key in report if key.endswith("_minus")).removesuffix("_minus")


def _p(value: float | None) -> str:
    """As it is written in a text."""
    return "no p" if value is None else f"p = {value:.3f}" if value >= 0.001 else "p < 0.001"


def _number(value: float | None) -> str:
    """Three decimals below ten, one above; "-" where it could not be measured."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _segmentation(report: Mapping[str, Any], command: str) -> Iterator[Row]:
    for member, task in report["tasks"].items():
        for folder, test in task["tests"].items():
            for score in test["scores"]:
                if score["metric"].startswith("Dice"):
                    yield Row(f"{member} on {folder}: {score['metric']}", score, command)


def _medsam(report: Mapping[str, Any], command: str) -> Iterator[Row]:
    for folder, prompts in report["test"].items():
        if folder != "all":
            for prompt in ("box", "point"):
                yield Row(f"medsam on {folder}, by a {prompt}: Dice", prompts[prompt]["Dice"], command)


def _triggers(report: Mapping[str, Any], command: str, title: str = "triggers") -> Iterator[Row]:
    for kind, figures in report["figures"].items():
        where = "all turns" if kind == "all" else kind
        yield Row(f"{title}, {where}: right expert and arguments", figures["right expert and arguments"], command)
    gate = report["gate"]["turns without a violation carried out"]
    yield Row(f"{title}, gate: adversarial turns without a call that a card forbids", gate, command)


def _native_experts(report: Mapping[str, Any], command: str, title: str = "experts on call") -> Iterator[Row]:
    yield Row(f"{title}: macro-F1 gained, as a share of that without them", report["relative_gain"], command)
    for part, gaps in report["with_experts_minus"].items():
        gap = gaps["without"]
        yield Row(f"{title}, less without, {part}: macro-F1 ({_p(gap['p'])})", gap, command)


def _prs_speed(report: Mapping[str, Any], command: str) -> Iterator[Row]:
    for run in report["runs"]:
        what = f"{run['people']:,} people x {run['scores']} polygenic scores from .{run['format']}"
        times = {"value": run["cpu_ratio"], "low": None, "high": None, "n": report["repeats"]}
        yield Row(f"{what}, times as fast as plink2 (CPU, the best run a side)", times, command)


READERS = {
    "specialists": _specialists,
    "abstention": _abstention,
    "segmentation": _segmentation,
    "medsam": _medsam,
    "policies": _policies,
    "install": _install,
    "latency": _latency,
    "retrieval": _retrieval,
    "native_vqa": _native_vqa,
    "native_diagnosis": _native_diagnosis,
    "native_guided": _native_guided,
    "triggers": _triggers,
    "triggers_gated": partial(_triggers, title="triggers, cards that admit the picture alone"),
    "native_experts": _native_experts,
    "native_experts_unlearnt": partial(_native_experts, title="experts on call for what native never learnt"),
    "native_speed": _native_speed,
    "prs_speed": _prs_speed,
    "native_train_speed": _native_train_speed,
    "evaluate_speed": _evaluate_speed,
    "cost_ledger": _cost_ledger,
}

if __name__ == "__main__":
    main()
