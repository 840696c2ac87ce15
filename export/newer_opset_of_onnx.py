"""ONNX -> the same ONNX in a newer opset, for operators that older ones lack.

Only the number changes, which is right where every operation of the model means in the newer opset
what it meant: :func:`raised` refuses the others.
"""

import onnx
from onnx import helper

from edge_mpq.errors import ExportError
from export.lint.reading import every_node, opset_of

OLDEST = 18
# Operations that mean something else from an opset on.
CHANGED = {"GridSample": 20, "DFT": 20, "GroupNormalization": 21}


def raised(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """A copy of at least ``opset``, whose operations mean what they meant; ExportError where they would not."""
    before = opset_of(model)
    raised = onnx.ModelProto()
    raised.CopyFrom(model)
    faults = {
        node.op_type
        for node in every_node(model.graph)
        if before < CHANGED.get(node.op_type, 0) <= opset or any(item.HasField("g") for item in node.attribute)
    }
    if faults or before < OLDEST:
        what = ", ".join(sorted(faults)) or f"a model of opset {before}"
        raise ExportError(f"{what} cannot be raised to opset {opset}", "export with opset 18 and replace such nodes")
    if before < opset:
        others = [item for item in model.opset_import if item.domain not in ("", "ai.onnx")]
        del raised.opset_import[:]
        raised.opset_import.extend([helper.make_opsetid("", opset), *others])
        raised.ir_version = max(raised.ir_version, helper.find_min_ir_version_for(list(raised.opset_import)))
    return raised
