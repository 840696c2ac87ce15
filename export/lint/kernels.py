"""What has no integer kernel, or one that is slower than the float kernel.

Axis letters: C input channels, K output channels, of one group and of all.
"""

from collections.abc import Iterator

import onnx

from edge_mpq.eligibility import worth_int8
from edge_mpq.records.target import Target
from export.lint.finding import Found, Rule, tensorrt
from export.lint.reading import CONVOLUTIONS, DEQUANTIZE, QUANTIZE, Reading, attribute, name_of
from export.lint.scales import output_axis

OPTIMIZER = "NVIDIA Model Optimizer, convolutions left out of quantization"


def _has_int8(target: Target) -> bool:
    return tensorrt(target) and target.has_int8


def _none(reading: Reading, target: Target) -> Iterator[Found]:
    pairs = reading.of(QUANTIZE, DEQUANTIZE)
    if pairs:
        what = f"{len(pairs)} Q and DQ nodes, and the GPU of {target.name} has no integer arithmetic"
        yield name_of(pairs[0]), what, "take them out; plan a mix of fp16 and fp32"


def quantized_convolutions(reading: Reading) -> Iterator[tuple[onnx.NodeProto, tuple[int, ...]]]:
    """Every quantized convolution with the shape of its weight, where that is stored."""
    for node in reading.of(*CONVOLUTIONS):
        weight = reading.stored_weight(node.input[1])
        if weight is not None and weight.ndim > 2 and reading.is_quantized(node):
            yield node, weight.shape


def channels(node: onnx.NodeProto, shape: tuple[int, ...]) -> tuple[int, int]:
    """(C, K) of all groups, from the shape of a convolution's weight."""
    groups, axis = attribute(node, "group", 1), output_axis(node, len(shape))
    return (shape[0], shape[1] * groups) if axis else (shape[1] * groups, shape[0])


def _small(reading: Reading, target: Target) -> Iterator[Found]:
    ends = {item.name for item in reading.inputs}
    for node, shape in quantized_convolutions(reading):
        (inputs, outputs), groups = channels(node, shape), attribute(node, "group", 1)
        first = reading.source_of(node.input[0]) in ends
        if not worth_int8(inputs, outputs, groups, shape[2:], first):
            size = f"{inputs} to {outputs} channels in {groups} groups, kernel {'x'.join(map(str, shape[2:]))}"
            yield name_of(node), f"{size}: integer kernels are no faster here", "plan fp16 for it"


def _depthwise(reading: Reading, target: Target) -> Iterator[Found]:
    for node, shape in quantized_convolutions(reading):
        if attribute(node, "group", 1) == shape[0] and shape[0] > 1 and shape[1] == 1:
            what = "a depthwise convolution in int8; some are slower than in fp16"
            yield name_of(node), what, "time both on the board, or plan fp16 for it"


def _vectors(reading: Reading, target: Target) -> Iterator[Found]:
    for node in reading.of("MatMul", "Gemm"):
        weight = reading.stored_weight(node.input[1])
        shape = reading.shape_of(node.input[0])
        if weight is None or weight.ndim != 2 or not reading.is_quantized(node):
            continue
        outputs = weight.shape[output_axis(node, 2)]
        if outputs == 1 or (shape is not None and len(shape) == 2 and shape[0] in (1, None)):
            what = f"a matrix by a vector ({outputs} outputs) at batch 1; int8 gains nothing but size"
            yield name_of(node), what, "plan fp16 for it, or leave it for a smaller file"


RULES = [
    Rule(
        "no-integers",
        "refused",
        "Boards without integer arithmetic get no Q and DQ.",
        "TensorRT on GPUs without int8 (Nano, TX2)",
        lambda target: tensorrt(target) and not target.has_int8,
        _none,
        "NVIDIA/TensorRT issue 3157: Q/DQ layers require hardware with Int8 support",
    ),
    Rule(
        "small-convolution",
        "slow",
        "Convolutions of few or odd channels stay in fp16.",
        "TensorRT with int8",
        _has_int8,
        _small,
        OPTIMIZER,
    ),
    Rule(
        "depthwise",
        "note",
        "Depthwise convolutions gain little in int8.",
        "TensorRT with int8",
        _has_int8,
        _depthwise,
        "NVIDIA/TensorRT issues 3205 and 4412",
    ),
    Rule(
        "matrix-by-vector",
        "note",
        "Products with a vector gain no speed in int8.",
        "TensorRT with int8",
        _has_int8,
        _vectors,
        "NVIDIA Model Optimizer, MatMul and Gemm left out of quantization",
    ),
]
