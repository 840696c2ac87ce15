"""What a pixel of a picture from the air shows: where it lies on flat ground, and how large it is there.

A camera without distortion, its sides level, over ground that is flat at the foot of the
flight log's height.  The offset in metres becomes degrees by the radii of curvature of the
WGS 84 ellipsoid at the camera, which over a few kilometres is exact to centimetres.
"""

import math

import cv2
import numpy as np

AXIS_M, ECCENTRICITY_2 = 6378137.0, 6.69437999014e-3  # of WGS 84
# The sine of the flattest angle at which the ground is still looked at: nearer to the
# horizon a degree of pitch is half of the distance.
FLATTEST = 0.1


class Ground(object):
    """The ground in a picture.  fix: the camera's.  field_of_view: degrees over the picture's width.

    rows, columns: of the picture.  Pixels are square; (0, 0) is the upper left corner of the
    first and (columns, rows) the lower right one of the last.
    """

    def __init__(self, fix, field_of_view, rows, columns):
        self.fix, self._rows, self._columns = fix, rows, columns
        self._height = max(0.0, fix.alt_m)
        self._pixel = 2.0 * math.tan(math.radians(field_of_view) / 2.0) / columns
        tilt = math.radians(fix.pitch + 90.0)
        self._sin, self._cos = math.sin(tilt), math.cos(tilt)

    def point(self, x, y):
        """(latitude, longitude) of what lies at ``x``, ``y``, or None where that is no ground."""
        right, up = (x - self._columns / 2.0) * self._pixel, (self._rows / 2.0 - y) * self._pixel
        ahead, down = self._sin + up * self._cos, self._cos - up * self._sin
        if down <= FLATTEST * math.sqrt(1.0 + right * right + up * up):
            return None
        return self._moved(self._height * ahead / down, self._height * right / down)

    def area_m2(self, mask):
        """The ground in m2 under the pixels of ``mask``, uint8 [rows, columns], that are 255 and not 0.

        None where one of their rows is no ground.
        """
        count = cv2.reduce(mask, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel() // 255
        seen = np.flatnonzero(count)
        up = (self._rows / 2.0 - (seen + 0.5)) * self._pixel
        down = self._cos - up * self._sin
        if (down <= FLATTEST * np.sqrt(1.0 + up * up)).any():
            return None
        # The determinant of the map from the picture's plane to the ground's.
        return float((self._height * self._pixel) ** 2 * (count[seen] / down**3).sum())

    def _moved(self, ahead_m, right_m):
        """The place ``ahead_m`` and ``right_m`` from the camera's own, as seen along its heading."""
        heading, lat = math.radians(self.fix.heading), math.radians(self.fix.lat)
        north = ahead_m * math.cos(heading) - right_m * math.sin(heading)
        east = ahead_m * math.sin(heading) + right_m * math.cos(heading)
        bulge = 1.0 - ECCENTRICITY_2 * math.sin(lat) ** 2
        meridian, across = AXIS_M * (1.0 - ECCENTRICITY_2) / bulge**1.5, AXIS_M / math.sqrt(bulge)
        lon = self.fix.lon + math.degrees(east / (across * math.cos(lat)))
        return self.fix.lat + math.degrees(north / meridian), (lon + 180.0) % 360.0 - 180.0
