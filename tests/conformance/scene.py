"""A little TensorRT behind the strict API: it parses, calibrates, builds and runs one small network.

The network is conv1, relu, conv2, fc with a shape layer beside; its engine answers, for
each picture [3, 4, 4], the sum and the greatest of its values.  Built plans are JSON behind a true
plan header, and what the inspector tells follows from the precisions that the build asked
for.  Every version is as strict about names and arities as its bindings are.

Runs on Python 3.6.
"""

import ctypes
import json
import struct
from typing import Any

import numpy as np

from edge_mpq.engines import cuda
from edge_mpq.records.layer import LayerSpec
from edge_mpq.records.plan import Choice, PrecisionPlan, fingerprint
from tests.conformance import strict_api
from tests.conformance.fake_cudart import Cudart, Driver
from tests.conformance.scene_answers import PICTURE, answers_of

# name, kind, inputs, [(output, dtype)]
NETWORK = [
    ("conv1", "CONVOLUTION", ["input"], [("conv1", "FLOAT")]),
    ("relu", "ACTIVATION", ["conv1"], [("relu", "FLOAT")]),
    ("shape", "SHAPE", ["relu"], [("shape", "INT32")]),
    ("conv2", "CONVOLUTION", ["relu"], [("conv2", "FLOAT")]),
    ("fc", "MATRIX_MULTIPLY", ["conv2"], [("fc_product", "FLOAT")]),
    ("fc_1", "ELEMENTWISE", ["fc_product"], [("output", "FLOAT")]),
]
QUANTIZED = [
    ("input_quantize", "QUANTIZE", ["input"], [("input_q", "INT8")]),
    ("input_dequantize", "DEQUANTIZE", ["input_q"], [("input_dq", "FLOAT")]),
]
LAYERS = [
    LayerSpec("conv1", "conv2d", (8, 3, 3, 3), PICTURE, (8, 4, 4), 3456),
    LayerSpec("conv2", "conv2d", (8, 8, 3, 3), (8, 4, 4), (8, 4, 4), 9216),
    LayerSpec("fc", "linear", (2, 128), (128,), (2,), 256),
]


def plan(target, conv1, conv2, fc):
    """The plan that gives the three layers these formats."""
    choices = {"conv1": Choice(conv1, conv1), "conv2": Choice(conv2, conv2), "fc": Choice(fc, fc)}
    return PrecisionPlan(fingerprint(LAYERS), target, choices)


