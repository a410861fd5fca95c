"""Trains the native generalist on a machine with a GPU that has nothing but torch, transformers, peft and accelerate.

Here:   python benchmarks/native_gpu.py pack --shards SHARDS --data ../shared/data --into PACKED
There:  python3 benchmarks/native_gpu.py run --packed PACKED --out OUT --job main --job question_only ...

`pack` writes what the training reads: the shards of `consilium train data` and every picture as the encoder sees it, a square
of 224 pixels (WebP, 12 kB). `run` encodes them once and runs jobs side by side on one GPU, each a process; the stages are
those of `consilium train`. A job is a chain of stages of the recipe (main), a branch that starts from main's (question_only,
unguided), or a row of benchmarks/native_ablation.py. Each leaves OUT/<job>.zip (facts, histories) and its stages under
PACKED/runs, adapters among them.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

LAYERS = (7, 9)
"""Hidden layers that jobs read: 9, and 7 for those that adapt the two blocks after it."""
_QUALITY = 92


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pack", "encode", "run", "job"))
    parser.add_argument("--shards", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--into", type=Path)
    parser.add_argument("--packed", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--config", type=Path, default=Path("configs/train/native.toml"))
    parser.add_argument(
        "--job", action="append", default=[], help="main, a stage that branches off, or NAME=an ablation row"
    )
    parser.add_argument("--set", dest="change", action="append", default=[], help="KEY=VALUE of the recipe")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=420, help="jobs that still run then are stopped")
    options = parser.parse_args()
    {"pack": _pack, "encode": _encode, "run": _run, "job": _job}[options.what](options)


def _pack(options: argparse.Namespace) -> None:
    from PIL import Image as Picture

    from consilium import formats
    from consilium.imaging.picture import views
    from consilium.imaging.window import to_display

    paths: dict[str, str] = {}
    for shard in sorted(options.shards.glob("*/shard-*.jsonl")):
        for line in shard.read_text(encoding="utf-8").splitlines():
            paths |= {picture["digest"]: picture["path"] for picture in json.loads(line)["images"]}
    options.into.mkdir(parents=True, exist_ok=True)
    blobs, digests = [], []
    for digest, path in sorted(paths.items()):
        study = formats.read(options.data / path)[0]
        image = next(view for item in study.images for view in views(item) if view.digest == digest)
        square = Picture.fromarray(to_display(image)).resize((224, 224), Picture.Resampling.BICUBIC)
        written = io.BytesIO()
        square.save(written, "WEBP", quality=_QUALITY, method=4)
        blobs.append(written.getvalue())
        digests.append(digest)
    ends = np.cumsum([len(blob) for blob in blobs])
    np.savez(
        options.into / "pictures.npz",
        digests=np.array(digests),
        ends=ends,
        bytes=np.frombuffer(b"".join(blobs), np.uint8),
    )
    with zipfile.ZipFile(options.into / "shards.zip", "w", zipfile.ZIP_LZMA) as archive:
        for path in sorted(options.shards.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(options.shards))
    size = (options.into / "shards.zip").stat().st_size
    print(f"{len(digests)} pictures, {ends[-1] / 2**20:.1f} MiB; shards {size / 2**20:.1f} MiB")


def _encode(options: argparse.Namespace) -> None:
    """tokens-<layer>.pt: (pictures, 197, 768) bfloat16, in the order of `digests`."""
    from multiprocessing.pool import ThreadPool

    from PIL import Image as Picture
    from transformers import CLIPVisionModelWithProjection

    from consilium import weights

    with zipfile.ZipFile(options.packed / "shards.zip") as archive:
        archive.extractall(options.packed / "shards")
    kept = np.load(options.packed / "pictures.npz")
    starts = [0, *kept["ends"][:-1]]

    def read(bounds: tuple[int, int]) -> np.ndarray:
        picture = Picture.open(io.BytesIO(kept_bytes[bounds[0] : bounds[1]].tobytes()))
        return np.asarray(picture.convert("RGB"))

    kept_bytes = kept["bytes"]
    with ThreadPool(8) as pool:
        squares = torch.from_numpy(np.stack(pool.map(read, list(zip(starts, kept["ends"], strict=True)))))
    device = torch.device(options.device)
    model = CLIPVisionModelWithProjection.from_pretrained(weights.folder("clip-vit-b16")).vision_model.to(device).eval()
    mean = torch.tensor((0.48145466, 0.4578275, 0.40821073), device=device).view(3, 1, 1)
    std = torch.tensor((0.26862954, 0.26130258, 0.27577711), device=device).view(3, 1, 1)
    found: dict[int, list[torch.Tensor]] = {layer: [] for layer in LAYERS}
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
        for part in squares.split(128):
            pixels = part.to(device).permute(0, 3, 1, 2).float().div(255)
            hidden = model((pixels - mean) / std, output_hidden_states=True).hidden_states
            for layer in LAYERS:
                found[layer].append(hidden[layer].bfloat16().cpu())
    for layer, parts in found.items():
        torch.save(torch.cat(parts), options.packed / f"tokens-{layer}.pt")


def _run(options: argparse.Namespace) -> None:
    """Encodes, then runs the jobs side by side; those that branch off main wait for the stage that they start from."""
    begun = time.time()
    if not (options.packed / f"tokens-{LAYERS[-1]}.pt").is_file():
        _encode(options)
    print(f"encoded after {time.time() - begun:.0f} s", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    running: dict[str, subprocess.Popen[bytes]] = {}
    for job in options.job:
        command = [
            sys.executable,
            __file__,
            "job",
            "--job",
            job,
            "--packed",
            str(options.packed),
            "--out",
            str(options.out),
        ]
        command += [
            "--config",
            str(options.config),
            "--device",
            options.device,
            *(f"--set={c}" for c in options.change),
        ]
        log = (options.packed / f"{job.split('=')[0]}.log").open("wb")
        running[job] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    while any(p.poll() is None for p in running.values()) and time.time() - begun < options.seconds:
        time.sleep(1)
    for job, process in running.items():
        if process.poll() is None:
            process.kill()
        tail = (options.packed / f"{job.split('=')[0]}.log").read_bytes()[-1500:].decode(errors="replace")
        print(f"== {job}: {process.poll()}\n{tail}", flush=True)
    print(f"done after {time.time() - begun:.0f} s", flush=True)


def _job(options: argparse.Namespace) -> None:
    torch.set_num_threads(2)
    (job,) = options.job
    name, _, told = job.partition("=")
    from consilium.train import stages
    from consilium.train.plan import read_recipe

    place = options.packed / "runs"
    if told.startswith("row:"):
        _ablation(name, told.removeprefix("row:"), options, place)
    else:
        recipe = read_recipe(options.config, [*options.change, *filter(None, told.split(";"))])
        _hold(stages, options.packed, recipe.layer - recipe.blocks)
        chain = [s.name for s in recipe.chain()]
        own = chain if name.startswith("main") else [name]
        out = place / (name if name.startswith("main") else "main")
        for stage in own:
            _await(recipe.stage(stage).after, out)
            where = stages.Places(options.packed / "shards", options.packed, out)
            facts = stages.run_stage(recipe, recipe.stage(stage), where, how=(options.device, ""))
            print(json.dumps(facts), flush=True)
            _zip(out, own, options.out / f"{name}.zip")
        where = stages.Places(options.packed / "shards", options.packed, out)
        for stage in own:
            print(json.dumps({stage: _closed(recipe, stage, where, options.device)}), flush=True)


def _closed(recipe: Any, stage: str, where: Any, device: str) -> dict[str, list[float]]:
    """Set -> (share of closed val questions that are right, how many) after a stage."""
    import native_ablation

    if stage in ("warmstart", "alignment"):
        return {}
    judged = native_ablation.judge(recipe, where, 800, stage=stage, device=device)
    right, sets = np.array(judged["right"], float), np.array(judged["set"])
    return {
        name: [round(float(right[sets == name].mean()), 3), int((sets == name).sum())]
        for name in sorted(set(judged["set"]))
    }


def _ablation(name: str, rows: str, options: argparse.Namespace, place: Path) -> None:
    """Some rows, one after the other."""
    import native_ablation
    from consilium.train import stages

    _await("alignment", place / "main")
    for row in rows.split("|"):
        changes = native_ablation.VARIANTS[row]
        recipe = native_ablation.short(options.config, changes)
        _hold(stages, options.packed, recipe.layer - recipe.blocks)
        told = argparse.Namespace(
            config=options.config,
            data=options.packed,
            shards=options.packed / "shards",
            out_folder=place / "ablation",
            main_run=place / "main",
            questions=800,
            device=options.device,
        )
        native_ablation.row_of(row, changes, told)
        with zipfile.ZipFile(options.out / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path in (place / "ablation").glob("*/judged.json"):
                archive.write(path, path.relative_to(place))


def _await(stage: str, out: Path) -> None:
    while stage and not (out / stage / "facts.json").is_file():
        time.sleep(0.5)


def _hold(stages: Any, packed: Path, layer: int) -> None:
    """The stages read the encoded tokens in place of an encoder, and write no page of samples: no picture is at hand."""
    tokens = torch.load(packed / f"tokens-{layer}.pt", mmap=True, weights_only=True)
    rows = {str(digest): row for row, digest in enumerate(np.load(packed / "pictures.npz")["digests"])}

    class Held(stages.Pictures):  # type: ignore[misc,name-defined]
        def __init__(self, encoder: Any, data: Path, student: Any) -> None:
            super().__init__(encoder, data, student)
            self._seen: dict[str, torch.Tensor] = {}

        @torch.no_grad()
        def __call__(self, example: Any) -> list[torch.Tensor]:
            if not len(self._student.trunk):
                return [tokens[rows[digest]] for digest in example.digests]
            for digest in example.digests:
                if digest not in self._seen:
                    self._seen[digest] = self._student.see(tokens[rows[digest]][None].float())[0].bfloat16().cpu()
            return [self._seen[digest] for digest in example.digests]

        def tokens(self, digest: str, path: str) -> torch.Tensor:
            return tokens[rows[digest]].float()

    stages.Pictures = Held
    stages.open_encoder = lambda recipe: None
    stages._samples = lambda *_: iter(())


def _zip(out: Path, own: Sequence[str], target: Path) -> None:
    """Facts and histories; the adapters stay under PACKED/runs, to be taken from there."""
    fresh = target.with_suffix(".part")
    with zipfile.ZipFile(fresh, "w", zipfile.ZIP_DEFLATED) as archive:
        for stage in own:
            for file in ("facts.json", "run/history.jsonl"):
                if (out / stage / file).is_file():
                    archive.write(out / stage / file, f"{stage}/{file}")
    fresh.replace(target)


if __name__ == "__main__":
    main()
