"""Patterns that ONNX Runtime's CPU provider does not turn into integer kernels."""

from collections.abc import Iterator

import onnx
from onnx import TensorProto

from edge_mpq.records.target import Target
from export.lint.finding import Found, Rule
from export.lint.reading import DEQUANTIZE, QUANTIZE, WEIGHTED, Reading, attribute, name_of

FUSIONS = "ONNX Runtime, QDQ rewrites of the CPU provider; tests/export/test_lint.py asks it"


def _runtime(target: Target) -> bool:
    return target.backend == "onnxruntime"


def _signed(reading: Reading, target: Target) -> Iterator[Found]:
    for node in reading.of(QUANTIZE):
        if node.input[0] not in reading.protos and reading.code_type(node) == TensorProto.INT8:
            yield name_of(node), "activations are int8; x86 multiplies uint8 by int8", "quantize activations to uint8"


def _is_closed(reading: Reading, node: onnx.NodeProto) -> bool:
    """Whether what a convolution writes is rounded, at once or behind an activation that rounding implies."""
    after = reading.only_reader(node.output[0])
    if after is not None and after.op_type in ("Relu", "Clip"):
        behind = reading.only_reader(after.output[0])
        return behind is not None and behind.op_type == QUANTIZE and reading.lowest(behind) == 0
    return after is not None and after.op_type == QUANTIZE


def _unfused(reading: Reading, target: Target) -> Iterator[Found]:
    for node in reading.of(*WEIGHTED):
        kind, sides = node.op_type, [reading.dequantize_of(name) is not None for name in node.input[:2]]
        name = name_of(node)
        if sides == [True, False]:
            yield name, f"{kind} reads rounded values and a float weight: DQ and a float kernel", "quantize the weight"
        elif sides == [False, True] and kind != "MatMul":
            yield name, f"{kind} reads float values: its weight is turned to float at every run", "quantize its input"
        elif not all(sides):
            continue
        elif kind == "ConvTranspose":
            yield name, "there is no integer kernel for ConvTranspose", "leave it float"
        elif kind == "Conv" and not _is_closed(reading, node):
            yield name, "Conv writes float values, and its integer kernel writes integers", "put Q and DQ behind it"
        elif kind == "Gemm" and len(node.input) > 2 and node.input[2]:
            bias = reading.writer.get(node.input[2])
            if bias is None or bias.op_type != DEQUANTIZE:
                what = "Gemm has a float bias, and its integer kernel adds int32"
                yield name, what, "store the bias as int32 behind DQ, of scale input x weight"


def _two_bits(reading: Reading, target: Target) -> Iterator[Found]:
    for node in reading.of("MatMul"):
        weight = reading.writer.get(node.input[1])
        if weight is None or weight.op_type != DEQUANTIZE or not attribute(weight, "block_size", 0):
            continue
        stored = reading.protos.get(weight.input[0])
        if stored is not None and stored.data_type in (TensorProto.INT2, TensorProto.UINT2) and stored.dims[1] % 4:
            what = f"two-bit weights of {stored.dims[1]} outputs, no multiple of four, give wrong products once fused"
            yield name_of(node), what, "store them in four bits"


RULES = [
    Rule(
        "two-bit-outputs",
        "wrong",
        "Block-wise weights of two bits have a multiple of four outputs.",
        "ONNX Runtime 1.32",
        _runtime,
        _two_bits,
        "tests/export/test_blocks.py asks it",
    ),
    Rule(
        "signed-activations",
        "slow",
        "Activations are uint8.",
        "ONNX Runtime on x86",
        lambda target: _runtime(target) and "x86" in target.name,
        _signed,
        "ONNX Runtime, Quantize ONNX models: data type selection on x86-64",
    ),
    Rule(
        "unfused-layer",
        "slow",
        "Every layer with rounded inputs has a form that an integer kernel takes.",
        "ONNX Runtime",
        _runtime,
        _unfused,
        FUSIONS,
    ),
]
