"""graph + plan + ranges -> the fake-quantized graph: what the engine computes, in float.

Weight quantizers stand between a weight and its layer, activation quantizers at the
points of placement.py.  Their modules are named after what they round
(``weight_quantizers.layer1__0__conv1``), and export reads grids and weights from them,
so what is simulated is what is deployed.
"""

from collections.abc import Iterator

import torch
from torch import fx, nn

from edge_mpq import graph as ir
from edge_mpq import quantizers
from edge_mpq.errors import PlanError
from edge_mpq.placement import Point, points_of
from edge_mpq.quantizers.affine import AffineQuantizer, weight_range
from edge_mpq.records import formats
from edge_mpq.records.plan import PrecisionPlan
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target
from edge_mpq.transforms import batchnorm_fold

WEIGHTS, ACTIVATIONS = "weight_quantizers", "activation_quantizers"
# ONNX Runtime stores a convolution's bias as int32 in units of input scale x weight scale.
LARGEST_BIAS_CODE = 2.0**30


def weight_axis(kind: str) -> int:
    """The output-channel axis of a layer kind's weight."""
    return 1 if kind == "conv_transpose2d" else 0


def attribute_name(tensor: str) -> str:
    """A tensor or layer name as a module attribute."""
    return tensor.replace(".", "__")


def simulate(graph: fx.GraphModule, plan: PrecisionPlan, target: Target, ranges: RangeTable) -> fx.GraphModule:
    """A copy of ``graph`` that rounds as ``plan`` says on ``target``.

    What it does not round yet it shares: a rounding rule replaces one weight after the other
    (edge_mpq.graph.set_parameter), so a second model is never held beside the first.
    Raises PlanError when ``ranges`` lacks a tensor that the plan rounds.
    """
    model = ir.copied(graph, shared=True)
    model.add_module(WEIGHTS, nn.Module())
    model.add_module(ACTIVATIONS, nn.Module())
    points = points_of(graph, plan, target.scheme)
    check_ranges(points, ranges)
    for point, module in activation_quantizers(points, target, ranges):
        add_activation_quantizer(model, point, module)
    for name, nodes in ir.weighted(model).items():
        if plan.choices[name].weight != "fp32":
            add_weight_quantizer(model, name, nodes, plan.choices[name].weight)
    model.graph.lint()
    model.recompile()
    return model.eval()


def check_ranges(points: list[Point], ranges: RangeTable) -> None:
    """Raise PlanError when ``ranges`` lacks a tensor of ``points``."""
    missing = [point.tensor for point in points if point.tensor not in ranges.tensors]
    if missing:
        raise PlanError(
            f"no range for {len(missing)} tensors the plan rounds ({', '.join(missing[:5])})",
            "calibrate again on this model",
        )


def activation_quantizers(points: list[Point], target: Target, ranges: RangeTable) -> Iterator[tuple[Point, nn.Module]]:
    """Each point with its quantizer; points of one group get the union of their ranges."""
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    for point in points:
        bottom, top = ranges.tensors[point.tensor]
        low[point.group] = min(low.get(point.group, 0.0), bottom)
        high[point.group] = max(high.get(point.group, 0.0), top)
    for point in points:
        form = formats.get(point.form)
        bounds = torch.tensor([low[point.group]]), torch.tensor([high[point.group]])
        symmetric = target.scheme.activation == "int8"
        yield point, quantizers.for_format(form).quantizer(form, *bounds, symmetric, None)


def add_activation_quantizer(model: fx.GraphModule, point: Point, module: nn.Module) -> fx.Node:
    """Round the tensor of ``point`` for its readers; the new node."""
    name = attribute_name(point.tensor)
    model.get_submodule(ACTIVATIONS).add_module(name, module)
    node = _node(model, point.tensor)
    users = [user for user in node.users if not point.readers or user.name in point.readers]
    with model.graph.inserting_after(node):
        rounded = model.graph.call_module(f"{ACTIVATIONS}.{name}", (node,))
    rounded.meta["val"] = node.meta["val"]
    for user in users:
        user.replace_input_with(node, rounded)
    return rounded


