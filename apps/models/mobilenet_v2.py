"""MobileNetV2 (Sandler et al. 2018) under the parameter names of torchvision's weights.

Axis letters: N pictures, H rows, W columns.
"""

import torch
from torch import nn

from apps.models.initial import he_normal

# (expansion, channels, blocks, stride of the first block), table 2 of the paper
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _multiple_of_8(channels: float) -> int:
    """``channels`` rounded to a multiple of 8, never more than a tenth below."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _conv_bn_relu(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6())


class InvertedResidual(nn.Module):
    """1x1 to ``expansion`` times the channels, 3x3 depthwise, 1x1 without activation."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        inside = inputs * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [_conv_bn_relu(inputs, inside, 1)]
        layers.append(_conv_bn_relu(inside, inside, 3, stride, groups=inside))
        layers += [nn.Conv2d(inside, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, inputs, H, W] -> [N, outputs, H / stride, W / stride]"""
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    """MobileNetV2 of any width.

    width: multiplier of all channel counts.  small_input: stride 1 instead of 2 in the
    stem and in the stage of 24 channels, so that 32x32 pictures end as 4x4, not 1x1.
    """

    def __init__(self, num_classes: int = 1000, width: float = 1.0, small_input: bool = False) -> None:
        super().__init__()
        inputs = _multiple_of_8(32 * width)
        features: list[nn.Module] = [_conv_bn_relu(3, inputs, 3, 1 if small_input else 2)]
        for expansion, channels, blocks, stride in STAGES:
            outputs = _multiple_of_8(channels * width)
            if small_input and channels == 24:
                stride = 1
            for position in range(blocks):
                features.append(InvertedResidual(inputs, outputs, 1 if position else stride, expansion))
                inputs = outputs
        last = _multiple_of_8(1280 * max(1.0, width))
        features.append(_conv_bn_relu(inputs, last, 1))
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, num_classes))
        he_normal(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pictures [N, 3, H, W] -> logits [N, num_classes]."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def mobilenet_v2(num_classes: int = 1000) -> MobileNetV2:
    """3.5 M parameters, 0.30 G multiply-adds at 224x224."""
    return MobileNetV2(num_classes)


def mobilenet_v2_cifar(num_classes: int = 10) -> MobileNetV2:
    """For 32x32 pictures: 2.2 M parameters, 88 M multiply-adds."""
    return MobileNetV2(num_classes, small_input=True)


def mobilenet_v2_flame(num_classes: int = 2) -> MobileNetV2:
    """Fire against no fire: 2.2 M parameters, 55 M multiply-adds at 96x96."""
    return MobileNetV2(num_classes)
