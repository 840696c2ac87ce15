"""A segmenter that computes on integers from its first layer to its last.

A strided encoder of plain 3x3 convolutions; on the way up, 1x1 convolutions, nearest
upsampling and sums with the encoder's stages (as in Lin et al., Feature Pyramid Networks,
arXiv 1612.03144).  All of that has integer kernels in ONNX Runtime and TensorRT, and none of
it is a transposed convolution, which ONNX Runtime computes in float.

Axis letters: N pictures, C channels, K classes, H rows, W columns.
"""

from typing import cast

import torch
from torch import nn
from torch.nn import functional

from apps.models.initial import he_normal
from edge_mpq.errors import ModelError


def _unit(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


class Up(nn.Module):
    """Narrows, doubles the resolution, adds the encoder's stage of that resolution, and convolves."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.narrow = _unit(inputs, outputs, kernel=1)
        self.conv = _unit(outputs, outputs)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """[N, inputs, H, W] and [N, outputs, 2H, 2W] -> [N, outputs, 2H, 2W]"""
        return self.conv(functional.interpolate(self.narrow(x), scale_factor=2.0, mode="nearest") + skip)


class LightSegmenter(nn.Module):
    """``widths``: channels of the encoder's stages, each at half the resolution of the one before.

    num_classes: 1 gives one logit a pixel (sigmoid, fire against the rest), K gives K (softmax).
    Logits are computed at half the picture's resolution, and the picture's lie between them.
    """

    def __init__(self, num_classes: int = 1, widths: tuple[int, ...] = (24, 48, 96, 128)) -> None:
        super().__init__()
        stages = [_unit(3, widths[0], stride=2)]
        for narrow, wide in zip(widths, widths[1:], strict=False):
            stages.append(nn.Sequential(_unit(narrow, wide, stride=2), _unit(wide, wide)))
        self.down = nn.ModuleList(stages)
        self.up = nn.ModuleList(
            Up(wide, narrow) for narrow, wide in zip(reversed(widths[:-1]), reversed(widths[1:]), strict=True)
        )
        self.head = nn.Conv2d(widths[0], num_classes, 1)
        he_normal(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pictures [N, 3, H, W] -> logits [N, num_classes, H, W]; ModelError where H or W cannot be halved so often."""
        step = 1 << len(self.down)
        if x.shape[2] % step or x.shape[3] % step:
            raise ModelError(
                f"this segmenter halves {len(self.down)} times, {x.shape[3]}x{x.shape[2]} pixels do not",
                f"take a width and height that {step} divides",
            )
        skips = []
        for stage in self.down:
            x = stage(x)
            skips.append(x)
        skips.pop()
        for stage in self.up:
            x = cast(Up, stage)(x, skips.pop())
        return functional.interpolate(self.head(x), scale_factor=2.0, mode="bilinear", align_corners=False)


def light_segmenter(num_classes: int = 1) -> LightSegmenter:
    """0.54 M parameters, 84 M multiply-adds at 96x96; for pictures whose sides are multiples of 16."""
    return LightSegmenter(num_classes)
