"""Entropy calibration as TensorRT now does it: the range of least divergence, per tensor.

The one that DLA takes, and TensorRT's own first choice for pictures.  Its histograms grow
as batches arrive, so few large, mixed batches serve it best.  On detection heads it is
known to cut more than minmax should have kept: try both, and measure.
"""

from calibrators.base import Calibration

KIND, ALGORITHM = "IInt8EntropyCalibrator2", "EntropyCalibration2"


def calibration(batches=None, cache=None):
    """A :class:`Calibration` that measures over ``batches``, or takes ``cache``."""
    return Calibration(KIND, ALGORITHM, batches, cache)
