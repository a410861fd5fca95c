"""The measured figures of the files under results/, a row each; nothing is measured here."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

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
        value, low, high = (number(self.score[key]) for key in ("value", "low", "high"))
        return self.figure, f"{value} [{low}, {high}]", f"{self.score['n']:,}", f"`{self.command}`"


def _specialists(report: Mapping[str, Any], command: str) -> Iterator[Row]:
    for name, made in report["specialists"].items():
        by_metric = {score["metric"]: score for score in made["scores"]}
        for metric in HEADLINES.get(name, ("AUROC",)):
            yield Row(f"{name}: {metric}", by_metric[metric], command)
        floor = by_metric["ECE if perfectly calibrated"]
        span = f"[{number(floor['low'])}, {number(floor['high'])}]"
        yield Row(f"{name}: ECE (if perfectly calibrated: {number(floor['value'])} {span})", by_metric["ECE"], command)


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
            yield Row(
                f"{name}, less a model that never sees the picture: {words} ({p_of(gap['p_holm'])})", gap, command
            )
    if "official_test_leaky" in report:
        leaky = report["official_test_leaky"]
        words = f"{name}, VQA-RAD official test, leaky ({leaky['learnt_questions']} of its questions were learnt)"
        yield Row(f"{words}: closed accuracy", leaky[name]["closed_accuracy"], command)


def _native_diagnosis(report: Mapping[str, Any], command: str) -> Iterator[Row]:
    name = _under_study(report)
    yield Row(f"{name} alone, mean of sets: macro-F1", report["figures"]["mean of sets"][name]["macro_f1"], command)
    for part, gaps in report[f"{name}_minus"].items():
        gap = gaps["light_specialist"]
        yield Row(f"{name} alone less the light specialist, {part}: macro-F1 ({p_of(gap['p'])})", gap, command)


def _native_ablation(report: Mapping[str, Any], command: str) -> Iterator[Row]:
    for row in report["rows"]:
        yield Row(f"short run: {row['row']}: closed accuracy, val", row, command)
        if "difference" in row:
            yield Row(f"short run: {row['row']}, less the recipe ({p_of(row['p'])})", row["difference"], command)


def _native_stage3(report: Mapping[str, Any], command: str) -> Iterator[Row]:
    for title, gap in report["guided_minus"]["plain"].items():
        yield Row(f"stage 3 less as many steps of instruction, val: {title} ({p_of(gap['p'])})", gap, command)


def _native_guided(report: Mapping[str, Any], command: str) -> Iterator[Row]:
    name = _under_study(report)
    for title, score in report["bars"].items():
        theirs = report["published"].get(title)
        beside = f"MedDr 40B: {theirs['value']}" if theirs else p_of(score["p"])
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


def p_of(value: float | None) -> str:
    """As it is written in a text."""
    return "no p" if value is None else f"p = {value:.3f}" if value >= 0.001 else "p < 0.001"


def number(value: float | None) -> str:
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
        yield Row(f"{title}, less without, {part}: macro-F1 ({p_of(gap['p'])})", gap, command)


def _prs_speed(report: Mapping[str, Any], command: str) -> Iterator[Row]:
    for run in report["runs"]:
        what = f"{run['people']:,} people x {run['scores']} polygenic scores from .{run['format']}"
        times = {"value": run["cpu_ratio"], "low": None, "high": None, "n": report["repeats"]}
        yield Row(f"{what}, times as fast as plink2 (CPU, the best run a side)", times, command)


# File under results/ -> the title of its section, and what reads it.
SECTIONS: Mapping[str, tuple[str, Callable[..., Iterator[Row]]]] = {
    "specialists": ("Specialists that ship", _specialists),
    "abstention": ("Abstention", _abstention),
    "segmentation": ("Segmenters", _segmentation),
    "medsam": ("Outlining what a box or a point marks", _medsam),
    "policies": ("Policies with a small language model without eyes", _policies),
    "install": ("Installing", _install),
    "latency": ("Speed of one consultation", _latency),
    "retrieval": ("Search for known cases", _retrieval),
    "native_vqa": ("native: visual questions", _native_vqa),
    "native_diagnosis": ("native: diagnosis by the picture alone", _native_diagnosis),
    "native_ablation": ("native: short runs with one thing changed each", _native_ablation),
    "native_stage3": ("native: what stage 3 changes, in short runs", _native_stage3),
    "native_guided": ("native: whom it believes", _native_guided),
    "triggers": ("native: whom it calls, offered every expert", _triggers),
    "triggers_gated": (
        "native: whom it calls, offered the experts whose card admits the picture",
        partial(_triggers, title="triggers, cards that admit the picture alone"),
    ),
    "native_experts": ("Experts on call for what native learnt", _native_experts),
    "native_experts_unlearnt": (
        "Experts on call for what native never learnt",
        partial(_native_experts, title="experts on call for what native never learnt"),
    ),
    "native_speed": ("native: speed of answering", _native_speed),
    "prs_speed": ("Polygenic scores: speed", _prs_speed),
    "native_train_speed": ("native: speed of training", _native_train_speed),
    "evaluate_speed": ("Evaluating: speed", _evaluate_speed),
    "cost_ledger": ("Cost of training", _cost_ledger),
}


def sections(results: Path) -> Iterator[tuple[str, str, list[Row]]]:
    """(file, title, rows) of each results file that is there, in the order of SECTIONS."""
    for name, (title, reader) in SECTIONS.items():
        path = results / f"{name}.json"
        if path.is_file():
            report = json.loads(path.read_text(encoding="utf-8"))
            yield name, title, list(reader(report, report["command"]))
