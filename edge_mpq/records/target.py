"""Target: a board or an engine, and what it really runs.  One row per board.

Figures are dense peaks from the sources named in docs/targets.md; ``efficiency`` is
the share of the peak that convolution engines reach in practice (30 to 60 %), so the
roofline predicts the right order, not the right digit.
"""

from typing import Dict, NamedTuple, Tuple

from edge_mpq.errors import TargetError
from edge_mpq.records.formats import BLOCKS


class Scheme(NamedTuple):
    """How a target wants its integers.

    activation: container of activations (uint8 with a zero point, or symmetric int8).
    placement: ``inputs`` puts Q/DQ before quantized layers only and on the skip
    branch of residual adds (TensorRT fuses the rest); ``outputs`` also behind them
    and around adds and pools, which ONNX Runtime needs to pick integer kernels.
    weights: ``integer`` stores integer weights behind DQ, ``float`` stores fp32
    weights with Q and DQ (the only form every TensorRT parses).
    """

    activation: str = "int8"
    placement: str = "inputs"
    weights: str = "float"


class Target(NamedTuple):
    """What planning, export and build need to know of a board.

    tensorrt: the version its JetPack brings, () when it is no TensorRT target.
    peak_tops: dense peak of 1e12 operations a second by compute format (2 a MAC).
    bandwidth_gbs: memory, 1e9 bytes a second.  launch_us: cost of starting a kernel.
    """

    name: str
    title: str
    backend: str
    weight_formats: Tuple[str, ...]
    activation_formats: Tuple[str, ...]
    scheme: Scheme
    opset: int
    memory_gib: float
    peak_tops: Dict[str, float]
    bandwidth_gbs: float
    launch_us: float
    efficiency: float = 0.45
    tensorrt: Tuple[int, ...] = ()
    compute_capability: str = ""
    dialect: str = "weak"

    @property
    def has_int8(self):
        """Whether quantized layers run on integer kernels here."""
        return "int8" in self.activation_formats


_FLOAT16 = ("fp32", "fp16")
_INT8 = ("fp32", "fp16", "int8")
# On a board whose smallest weight container is int8, 2- to 7-bit weights run at the
# speed of int8 and save nothing at run time; they shrink the file once compressed.
_NARROW = ("int7", "int6", "int5", "int4", "int3", "int2")
# Blocks of weights that a matrix multiplies by floats: what MatMulNBits of ONNX Runtime takes, and TensorRT from 10.
_RUNTIME_BLOCKS = tuple(
    "{}int{}b{}".format(sign, bits, block)
    for bits in (8, 4, 2) for sign in ("", "u") for block in (32, 64, 128) if (sign, bits) != ("u", 8)
)  # fmt: skip
_TENSORRT_BLOCKS = ("int4b64", "int4b128")
_EVERY_BLOCK = tuple(
    "{}int{}b{}".format(sign, bits, block) for bits in (8, 4, 3, 2) for sign in ("", "u") for block in BLOCKS
)
_FLOATS = ("fp32", "fp16", "bf16", "fp8", "fp8_e5m2", "fp7_e3m3", "fp6_e3m2", "fp6_e2m3", "fp5_e2m2", "fp4")
_UINT8 = Scheme("uint8", "outputs", "integer")
_SYMMETRIC = Scheme("int8", "inputs", "float")


def _jetson(name, title, formats, opset, memory, peaks, bandwidth, tensorrt, capability, launch=10.0, dialect="weak"):
    return Target(
        name=name, title=title, backend="tensorrt", activation_formats=formats,
        weight_formats=formats + (_TENSORRT_BLOCKS if tensorrt >= (10,) else ()),
        scheme=_SYMMETRIC, opset=opset, memory_gib=memory, peak_tops=peaks, bandwidth_gbs=bandwidth,
        launch_us=launch, tensorrt=tensorrt, compute_capability=capability, dialect=dialect,
    )  # fmt: skip


