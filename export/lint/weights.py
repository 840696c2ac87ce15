"""How weights and biases are stored."""

from collections.abc import Iterator

import onnx
from onnx import TensorProto

from edge_mpq.records.target import Target
from export.lint.finding import Found, Rule, before, tensorrt
from export.lint.reading import CONVOLUTIONS, DEQUANTIZE, WEIGHTED, Reading, attribute, name_of

BLOCKS = (64, 128)
ACTIVATIONS_ONLY = "NVIDIA/TensorRT issue 3360, onnx-tensorrt issue 850: only activation types allowed as input"


def _int32(reading: Reading, target: Target) -> Iterator[Found]:
    for node in reading.of(DEQUANTIZE):
        if reading.code_type(node) == TensorProto.INT32:
            yield name_of(node), "a DQ of int32, as ONNX Runtime stores a bias", "store the bias as float32"


def _computed_bias(reading: Reading, target: Target) -> Iterator[Found]:
    for node in reading.of(*CONVOLUTIONS):
        name = node.input[2] if len(node.input) > 2 else ""
        writer = reading.writer.get(name)
        if not name or name in reading.protos:
            continue
        if writer is not None and writer.op_type == DEQUANTIZE and reading.code_type(writer) == TensorProto.INT32:
            continue  # said by int32-bias
        yield name_of(node), f"the bias {name!r} is no stored constant", "store the bias as float32, without Q and DQ"


def _integers(reading: Reading, target: Target) -> Iterator[Found]:
    for node in reading.of(DEQUANTIZE):
        if node.input[0] in reading.protos and reading.code_type(node) != TensorProto.INT32:
            what = "a weight is stored as integers behind DQ, which this parser refuses for some layers"
            yield name_of(node), what, "store float32 weights with Q and DQ behind"


def _is_blocked(node: onnx.NodeProto | None) -> bool:
    """Whether ``node`` is a DQ of block-wise weights, which are meant for float values."""
    return node is not None and node.op_type == DEQUANTIZE and attribute(node, "block_size", 0) > 0


def _blocks(reading: Reading, target: Target) -> Iterator[Found]:
    for node in reading.of(DEQUANTIZE):
        if not _is_blocked(node):
            continue
        block, codes = attribute(node, "block_size"), reading.protos.get(node.input[0])
        if codes is None:
            yield name_of(node), "what is scaled by block is computed", "store the weight as int4 codes"
        elif codes.data_type != TensorProto.INT4 or block not in BLOCKS:
            kind = TensorProto.DataType.Name(codes.data_type).lower()
            yield name_of(node), f"{kind} in blocks of {block}", "quantize to int4 in blocks of 64 or 128"
        elif len(codes.dims) != 2 or codes.dims[attribute(node, "axis", 1)] % block:
            shape = "x".join(map(str, codes.dims))
            yield name_of(node), f"a weight of {shape} is no matrix of whole blocks of {block}", "leave it in fp16"


def _one_sided(reading: Reading, target: Target) -> Iterator[Found]:
    for node in reading.of(*WEIGHTED):
        sides = [reading.dequantize_of(name) is not None for name in node.input[:2]]
        if sides == [True, False]:
            yield name_of(node), f"{node.op_type} reads rounded values and a float weight", "quantize both or neither"
        elif sides == [False, True] and not _is_blocked(reading.writer.get(node.input[1])):
            yield name_of(node), f"{node.op_type} reads float values and a rounded weight", "quantize both or neither"


RULES = [
    Rule(
        "int32-bias",
        "refused",
        "Biases are float; Q and DQ know no int32.",
        "TensorRT",
        tensorrt,
        _int32,
        ACTIVATIONS_ONLY,
    ),
    Rule(
        "computed-bias",
        "refused",
        "The bias of a convolution is a stored constant.",
        "TensorRT",
        tensorrt,
        _computed_bias,
        "onnx-tensorrt, importer of Conv: the bias tensor is required to be an initializer",
    ),
    Rule(
        "integer-weights",
        "refused",
        "Quantized weights are stored in float32 with Q and DQ behind.",
        "TensorRT before 10",
        before(10),
        _integers,
        "NVIDIA/TensorRT issue 3360, onnx-tensorrt issue 850",
    ),
    Rule(
        "block-form",
        "refused",
        "Block-wise weights are matrices of int4 in whole blocks of 64 or 128.",
        "TensorRT",
        tensorrt,
        _blocks,
        "NVIDIA, TensorRT documentation, Quantized types: INT4 is weight-only, block sizes 64 and 128",
    ),
    Rule(
        "one-sided",
        "slow",
        "A layer's values and its weights are both quantized, or neither; one alone runs on float kernels.",
        "TensorRT",
        tensorrt,
        _one_sided,
        "NVIDIA, TensorRT developer guide, Working with quantized types",
    ),
]
