"""Structural similarity of pictures, with means over square windows.

Wang, Bovik, Sheikh, Simoncelli, Image Quality Assessment: From Error Visibility to Structural Similarity,
IEEE Transactions on Image Processing 13(4), 2004.
"""

import torch
from torch.nn import functional

WINDOW = 7
# Of the data's range: what keeps flat windows from dividing by nothing.
SMALL_MEAN, SMALL_SPREAD = 0.01, 0.03


def ssim(reference: torch.Tensor, other: torch.Tensor, window: int = WINDOW) -> float:
    """Mean similarity of two batches of pictures [N, C, H, W]: 1 where they are alike, near 0 for strangers.

    The data's range is that of ``reference``; the window shrinks to what fits a picture.
    """
    window = min(window, *reference.shape[2:])
    span = float(reference.max() - reference.min())
    small_mean, small_spread = ((share * span) ** 2 or 1.0 for share in (SMALL_MEAN, SMALL_SPREAD))

    def mean(values: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(values, window, 1)

    reference, other = reference.double(), other.double()
    mine, its = mean(reference), mean(other)
    spread, spread_other = mean(reference.square()) - mine.square(), mean(other.square()) - its.square()
    both = mean(reference * other) - mine * its
    likeness = (2 * mine * its + small_mean) / (mine.square() + its.square() + small_mean)
    return float((likeness * (2 * both + small_spread) / (spread + spread_other + small_spread)).mean())
