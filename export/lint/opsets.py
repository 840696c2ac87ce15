"""Operators and their versions: what a parser does not know, or knows in another form."""

from collections.abc import Iterator

import onnx

from edge_mpq.records.target import Target
from export.lint.finding import Found, Rule, before, tensorrt, version_text
from export.lint.operators import INSTEAD, INTEGER, SINCE
from export.lint.reading import DEQUANTIZE, Reading, attribute, every_node, name_of
from export.older_opset_of_onnx import REDUCTIONS

MATRIX = "onnx-tensorrt, docs/operators.md of the release"
BLOCKED_OPSET = 21
OWN_DOMAINS = ("", "ai.onnx", "trt.plugins")


def _ceiling(reading: Reading, target: Target) -> int:
    """The target's opset; blocks of INT4 need opset 21, whose DequantizeLinear TensorRT 10 reads among older nodes."""
    blocked = any(attribute(node, "block_size", 0) for node in reading.of(DEQUANTIZE))
    return max(target.opset, BLOCKED_OPSET) if blocked and target.tensorrt >= (10,) else target.opset


def _opset(reading: Reading, target: Target) -> Iterator[Found]:
    if reading.opset > _ceiling(reading, target):
        version = version_text(target.tensorrt)
        what = f"opset {reading.opset}; TensorRT {version} reads up to {target.opset} and does not refuse a newer one"
        yield "", what, f"export with opset {target.opset}"


def _reduction(reading: Reading, target: Target) -> Iterator[Found]:
    for node in reading.of(*REDUCTIONS):
        if len(node.input) > 1 and node.input[1]:
            what = f"{node.op_type} with its axes as an input is read as a reduction over every axis"
            yield name_of(node), what, "export with opset 17 or older, where the axes are an attribute"


def _is_plugin(node: onnx.NodeProto) -> bool:
    return node.op_type.endswith("_TRT") or node.domain == "trt.plugins"


def _unknown(reading: Reading, target: Target) -> Iterator[Found]:
    functions = {(function.domain, function.name) for function in reading.model.functions}
    version = version_text(target.tensorrt)
    for node in every_node(reading.model.graph):
        kind, since = node.op_type, SINCE.get(node.op_type)
        if _is_plugin(node) or kind in INTEGER:
            continue
        if (node.domain, kind) in functions:
            if target.tensorrt < (10,):
                yield name_of(node), f"{kind} is a local function, which TensorRT {version} does not read", "inline it"
        elif node.domain not in OWN_DOMAINS and kind not in ("QuantizeLinear", "DequantizeLinear"):
            mend = "export without runtime-specific fusions, or bring a plugin"
            yield name_of(node), f"{node.domain}.{kind} is no operator of ONNX", mend
        elif since is None or target.tensorrt < since:
            first = f"; {version_text(since)} is the first that does" if since else ""
            mend = INSTEAD.get(kind, "replace the operation in the model")
            yield name_of(node), f"TensorRT {version} does not read {kind}{first}", mend


def _integer(reading: Reading, target: Target) -> Iterator[Found]:
    for node in every_node(reading.model.graph):
        if node.op_type in INTEGER:
            yield (
                name_of(node),
                f"{node.op_type} computes on integers; TensorRT reads QuantizeLinear and DequantizeLinear only",
                "quantize in the QDQ format (onnxruntime: quant_format=QuantFormat.QDQ)",
            )


def _form(reading: Reading, target: Target) -> Iterator[Found]:
    for node in reading.nodes:
        kind = node.op_type
        used = [name for name in node.output if name and (reading.readers[name] or name in reading.outputs)]
        if kind == "MaxPool" and len(node.output) > 1 and node.output[1] in used:
            yield name_of(node), "MaxPool gives indices too", "do without unpooling"
        elif kind == "LayerNormalization" and len(used) > 1:
            yield name_of(node), "LayerNormalization gives mean or deviation too", "compute them apart"
        elif kind in ("MaxPool", "AveragePool", "LpPool") and set(attribute(node, "dilations", [1])) - {1}:
            yield name_of(node), f"{kind} is dilated", "pool without dilation"
        elif kind == "Resize" and attribute(node, "mode", b"nearest") == b"cubic":
            yield name_of(node), "Resize is cubic; nearest and linear are read", "interpolate bilinearly"
        elif kind == "Resize" and attribute(node, "antialias", 0):
            yield name_of(node), "Resize smooths (antialias)", "interpolate without antialias"
        elif kind == "TopK" and target.tensorrt < (8, 6) and node.input[1] not in reading.protos:
            yield name_of(node), "TopK with a computed k", "make k a constant"
        elif kind == "Dropout" and len(node.input) > 2 and node.input[2] and reading.array(node.input[2]):
            yield name_of(node), "Dropout trains", "export the model in eval mode"


RULES = [
    Rule(
        "opset",
        "wrong",
        "The opset is at most the one the parser was written for; it reads newer nodes as if they were old ones.",
        "TensorRT",
        tensorrt,
        _opset,
        MATRIX + "; ModelImporter.cpp logs the opset and goes on",
    ),
    Rule(
        "reduction-axes",
        "wrong",
        "A reduction says its axes in an attribute; given as an input (opset 18), all axes are reduced.",
        "TensorRT before 10",
        before(10),
        _reduction,
        "onnx-tensorrt 8.2-GA and 8.6-GA, onnx2trt_utils.cpp reduceTensor",
    ),
    Rule("operator", "refused", "Every operator is in the parser's list.", "TensorRT", tensorrt, _unknown, MATRIX),
    Rule(
        "integer-operator",
        "refused",
        "Quantization is written with Q and DQ, not with operators on integers.",
        "TensorRT",
        tensorrt,
        _integer,
        MATRIX,
    ),
    Rule(
        "operator-form",
        "refused",
        "Pools give no indices and have no dilation, Resize is nearest or linear without antialias, and so on.",
        "TensorRT",
        tensorrt,
        _form,
        MATRIX + ", column Restrictions",
    ),
]  # fmt: skip
