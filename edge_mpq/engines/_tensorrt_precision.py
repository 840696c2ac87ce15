"""Which precision each TensorRT layer is asked for: decided here, carried out in _tensorrt_build.

A layer of TensorRT is called like the ONNX node it came from, or after it with a suffix
where one node became several.  All functions here are pure.
"""

from typing import Dict, NamedTuple, Set, Tuple

# What moves or holds values and computes nothing that has a precision.
WITHOUT_PRECISION = ("CONSTANT", "SHAPE", "SHUFFLE", "IDENTITY", "CAST", "QUANTIZE", "DEQUANTIZE", "FILL", "ASSERTION")
# What fuses into a layer before it; left alone, it would take a float island back to half.
FOLLOWS = ("ACTIVATION", "SCALE", "PARAMETRIC_RELU", "ELEMENTWISE")
WEIGHTED = ("CONVOLUTION", "DECONVOLUTION", "FULLY_CONNECTED", "MATRIX_MULTIPLY")
FLOATS = ("FLOAT", "HALF", "BF16")


class Output(NamedTuple):
    """A tensor that a layer writes.  dtype: TensorRT's name.  fixed: a network output or shape tensor."""

    name: str
    dtype: str
    fixed: bool


class Layer(NamedTuple):
    """A layer of the parsed network.  kind: TensorRT's LayerType, ``CONVOLUTION``."""

    name: str
    kind: str
    inputs: Tuple[str, ...]
    outputs: Tuple[Output, ...]


class Hint(NamedTuple):
    """layer: index in the network.  precision: a format's name.  outputs: indices whose type is set too."""

    layer: int
    precision: str
    outputs: Tuple[int, ...]


def owner(name, planned):
    """The planned layer that TensorRT's layer ``name`` belongs to: its own name, or the longest before a ``_``."""
    if name in planned:
        return name
    found = [layer for layer in planned if name.startswith(layer + "_")]
    return max(found, key=len) if found else ""


def quantizes(layers):
    """Whether the network holds Q/DQ layers."""
    return any(layer.kind in ("QUANTIZE", "DEQUANTIZE") for layer in layers)


def flags(plan, layers, target, calibrated):
    """Names of the builder flags that let TensorRT use the formats asked for; weakly typed networks only.

    fp16 is let in beside int8, else what is not quantized runs in float and the engine is
    slower than a half one.
    """
    asked = {choice.activation for choice in plan.choices.values()} if plan else set()
    integers = calibrated or quantizes(layers) or any(name.startswith("int") for name in asked)
    names = ["INT8"] if integers else []
    if "fp16" in asked or (integers and "fp16" in target.activation_formats):
        names.append("FP16")
    return names + [name.upper() for name in ("bf16", "fp8") if name in asked]


def hints(layers, plan, calibrated):
    """[Hint] that make TensorRT follow the plan, for the layers that compute in float.

    Q/DQ say by themselves what is int8.  Where ranges come from a calibrator nothing in the
    network says so, and int8 layers are asked for by name, their outputs left free.
    """
    precisions: Dict[int, str] = {}
    islands: Set[str] = set()
    for index, layer in enumerate(layers):
        name = owner(layer.name, plan.choices)
        if not name or not _computes(layer):
            continue
        wanted = plan.choices[name].activation
        if wanted in ("fp32", "fp16", "bf16") or (wanted == "int8" and calibrated):
            precisions[index] = wanted
            if wanted == "fp32":
                islands.update(output.name for output in layer.outputs)
    for index, layer in enumerate(layers):  # in the network's order, so that a chain is followed to its end
        # A sum with one float summand is float: what it holds may not fit in half.
        follows = layer.kind in FOLLOWS and not islands.isdisjoint(layer.inputs)
        if follows and index not in precisions and _computes(layer):
            precisions[index] = "fp32"
            islands.update(output.name for output in layer.outputs)
    return [Hint(index, precisions[index], _typed(layers[index], precisions[index])) for index in sorted(precisions)]


def _computes(layer):
    return layer.kind not in WITHOUT_PRECISION and all(output.dtype in FLOATS for output in layer.outputs)


def _typed(layer, precision):
    """Outputs whose type is set: not those of int8 layers, nor of the network, whose type its reader knows."""
    if precision == "int8":
        return ()
    return tuple(index for index, output in enumerate(layer.outputs) if not output.fixed)


def weighted(layers):
    """Names of the layers with weights, as the ONNX names them."""
    return [layer.name for layer in layers if layer.kind in WEIGHTED]
