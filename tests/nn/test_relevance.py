"""Relevance is the derivative that it claims to be, and stands at the right patch of the right picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.generalists import tiny_native
from tests.generalists.tiny_native import ask, picture

from consilium.errors import UsageError
from consilium.nn import llava
from consilium.nn.eyes import Eyes
from consilium.nn.lean_llama import LeanLlama
from consilium.nn.prompt_tokens import Writer
from consilium.nn.relevance import Gradients
from consilium.nn.shared_prefix import SharedPrefix
from consilium.types import Image

OPTIONS = ["pneumonia", "no finding", "effusion"]


class Scaled(Eyes):
    """Eyes whose embedding of one token of one picture is stretched."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)
        self.stretched: tuple[str, int, float] | None = None

    def see(self, image: Image) -> torch.Tensor:
        tokens = super().see(image)
        if self.stretched and self.stretched[0] == image.uid:
            tokens = tokens.clone()
            tokens[self.stretched[1]] *= self.stretched[2]
        return tokens


class Bench:
    def __init__(self, folder: Path) -> None:
        model, processor = llava.load(folder)
        self.eyes = Scaled(model, processor)
        self.writer = Writer(processor, model.config.image_seq_length)
        self.gradients = Gradients(model, self.eyes)
        self.lean = LeanLlama(model.model.language_model, model.lm_head)
        self.prompt = self.writer.prompt(ask("What?", picture(1), picture(2)))
        self.replies = [self.writer.reply(option) for option in OPTIONS]

    def log_share(self, replies: list[tuple[int, ...]]) -> float:
        rated = SharedPrefix(self.lean, self.eyes).log_likelihoods(self.prompt, replies)
        means = torch.tensor([sum(r) / len(r) for r in rated], dtype=torch.float64)
        return float(means[0] if len(means) == 1 else means[0] - means.logsumexp(0))

    def slope(self, uid: str, token: int, replies: list[tuple[int, ...]]) -> float:
        """By how much the log share grows when one token's embedding does, by central differences."""
        step, values = 0.02, []
        for factor in (1 + step, 1 - step):
            self.eyes.stretched = (uid, token, factor)
            values.append(self.log_share(replies))
        self.eyes.stretched = None
        return (values[0] - values[1]) / (2 * step)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tiny_native.write(tmp_path_factory.mktemp("native")).checkpoint)


@pytest.mark.parametrize("rivals", [0, 2])
def test_it_is_the_slope_of_the_log_share(bench: Bench, rivals: int) -> None:
    replies = bench.replies[: 1 + rivals]
    raised = bench.gradients._relevance(bench.prompt, replies, mean=True)
    for first, image in bench.prompt.images:
        for token in (0, 1, 4):
            assert float(raised[first + token]) == pytest.approx(bench.slope(image.uid, token, replies), abs=0.02)


def test_each_picture_has_a_grid_with_the_strongest_place_at_one(bench: Bench) -> None:
    raised = bench.gradients._relevance(bench.prompt, bench.replies, mean=True)
    regions = bench.gradients.regions(bench.prompt, bench.replies[0], bench.replies[1:], mean=True)
    assert [region.image_uid for region in regions] == ["u1", "u2"]
    peak = 0.0
    for (first, _), region in zip(bench.prompt.images, regions, strict=True):
        expected = raised[first + 1 : first + 5].clamp(min=0).numpy()
        assert region.kind == "relevance" and region.grid.shape == (2, 2) and region.grid.dtype == np.float32
        assert np.argsort(region.grid.ravel()).tolist() == np.argsort(expected).tolist()
        assert region.grid.min() >= 0
        peak = max(peak, float(region.grid.max()))
    assert peak == 1.0


def test_no_picture_no_region(bench: Bench) -> None:
    prompt = bench.writer.prompt(ask()[:1])
    assert bench.gradients.regions(prompt, bench.replies[0], (), mean=True) == ()


def test_a_prompt_beyond_the_context_is_refused(bench: Bench) -> None:
    prompt = bench.writer.prompt(ask("cough and fever " * 400))
    with pytest.raises(UsageError, match="context"):
        bench.gradients.regions(prompt, bench.replies[0], (), mean=True)


def test_no_gradient_is_left_behind(bench: Bench) -> None:
    bench.gradients.regions(bench.prompt, bench.replies[0], (), mean=False)
    assert all(parameter.grad is None for parameter in bench.gradients._model.parameters())
