"""Where Q and DQ stand: what breaks TensorRT's fusions or makes it requantize."""

from collections.abc import Iterator

import onnx

from edge_mpq.records.target import Target
from export.lint.finding import Found, Rule, tensorrt
from export.lint.reading import CONVOLUTIONS, WEIGHTED, Reading, attribute, name_of

GUIDE = "NVIDIA, TensorRT developer guide, Working with quantized types, placement of Q/DQ"
OPTIMIZER = "NVIDIA Model Optimizer, placement of quantizers in ONNX"
ACTIVATIONS = ("Relu", "Clip", "LeakyRelu", "PRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh")
# What loses accuracy in integers and has no integer kernel.
FLOATING = (
    "LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization", "Softmax", "LogSoftmax",
    "Sigmoid", "HardSigmoid", "HardSwish", "Gelu", "Mish", "Erf", "Exp", "Log", "Pow", "Sqrt", "Tanh",
)  # fmt: skip


def fused_convolution(reading: Reading, name: str) -> onnx.NodeProto | None:
    """The convolution whose only reader an Add could be: it writes ``name``, perhaps through a normalization."""
    if len(reading.readers[name]) != 1 or name in reading.outputs:
        return None
    node = reading.writer.get(name)
    if node is not None and node.op_type == "BatchNormalization":
        return fused_convolution(reading, node.input[0])
    return node if node is not None and node.op_type in CONVOLUTIONS else None


def residual_adds(reading: Reading) -> Iterator[onnx.NodeProto]:
    """Every Add of two computed tensors of one shape."""
    for node in reading.of("Add"):
        shapes = [reading.shape_of(name) for name in node.input]
        constant = any(name in reading.protos or reading.weight_of(name) is not None for name in node.input)
        if not constant and (None in shapes or shapes[0] == shapes[1]):
            yield node


def depth(reading: Reading, name: str) -> int:
    """Longest path from an input of the model to a tensor, in nodes."""
    depths: dict[str, int] = {}
    for node in reading.nodes:
        here = 1 + max((depths.get(before, 0) for before in node.input), default=0)
        depths.update(dict.fromkeys(node.output, here))
    return depths.get(name, 0)


def backbone(reading: Reading, add: onnx.NodeProto) -> str | None:
    """The rounded input of a residual Add that should come from its convolution unrounded; None if it is right.

    Both inputs are rounded and one is a convolution's: the deeper one, if both are.
    """
    rounded = [name for name in add.input if reading.activation_of(name) is not None]
    fresh = [name for name in rounded if fused_convolution(reading, reading.source_of(name)) is not None]
    if len(rounded) < 2 or not fresh:
        return None
    return max(fresh, key=lambda name: depth(reading, name))


def _both_rounded(reading: Reading, target: Target) -> Iterator[Found]:
    for node in residual_adds(reading):
        name = backbone(reading, node)
        if name is not None:
            what = f"both inputs are rounded, so the convolution behind {name!r} cannot take in the Add"
            yield name_of(node), what, f"leave {name!r} float; keep Q and DQ on the other input"


def _none_rounded(reading: Reading, target: Target) -> Iterator[Found]:
    for node in residual_adds(reading):
        if any(reading.activation_of(name) is not None for name in node.input):
            continue
        layers = [fused_convolution(reading, name) for name in node.input]
        if any(layer is not None and reading.is_quantized(layer) for layer in layers):
            what = "neither input is rounded, so the Add runs in float behind an integer convolution"
            yield name_of(node), what, "put Q and DQ on the skip input"


def meeting(reading: Reading, node: onnx.NodeProto) -> dict[float, list[onnx.NodeProto]]:
    """scale -> the Q and DQ nodes with it, at the inputs and the output of a Concat, MaxPool or Resize.

    A float input that others round counts too: the rounding moves in front of the node.
    """
    found: dict[float, list[onnx.NodeProto]] = {}
    data = node.input if node.op_type == "Concat" else node.input[:1]
    at_inputs = [
        [before] if (before := reading.activation_of(name)) is not None else reading.quantizes(name) for name in data
    ]
    for rounding in (*(part for row in at_inputs for part in row), *reading.quantizes(node.output[0])):
        scale = reading.scale(rounding)
        if scale is not None and scale.size == 1:
            found.setdefault(float(scale.reshape(-1)[0]), []).append(rounding)
    return found


