"""An ONNX for inputs of another size: what its graph computes on more or fewer pixels, where it can.

Only the declared shape of the input is changed; a graph that counts on its size in a
reshape, a table of positions or the shape of a weight cannot follow, and is refused.
Ranges that were calibrated stay those of the size the model was exported for.

Axis letters: N pictures, C channels, H rows, W columns, K output channels.
"""

import numpy as np
import onnx
from onnx import shape_inference

from edge_mpq.engines.onnxruntime import library, reason_of
from edge_mpq.errors import ExportError


def resized(model: onnx.ModelProto, height: int, width: int) -> onnx.ModelProto:
    """``model`` for inputs [N, C, height, width].

    Its answers keep their shape, or, being maps [N, K, H, W], grow with the input.  Raises ExportError where the
    graph is tied to its size; what it says was tried, on two pictures where the batch is free.
    """
    shape = model.graph.input[0].type.tensor_type.shape.dim
    # A free extent has a name or nothing, and reads as 0.
    count, *old = [dim.dim_value for dim in shape] or [0]
    if len(old) != 3 or 0 in old:
        raise ExportError(f"the input is {[count, *old]}, not [N, C, H, W] of a known size", "export it for pictures")
    if [height, width] == old[1:]:
        return model
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.value_info[:]
    for axis, extent in ((2, height), (3, width)):
        made.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = extent
    for output in made.graph.output:
        for dim in output.type.tensor_type.shape.dim[2:]:
            dim.Clear()
    try:
        made = shape_inference.infer_shapes(made, strict_mode=True, data_prop=True)
    except (shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        raise _tied(width, height, " ".join(str(error).split())[-160:]) from error
    _try(model, made, count or 2)
    return made


def _try(model: onnx.ModelProto, made: onnx.ModelProto, count: int) -> None:
    """Run both on ``count`` pictures and hold their answers' shapes against each other."""
    shapes = []
    for one in (model, made):
        given = [count, *(dim.dim_value for dim in one.graph.input[0].type.tensor_type.shape.dim[1:])]
        try:
            session = library().InferenceSession(one.SerializeToString(), providers=["CPUExecutionProvider"])
            noise = np.random.default_rng(0).standard_normal(given).astype(np.float32)
            answers = session.run(None, {one.graph.input[0].name: noise})
        except Exception as error:  # its own exception classes share no base
            raise _tied(given[3], given[2], reason_of(error)) from error
        shapes.append((given, [list(answer.shape) for answer in answers]))
    (before, told), (after, tells) = shapes
    growth = [after[axis] / before[axis] for axis in (2, 3)]
    for expected, got in zip(told, tells, strict=True):
        if not _follows(expected, got, growth):
            raise _tied(after[3], after[2], f"it answers {got}, where {expected} was answered")


def _follows(expected: list[int], got: list[int], growth: list[float]) -> bool:
    """Whether an answer has the shape that was expected, maps grown with the input; a stride may round either way."""
    by = [1.0, 1.0, *growth] if len(expected) == 4 else [1.0] * len(expected)
    return len(got) == len(expected) and all(abs(a - b * c) < 1 for a, b, c in zip(got, expected, by, strict=True))


def _tied(width: int, height: int, why: str) -> ExportError:
    return ExportError(
        f"the graph does not take {width} x {height} pixels ({why})",
        f"make a bundle for that size: edge-mpq quantize --size {width} {height}",
    )
