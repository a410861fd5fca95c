"""The native generalist against the stock transformers pipeline: same checkpoint, same questions, side by side in one run.

python benchmarks/native_speed.py --checkpoint FOLDER [--repeats 7]

1. A new picture and a closed question: the likelihoods of 4 options. Ours reads the picture with the shared encoder and the
   prompt once; stock runs one full forward an option, with pixels, as the pipeline's model and processor are commonly used.
2. A second question on the same picture: 64 greedy tokens, neither side stopping before. Ours has read the picture; the
   stock pipeline reads it again.
Stock runs in the dtype of the checkpoint, as the pipeline loads it, and in float32; the bar is against the faster of both.
The sides take turns; a ratio is of one turn, the figure their median [least, most]. Last, the peak memory of a process that
answers one question with the whole council.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "examples" / "chest_xray.jpg"
OPTIONS = ("normal", "bacterial pneumonia", "viral pneumonia", "pleural effusion")
CLOSED, OPEN = "What does this chest X-ray show?", "Describe the picture."
TOKENS = 64
BARS = {"score_of_4_options": 3.0, "second_question_64_tokens": 1.5}
BAR_GB = 2.0
Messages = Sequence[Any]


@dataclass
class Ours:
    """The native generalist on the shared encoder."""

    chief: Any

    def score(self, messages: Messages) -> list[float]:
        return list(self.chief.score(messages, OPTIONS))

    def write(self, messages: Messages) -> int:
        ids, _ = self.chief.reader.greedy(self.chief.writer.prompt(messages), TOKENS, frozenset())
        return len(ids)


@dataclass
class Stock:
    """transformers.pipeline("image-text-to-text") and what it holds."""

    pipe: Any

    def score(self, messages: Messages) -> list[float]:
        """The mean log-likelihood of each option's tokens and the end of the turn: one forward an option."""
        import torch

        processor, model = self.pipe.processor, self.pipe.model
        chat, picture = _chat(messages)
        prompt = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        found = []
        for option in OPTIONS:
            reply = [*processor.tokenizer.encode(option, add_special_tokens=False), processor.tokenizer.eos_token_id]
            text = f"{prompt}{option}{processor.tokenizer.eos_token}"
            inputs = processor(text=text, images=[picture], return_tensors="pt")
            inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
            with torch.inference_mode():
                logits = model(**inputs).logits[0, -len(reply) - 1 : -1].float().log_softmax(-1)
            found.append(float(logits[range(len(reply)), reply].mean()))
        return found

    def write(self, messages: Messages) -> int:
        chat, _ = _chat(messages)
        how = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "do_sample": False}
        said = self.pipe(text=chat, return_full_text=False, generate_kwargs=how)[0]["generated_text"]
        return TOKENS if said else 0


def _chat(messages: Messages) -> tuple[list[dict[str, Any]], Any]:
    """The messages as the pipeline takes them, and their one picture."""
    import PIL.Image

    from consilium.imaging.window import to_display

    pictures: list[Any] = []

    def part(one: Any) -> dict[str, Any]:
        if isinstance(one, str):
            return {"type": "text", "text": one}
        pictures.append(PIL.Image.fromarray(to_display(one)))
        return {"type": "image", "image": pictures[-1]}

    return [{"role": m.role, "content": [part(one) for one in m.parts]} for m in messages], pictures[0]


@dataclass
class Sides:
    """Name -> side, the first ours; `seconds` and `cpu_seconds`: side -> task -> of each turn; `rated`: what each said of the
    options. Seconds of the processor, over all threads, hang less on what else runs on the machine."""

    sides: dict[str, Any]
    seconds: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    cpu_seconds: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    rated: dict[str, list[list[float]]] = field(default_factory=dict)

    def turn(self, closed: Messages, opened: Messages, forward: bool) -> None:
        """Every side once on both tasks; the order changes from turn to turn."""
        for name, side in list(self.sides.items())[:: 1 if forward else -1]:
            self.rated.setdefault(name, []).append(self._timed(name, "score_of_4_options", side.score, closed))
            written = self._timed(name, "second_question_64_tokens", side.write, opened)
            if written != TOKENS:
                raise SystemExit(f"{name} wrote {written} tokens, not {TOKENS}.")

    def _timed(self, name: str, task: str, work: Callable[[Messages], Any], messages: Messages) -> Any:
        start, cpu = time.perf_counter(), time.process_time()
        found = work(messages)
        self.seconds.setdefault(name, {}).setdefault(task, []).append(time.perf_counter() - start)
        self.cpu_seconds.setdefault(name, {}).setdefault(task, []).append(time.process_time() - cpu)
        return found

    def forget(self) -> None:
        self.seconds.clear()
        self.cpu_seconds.clear()
        self.rated.clear()


