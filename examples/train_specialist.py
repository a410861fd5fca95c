"""Trains a specialist from Python: python examples/train_specialist.py FOLDER NAME MODALITY"""

import sys
from pathlib import Path

from consilium import registry
from consilium.datasets.folder import read_folder
from consilium.settings import settings
from consilium.train.specialist import Recipe, train

folder, name, modality = sys.argv[1:]
encoder = registry.get("encoders", "clip_vit_b16").load()
card = train(read_folder(Path(folder)), Recipe(name, modalities=(modality,)), encoder, settings().home / "specialists")
for score in card.scores:
    print(f"{score.metric:<28} {score.value:.3f} [{score.low:.3f}, {score.high:.3f}] n={score.n}")
