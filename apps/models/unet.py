"""A small U-Net (Ronneberger et al. 2015) with batch norm and same-size convolutions.

Axis letters: N pictures, C channels, K classes, H rows, W columns.
"""

import torch
from torch import nn

from apps.models.initial import he_normal
from edge_mpq.errors import ModelError


def _double_conv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class Up(nn.Module):
    """Doubles the resolution, joins the skip of that resolution, and convolves."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, outputs, 2, 2)
        self.conv = _double_conv(2 * outputs, outputs)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """[N, inputs, H, W] and [N, outputs, 2H, 2W] -> [N, outputs, 2H, 2W]"""
        return self.conv(torch.cat([self.up(x), skip], 1))


class UNet(nn.Module):
    """``depth`` halvings down and up again; ``width`` channels at full resolution, twice as many at each level.

    num_classes: 1 gives one logit a pixel (sigmoid, fire against the rest), K gives K (softmax).
    """

    def __init__(self, num_classes: int = 1, width: int = 16, depth: int = 4) -> None:
        super().__init__()
        widths = [width << level for level in range(depth + 1)]
        self.depth = depth
        self.stem = _double_conv(3, width)
        self.pool = nn.MaxPool2d(2)
        self.down = nn.ModuleList(_double_conv(widths[level], widths[level + 1]) for level in range(depth))
        self.up = nn.ModuleList(Up(widths[level + 1], widths[level]) for level in reversed(range(depth)))
        self.head = nn.Conv2d(width, num_classes, 1)
        he_normal(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pictures [N, 3, H, W] -> logits [N, num_classes, H, W]; ModelError where 2**depth divides not H and W."""
        step = 1 << self.depth
        if x.shape[2] % step or x.shape[3] % step:
            raise ModelError(f"this U-Net halves {self.depth} times, {x.shape[3]}x{x.shape[2]} pixels do not",
                             f"take a width and height that {step} divides")  # fmt: skip
        skips = [self.stem(x)]
        for stage in self.down:
            skips.append(stage(self.pool(skips[-1])))
        x = skips.pop()
        for stage in self.up:
            x = stage(x, skips.pop())
        return self.head(x)


def unet(num_classes: int = 1) -> UNet:
    """1.9 M parameters; for pictures whose sides are multiples of 16."""
    return UNet(num_classes)