_GPUS = [
    _jetson("jetson-nano", "Jetson Nano, JetPack 4.6.1, TensorRT 8.2", _FLOAT16, 13, 4,
            {"fp32": 0.236, "fp16": 0.472}, 25.6, (8, 2, 1), "5.3", launch=30.0),
    _jetson("jetson-tx2", "Jetson TX2, JetPack 4.6.1, TensorRT 8.2", _FLOAT16, 13, 8,
            {"fp32": 0.67, "fp16": 1.33}, 59.7, (8, 2, 1), "6.2", launch=20.0),
    _jetson("jetson-xavier-nx", "Jetson Xavier NX, JetPack 5.1, TensorRT 8.5", _INT8, 17, 8,
            {"fp32": 0.84, "fp16": 6.8, "int8": 13.5}, 51.2, (8, 5, 2), "7.2"),
    _jetson("jetson-agx-xavier", "Jetson AGX Xavier, JetPack 5.1, TensorRT 8.5", _INT8, 17, 32,
            {"fp32": 1.41, "fp16": 11.3, "int8": 22.6}, 136.5, (8, 5, 2), "7.2"),
    _jetson("jetson-orin-nano", "Jetson Orin Nano 8GB, JetPack 6.2, TensorRT 10.3", _INT8, 20, 8,
            {"fp32": 1.28, "fp16": 10, "int8": 20}, 68, (10, 3, 0), "8.7"),
    _jetson("jetson-orin-nx", "Jetson Orin NX 16GB, JetPack 6.2, TensorRT 10.3", _INT8, 20, 16,
            {"fp32": 1.9, "fp16": 15, "int8": 30}, 102, (10, 3, 0), "8.7"),
    _jetson("jetson-agx-orin", "Jetson AGX Orin 64GB, JetPack 6.2, TensorRT 10.3", _INT8, 20, 64,
            {"fp32": 5.3, "fp16": 42.5, "int8": 85}, 204.8, (10, 3, 0), "8.7"),
    _jetson("jetson-thor", "Jetson Thor T5000, JetPack 7.0, TensorRT 10.13", _INT8 + ("bf16", "fp8"), 24, 128,
            {"fp32": 8, "fp16": 250, "bf16": 250, "int8": 500, "fp8": 517}, 273, (10, 13, 3), "11.0",
            dialect="typed"),
    _jetson("tensorrt-11-x86", "x86 with an Ada GPU (L4), TensorRT 11", _INT8 + ("bf16", "fp8"), 25, 24,
            {"fp32": 30.3, "fp16": 121, "bf16": 121, "int8": 242, "fp8": 242}, 300, (11, 0, 0), "8.9",
            launch=5.0, dialect="typed"),
]  # fmt: skip


def _earlier(name, jetpack, opset, tensorrt):
    """A row of the board ``name`` under an earlier JetPack, whose TensorRT reads an older ONNX."""
    row = next(row for row in _GPUS if row.name == name)
    title = "{}, JetPack {}, TensorRT {}.{}".format(row.title.split(", ")[0], jetpack, *tensorrt)
    return row._replace(
        name="{}-jetpack{}".format(name, jetpack[0]), title=title, weight_formats=row.activation_formats,
        opset=opset, tensorrt=tensorrt,
    )  # fmt: skip


_EARLIER = [
    _earlier("jetson-xavier-nx", "4.6.1", 13, (8, 2, 1)),
    _earlier("jetson-agx-xavier", "4.6.1", 13, (8, 2, 1)),
    _earlier("jetson-orin-nano", "5.1", 17, (8, 5, 2)),
    _earlier("jetson-orin-nx", "5.1", 17, (8, 5, 2)),
    _earlier("jetson-agx-orin", "5.1", 17, (8, 5, 2)),
]
_OTHERS = [
    Target("cpu-x86-vnni", "x86 CPU with VNNI, ONNX Runtime", "onnxruntime",
           ("fp32", "int8") + _NARROW + _RUNTIME_BLOCKS, ("fp32", "int8"), _UINT8, 20, 4,
           {"fp32": 0.08, "int8": 0.24}, 20, 2.0, efficiency=0.6),
    Target("cpu-arm64", "64-bit Arm CPU, ONNX Runtime", "onnxruntime",
           ("fp32", "int8") + _NARROW + _RUNTIME_BLOCKS, ("fp32", "int8"), _UINT8, 20, 4,
           {"fp32": 0.03, "int8": 0.09}, 10, 4.0, efficiency=0.5),
    Target("simulation", "any format, simulated in PyTorch; nothing is deployed", "simulation",
           _FLOATS + ("int8",) + _NARROW + _EVERY_BLOCK, _FLOATS + ("int8",) + _NARROW, _UINT8, 20, 64,
           {"fp32": 1, "fp16": 2, "bf16": 2, "fp8": 4, "fp8_e5m2": 4, "fp7_e3m3": 4, "fp6_e3m2": 4, "fp6_e2m3": 4,
            "fp5_e2m2": 4, "fp4": 8, "int8": 4, "int7": 4, "int6": 4, "int5": 4, "int4": 8, "int3": 8, "int2": 16},
           100, 0.0),
]  # fmt: skip

TARGETS = {row.name: row for row in _GPUS + _EARLIER + _OTHERS}
# The newest opset that a parser reads, from each version of TensorRT on.  Newer nodes it does not refuse: a
# ReduceMean of opset 18 reduces over all axes before TensorRT 10.
_READS = (((8, 0), 13), ((8, 4), 17), ((10, 0), 20), ((10, 9), 22), ((10, 13), 24), ((11, 0), 25))


def newest_opset(tensorrt):
    """The newest opset that TensorRT ``tensorrt``, (10, 3, 0) or shorter, reads as it is meant; 0 before 8.0."""
    return max([opset for version, opset in _READS if tuple(tensorrt[:2]) >= version], default=0)


def names():
    """Every target's name, boards first."""
    return list(TARGETS)


def get(name):
    """The :class:`Target` called ``name``; TargetError lists what there is."""
    if name not in TARGETS:
        raise TargetError("there is no target {!r}".format(name), "choose one of " + ", ".join(TARGETS))
    return TARGETS[name]
