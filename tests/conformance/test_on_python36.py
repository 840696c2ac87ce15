"""The whole path on a real Python 3.6 with numpy: strict API, build, calibration, run, profile, twelve versions."""

import json

import pytest

from tests.board.test_python36 import _python36

DRIVE = """
import json, sys, tempfile
import numpy as np
from calibrators import cache, entropy2, minmax, entropy, percentile, fp16
from edge_mpq.engines import tensorrt
from edge_mpq.records import target as targets
from edge_mpq.records.ranges import RangeTable
from tests.conformance import strict_api
from tests.conformance.scene import Scene, plan

class Pictures(object):
    size = 2
    def __iter__(self):
        return iter([np.ones((2, 3, 4, 4), np.float32)])

done = {}
batch = np.ones((1, 3, 4, 4), np.float32)
for version in strict_api.versions():
    folder = tempfile.mkdtemp()
    with open(folder + "/m.onnx", "wb") as stream:
        stream.write(b"onnx")
    typed = version.startswith("11")
    target = targets.get("tensorrt-11-x86" if typed else "jetson-orin-nano")
    given = dict(options=tensorrt.Options(timing=folder, level=3), tell=lambda *what: None)
    calibrated = [] if typed else [minmax.calibration(Pictures()), percentile.calibration(
        cache=cache.from_ranges(RangeTable({"conv1": (-1.0, 2.0)}, "percentile", 2), "x", (8, 2, 1)))]
    for calibration in [None] + calibrated:
        scene = Scene(version)
        wanted = plan(target.name, "int8" if calibration else "fp16", "fp32", "fp16")
        tensorrt.build(folder + "/m.onnx", folder + "/e", target, wanted, 1, calibration=calibration,
                       trt=scene.made, device=scene.device, **given)
        if calibration:
            kept = cache.keep(folder + "/e.cache", calibration, folder + "/m.onnx")
            assert (kept is None) == (calibration.written is None), kept
        with tensorrt.open(folder + "/e", trt=scene.made, device=scene.device) as engine:
            answer = engine.infer(batch)[0].tolist()
            assert answer == [[48.0, 1.0]], answer
            times = engine.profile(batch, 2)
    done[version] = [len(times), scene.cudart.leaks()]
foreign = {"torch", "onnx", "cv2", "scipy"} & {name.split(".")[0] for name in sys.modules}
assert not foreign, foreign
print(json.dumps(done))
"""


def _has_numpy() -> bool:
    return _python36("import importlib.util as u; print(u.find_spec('numpy') is not None)").strip() == "True"


def test_every_version_is_driven() -> None:
    if not _has_numpy():
        pytest.skip("this Python 3.6 has no numpy")
    done = json.loads(_python36(DRIVE))
    assert len(done) == 12 and set(map(json.dumps, done.values())) == {"[4, {}]"}
