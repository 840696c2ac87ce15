"""Write the plan into an ONNX: each layer's formats as metadata of its node.

``edge_mpq.weight`` and ``edge_mpq.activation`` stand on the node named like the layer,
``edge_mpq.target`` and ``edge_mpq.plan`` on the model.  Engines that know nothing of them
pass them by; the same plan lies beside the model as ``plan.json``.
"""

import json

import onnx

from edge_mpq.errors import ExportError
from edge_mpq.records import plan as plans
from edge_mpq.records.plan import PrecisionPlan


def write(model: onnx.ModelProto, plan: PrecisionPlan) -> onnx.ModelProto:
    """``model`` with the plan in it, changed in place; ExportError names layers that have no node."""
    nodes = {node.name: node for node in model.graph.node}
    missing = [name for name in plan.choices if name not in nodes]
    if missing:
        raise ExportError(f"no node for layers {', '.join(missing[:5])}", "export with export.onnx_from_torch")
    for name, choice in plan.choices.items():
        nodes[name].metadata_props.add(key="edge_mpq.weight", value=choice.weight)
        nodes[name].metadata_props.add(key="edge_mpq.activation", value=choice.activation)
    model.metadata_props.add(key="edge_mpq.target", value=plan.target)
    model.metadata_props.add(key="edge_mpq.plan", value=json.dumps(plans.to_json(plan)))
    return model


def read(model: onnx.ModelProto) -> dict[str, tuple[str, str]]:
    """layer -> (weight format, activation format) of a model written by :func:`write`."""
    hints = {}
    for node in model.graph.node:
        found = {item.key: item.value for item in node.metadata_props}
        if "edge_mpq.weight" in found:
            hints[node.name] = (found["edge_mpq.weight"], found["edge_mpq.activation"])
    return hints
