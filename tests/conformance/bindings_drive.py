"""Drives the board code through NVIDIA's own bindings; run by test_bindings.py in a process of its own.

    python bindings_drive.py FOLDER WHAT LIBRARY...

FOLDER holds tensorrt_bindings/, the libraries are bindings.c compiled under the names it
needs.  What TensorRT answers means nothing here; what counts is that the bindings accept
every name, number and type of argument.  Prints what was driven.
"""

import ctypes
import resource
import sys
from typing import Any

import numpy as np

from calibrators import cache as caches
from calibrators import entropy, entropy2, minmax
from edge_mpq.engines import _tensorrt_api as api
from edge_mpq.engines import _tensorrt_build as steps
from edge_mpq.engines import _tensorrt_runtime as running
from edge_mpq.engines import _tensorrt_tensors as tensors
from edge_mpq.engines import _tensorrt_timing as timing
from edge_mpq.engines import cuda
from edge_mpq.engines._tensorrt_precision import Hint
from edge_mpq.errors import EngineError
from edge_mpq.records import target as targets
from edge_mpq.records.plan import Choice, PrecisionPlan
from tests.conformance import strict_api
from tests.conformance.fake_cudart import Cudart, Driver


def load(folder, libraries):
    """The real module, with the stand-ins for its libraries loaded first."""
    for library in libraries:
        ctypes.CDLL(library, ctypes.RTLD_GLOBAL)
    sys.path.insert(0, folder)
    import tensorrt_bindings  # type: ignore[import-not-found]

    return tensorrt_bindings


def names(trt):
    """Every name of the table is there, and none that only other versions have."""
    table = strict_api.table()
    here, faults, checked = table[trt.__version__], [], 0
    for version in table:
        for name, facts in table[version]["classes"].items():
            members = facts["m"] if name in here["classes"] else ()
            for member in members:
                inherited = any(member in here["classes"].get(base, {"m": ()})["m"] for base in _bases(here, name))
                listed = member in here["classes"][name]["m"] or inherited
                checked += 1
                if hasattr(_find(trt, name), member) != listed and not member.startswith("__"):
                    faults.append(name + "." + member)
        for name, members in table[version]["enums"].items():
            for member in members if name in here["enums"] else ():
                checked += 1
                found = getattr(_find(trt, name), member, None)
                if (found is None) != (member not in here["enums"][name]):
                    faults.append(name + "." + member)
                elif found is not None and int(found) != here["enums"][name][member]:
                    faults.append(f"{name}.{member} is {int(found)}")
    assert not faults, sorted(set(faults))[:20]
    return checked


def _bases(here, name):
    found = list(here["classes"].get(name, {"bases": ()})["bases"])
    return found + [base for direct in found for base in _bases(here, direct)]


def _find(trt, name):
    for part in name.split("."):
        trt = getattr(trt, part)
    return trt


def build(trt):
    """Each step of a build, with every option this version has."""
    typed = not hasattr(trt.BuilderFlag, "FP16")
    target = targets.get("tensorrt-11-x86" if typed else "jetson-orin-nano")
    plan = PrecisionPlan("", target.name, {"": Choice("fp16", "fp16")})
    held = api.Held()
    log = api.logger(trt, held)
    log.log(trt.Logger.ERROR, "a word")
    assert list(log.errors) == ["a word"]
    trt.init_libnvinfer_plugins(log, "")
    builder = api.create(lambda: trt.Builder(log), "builder")
    network = steps.parse(trt, builder, log, b"onnx", "model.onnx", target)
    assert len(network.layers) == 1
    steps.refuse(trt, target, None, None)
    steps.refuse_quantized(builder, target, network.layers)
    config = builder.create_builder_config()
    wanted = [] if typed else ["FP16", "INT8"]
    options = steps.Options(level=3, dla_core=None if typed else 0)
    steps.configure(trt, builder, config, options._replace(dla_core=None), target, wanted, 2)
    if not typed:
        # Numbers are all 1 here, so core 0 exists.
        steps.configure(trt, builder, config, options, target, wanted, 2)
        for prefer in (False, True):
            steps.constrain(trt, config, network.trt_network, [Hint(0, "fp16", (0,)), Hint(0, "fp32", (0,))], prefer)
    steps.shape_inputs(builder, config, network.trt_network, (1, 1, 1))
    profile = steps._profile(builder, {"input": (3, 4, 4)}, (1, 2, 4))
    config.add_optimization_profile(profile)
    if hasattr(trt, "IProgressMonitor"):
        config.progress_monitor = api.monitor(trt, held, lambda phase, step, count: None)
    driven = ["build"]
    device = cuda.open_device(Cudart(), Driver())
    if not typed:
        config.set_calibration_profile(profile)
        cache = caches.Cache(8201, "EntropyCalibration2", {"input": np.float32(0.5)})
        for method in (entropy2, entropy, minmax):
            calibration = method.calibration(cache=cache)
            calibration.attach(trt, network.trt_network, config, device)
        tensor = network.trt_network.get_input(0)
        assert tensor.set_dynamic_range(-1.0, 1.0)
        driven.append("calibrators")
    try:
        steps.serialize(trt, log, held, builder, network.trt_network, config, "/nowhere/cache.timing")
    except MemoryError:
        driven.append("serialize")  # the bytes it would copy are as many as the object's address
    assert timing.attach(config, "/nowhere/cache.timing") is not None
    assert plan.choices
    return driven


def run(trt):
    """Opening, running, profiling and inspecting an engine."""
    held = api.Held()
    log = api.logger(trt, held)
    cudart = Cudart()
    device = cuda.open_device(cudart, Driver())
    runtime, engine = running.deserialize(trt, log, held, b"a plan", "engine", 2)
    opened = running.TrtEngine(trt, log, held, runtime, engine, None, device, ["conv"])
    batch = np.zeros((), np.float32)
    assert opened.infer(batch) == [] and opened.captured
    assert opened.profile(batch, 2) == [] and len(opened.gpu_ms(batch, 2)) == 2
    assert opened.rows() == []
    face: Any = opened._tensors
    assert face._set_shape("", (1, 3, 4, 4)) and face._profile("") is not None
    driven = ["named tensors" if isinstance(face, tensors.Named) else "bindings"]
    if hasattr(engine, "num_bindings"):
        other: Any = tensors.Bindings(trt, engine, opened._context)
        other.inputs()
        other.bind("", 4096)
        assert other.bounds("") == ((), ()) and other.shape("") == () and other.numpy_type("")
        assert other._set_shape("", (1, 3, 4, 4)) and other._profile("") is not None and other.enqueue(1)
        driven.append("bindings")
    face = other = None  # what holds the engine must go before it
    opened.close()
    assert not cudart.leaks()
    return driven


def nothing(trt):
    """Factories that give nothing are told as CUDA not starting."""
    log = api.logger(trt, api.Held())
    for make in (lambda: trt.Builder(log), lambda: trt.Runtime(log)):
        try:
            api.create(make, "builder")
        except EngineError as error:
            assert "CUDA did not start" in error.what
        else:
            raise AssertionError("NULL was taken for an object")
    return ["NULL"]


if __name__ == "__main__":
    # Nonsense sizes must fail to allocate, whatever the machine allows.
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    real = load(sys.argv[1], sys.argv[3:])
    if sys.argv[2] == "nothing":
        done = nothing(real)
    else:
        done = [f"{names(real)} names"] + build(real) + run(real)
    print(real.__version__ + ": " + ", ".join(done))
