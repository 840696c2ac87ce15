"""Names, free axes, and element types of a model as a whole."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
from onnx import TensorProto

from edge_mpq.records.target import Target
from export.lint.finding import Found, Rule, before, tensorrt
from export.lint.reading import Reading, name_of

IMPORTERS = "onnx-tensorrt, ModelImporter.cpp: a layer is called like its node"
MATRIX = "onnx-tensorrt, docs/operators.md, notes on types"
INT32 = np.iinfo(np.int32)


def _everywhere(target: Target) -> bool:
    return True


def _unnamed(reading: Reading, target: Target) -> Iterator[Found]:
    for node in reading.nodes:
        if not node.name:
            yield name_of(node), f"a {node.op_type} has no name, so no plan can speak of it", "give every node a name"


def _twice(reading: Reading, target: Target) -> Iterator[Found]:
    for name, times in Counter(node.name for node in reading.nodes if node.name).items():
        if times > 1:
            what = f"{times} nodes have this name; the precision of one is given to another"
            yield name, what, "give every node a name of its own"


def _free_axes(reading: Reading, target: Target) -> Iterator[Found]:
    for item in reading.inputs:
        shape = reading.shape_of(item.name)
        if item.name not in reading.protos and (shape is None or None in shape[1:]):
            shown = "of unknown rank" if shape is None else "x".join("?" if n is None else str(n) for n in shape)
            what = f"input {item.name!r} is {shown}; only the batch may be free"
            yield "", what, "fix rows and columns (onnxruntime.tools.make_dynamic_shape_fixed)"


def _uint8_ends(reading: Reading, target: Target) -> Iterator[Found]:
    for item in (*reading.inputs, *reading.model.graph.output):
        if item.type.tensor_type.elem_type == TensorProto.UINT8:
            yield "", f"{item.name!r} is uint8, which this TensorRT has not", "take float32 in and out"


def _int64_ends(reading: Reading, target: Target) -> Iterator[Found]:
    for item in (*reading.inputs, *reading.model.graph.output):
        if item.type.tensor_type.elem_type == TensorProto.INT64:
            yield "", f"{item.name!r} is int64; the engine's is int32", "bind int32, or give another type out"


def _int64_values(reading: Reading, target: Target) -> Iterator[Found]:
    for name, proto in reading.protos.items():
        if proto.data_type != TensorProto.INT64:
            continue
        readers = reading.readers[name]
        if readers and all(node.op_type == "Slice" for node in readers):
            continue  # "to the end" is written as the greatest int64, and stays so when clamped
        values = reading.array(name)
        if values is not None and values.size and (values.max() > INT32.max or values.min() < INT32.min):
            node = name_of(readers[0]) if readers else ""
            yield node, f"constant {name!r} holds integers beyond 32 bits, which are clamped", "keep them within int32"


def _double_constants(reading: Reading, target: Target) -> Iterator[Found]:
    for name, proto in reading.protos.items():
        if proto.data_type == TensorProto.DOUBLE:
            node = name_of(reading.readers[name][0]) if reading.readers[name] else ""
            yield node, f"constant {name!r} is float64 and is read as float32", "store float32"


def _double_tensors(reading: Reading, target: Target) -> Iterator[Found]:
    for item in reading.inputs:
        if reading.type_of(item.name) == TensorProto.DOUBLE and item.name not in reading.protos:
            yield "", f"input {item.name!r} is float64", "take float32"
    for node in reading.nodes:
        if node.op_type != "Constant" and any(reading.type_of(name) == TensorProto.DOUBLE for name in node.output):
            yield name_of(node), f"{node.op_type} computes in float64", "compute in float32"


RULES = [
    Rule(
        "unnamed-node",
        "note",
        "Every node has a name; plans and profiles speak of nodes by it.",
        "every engine",
        _everywhere,
        _unnamed,
        IMPORTERS,
    ),
    Rule(
        "duplicate-name",
        "wrong",
        "No two nodes have one name.",
        "every engine",
        _everywhere,
        _twice,
        IMPORTERS,
    ),
    Rule(
        "free-axis",
        "refused",
        "No axis of an input is free but the batch: the engine is built for one picture size.",
        "TensorRT",
        tensorrt,
        _free_axes,
        "edge_mpq.engines.tensorrt: its optimization profile bounds the batch only",
    ),
    Rule(
        "uint8-input",
        "refused",
        "Inputs and outputs are not uint8.",
        "TensorRT before 8.5",
        before(8, 5),
        _uint8_ends,
        "onnx-tensorrt, docs/Changelog.md: 8.5 added uint8 inputs and outputs",
    ),
    Rule(
        "int64-input",
        "note",
        "Inputs and outputs are not int64; the engine has int32 in their place.",
        "TensorRT before 10",
        before(10),
        _int64_ends,
        "onnx-tensorrt, docs/Changelog.md: int64 came with 9.0",
    ),
    Rule(
        "int64-range",
        "wrong",
        "Integer constants fit in 32 bits; larger ones are clamped.",
        "TensorRT before 10",
        before(10),
        _int64_values,
        MATRIX,
    ),
    Rule(
        "double-constant",
        "note",
        "Constants are not float64; they are read as float32.",
        "TensorRT",
        tensorrt,
        _double_constants,
        MATRIX,
    ),
    Rule(
        "double-tensor",
        "refused",
        "Nothing is computed in float64.",
        "TensorRT",
        tensorrt,
        _double_tensors,
        MATRIX,
    ),
]
