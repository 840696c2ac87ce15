"""Where activations are quantized: one decision for the simulated model and the ONNX.

A :class:`Point` says that a tensor is rounded, and who reads the rounded one.  The
target's scheme decides which rules apply (sources in docs/targets.md):

``inputs`` (TensorRT): before every quantized layer; on the skip branch of a residual
Add, so that convolution, Add and activation fuse into one integer kernel; never behind a
layer.  Tensors that meet in a Concat share one range.

``outputs`` (ONNX Runtime): also behind every quantized convolution and around Adds,
Concats, pools and moves between integer tensors, because its integer kernels write
integers; a tensor whose readers are all float is left alone.  What is written is in the
format of the layers that will read it, which is what scores and costs charge them for.
"""

from collections.abc import Iterable
from typing import NamedTuple

from torch import fx

from edge_mpq import graph as ir
from edge_mpq.records import formats
from edge_mpq.records.plan import PrecisionPlan
from edge_mpq.records.target import Scheme


class Point(NamedTuple):
    """One rounded tensor.

    tensor: its name.  readers: names of the nodes that read the rounded one, () for all.
    group: points of one group share one range (the union), named after their first tensor.
    form: the activation format.
    """

    tensor: str
    readers: tuple[str, ...]
    group: str
    form: str


def points_of(graph: fx.GraphModule, plan: PrecisionPlan, scheme: Scheme) -> list[Point]:
    """Every point of a plan, in graph order."""
    quantized = {
        node: plan.choices[name].activation
        for name, nodes in ir.weighted(graph).items()
        for node in nodes
        if plan.choices[name].activation != "fp32"
    }
    if scheme.placement == "outputs":
        return _behind_and_before(graph, quantized)
    return _before(graph, quantized)


def every_tensor(graph: fx.GraphModule) -> list[str]:
    """Every tensor that some plan could round: what calibration watches."""
    watched: dict[str, None] = {}
    for node in graph.graph.nodes:
        if node.op != "call_function":
            continue
        if node.target in ir.WEIGHTED:
            watched[node.args[0].name] = None
            watched[ir.tail(node).name] = None
        elif node.target in ir.ADD + ir.CONCAT:
            sources = node.args[0] if node.target in ir.CONCAT else node.args[:2]
            for source in sources:
                if isinstance(source, fx.Node):
                    watched[source.name] = None
            watched[ir.tail(node).name] = None
        elif node.target in ir.AVERAGES + ir.MOVES:
            watched[node.name] = None
    return list(watched)


def _form(forms: Iterable[str]) -> str:
    """The widest of several formats that want one tensor, of the integers where there are any.

    A reader in half precision computes in it whatever it is given; one on integers needs them.
    """
    wanted = [formats.get(name) for name in forms]
    integers = [form for form in wanted if not form.is_float]
    return max(integers or wanted, key=lambda form: (form.bits, form.name)).name


def _before(graph: fx.GraphModule, quantized: dict[fx.Node, str]) -> list[Point]:
    readers: dict[fx.Node, dict[fx.Node, str]] = {}
    for node, form in quantized.items():
        readers.setdefault(node.args[0], {})[node] = form
    for node in graph.graph.nodes:
        if node.target in ir.ADD:
            branch = _skip_branch(node, quantized)
            if branch is not None:
                readers.setdefault(branch[0], {})[node] = branch[1]
    group: dict[fx.Node, str] = {}
    for node in graph.graph.nodes:
        if node.target in ir.CONCAT:
            meeting = [tensor for tensor in (*node.args[0], node) if tensor in readers]
            joined = {group.get(tensor, tensor.name) for tensor in meeting}
            for tensor in [*group, *meeting]:  # a tensor may meet others in several Concats
                if group.get(tensor, tensor.name) in joined:
                    group[tensor] = meeting[0].name
    points = []
    for node in graph.graph.nodes:
        if node in readers:
            wanted = _rounding(readers[node])
            names = tuple(reader.name for reader in wanted)
            points.append(Point(node.name, names, group.get(node, node.name), _form(wanted.values())))
    return points


