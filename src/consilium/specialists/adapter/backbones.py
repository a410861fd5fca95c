"""DenseNet-121 (Huang et al., arXiv 1608.06993) and ResNet-50 (He et al., arXiv 1512.03385; stride in the 3x3 convolution) of one
input channel, whose tensors bear the names that torchvision gave them: so weights of TorchXRayVision fit."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_BLOCKS, _GROWTH, _FIRST, _NARROW = (6, 12, 24, 16), 32, 64, 4
_LAYERS, _EXPANSION = (3, 4, 6, 3), 4


class _Dense(nn.Sequential):
    """Adds `_GROWTH` channels to those that come in."""

    def __init__(self, channels: int) -> None:
        wide = _NARROW * _GROWTH
        parts: dict[str, nn.Module] = {
            "norm1": nn.BatchNorm2d(channels),
            "relu1": nn.ReLU(),
            "conv1": nn.Conv2d(channels, wide, 1, bias=False),
            "norm2": nn.BatchNorm2d(wide),
            "relu2": nn.ReLU(),
            "conv2": nn.Conv2d(wide, _GROWTH, 3, padding=1, bias=False),
        }
        super().__init__(OrderedDict(parts))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, super().forward(x)], dim=1)


class DenseNet(nn.Module):
    """(n, 1, rows, columns) -> (n, outputs) logits."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        parts: dict[str, nn.Module] = {
            "conv0": nn.Conv2d(1, _FIRST, 7, stride=2, padding=3, bias=False),
            "norm0": nn.BatchNorm2d(_FIRST),
            "relu0": nn.ReLU(),
            "pool0": nn.MaxPool2d(3, stride=2, padding=1),
        }
        channels = _FIRST
        for i, layers in enumerate(_BLOCKS, 1):
            dense = {f"denselayer{k + 1}": _Dense(channels + k * _GROWTH) for k in range(layers)}
            parts[f"denseblock{i}"] = nn.Sequential(OrderedDict(dense))
            channels += layers * _GROWTH
            if i < len(_BLOCKS):
                parts[f"transition{i}"] = _transition(channels)
                channels //= 2
        self.features = nn.Sequential(OrderedDict(parts | {"norm5": nn.BatchNorm2d(channels)}))
        self.classifier = nn.Linear(channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        seen = functional.relu(self.features(x)).mean(dim=(2, 3))
        return self.classifier(seen)


def _transition(channels: int) -> nn.Module:
    parts: dict[str, nn.Module] = {
        "norm": nn.BatchNorm2d(channels),
        "relu": nn.ReLU(),
        "conv": nn.Conv2d(channels, channels // 2, 1, bias=False),
        "pool": nn.AvgPool2d(2, stride=2),
    }
    return nn.Sequential(OrderedDict(parts))


class _Bottleneck(nn.Module):
    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        wide = width * _EXPANSION
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, wide, 1, bias=False), nn.BatchNorm2d(wide)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != wide:
            self.downsample = nn.Sequential(nn.Conv2d(channels, wide, 1, stride, bias=False), nn.BatchNorm2d(wide))

    def forward(self, x: Tensor) -> Tensor:
        kept = x if self.downsample is None else self.downsample(x)
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.relu(self.bn2(self.conv2(x)))
        return functional.relu(self.bn3(self.conv3(x)) + kept)


class ResNet(nn.Module):
    """(n, 1, rows, columns) -> (n, outputs) logits."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, _FIRST, 7, 2, 3, bias=False), nn.BatchNorm2d(_FIRST)
        channels = _FIRST
        for i, layers in enumerate(_LAYERS):
            width = _FIRST * 2**i
            first = _Bottleneck(channels, width, 1 if i == 0 else 2)
            channels = width * _EXPANSION
            rest = [_Bottleneck(channels, width, 1) for _ in range(layers - 1)]
            self.add_module(f"layer{i + 1}", nn.Sequential(first, *rest))
        self.fc = nn.Linear(channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for i in range(len(_LAYERS)):
            x = getattr(self, f"layer{i + 1}")(x)
        return self.fc(x.mean(dim=(2, 3)))


def of_name(name: str, outputs: int) -> Any:
    """The network that a name such as densenet121-res224-all or resnet50-res512-all begins with."""
    return DenseNet(outputs) if name.startswith("densenet121") else ResNet(outputs)
