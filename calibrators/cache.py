"""TensorRT's calibration cache: a few lines of text that stand for all pictures seen.

    TRT-8201-EntropyCalibration2
    input: 3c010a14
    conv1: 3c88edfc

The first line is the version and the algorithm.  Each other line is a tensor's name and
its scale, the eight hex digits of a big-endian float32: the greatest magnitude the tensor
takes, by 127.  There is no zero point, and weights are not in it.

Names are those of one ONNX, so beside a cache lies a sidecar (its path and ``.json``) that
says of which; a cache of another ONNX is refused.
"""

import os
import re
import struct
from collections import OrderedDict
from typing import NamedTuple

import numpy as np

from edge_mpq.errors import CalibrationError, RecordError
from edge_mpq.records import bundle, document
from edge_mpq.records.ranges import RangeTable

KIND, VERSION = "calibration-cache", 1
STEPS = np.float32(127)
# A tensor of zeros takes the unit range; a scale of 0 is no scale.
UNIT = np.float32(1) / STEPS
MEND = "make the cache again on the host from the bundle's ranges"


class Cache(NamedTuple):
    """version: the number in the header.  scales: tensor -> numpy.float32."""

    version: int
    algorithm: str
    scales: dict


class Sidecar(NamedTuple):
    """Of what a cache is.  pictures: how many were seen.  recipe, data: fingerprints of how and of what."""

    onnx_sha256: str
    cache_sha256: str
    algorithm: str
    pictures: int
    recipe: str
    data: str


def version_number(version):
    """TensorRT's number in a header: 8201 for (8, 2, 1), 100300 for (10, 3, 0)."""
    major, minor, patch = (tuple(version) + (0, 0))[:3]
    if major >= 10:
        return major * 10000 + minor * 100 + patch
    return major * 1000 + minor * 100 + patch


def parse(content):
    """The :class:`Cache` in ``content`` (text); CalibrationError names every bad line."""
    lines = content.split("\n")
    header = re.match(r"TRT-(\d+)-(\w+)$", lines[0].strip())
    if header is None:
        what = "it begins with {!r}, not with TRT-version-algorithm".format(lines[0][:60])
        raise CalibrationError("this is no calibration cache: " + what, MEND)
    scales, faults = OrderedDict(), []
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        name, colon, digits = line.rpartition(":")  # a name may hold colons
        digits = digits.strip()
        scale = _scale(digits) if colon and name else None
        if scale is None:
            faults.append("line {} is {!r}".format(number, line[:60]))
        elif name in scales:
            faults.append("line {}: {!r} stands twice".format(number, name[:60]))
        else:
            scales[name] = scale
    if faults:
        raise CalibrationError("bad calibration cache: " + "; ".join(faults[:8]), MEND)
    return Cache(int(header.group(1)), header.group(2), scales)


def _scale(digits):
    if not re.match(r"[0-9a-fA-F]{1,8}$", digits):
        return None
    scale = np.float32(struct.unpack(">f", bytes(bytearray.fromhex(digits.zfill(8))))[0])
    return scale if np.isfinite(scale) and scale >= 0 else None


def text(cache):
    """The cache as TensorRT reads it."""
    rows = ["{}: {}".format(name, struct.pack(">f", scale).hex()) for name, scale in cache.scales.items()]
    return "\n".join(["TRT-{}-{}".format(cache.version, cache.algorithm)] + rows) + "\n"


def from_ranges(table, algorithm, version):
    """The cache of a RangeTable, each range widened to be symmetric.

    version: (major, minor, patch) of TensorRT.  Raises CalibrationError for a range that a
    float32 does not hold, or a name that a line does not.
    """
    scales = OrderedDict()
    for name, (low, high) in table.tensors.items():
        greatest = max(abs(low), abs(high))
        with np.errstate(over="ignore"):
            scale = np.float32(greatest) / STEPS
        if not np.isfinite(scale) or "\n" in name or not name.strip():
            raise CalibrationError("tensor {!r} with range {} to {} fits no cache".format(name, low, high), MEND)
        scales[name] = scale if scale > 0 else UNIT
    return Cache(version_number(version), algorithm, scales)


def to_ranges(cache, pictures=0, data=""):
    """The RangeTable of a cache; its rule is the cache's algorithm."""
    tensors = OrderedDict((name, (-float(scale * STEPS), float(scale * STEPS))) for name, scale in cache.scales.items())
    return RangeTable(tensors, cache.algorithm, pictures, data)


def retarget(cache, version, algorithm=None):
    """The same scales under the header that TensorRT ``version`` wants to see."""
    return cache._replace(version=version_number(version), algorithm=algorithm or cache.algorithm)


def save(path, cache, onnx_path, pictures, recipe="", data=""):
    """Write ``cache`` for the model at ``onnx_path``, and its sidecar; the :class:`Sidecar`."""
    document.write_bytes(path, text(cache).encode("utf-8"))
    sidecar = Sidecar(bundle.digest(onnx_path), bundle.digest(path), cache.algorithm, pictures, recipe, data)
    document.save(str(path) + ".json", KIND, VERSION, sidecar._asdict())
    return sidecar


def keep(path, calibration, onnx_path, recipe=""):
    """Save what TensorRT wrote during a build with ``calibration`` (calibrators/base.py); its Sidecar.

    None where it wrote nothing, because it took a cache; then what an earlier build left at
    ``path`` goes, for it is not of this engine.  Raises CalibrationError for what is no cache.
    """
    if not calibration.written:
        for name in (str(path), str(path) + ".json"):
            if os.path.exists(name):
                os.remove(name)
        return None
    made = parse(calibration.written.decode("utf-8", "replace"))
    return save(path, made, onnx_path, calibration.consumed, recipe, getattr(calibration.batches, "data", ""))


def load(path, onnx_path, recipe=None):
    """(Cache, Sidecar) at ``path``, made for the model at ``onnx_path``.

    recipe: fingerprint of the preprocessing in use, where it is to be the same.  Raises
    CalibrationError where the cache is of another ONNX or recipe, or was changed, and
    RecordError for a sidecar that is missing or torn.
    """
    fields = document.load(str(path) + ".json", KIND, VERSION)
    sidecar = Sidecar(**{
        name: fields.take(name, int if name == "pictures" else str) for name in Sidecar._fields
    })  # fmt: skip
    fields.done()
    try:
        with open(str(path), encoding="utf-8", newline="") as stream:
            cache = parse(stream.read())
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError("cannot read {} ({})".format(path, error), MEND) from error
    faults = []
    if bundle.digest(path) != sidecar.cache_sha256 or cache.algorithm != sidecar.algorithm:
        faults.append("it was changed after it was made")
    if bundle.digest(onnx_path) != sidecar.onnx_sha256:
        faults.append("it was made for another ONNX than {}, and its tensors are not this one's".format(onnx_path))
    if recipe is not None and recipe != sidecar.recipe:
        faults.append("its pictures were prepared by recipe {}, not {}".format(sidecar.recipe, recipe))
    if faults:
        raise CalibrationError("{}: {}".format(path, "; ".join(faults)), MEND)
    return cache, sidecar
