"""What the built engine says it runs: from the inspector's JSON to a format for each planned layer.

TensorRT names what it fused after all its parts (``conv1 + relu``), and in later versions
lists the ONNX nodes of a kernel in its metadata.
"""

import json
import re
from typing import Dict, Tuple

from edge_mpq.engines._tensorrt_precision import owner
from edge_mpq.records import plan as plans

_NODES = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
_JOINTS = re.compile(r" \+ | \|\| |, |\(|\)")
# Read in this order: BFloat16 holds the word Float.
_TYPES = (("bf16", ("BF16", "BFLOAT16")), ("fp8", ("FP8",)), ("int8", ("INT8",)), ("int4", ("INT4",)),
          ("fp16", ("FP16", "HALF")), ("fp32", ("FP32", "FLOAT")))  # fmt: skip


def layers_of(text):
    """The rows of an inspector's answer; [] where it is no JSON or has none."""
    try:
        # Nodes in the metadata are parted by control characters, which JSON proper has not.
        rows = json.loads(text, strict=False).get("Layers", [])
    except (ValueError, AttributeError):
        return []
    # Built without details, a layer is its name alone.
    rows = [row if isinstance(row, dict) else {"Name": str(row)} for row in rows]
    return [row for row in rows if isinstance(row.get("Name"), str)]


def planned_in(row, planned):
    """The planned layers that one row of the inspector computes, in its order.

    Copies between formats compute none.  A region compiled as one (``{ForeignNode[a...b]}``)
    tells neither its layers nor their types.
    """
    return list(dict.fromkeys(layer for layer in (owner(part, planned) for part in _parts(row)) if layer))


def _parts(row):
    """Names of the network's layers that a row was made of."""
    name = row["Name"]
    if row.get("LayerType") in ("Reformat", "NoOp", "Constant") or name.startswith(("Reformatting Copy", "{Foreign")):
        return []
    return _NODES.findall(str(row.get("Metadata", ""))) or _JOINTS.split(name)


def type_of(text):
    """The format in TensorRT's words for one: ``Row major linear FP16 format`` is fp16; '' for none known."""
    words = str(text).upper()
    for name, spellings in _TYPES:
        if any(spelling in words for spelling in spellings):
            return name
    return ""


def ran(row):
    """The short name of what one row runs (``fp16``, ``w8a8``), or '' where it does not say."""
    inputs = [entry for entry in row.get("Inputs") or [] if isinstance(entry, dict)]
    activation = type_of(inputs[0].get("Format/Datatype", "")) if inputs else ""
    weights = row.get("Weights")
    weight = type_of(weights.get("Type", "")) if isinstance(weights, dict) else ""
    if not activation:
        return ""
    return plans.describe(plans.Choice(weight or activation, activation))


def got(rows, planned):
    """planned layer -> what the engine runs it in, for the layers that it tells of.

    A layer may appear in several rows; one that carries weights says it best, then one that
    has the layer itself and not only what stands around it, then one of this layer alone.
    """
    found: Dict[str, Tuple[tuple, str]] = {}
    for row in rows:
        layers, short, parts = planned_in(row, planned), ran(row), _parts(row)
        for layer in layers:
            rank = (isinstance(row.get("Weights"), dict), layer in parts, len(layers) == 1)
            if short and (layer not in found or rank > found[layer][0]):
                found[layer] = (rank, short)
    return {layer: short for layer, (_, short) in found.items()}


def kernels(rows, planned):
    """name of a kernel, as the profiler reports it -> the planned layer whose time it is."""
    owners = {}
    for row in rows:
        layers = planned_in(row, planned)
        if layers:
            owners[row["Name"]] = layers[0]
    return owners
