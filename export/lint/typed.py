"""What a strongly typed network must say in its types, because no flag and no hint says it."""

from collections.abc import Iterator

from onnx import TensorProto

from edge_mpq.records.target import Target
from export import hints_into_onnx
from export.lint.finding import Found, Rule
from export.lint.reading import WEIGHTED, Reading

MIGRATION = "NVIDIA, migration from TensorRT 10 to 11: networks are strongly typed"
TYPES = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
AGAIN = "export again for this target (export.typed_onnx_from_weak)"


def _typed(target: Target) -> bool:
    return target.dialect == "typed"


def _planned(reading: Reading, target: Target) -> Iterator[Found]:
    hints = hints_into_onnx.read(reading.model)
    for node in reading.of(*WEIGHTED):
        wanted = TYPES.get(hints[node.name][1]) if node.name in hints else None
        got = reading.type_of(node.output[0])
        if wanted is not None and got and got != wanted:
            shown = TensorProto.DataType.Name(got).lower()
            yield node.name, f"the plan says {hints[node.name][1]}, the types say {shown}", AGAIN


def _all_float(reading: Reading, target: Target) -> Iterator[Found]:
    layers, hints = reading.of(*WEIGHTED), hints_into_onnx.read(reading.model)
    wanted = {activation for _, activation in hints.values()} or {"fp16"}
    if layers and wanted != {"fp32"}:
        if all(reading.type_of(node.output[0]) == TensorProto.FLOAT for node in layers):
            yield "", f"all {len(layers)} layers are float32 by type, and there is no flag for half precision", AGAIN


RULES = [
    Rule(
        "planned-type",
        "wrong",
        "A layer planned in fp32, fp16 or bf16 has that type in the graph; hints are not read.",
        "typed targets",
        _typed,
        _planned,
        MIGRATION,
    ),
    Rule(
        "all-float32",
        "slow",
        "Layers that may run in half precision have that type in the graph.",
        "typed targets",
        _typed,
        _all_float,
        MIGRATION,
    ),
]
