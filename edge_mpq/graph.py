"""A torch model as one flat graph of ATen operations, the form every later step works on.

:func:`trace` runs torch.export once.  In the graph each tensor has a name (``relu_3``),
and that name is kept through ranges, plan, ONNX and engine, so all of them speak of the
same tensor.  Parameters keep their module path (``layer1.0.conv1.weight``).
"""

import copy
import operator
import warnings

import torch
from torch import fx, nn

from edge_mpq.errors import EdgeMpqError, ModelError

aten = torch.ops.aten
TRACED_PICTURES = 2
# Where a node keeps its name for those who decompose and renumber the graph (export).
NAME = "edge_mpq"

CONV = {
    aten.conv1d.default: "conv1d",
    aten.conv2d.default: "conv2d",
    aten.conv2d.padding: "conv2d",
    aten.conv_transpose2d.input: "conv_transpose2d",
}
WEIGHTED = {**CONV, aten.linear.default: "linear"}
BATCH_NORM = (aten.batch_norm.default,)
# Activations that engines fuse into the convolution before them.
FUSED_ACTIVATIONS = (
    aten.relu.default,
    aten.relu_.default,
    aten.hardtanh.default,
    aten.hardtanh_.default,
    aten.clamp.default,
    aten.clamp_min.default,
    aten.relu6.default,
)
ADD = (aten.add.Tensor, aten.add_.Tensor)
CONCAT = (aten.cat.default,)
# Operations that move or select values: their output has the range of their input.
MOVES = (
    aten.max_pool2d.default,
    aten.slice.Tensor,
    aten.pad.default,
    aten.constant_pad_nd.default,
    aten.view.default,
    aten.reshape.default,
    aten.flatten.using_ints,
    aten.unflatten.int,
    aten.permute.default,
    aten.transpose.int,
    aten.squeeze.dim,
    aten.unsqueeze.default,
    aten.upsample_nearest2d.vec,
    aten.upsample_nearest2d.default,
)
AVERAGES = (aten.avg_pool2d.default, aten.adaptive_avg_pool2d.default, aten.mean.dim)


