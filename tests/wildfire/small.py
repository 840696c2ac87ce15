"""Wildfire data and models small enough to train in a test."""

from pathlib import Path

import torch
from torch import nn

from apps.models.light_segmenter import LightSegmenter
from apps.models.xception import Xception
from apps.wildfire import synthetic

SIDE = 32
# Of a command line: the least of everything.
OPTIONS = ["--size", str(SIDE), "--batch", "8", "--device", "cpu", "--rate", "0.01"]


def segmenter() -> nn.Module:
    """A light segmenter of two stages."""
    torch.set_num_threads(1)
    return LightSegmenter(widths=(8, 8))


def classifier() -> nn.Module:
    """An Xception of one block."""
    torch.set_num_threads(1)
    return Xception(stem=8, widths=(16,), head=16)


def flame_folder(folder: Path, segmentation: int = 30) -> Path:
    """Drawn pictures in FLAME's layout."""
    return synthetic.write_flame(folder, 60, 20, segmentation, 48, 40)
