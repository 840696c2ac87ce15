"""Mends of placement: Q and DQ taken out where they break fusions, or everywhere where there are no integers."""

import onnx

from edge_mpq.records.target import Target
from export.lint.editing import bypass, lead, store
from export.lint.mend_grids import clip_below, dequantized, is_not_negative
from export.lint.placement import ACTIVATIONS, FLOATING, backbone, residual_adds
from export.lint.reading import DEQUANTIZE, WEIGHTED, Reading


def without_integers(reading: Reading, target: Target) -> None:
    """A model without Q and DQ: float weights, float activations, clipped where the grid clipped."""
    for node in reading.of(DEQUANTIZE):
        before = reading.quantize_of(node)
        if before is not None:
            bypass(reading, node, _unrounded(reading, before))
        else:
            values = dequantized(reading, node)
            if values is not None:
                lead(reading.model, node.output[0], store(reading.model, node.input[0] + "_float", values))


def _unrounded(reading: Reading, quantize: onnx.NodeProto) -> str:
    """What a Q rounds; behind a Clip where the Relu before it had been left to the grid."""
    source = quantize.input[0]
    if source in reading.protos or reading.lowest(quantize) != 0 or is_not_negative(reading, source):
        return source
    scale, zero = reading.scale(quantize), reading.zero(quantize)
    codes = 255.0  # the lowest code is 0 on the grid, so 255 steps lie above it
    assert scale is not None and (zero is None or zero.size == 1)
    return clip_below(reading, source, codes * float(scale.reshape(-1)[0]))


def skip_only(reading: Reading, target: Target) -> None:
    """A residual Add reads the unrounded values of its convolution."""
    for node in residual_adds(reading):
        name = backbone(reading, node)
        if name is not None:
            node.input[list(node.input).index(name)] = reading.source_of(name)


def float_readers(reading: Reading, target: Target) -> None:
    """Activations behind layers, normalizations and the like read unrounded values."""
    for node in reading.of(*ACTIVATIONS, *FLOATING):
        name = node.input[0]
        if reading.activation_of(name) is None:
            continue
        source = reading.source_of(name)
        writer = reading.writer.get(source)
        behind = writer is not None and writer.op_type in (*WEIGHTED, "BatchNormalization", "Add")
        if node.op_type in FLOATING or behind:
            node.input[0] = source


def float_outputs(reading: Reading, target: Target) -> None:
    """Outputs of the model are what was rounded before."""
    for name in sorted(reading.outputs):
        node = reading.activation_of(name)
        before = reading.quantize_of(node) if node is not None else None
        if node is not None and before is not None:
            bypass(reading, node, before.input[0])
