"""How the values that a quantized model's layers read are spread, and what of them their grids hold."""

from collections.abc import Iterator

import torch
from torch import fx, nn

from edge_mpq import graph as ir
from edge_mpq.calibration import Watch
from edge_mpq.records.histogram import TensorHistogram
from edge_mpq.records.plan import PrecisionPlan
from edge_mpq.simulation import ACTIVATIONS, weight_quantizer

BINS = 48
# A value this little beyond the end of a grid, as a share of it, is rounding: not clipped.
ROUNDING = 1e-4
# Beyond what a grid holds, and still near enough that its codes fit an integer.
FAR = 1024.0
LEAST = 1e-6


class _Inputs:
    """A watcher that counts a tensor for the layers that read it, and keeps none of its values."""

    def __init__(self, grid: nn.Module):
        self.grid = grid
        self.readers: dict[str, str] = {}
        self.made: dict[str, TensorHistogram] = {}

    def see(self, values: torch.Tensor) -> None:
        flat = values.detach().float().flatten()
        low, high = (float(end[0]) for end in _ends(self.grid, flat[:1], float(flat.abs().max())))
        for name, form in self.readers.items():
            self.made[name] = _counted(name, "input", form, flat, low, high)


@torch.no_grad()
def histograms(
    quantized: fx.GraphModule, graph: fx.GraphModule, plan: PrecisionPlan, inputs: torch.Tensor
) -> list[TensorHistogram]:
    """Input and weights of every layer of ``quantized`` that are rounded, in the order of layers.

    graph: the float model it was made of, whose weights are not rounded yet.  inputs: one batch
    [N, C, H, W].  An input is what the quantized model computes, right before it is rounded.
    """
    watchers: dict[str, _Inputs] = {}
    layers = ir.weighted(quantized)
    for name, nodes in layers.items():
        node = _rounding(nodes[0])
        if node is not None:
            grid = quantized.get_submodule(str(node.target))
            watcher = watchers.setdefault(node.args[0].name, _Inputs(grid))
            watcher.readers[name] = plan.choices[name].activation
    Watch(quantized, watchers).run(inputs)
    inputs_of = {name: made for watcher in watchers.values() for name, made in watcher.made.items()}
    originals = ir.weighted(graph)
    found = []
    for name in layers:
        if name in inputs_of:
            found.append(inputs_of[name])
        if plan.choices[name].weight != "fp32":
            weight = ir.tensor_argument(graph, originals[name][0], 1)
            grid = weight_quantizer(quantized, name)
            assert weight is not None and grid is not None
            found += _of_weights(name, plan.choices[name].weight, weight, grid)
    return found


def _rounding(layer: fx.Node) -> fx.Node | None:
    """The node that rounds what ``layer`` reads, None where it reads floats."""
    read = layer.args[0]
    assert isinstance(read, fx.Node)
    return read if read.op == "call_module" and str(read.target).startswith(ACTIVATIONS + ".") else None


def _ends(grid: nn.Module, like: torch.Tensor, largest: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The least and greatest value ``grid`` makes of anything near ``largest``, at every place of ``like``."""
    far = torch.full_like(like, FAR * max(largest, LEAST))
    return grid(-far), grid(far)


def _of_weights(name: str, form: str, weight: torch.Tensor, grid: nn.Module) -> Iterator[TensorHistogram]:
    largest = float(weight.abs().max())
    low, high = _ends(grid, weight, largest)
    unit = torch.maximum(-low, high)
    # Where a weight is kept in float the grid holds whatever it is.
    held = (unit > 0) & (unit < FAR / 2 * max(largest, LEAST))
    if held.any():
        ends = float((low / unit)[held].min()), float((high / unit)[held].max())
        yield _counted(name, "weights", form, (weight / unit)[held], *ends)


def _counted(name: str, tensor: str, form: str, values: torch.Tensor, low: float, high: float) -> TensorHistogram:
    first, last = min(low, float(values.min())), max(high, float(values.max()))
    if not first < last:
        first, last = first - 0.5, last + 0.5
    counts = torch.histc(values, BINS, first, last).to(torch.int64)
    slack = ROUNDING * (high - low)
    clipped = ((values < low - slack) | (values > high + slack)).float().mean()
    return TensorHistogram(name, tensor, form, first, last, counts.tolist(), low, high, float(clipped))