def add_weight_quantizer(model: fx.GraphModule, name: str, nodes: list[fx.Node], form_name: str) -> None:
    """Round a layer's weight, per output channel or block over its least and greatest weight."""
    form = formats.get(form_name)
    axis = weight_axis(ir.WEIGHTED[nodes[0].target])
    weight = ir.tensor_argument(model, nodes[0], 1)
    assert weight is not None
    if form.block:
        place_weight_quantizer(model, name, nodes, quantizers.of_weight(form, weight, axis))
        return
    low, high = weight_range(weight, axis)
    if not form.is_float:
        least = least_scale(model, nodes[0], len(low)) * form.largest
        high = torch.maximum(high, torch.where(torch.maximum(-low, high) < least, least, high))
    module = quantizers.for_format(form).quantizer(form, low, high, True, axis)
    place_weight_quantizer(model, name, nodes, module)


def place_weight_quantizer(model: fx.GraphModule, name: str, nodes: list[fx.Node], module: nn.Module) -> None:
    """Put ``module`` between the weight of a layer and every node that applies it."""
    set_weight_quantizer(model, name, module)
    for node in nodes:
        parameter = node.args[1]
        with model.graph.inserting_before(node):
            rounded = model.graph.call_module(f"{WEIGHTS}.{attribute_name(name)}", (parameter,))
        rounded.meta["val"] = parameter.meta["val"]
        node.replace_input_with(parameter, rounded)


def least_scale(model: fx.GraphModule, node: fx.Node, channels: int) -> torch.Tensor:
    """The smallest scales [K] of a layer's weight with which its bias still fits an int32 code.

    Only dead channels ever meet it.
    """
    bias = ir.tensor_argument(model, node, 2)
    source = node.args[0]
    read = model.get_submodule(str(source.target)) if source.op == "call_module" else None
    input_scale = getattr(read, "scale", None)
    if bias is None or input_scale is None:
        return torch.zeros(channels)
    # The groups of a transposed convolution share the ranges of their channels.
    return bias.detach().abs().view(-1, channels).amax(0) / (input_scale.item() * LARGEST_BIAS_CODE)


@torch.no_grad()
def round_biases(model: fx.GraphModule) -> None:
    """Put biases on the grid that integer kernels store them on, int32 in units of input scale x weight scale.

    Small as the step is, an engine that rounds where the simulation does not drifts from it
    layer by layer: on ResNet-20 one picture in a hundred then got another answer.
    """
    for name, nodes in ir.weighted(model).items():
        grid, source = weight_quantizer(model, name), nodes[0].args[0]
        bias = ir.tensor_argument(model, nodes[0], 2)
        read = model.get_submodule(str(source.target)) if source.op == "call_module" else None
        if bias is None or not isinstance(grid, AffineQuantizer) or not isinstance(read, AffineQuantizer):
            continue
        step = read.scale * grid.scale.repeat(len(bias) // len(grid.scale))
        ir.set_parameter(model, str(nodes[0].args[2].target), torch.round(bias / step) * step)


def _node(model: fx.GraphModule, name: str) -> fx.Node:
    return next(node for node in model.graph.nodes if node.name == name)


def weight_quantizer(model: fx.GraphModule, layer: str) -> nn.Module | None:
    """The quantizer of a layer's weight in a simulated graph, None where it stays float."""
    return getattr(model.get_submodule(WEIGHTS), attribute_name(layer), None)


def set_weight_quantizer(model: fx.GraphModule, layer: str, module: nn.Module) -> None:
    """Give a layer's weight in a simulated graph another quantizer; its nodes stay as they are."""
    model.get_submodule(WEIGHTS).add_module(attribute_name(layer), module)


def activation_quantizer(model: fx.GraphModule, tensor: str) -> nn.Module:
    """The quantizer of a rounded tensor in a simulated graph."""
    return model.get_submodule(f"{ACTIVATIONS}.{attribute_name(tensor)}")


def prepared(model: nn.Module, example: torch.Tensor) -> fx.GraphModule:
    """The traced graph of ``model`` with batch normalization folded: where planning and quantizing start.

    Raises ModelError as :func:`edge_mpq.graph.trace` does.
    """
    graph = ir.trace(model, example)
    if not graph.meta.get("folded"):
        graph = batchnorm_fold.apply(graph)
        graph.meta["folded"] = True
    return graph