def trace(model: nn.Module, example: torch.Tensor) -> fx.GraphModule:
    """The eval-mode graph of ``model`` for inputs like ``example`` [N, ...], any N.

    A graph that came from here is returned as it is.  Raises ModelError when a weight
    is not finite, the model cannot be exported, or it fixes its batch size.
    """
    if isinstance(model, fx.GraphModule) and model.meta.get("edge_mpq"):
        return model
    bad = [name for name, value in model.state_dict().items() if not torch.isfinite(value.float()).all()]
    if bad:
        raise ModelError(f"not finite: {', '.join(bad[:5])}", "these weights are broken; load others")
    # Two pictures at least: torch.export takes a batch of one for a constant.
    pair = example[:1].repeat(TRACED_PICTURES, *[1] * (example.dim() - 1))
    modes = [(module, module.training) for module in model.modules()]
    try:
        with torch.no_grad():
            exported = torch.export.export(model.eval(), (pair,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    except EdgeMpqError:
        raise
    except Exception as error:
        raise ModelError(
            f"torch.export cannot trace {type(model).__name__} ({_first_line(error)})",
            "it must take one tensor, leave the batch size free (flatten(1), not view(n, -1)) and not branch on values",
        ) from error
    finally:
        for part, training in modes:
            part.training = training
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own, of copying its graphs
        module = copy.deepcopy(exported.module())  # the caller's model keeps its parameters, and whether they train
    graph = module.graph
    for node in list(graph.nodes):
        if node.op == "call_module":  # the guard on input shapes, which the engine checks itself
            graph.erase_node(node)
        elif node.target == aten.slice.Tensor and _is_whole(node):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
        elif node.target == aten.dropout.default:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
        elif _overwrites(node):  # what it would overwrite is read again: by bias correction, by partial runs
            node.target = getattr(getattr(aten, node.target._opname[:-1]), node.target._overloadname)
    graph.eliminate_dead_code()
    _untie(module, model)
    outputs = graph.find_nodes(op="output")[0].args[0]
    if isinstance(outputs, tuple | list) and len(outputs) != 1:
        raise ModelError(f"the model returns {len(outputs)} tensors", "wrap it so that it returns one")
    for node in graph.nodes:
        node.meta["custom"] = {NAME: node.name}
    traced = fx.GraphModule(module, graph)
    traced.meta["edge_mpq"] = True
    for parameter in traced.parameters():
        parameter.requires_grad_(True)
    return traced.eval()


def _untie(module: fx.GraphModule, model: nn.Module) -> None:
    """Give whatever else reads the weight of a layer, an embedding that is the head too, its own copy of it.

    The layer's weight will be rounded and rescaled; its other readers must not follow.
    """
    for node in module.graph.find_nodes(op="get_attr"):
        others = [user for user in node.users if user.target not in WEIGHTED]
        if not others or len(others) == len(node.users):
            continue
        names = dict(model.named_parameters(remove_duplicate=False))
        same = [name for name, value in names.items() if value is names[node.target] and name != node.target]
        path = same[0] if same else f"{node.target}_elsewhere"
        place = path.rpartition(".")[0]
        if place and place not in dict(module.named_modules()):
            module.add_submodule(place, nn.Module())
        set_parameter(module, path, attribute(module, node.target))
        with module.graph.inserting_before(node):
            own = module.graph.get_attr(path)
        own.meta.update(node.meta)
        for user in others:
            user.replace_input_with(node, own)


def copied(graph: fx.GraphModule, shared: bool = False) -> fx.GraphModule:
    """A traced graph of one's own: parameters, nodes and what is known of them.

    shared: it reads the parameters and buffers of ``graph`` itself, at no cost in memory, until
    :func:`set_parameter` gives it one of its own; changing them in place would change both.
    """
    known = (*graph.parameters(), *graph.buffers()) if shared else ()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own, of copying its graphs
        mine = fx.GraphModule(copy.deepcopy(graph, {id(value): value for value in known}), copy.deepcopy(graph.graph))
    mine.meta.update(graph.meta)
    return mine


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _is_whole(node: fx.Node) -> bool:
    """Whether a slice keeps everything."""
    arguments = list(node.args[2:]) + [None] * 3
    start, end, step = arguments[:3]
    return start in (None, 0) and (end is None or end == 2**63 - 1) and step in (None, 1)


def _overwrites(node: fx.Node) -> bool:
    """Whether a node works in place on a tensor of which there is no other view: ``relu_``, ``add_.Tensor``."""
    operation = node.target
    if not isinstance(operation, torch._ops.OpOverload) or not operation._opname.endswith("_"):
        return False
    nearby = [other.target for other in (node.args[0], *node.args[0].users)]
    viewed = any(isinstance(target, torch._ops.OpOverload) and target.is_view for target in nearby)
    return not viewed and hasattr(getattr(aten, operation._opname[:-1], None), operation._overloadname)


def outputs(graph: fx.GraphModule) -> fx.Node:
    """The node whose value the model returns."""
    result = graph.graph.find_nodes(op="output")[0].args[0]
    return result[0] if isinstance(result, tuple | list) else result


def inputs(graph: fx.GraphModule) -> fx.Node:
    """The node of the model's one input."""
    return graph.graph.find_nodes(op="placeholder")[0]


def shape(node: fx.Node) -> tuple[int, ...]:
    """The shape of a node's value for one picture: the batch axis, wherever it stands, is left out.

    Where the batch is merged with another axis (tokens x pictures), the other one stays.
    """
    extents = list(node.meta["val"].shape)
    batch = next((axis for axis, extent in enumerate(extents) if not isinstance(extent, int)), 0)
    # int() of a symbolic extent would make it a constant for all tensors that are derived from this one.
    merged = 1 if isinstance(extents[batch], int) else extents[batch].node.hint // TRACED_PICTURES
    return tuple(int(extent) for extent in (*extents[:batch], *[merged] * (merged > 1), *extents[batch + 1 :]))


def weighted(graph: fx.GraphModule) -> dict[str, list[fx.Node]]:
    """Layer name -> the nodes that apply its weight, in order.

    A layer is a convolution or linear whose weight is a parameter; one that is applied
    twice (shared weights) has two nodes and one name.
    """
    found: dict[str, list[fx.Node]] = {}
    for node in graph.graph.nodes:
        if node.op == "call_function" and node.target in WEIGHTED and weight_of(node) is not None:
            found.setdefault(layer_name(node), []).append(node)
    return found


def weight_of(node: fx.Node) -> fx.Node | None:
    """The parameter a weighted node applies, behind its quantizer if it has one; None if it is computed."""
    source = node.args[1]
    if source.op == "call_module" and len(source.args) == 1:
        source = source.args[0]
    return source if source.op == "get_attr" else None


def layer_name(node: fx.Node) -> str:
    """The module path of a weighted node: ``layer1.0.conv1``, ``attention.in_proj``."""
    source = weight_of(node)
    assert source is not None
    path = str(source.target)
    for ending in (".weight", "_weight"):
        if path.endswith(ending):
            return path[: -len(ending)]
    return path


def missing_path(graph: fx.GraphModule, node: fx.Node, what: str) -> str:
    """Where a layer may keep a parameter that it is without: in its module, else beside its weight.

    Its weight may be no module's, or its module may hold a ``what`` that another layer reads.
    """
    name = layer_name(node)
    module = dict(graph.named_modules()).get(name)
    free = module is not None and getattr(module, what, None) is None
    return f"{name}.{what}" if free else f"{name}_{what}"


def tensor_argument(graph: fx.GraphModule, node: fx.Node, index: int) -> torch.Tensor | None:
    """The parameter a node takes as argument ``index``, or None."""
    if len(node.args) <= index or node.args[index] is None:
        return None
    return attribute(graph, str(node.args[index].target))


def attribute(graph: fx.GraphModule, path: str) -> torch.Tensor:
    """The parameter or buffer at a dotted path."""
    return operator.attrgetter(path)(graph)


def set_parameter(graph: fx.GraphModule, path: str, value: torch.Tensor) -> None:
    """Replace or create the parameter at a dotted path."""
    module_path, _, name = path.rpartition(".")
    module = graph.get_submodule(module_path) if module_path else graph
    if name in module._buffers:
        del module._buffers[name]
    setattr(module, name, nn.Parameter(value.detach().clone()))


def followed_by(node: fx.Node, targets: tuple) -> fx.Node | None:
    """The only reader of ``node`` if it applies one of ``targets``."""
    users = list(node.users)
    return users[0] if len(users) == 1 and users[0].target in targets else None


def tail(node: fx.Node) -> fx.Node:
    """The tensor an engine writes for ``node``: behind its fused activation, if it has one."""
    return followed_by(node, FUSED_ACTIVATIONS) or node
