"""Training: our loop against the plain Hugging Face Trainer, same network, same LoRA, same questions, in turns.

python benchmarks/native_train_speed.py --shards FOLDER [--config configs/train/native.toml] [--rounds 3] [--groups 12]

Ours: pictures' features kept, several questions as branches after one picture, patches dropped as the recipe says; and the
same without dropping any. Plain: one question a sequence, pixels through the vision tower each time, padded batches; in the
precision of the recipe and in float32, compared with the faster. Tokens a second count what is learnt from: for every
question its prompt, 197 visual tokens and its answer, whichever side trains on it.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from consilium.nn import llava
from consilium.nn.student import LORA_MATRICES, LORA_SCALE
from consilium.train import loop, shards, stages
from consilium.train.examples import Example, Writer
from consilium.train.plan import Recipe, Stage, read_recipe

ROOT = Path(__file__).parents[1]
BATCH = 4
BAR = 2.0
Group = Mapping[str, Any]


def train_groups(stage: Stage, folder: Path, count: int) -> list[Group]:
    """`count` train groups with one picture, spread over what the stage learns from."""
    found = [
        group
        for name in stage.mix
        for group in shards.read(folder, name)
        if group["split"] == "train" and len(group["images"]) == 1
    ]
    return [found[i * len(found) // count] for i in range(count)]


def logical_tokens(examples: Sequence[Example], per_image: int) -> int:
    """What training one question a sequence would read."""
    return sum(len(e.prefix) + per_image + len(branch.ids) for e in examples for branch in e.branches)


@dataclass
class Ours:
    """`consilium.train.loop` on a fresh student; features of the pictures are made before time is taken."""

    recipe: Recipe
    stage: Stage
    data: Path

    def __post_init__(self) -> None:
        self.student, processor = stages.make_student(self.recipe)
        self.writer = Writer(processor.tokenizer)
        self.per_image = llava.tokens_per_image(self.student.config.vision_config)
        self.trained = self.student.learns("projector" in self.stage.learns, "lora" in self.stage.learns)
        self.pictures = stages.Pictures(stages.open_encoder(self.recipe), self.data, self.student)

    def examples(self, groups: Sequence[Group]) -> list[Example]:
        made = [self.writer.example(group) for group in groups]
        for example in made:
            self.pictures(example)
        return made

    def seconds(self, groups: Sequence[Group], **plan: Any) -> float:
        """Of one pass over the groups."""
        examples, taken = self.examples(groups), []
        with tempfile.TemporaryDirectory() as folder:
            run = loop.Run(self.student, self.trained, examples, self.pictures, Path(folder), self.per_image)
            how = replace(self.stage.plan, epochs=1.0, device="cpu", save_every=10**9, **plan)  # type: ignore[type-var]
            loop.train(run, how, lambda step: taken.append(step.seconds))
        return sum(taken)


class Plain:
    """transformers.Trainer on a LlavaForConditionalGeneration that peft wrapped, as tutorials write it."""

    def __init__(self, recipe: Recipe, stage: Stage, data: Path, precision: str) -> None:
        import torch
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(recipe.seed)
        model, self.processor = llava.build(
            stages._folder(recipe.vision), stages._folder(recipe.language), recipe.layer
        )
        self.half = precision == "bfloat16"
        model.to(torch.bfloat16 if self.half else torch.float32)
        matrices = "|".join(LORA_MATRICES)
        lora = LoraConfig(
            r=recipe.rank,
            lora_alpha=round(LORA_SCALE * recipe.rank),
            target_modules=rf".*language_model\..*\.(?:{matrices})",
        )
        self.model = get_peft_model(model, lora)
        for name, parameter in self.model.named_parameters():
            if "multi_modal_projector" in name:
                parameter.requires_grad_(True)
                parameter.data = parameter.data.float() if not self.half else parameter.data
        self.rate, self.data = stage.plan.rate, data

    def seconds(self, groups: Sequence[Group]) -> float:
        """Of one pass over the questions of the groups."""
        from transformers import Trainer, TrainerCallback, TrainingArguments

        class Clock(TrainerCallback):
            begun = ended = 0.0

            def on_train_begin(self, *_: Any, **__: Any) -> None:
                self.begun = time.perf_counter()

            def on_train_end(self, *_: Any, **__: Any) -> None:
                self.ended = time.perf_counter()

        clock = Clock()
        with tempfile.TemporaryDirectory() as folder:
            how = TrainingArguments(
                folder,
                per_device_train_batch_size=BATCH,
                num_train_epochs=1,
                learning_rate=self.rate,
                lr_scheduler_type="cosine",
                bf16=self.half,
                use_cpu=True,
                save_strategy="no",
                report_to=[],
                remove_unused_columns=False,
                disable_tqdm=True,
                logging_strategy="no",
            )
            questions = [(group, branch) for group in groups for branch in group["branches"]]
            trainer = Trainer(self.model, how, train_dataset=questions, data_collator=self._collate, callbacks=[clock])
            trainer.train()
        return clock.ended - clock.begun

    def _collate(self, questions: Sequence[tuple[Group, Mapping[str, Any]]]) -> dict[str, Any]:
        import PIL.Image
        import torch

        chats = [_chat(group, branch) for group, branch in questions]
        pictures = [PIL.Image.open(self.data / group["images"][0]["path"]).convert("RGB") for group, _ in questions]
        write = self.processor.apply_chat_template
        whole = [write(chat, tokenize=False) for chat in chats]
        asked = [write(chat[:-1], tokenize=False, add_generation_prompt=True) for chat in chats]
        batch = self.processor(text=whole, images=pictures, padding=True, padding_side="right", return_tensors="pt")
        given = self.processor(text=asked, images=pictures, padding=True, padding_side="right", return_tensors="pt")
        labels = batch["input_ids"].clone()
        labels[batch["attention_mask"] == 0] = -100
        for row, length in enumerate(given["attention_mask"].sum(1).tolist()):
            labels[row, :length] = -100
        if self.half:
            batch["pixel_values"] = batch["pixel_values"].to(torch.bfloat16)
        return {**batch, "labels": labels}


def _chat(group: Group, branch: Mapping[str, Any]) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = [{"role": "system", "content": group["system"]}]
    for number, (role, text) in enumerate(branch["messages"]):
        lead = [{"type": "image"}] if number == 0 else []
        turns.append({"role": role, "content": [*lead, {"type": "text", "text": text}]})
    return turns


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"value": float(np.median(values)), "low": min(values), "high": max(values), "n": len(values)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path, required=True, help="the folder that `consilium train data` wrote")
    parser.add_argument("--config", type=Path, default=ROOT / "configs/train/native.toml")
    parser.add_argument("--stage", default="instruction")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--groups", type=int, default=12, help="groups a round")
    parser.add_argument("--out", type=Path, default=ROOT / "results/native_train_speed.json")
    options = parser.parse_args()
    recipe = read_recipe(options.config)
    stage = recipe.stage(options.stage)
    groups = train_groups(stage, options.shards, options.groups * (options.rounds + 1))
    ours = Ours(recipe, stage, options.data)
    whole = {"shown": ours.per_image}
    sides: dict[str, Callable[[Sequence[Group]], float]] = {
        "ours": ours.seconds,
        "ours, no patch dropped": lambda part: ours.seconds(part, **whole),
    }
    for precision in dict.fromkeys((recipe.precision, "float32")):
        sides[f"plain {precision}"] = Plain(recipe, stage, options.data, precision).seconds
    rates: dict[str, list[float]] = {name: [] for name in sides}
    with tqdm(total=(options.rounds + 1) * len(sides), desc="rounds") as bar:
        for number in range(options.rounds + 1):
            part = groups[number * options.groups : (number + 1) * options.groups]
            tokens = logical_tokens(ours.examples(part), ours.per_image)
            for name, seconds in list(sides.items())[:: 1 if number % 2 == 0 else -1]:
                rate = tokens / seconds(part)
                if number:  # the first round pays for what every process pays once
                    rates[name].append(rate)
                bar.update()
    best = max((name for name in rates if name.startswith("plain")), key=lambda name: np.median(rates[name]))
    times = {
        name: spread([a / b for a, b in zip(rates[name], rates[best], strict=True)])
        for name in rates
        if name.startswith("ours")
    }
    report = {
        "command": f"python benchmarks/native_train_speed.py --shards FOLDER --rounds {options.rounds} "
        f"--groups {options.groups}",
        "stage": stage.name,
        "cores": os.cpu_count(),
        "plain_batch": BATCH,
        "tokens_a_second": {name: spread(values) for name, values in rates.items()},
        "times_as_fast": times,
        "bar": {**times["ours"], "against": best, "bar": BAR, "met": times["ours"]["value"] >= BAR},
    }
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