def sides(folder: Path) -> Sides:
    """Ours (and in 8 bits where it can), stock as it loads and in float32."""
    import torch
    from transformers import pipeline

    from consilium import registry

    def ours(**how: Any) -> Ours:
        # An encoder of its own: what the other side has seen must not be remembered.
        encoder = registry.get("encoders", "clip_vit_b16").load()
        return Ours(registry.get("generalists", "native").load(folder=folder, encoder=encoder, **how))

    found: dict[str, Any] = {"ours": ours(), "ours int8": ours(quantise="int8")}
    for name, dtype in (("stock", "auto"), ("stock float32", torch.float32)):
        found[name] = Stock(pipeline("image-text-to-text", model=str(folder), dtype=dtype, device="cpu"))
    return Sides(found)


def questions(repeat: int) -> tuple[Messages, Messages]:
    """Both prompts, as `consult` serves them, on a picture that nobody has seen."""
    from consilium import formats
    from consilium.consult.council import case_of
    from consilium.consult.prompt import compose
    from consilium.types import Image, Study

    pixels = np.asarray(formats.read(PICTURE)[0].images[0].pixels).astype(int)  # type: ignore[union-attr]
    noise = np.random.default_rng(repeat).integers(-2, 3, pixels.shape)
    study = Study("CR", "CHEST", (Image(np.clip(pixels + noise, 0, 255).astype(np.uint8), f"noisy{repeat}"),))
    return compose(case_of([study], CLOSED, OPTIONS)), compose(case_of([study], OPEN))


def report_of(held: Sides) -> dict[str, Any]:
    tasks: dict[str, Any] = {}
    for task, bar in BARS.items():
        by_side = {name: seconds[task] for name, seconds in held.seconds.items()}
        best = min((name for name in by_side if name.startswith("stock")), key=lambda name: np.median(by_side[name]))
        found: dict[str, Any] = {"seconds": {name: spread(values) for name, values in by_side.items()}}
        for name in (name for name in by_side if name.startswith("ours")):
            for other in (name for name in by_side if name.startswith("stock")):
                times = [b / a for a, b in zip(by_side[name], by_side[other], strict=True)]
                found.setdefault("times_as_fast", {}).setdefault(name, {})[other] = spread(times)
        found["cpu_seconds"] = {name: spread(seconds[task]) for name, seconds in held.cpu_seconds.items()}
        headline = found["times_as_fast"]["ours"][best]
        tasks[task] = {**found, "bar": {**headline, "against": best, "bar": bar, "met": headline["value"] >= bar}}
    return tasks


def agreement(held: Sides) -> dict[str, Any]:
    """How far the options' mean log-likelihoods lie from stock's in float32, in nats, and how often the best is the same."""
    exact = np.array(held.rated["stock float32"])
    return {
        name: {
            "largest_difference": float(np.abs(np.array(rated) - exact).max()),
            "same_best": float((np.array(rated).argmax(1) == exact.argmax(1)).mean()),
            "n": len(rated),
        }
        for name, rated in held.rated.items()
        if name != "stock float32"
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"value": float(np.median(values)), "low": min(values), "high": max(values), "n": len(values)}


def answer_once(folder: Path) -> None:
    """What the measured process does: a closed and an open question by the default policy, specialists and precedents
    included."""
    import native_common as common
    from consilium.consult.council import case_of, consult

    shared = common.base()
    seats = {name: shared.specialist(name) for name in shared.specialists}
    panel = common.bench(lambda: common.native(folder), seats, shared.retriever)
    studies = common.read(PICTURE, "CR", "CHEST")
    consult(case_of(studies, CLOSED, OPTIONS[:3]), panel)
    consult(case_of(studies, OPEN), panel)


def peak_gb(folder: Path) -> float:
    """Peak resident memory of such a process, in GB."""
    words = [sys.executable, __file__, "--checkpoint", str(folder), "--answer-once"]
    process = subprocess.Popen(words, env=os.environ | {"CONSILIUM_FEATURES": "0"})
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit("the process that was to answer one question failed")
    return usage.ru_maxrss / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=ROOT / "results/native_speed.json")
    parser.add_argument("--answer-once", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ["CONSILIUM_FEATURES"] = "0"  # what was read of a picture in an earlier run must not count as speed
    if options.answer_once:
        answer_once(options.checkpoint)
        return
    memory = [peak_gb(options.checkpoint) for _ in range(3)]
    import torch

    held = sides(options.checkpoint)
    for repeat in tqdm(range(options.repeats + 1), desc="turns"):
        held.turn(*questions(repeat), forward=repeat % 2 == 0)
        if repeat == 0:
            held.forget()  # the first turn pays for what every process pays once
    report = {
        "command": f"python benchmarks/native_speed.py --checkpoint FOLDER --repeats {options.repeats}",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "dtype": str(getattr(held.sides["stock"].pipe.model, "dtype", "")),
        "tasks": report_of(held),
        "agreement_with_stock_float32": agreement(held),
        "peak_gb": {**spread(memory), "bar": BAR_GB, "met": max(memory) <= BAR_GB},
    }
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