def is_pool(node: onnx.NodeProto) -> bool:
    """Whether a node selects values, so that rounding before and after it is the same."""
    return node.op_type == "MaxPool" or (node.op_type == "Resize" and attribute(node, "mode", b"nearest") == b"nearest")


def _concat(reading: Reading, target: Target) -> Iterator[Found]:
    for node in reading.of("Concat"):
        scales = sorted(meeting(reading, node))
        if len(scales) > 1:
            what = f"{len(scales)} scales meet ({scales[0]:.3g} to {scales[-1]:.3g}), so that inputs are requantized"
            yield name_of(node), what, "give inputs and output the largest scale"


def _pool(reading: Reading, target: Target) -> Iterator[Found]:
    for node in reading.of("MaxPool", "Resize"):
        scales = sorted(meeting(reading, node))
        if is_pool(node) and len(scales) > 1:
            what = f"{node.op_type} has one scale before and another behind ({scales[0]:.3g}, {scales[-1]:.3g})"
            yield name_of(node), what, "give input and output one scale"


def _before_activation(reading: Reading, target: Target) -> Iterator[Found]:
    for node in reading.of(*ACTIVATIONS):
        if reading.activation_of(node.input[0]) is not None:
            writer = reading.writer.get(reading.source_of(node.input[0]))
            if writer is not None and writer.op_type in (*WEIGHTED, "BatchNormalization", "Add"):
                what = f"Q and DQ stand between {name_of(writer)!r} and its {node.op_type}, which then do not fuse"
                yield name_of(node), what, f"put them behind the {node.op_type}"


def _floating(reading: Reading, target: Target) -> Iterator[Found]:
    for node in reading.of(*FLOATING):
        if reading.activation_of(node.input[0]) is not None:
            source = reading.writer.get(reading.source_of(node.input[0]))
            if node.op_type in ACTIVATIONS and source is not None and source.op_type in WEIGHTED:
                continue  # said by rounded-before-activation
            yield name_of(node), f"{node.op_type} reads rounded values", "leave its input float"


def _output(reading: Reading, target: Target) -> Iterator[Found]:
    for name in sorted(reading.outputs):
        if reading.activation_of(name) is not None:
            yield name_of(reading.writer[name]), f"output {name!r} is rounded and turned back", "leave the output float"


RULES = [
    Rule(
        "add-both-rounded", "slow",
        "Of a residual Add only the skip input has Q and DQ; on both they break the fusion.",
        "TensorRT", tensorrt, _both_rounded, OPTIMIZER + "; NVIDIA/TensorRT issue 1992",
    ),
    Rule(
        "add-in-float", "slow", "A residual Add behind an integer convolution has Q and DQ on its skip input.",
        "TensorRT", tensorrt, _none_rounded, OPTIMIZER + "; NVIDIA/TensorRT issue 1992",
    ),
    Rule(
        "concat-scales", "slow", "Inputs and output of a Concat share one scale.", "TensorRT", tensorrt, _concat,
        OPTIMIZER + " (concat_elimination)",
    ),
    Rule(
        "pool-scales", "slow", "MaxPool and nearest Resize have one scale before and behind.", "TensorRT", tensorrt,
        _pool, GUIDE,
    ),
    Rule(
        "rounded-before-activation", "slow", "No Q and DQ stand between a layer and its activation.", "TensorRT",
        tensorrt, _before_activation, GUIDE,
    ),
    Rule(
        "rounded-float-operator", "slow", "Normalizations, Softmax and the like read float values.", "TensorRT",
        tensorrt, _floating, OPTIMIZER,
    ),
    Rule("rounded-output", "slow", "Outputs of the model are float.", "TensorRT", tensorrt, _output, GUIDE),
]  # fmt: skip
