"""Records written by hand, where a test needs to know every answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from consilium.evaluate.records import Header, write
from consilium.types import Array

OPTIONS = ("benign", "malignant", "normal")
SPECIALIST = {"version": "1", "abstained": None, "caution": "", "foreignness": 0.5, "local_accuracy": None}


def header(policy: str, **changes: Any) -> Header:
    made = {
        "study": "evaluation",
        "dataset": "made",
        "fingerprint": "f",
        "split": "test",
        "seed": "",
        "question": "What?",
        "words": {},
        "options": list(OPTIONS),
        "policy": policy,
        "profile": "measured",
        "generalist": {"name": "echo", "version": "1"},
        "specialists": {"finder": "1"},
        "index": None,
        "wording": "w",
        "consilium": "0",
    }
    about = {"exclusive": True, "normal": "normal"} | changes.pop("about", {})
    return Header(made | changes, about)


def row(
    number: int, truth: str, choice: str | None, probabilities: Sequence[float] = (), **more: Any
) -> dict[str, Any]:
    options = more.pop("options", OPTIONS)
    vote = more.pop("vote", None)
    said = {o: 0.9 if o == vote else 0.1 / (len(options) - 1) for o in options} if vote else {}
    return {
        "row": number,
        "case": f"case-{number:04}",
        "group": f"g{number // 2}",
        "dataset": "made",
        "split": "test",
        "asked": "",
        "truth": truth,
        "choice": choice,
        "text": "",
        "probabilities": dict(zip(options, probabilities, strict=bool(len(probabilities)))),
        "calibrated": False,
        "abstained": None if choice else "a reason",
        "caution": "",
        "opinions": [{"specialist": "finder", "probabilities": said, **SPECIALIST}] if vote else [],
        "precedents": [],
        "left_out": 0,
        "seconds": {"total": 0.1},
        "versions": {},
    } | more


def soft(n: int, seed: int, sharp: float = 1.5) -> tuple[list[str], Array]:
    """(truths, probabilities (n, 3)) of an answerer who leans to the truth."""
    draw = np.random.default_rng(seed)
    truth = np.arange(n) % 3
    logits = draw.normal(size=(n, 3)) + sharp * np.eye(3)[truth]
    return [OPTIONS[i] for i in truth], np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def records(folder: Path, policy: str, n: int = 24, seed: int = 0, sharp: float = 1.5, **changes: Any) -> Path:
    """A run of `soft` answers; changes: of the header, or `votes`: the specialists' vote on each, or `abstain`: on how many."""
    votes, abstain = changes.pop("votes", [None] * n), changes.pop("abstain", 0)
    truth, p = soft(n, seed, sharp)
    rows = [
        row(i, truth[i], None if i < abstain else OPTIONS[int(p[i].argmax())], p[i].tolist(), vote=votes[i])
        for i in range(n)
    ]
    write(folder / f"{policy}.jsonl", header(policy, **changes), rows)
    return folder / f"{policy}.jsonl"