class Scene:
    """One version of TensorRT on one device.

    made: the module.  batch: of the ONNX, -1 where free.  quantized: whether it holds Q/DQ.
    faults: what goes wrong: ``parse``, ``builder``, ``build``, ``deserialize``, ``run``,
    ``capture``.
    """

    def __init__(self, version, batch=-1, quantized=False, capability=(8, 7), integrated=True, faults=(), **more):
        self.version, self.batch, self.faults = version, batch, set(faults)
        self.picture, self.output_rest = PICTURE, (2,)
        self.network = (QUANTIZED if quantized else []) + NETWORK
        self.cudart = Cudart(capability, integrated, **more)
        self.device = cuda.open_device(self.cudart, Driver())
        self.made = strict_api.module(version, answers_of(self))
        self.made.IHostMemory.__bytes__ = lambda memory: memory.__dict__["data"]
        self.trt_layers = [self._layer(*row) for row in self.network]
        self.log: Any = None
        self.calibration_batches = 0

    def calls(self, path):
        """Arguments of every call of ``Class.method``, or set of ``Class.property=``."""
        return [arguments for name, arguments in self.made.calls if name == path]

    def flags(self):
        """Names of the builder flags that were set."""
        return {arguments[0].name for arguments in self.calls("IBuilderConfig.set_flag")}

    def creation_flags(self):
        """Names of the network's creation flags."""
        (given,) = self.calls("Builder.create_network")[-1]
        return {kind.name for kind in self.made.NetworkDefinitionCreationFlag if given & (1 << int(kind))}

    def _new(self, of_class, **attributes):
        return strict_api.new(self.made, of_class, **attributes)

    def _tensor(self, name, dtype):
        shape = (self.batch,) + self.picture if name == "input" else (self.batch, 8)
        return self._new(
            "ITensor", name=name, dtype=getattr(self.made.DataType, dtype), shape=shape,
            is_network_input=name == "input", is_network_output=name == "output", is_shape_tensor=dtype == "INT32",
        )  # fmt: skip

    def _layer(self, name, kind, inputs, outputs):
        kind = getattr(self.made.LayerType, kind)
        layer = self._new("ILayer", name=name, type=kind, num_inputs=len(inputs), num_outputs=len(outputs))
        layer.__dict__["inputs"] = [self._tensor(tensor, "FLOAT") for tensor in inputs]
        layer.__dict__["outputs"] = [self._tensor(*tensor) for tensor in outputs]
        return layer

    def build(self, network, config):
        """What build_serialized_network does, callbacks and all."""
        values = config.__dict__.get("_set", {})
        self._say(self.log, "VERBOSE", "--------------- Timing Runner: conv1 + relu (CudnnConvolution)")
        self._say(self.log, "VERBOSE", "--------------- Timing Runner: conv2 (CudnnConvolution)")
        monitor = values.get("progress_monitor")
        if monitor is not None:
            monitor.phase_start("Building", None, 2)
            if not (monitor.step_complete("Building", 0) and monitor.step_complete("Building", 1)):
                return None
            monitor.phase_finish("Building")
        if values.get("int8_calibrator") is not None and not self.calibrate(values["int8_calibrator"]):
            self._say(self.log, "ERROR", "Calibration failure occurred with no scaling factors detected")
            return None
        if "build" in self.faults:
            self._say(self.log, "ERROR", "Could not find any implementation for node conv2")
            return None
        profiles = [arguments[0] for arguments in self.calls("IBuilderConfig.add_optimization_profile")]
        bounds = [[self.batch] * 3] if self.batch > 0 else [profile.__dict__["bounds"] for profile in profiles]
        body = {"batch": bounds[0], "types": self.types(values.get("int8_calibrator") is not None)}
        memory = self._new("IHostMemory")
        major = int(self.version.split(".")[0])
        head = b"ftrt" + struct.pack("<I", 0) + bytes(16) + bytes([major, 3, 0, 0])
        memory.__dict__["data"] = head + json.dumps(body).encode("utf-8")
        return memory

    def calibrate(self, calibrator):
        """What TensorRT asks of a calibrator, in its order; whether it has ranges in the end."""
        size = calibrator.get_batch_size()
        offered = calibrator.read_calibration_cache()
        if offered is not None:
            assert isinstance(offered, (bytes, bytearray, memoryview))  # text is refused
            header = bytes(offered).decode("ascii").split("\n")[0]
            if header.split("-")[2] == type(calibrator).__mro__[1].__name__[5:].replace("Calibrator", "Calibration"):
                return True
        greatest = 0.0
        while True:
            addresses = calibrator.get_batch(["input"])
            if addresses is None or len(addresses) == 0:
                break
            count = size * int(np.prod(PICTURE))
            values = np.frombuffer((ctypes.c_float * count).from_address(int(addresses[0])), np.float32)
            greatest = max(greatest, float(np.abs(values).max()))
            self.calibration_batches += 1
        if not self.calibration_batches:
            return False
        kind = type(calibrator).__mro__[1].__name__[5:].replace("Calibrator", "Calibration")
        line = struct.pack(">f", greatest / 127).hex()
        made = bytearray(f"TRT-8201-{kind}\ninput: {line}\n".encode("ascii"))
        calibrator.write_calibration_cache(memoryview(made))
        made[:] = bytes(len(made))  # the memory is TensorRT's, and gone afterwards
        return True

    def types(self, calibrated):
        """planned layer -> DataType name the engine will run it in."""
        half = "FP16" in self.flags()
        types = {}
        for layer in self.trt_layers:
            wanted = layer.__dict__.get("_set", {}).get("precision")
            free = "INT8" if calibrated else "HALF" if half else "FLOAT"
            types[layer.name] = wanted.name if wanted is not None else free
        if any(row[1] == "QUANTIZE" for row in self.network):
            types["conv1"] = "INT8"
        return types

    def _say(self, log, severity, text):
        log.log(getattr(self.made.Logger, severity), text)
