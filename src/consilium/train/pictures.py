"""The pictures that a stage shows, as the frozen encoder reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from consilium import formats
from consilium.errors import DataError
from consilium.imaging.picture import views
from consilium.nn.student import Student
from consilium.train.examples import Example


class Pictures:
    """Visual tokens of the groups' pictures: what the encoder kept of them, else encoded now, once; and on through the
    student's adapted blocks, if it has any."""

    def __init__(self, encoder: Any, data: Path, student: Student) -> None:
        self._encoder = encoder
        self.folder = data
        self._student = student

    @torch.no_grad()
    def __call__(self, example: Example) -> list[Tensor]:
        read = [self.tokens(d, p) for d, p in zip(example.digests, example.paths, strict=True)]
        return [self._student.see(tokens[None])[0].cpu() for tokens in read]

    def tokens(self, digest: str, path: str) -> Tensor:
        """(per_image, channels) float32: [CLS], then the patches row by row. DataError where the picture has changed."""
        stored = self._encoder.recall(digest)
        if stored is None:
            image = next((i for i in self._read(path) if i.digest == digest), None)
            if image is None:
                raise DataError(
                    f"{path} is not the picture that the shards were made of. Remove the shards' folder and make them "
                    "again: consilium train data."
                )
            self._encoder.embed([image], patches=True)
            stored = self._encoder.recall(digest)
        channels = stored.patches.shape[-1]
        whole = torch.from_numpy(stored.pooled[None, :channels].copy())
        return torch.cat([whole, torch.from_numpy(stored.patches.reshape(-1, channels)).float()])

    def _read(self, path: str) -> Iterator[Any]:
        for study in formats.read(self.folder / path):
            for item in study.images:
                yield from views(item)