def _rounding(readers: dict[fx.Node, str]) -> dict[fx.Node, str]:
    """The readers that a tensor is rounded for: those on integers, where there are any, as in :func:`_form`."""
    integers = {reader: asked for reader, asked in readers.items() if not formats.get(asked).is_float}
    return integers or readers


def _skip_branch(add: fx.Node, quantized: dict[fx.Node, str]) -> tuple[fx.Node, str] | None:
    """The input of a residual Add that is not the freshly computed one, when the other is a quantized layer's."""
    pair = [argument for argument in add.args[:2] if isinstance(argument, fx.Node)]
    if len(pair) != 2:
        return None
    layers = [node if node in quantized else None for node in pair]
    if layers[0] is None and layers[1] is None:
        return None
    if layers[0] is not None and layers[1] is not None:  # the downsample branch is the shorter one
        skip = min(pair, key=_depth)
    else:
        skip = pair[0] if layers[0] is None else pair[1]
    other = pair[1] if skip is pair[0] else pair[0]
    return skip, quantized[other]


def _depth(node: fx.Node) -> int:
    """Longest path to the model's input."""
    depths: dict[fx.Node, int] = {}
    for earlier in node.graph.nodes:
        depths[earlier] = 1 + max((depths[before] for before in earlier.all_input_nodes), default=0)
        if earlier is node:
            break
    return depths[node]


def _behind_and_before(graph: fx.GraphModule, quantized: dict[fx.Node, str]) -> list[Point]:
    wanted = _wanted(graph, quantized)
    points: dict[fx.Node, Point] = {}

    def rounded(node: object) -> bool:
        return isinstance(node, fx.Node) and node in points and not points[node].readers

    for node in graph.graph.nodes:
        if node in quantized:
            source, form = node.args[0], quantized[node]
            if not rounded(source):
                known = points.get(source, Point(source.name, (), source.name, form))
                mine = (*known.readers, node.name)
                points[source] = known._replace(readers=mine, form=_form((known.form, form)))
            if node.target in ir.CONV and ir.WEIGHTED[node.target] != "conv_transpose2d":
                end = ir.tail(node)
                points[end] = Point(end.name, (), end.name, wanted.get(end, form))
        elif node.target in ir.ADD and len(node.args) > 1 and rounded(node.args[0]) and rounded(node.args[1]):
            end = ir.tail(node)
            points[end] = Point(end.name, (), end.name, wanted.get(end, points[node.args[0]].form))
        elif node.target in ir.CONCAT and node in wanted and all(rounded(source) for source in node.args[0]):
            points[node] = Point(node.name, (), node.name, wanted[node])
            _share(points, [*node.args[0], node])
        elif node.target in ir.MOVES and node in wanted and rounded(node.args[0]) and node not in points:
            points[node] = Point(node.name, (), points[node.args[0]].group, wanted[node])
        elif node.target in ir.AVERAGES and node in wanted and rounded(node.args[0]):
            points[node] = Point(node.name, (), node.name, wanted[node])
    return [points[node] for node in graph.graph.nodes if node in points]


def _share(points: dict[fx.Node, Point], nodes: list[fx.Node]) -> None:
    """Put the points of ``nodes``, and all that share with them, into one group."""
    groups = {points[node].group for node in nodes}
    first = points[nodes[0]].group
    for node, point in points.items():
        if point.group in groups:
            points[node] = point._replace(group=first)


def _wanted(graph: fx.GraphModule, quantized: dict[fx.Node, str]) -> dict[fx.Node, str]:
    """Tensors that reach quantized layers through operations that integers can pass -> the format wanted there."""
    passing = ir.MOVES + ir.AVERAGES + ir.CONCAT + ir.ADD + ir.FUSED_ACTIVATIONS
    wanted: dict[fx.Node, str] = {}
    for node in reversed(graph.graph.nodes):
        forms = [quantized[user] for user in node.users if user in quantized]
        forms += [wanted[user] for user in node.users if user in wanted and user.target in passing]
        if forms:
            wanted[node] = _form(forms)
    return wanted
