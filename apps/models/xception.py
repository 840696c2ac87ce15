"""Compact Xceptions (Chollet 2017) for fire against no fire.

``xception_flame`` has the shape of the classifier published with FLAME (Shamsoshoara et
al. 2021, "Aerial imagery pile burn detection using deep learning: the FLAME dataset",
section 4.1) with two logits instead of one.  Axis letters: N pictures, H rows, W columns.
"""

import torch
from torch import nn

from apps.models.initial import he_normal


class SeparableConv(nn.Module):
    """3x3 depthwise, 1x1 pointwise, batch norm."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, inputs, H, W] -> [N, outputs, H, W]"""
        return self.bn(self.pointwise(self.depthwise(x)))


class Block(nn.Module):
    """Two separable convolutions and a max pool, beside a strided 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReLU(),
            SeparableConv(inputs, outputs),
            nn.ReLU(),
            SeparableConv(outputs, outputs),
            nn.MaxPool2d(3, 2, padding=1),
        )
        self.shortcut = nn.Conv2d(inputs, outputs, 1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, inputs, H, W] -> [N, outputs, H / 2, W / 2], odd extents rounded up"""
        return self.body(x) + self.shortcut(x)


class Xception(nn.Module):
    """A strided stem, one block for each entry of ``widths``, and a separable head of ``head`` channels."""

    def __init__(self, num_classes: int = 2, stem: int = 8, widths: tuple[int, ...] = (8,), head: int = 8) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, stem, 3, 2, padding=1, bias=False), nn.BatchNorm2d(stem), nn.ReLU())
        inputs = (stem, *widths[:-1])
        self.blocks = nn.Sequential(*(Block(a, b) for a, b in zip(inputs, widths, strict=True)))
        self.head = nn.Sequential(SeparableConv(widths[-1], head), nn.ReLU())
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(head, num_classes)
        he_normal(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pictures [N, 3, H, W] -> logits [N, num_classes]."""
        x = self.head(self.blocks(self.stem(x)))
        return self.fc(self.dropout(self.avgpool(x).flatten(1)))


def xception_flame(num_classes: int = 2) -> Xception:
    """The published baseline's 8 channels throughout, for 254x254 pictures: 0.8 k parameters."""
    return Xception(num_classes)


def xception_small(num_classes: int = 2) -> Xception:
    """Three blocks of 32, 64 and 128 channels: 83 k parameters, 84 M multiply-adds at 224x224."""
    return Xception(num_classes, stem=16, widths=(32, 64, 128), head=256)
