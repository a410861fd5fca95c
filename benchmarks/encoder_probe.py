"""Chooses the shared vision encoder: a linear probe of every candidate's every layer on the OPEN sets' validation splits.

python benchmarks/encoder_probe.py [--data ../shared/data] [--train 400]

Of each set, `train` train pictures in a seeded order and all of val. Each picture goes through each network once; all hidden
layers are kept under CONSILIUM_CACHE/probe. The head is fitted on train with each penalty and judged on val; the test splits
are not read. Writes results/encoder_probe.json.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from consilium import formats, weights
from consilium.datasets.folder import FolderDataset, read_folder
from consilium.encoders import patch_statistics
from consilium.imaging.picture import resize
from consilium.imaging.window import to_display
from consilium.metrics import classification as metric
from consilium.metrics.bootstrap import interval
from consilium.nn import fit_head, light_head
from consilium.nn.fit_head import Shape
from consilium.settings import settings
from consilium.types import Array, Image

SETS = ("cxr_pneumonia_kermany", "nih_cxr14_subset", "brain_tumor_mri", "lung_ct_iqoth", "breast_ultrasound_busi")
DECAYS = (3e-2, 3e-1)
BATCH = 16


def networks() -> dict[str, tuple[Callable[[], object], int, tuple[float, ...], tuple[float, ...]]]:
    """Name -> how to load it, tokens before the patches, mean and spread of its pixels."""
    from transformers import CLIPVisionModelWithProjection, Dinov2WithRegistersModel

    clip = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    folder = weights.folder
    return {
        "clip-vit-b16": (
            lambda: CLIPVisionModelWithProjection.from_pretrained(folder("clip-vit-b16")).vision_model.eval(),
            1,
            *clip,
        ),
        "dinov2-small": (lambda: Dinov2WithRegistersModel.from_pretrained(folder("dinov2-small")).eval(), 5, *imagenet),
    }


def picture(path: Path) -> Image:
    return formats.read(path)[0].images[0]  # type: ignore[return-value]


def thinned(data: FolderDataset, most: int) -> FolderDataset:
    """All of val and at most `most` of train."""
    train = list(data.of("train"))
    random.Random(20240).shuffle(train)
    return replace(data, records=(*train[:most], *data.of("val")))


def hidden_layers(name: str, data: FolderDataset) -> Array:
    """(pictures, layers, 2, channels) float16: [CLS] and mean patch of the embedding and of every layer."""
    import torch

    kept = settings().cache / "probe" / name / f"{data.name}-{len(data.records)}.npz"
    if kept.is_file():
        return np.load(kept)["f"]
    load, prefix, mean, spread = networks()[name]
    model = load()
    found = []
    for start in range(0, len(data.records), BATCH):
        squares = [resize(to_display(picture(r.path)), 224, 224) for r in data.records[start : start + BATCH]]
        pixels = (np.stack(squares).astype(np.float32) / 255 - mean) / spread
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            states = model(  # type: ignore[operator]
                torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2), output_hidden_states=True
            ).hidden_states
        pairs = [torch.stack([s[:, 0].float(), s[:, prefix:].float().mean(1)], 1) for s in states]
        found.append(torch.stack(pairs, 1).half().numpy())
        print(f"\r{name} {data.name} {start + len(squares)}/{len(data.records)}", end="", flush=True)
    print()
    kept.parent.mkdir(parents=True, exist_ok=True)
    features = np.concatenate(found)
    np.savez(kept, f=features)
    return features


def probe(features: Array, data: FolderDataset) -> dict[str, object]:
    """Least loss on val over the penalties, and the mean AUROC there with its interval."""
    rows = {split: [i for i, r in enumerate(data.records) if r.split == split] for split in ("train", "val")}
    y = {split: data.targets([data.records[i] for i in rows[split]]) for split in rows}
    best: tuple[float, Array] | None = None
    for decay in DECAYS:
        tensors = fit_head.fit(features[rows["train"]], y["train"], data.exclusive, Shape(0, decay))
        logits = light_head.raw_logits(tensors, features[rows["val"]])
        loss = fit_head.negative_log_likelihood(logits, y["val"], data.exclusive)
        if best is None or loss < best[0]:
            best = (loss, light_head.to_probabilities(logits, data.exclusive))
    assert best is not None
    loss, p = best
    patients = [data.records[i].patient for i in rows["val"]]
    score = interval("AUROC", lambda r: metric.mean_auroc(y["val"][r], p[r]), patients, resamples=300)
    return {"loss": loss, "auroc": score.value, "low": score.low, "high": score.high, "n": score.n}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--train", type=int, default=400)
    options = parser.parse_args()
    table: dict[str, dict[str, dict[str, object]]] = {}
    for name in SETS:
        data = thinned(read_folder(options.data / name), options.train)
        for network in networks():
            layers = hidden_layers(network, data)
            for layer in range(3, layers.shape[1]):
                features = layers[:, layer].reshape(len(layers), -1).astype(np.float32)
                table.setdefault(f"{network} layer {layer}", {})[name] = probe(features, data)
                print(f"{name} {network} layer {layer}", table[f"{network} layer {layer}"][name])
        floor = patch_statistics.load().embed([picture(r.path) for r in data.records]).pooled
        table.setdefault("patch_statistics", {})[name] = probe(floor, data)
    mean_loss = {candidate: float(np.mean([row["loss"] for row in sets.values()])) for candidate, sets in table.items()}
    order = sorted(mean_loss, key=lambda candidate: mean_loss[candidate])
    report = {
        "command": "python benchmarks/encoder_probe.py",
        "rule": "least mean validation loss (nats) over the sets; each set's labels as its folder has them",
        "chosen": order[0],
        "mean_loss": {candidate: mean_loss[candidate] for candidate in order},
        "by_set": table,
    }
    Path("results/encoder_probe.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print("chosen:", order[0])


if __name__ == "__main__":
    main()
