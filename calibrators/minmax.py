"""Min-max calibration: the greatest magnitude each tensor took on the pictures.

Nothing is cut, so one outlier widens every step; it suits regression and detection heads,
and transformers, whose large values carry meaning.
"""

from calibrators.base import Calibration

KIND, ALGORITHM = "IInt8MinMaxCalibrator", "MinMaxCalibration"


def calibration(batches=None, cache=None):
    """A :class:`Calibration` that measures over ``batches``, or takes ``cache``."""
    return Calibration(KIND, ALGORITHM, batches, cache)
