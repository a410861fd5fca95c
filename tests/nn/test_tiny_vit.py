"""TinyViT piece by piece against what its paper says, computed here the long way."""

from __future__ import annotations

import torch
from torch.nn import functional as f

from consilium.nn.tiny_vit import AttentionBlock, Bottleneck, Stage, TinyVit, WindowAttention


def drawn(module: torch.nn.Module) -> None:
    """Every parameter another number, the same on every machine."""
    draw = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=draw) * 0.3
    module.eval()


def test_attention_is_softmax_over_a_window_with_a_bias_for_each_distance() -> None:
    window, heads, channels = 3, 2, 8
    attention = WindowAttention(channels, heads, window)
    drawn(attention)
    x = torch.randn(1, window**2, channels, generator=torch.Generator().manual_seed(1))
    width = channels // heads
    of_head = attention.qkv(attention.norm(x))[0].view(-1, heads, 3, width)
    heard = []
    for head in range(heads):
        query, key, value = of_head[:, head].unbind(1)
        scores = query @ key.T / width**0.5
        for a in range(window**2):
            for b in range(window**2):
                down, across = abs(a // window - b // window), abs(a % window - b % window)
                scores[a, b] += attention.biases[head, window * down + across]
        heard.append(scores.softmax(-1) @ value)
    torch.testing.assert_close(attention(x)[0], attention.project(torch.cat(heard, -1)), rtol=1e-4, atol=1e-5)


def test_windows_are_apart_and_zeros_fill_those_at_the_far_borders() -> None:
    block = AttentionBlock(8, 2, 4)
    drawn(block)
    places = torch.randn(1, 6, 7, 8, generator=torch.Generator().manual_seed(2))
    found = block._in_windows(places)
    last = f.pad(places[:, 4:, 4:], (0, 0, 0, 1, 0, 2)).reshape(1, 16, 8)
    expected = block.attention(last).view(1, 4, 4, 8)[:, :2, :3]
    torch.testing.assert_close(found[:, 4:, 4:], expected, rtol=1e-4, atol=1e-5)
    changed = places.clone()
    changed[:, :4, :4, 0] += 1
    assert torch.equal(block._in_windows(changed)[:, 4:, 4:], found[:, 4:, 4:])
    assert not torch.allclose(block._in_windows(changed)[:, :4, :4], found[:, :4, :4])


def test_a_bottleneck_in_strips_is_one_in_a_piece() -> None:
    block = Bottleneck(3)
    drawn(block)
    for rows in (5, 32, 33, 70):
        x = torch.randn(2, 3, rows, 9, generator=torch.Generator().manual_seed(rows))
        whole = f.gelu(x + block.narrow(f.gelu(block.mix(f.gelu(block.widen(x))))))
        torch.testing.assert_close(block(x), whole, rtol=1e-5, atol=1e-6)


def test_the_grid_shrinks_by_the_strides_alone() -> None:
    stages = (
        Stage(8, 1, stride=2),
        Stage(16, 1, heads=2, window=3, stride=2),
        Stage(12, 1, heads=2, window=2, stride=1),
    )
    net = TinyVit((*stages, Stage(16, 1, heads=2, window=3)), out=10)
    drawn(net)
    with torch.inference_mode():
        one = net(torch.zeros(2, 3, 32, 32))
    assert one.shape == (2, 10, 8, 8) and torch.isfinite(one).all()
    torch.testing.assert_close(one[0], one[1])
