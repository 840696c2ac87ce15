"""NoisyQuant: a fixed noise before each linear layer, taken back exactly in its rounded bias.

Liu et al., NoisyQuant, CVPR 2023, arXiv 2211.16056.  f(X) = q(W) q(X + N) + (B - q(W) N): the float
rewrite (edge_mpq.transforms.noisy_bias) takes W N back, and rounding the rest of it.  The paper has
one format for all layers; here the plan is the default's, so that it can keep any budget.
"""

from collections.abc import Iterable

import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq import simulation
from edge_mpq.progress import Progress, silent
from edge_mpq.quantizing import quantize
from edge_mpq.recipes import Outcome, Task
from edge_mpq.recipes._planned import at_fewest_bits, planned
from edge_mpq.transforms import noisy_bias

PAPER = (
    "Y. Liu, H. Yang, Z. Dong, K. Keutzer, L. Du, S. Zhang, NoisyQuant: Noisy Bias-Enhanced Post-Training "
    "Activation Quantization for Vision Transformers, CVPR 2023, arXiv 2211.16056"
)


class TakenBack:
    """Nearest rounding, after which biases take back q(W) N and not W N."""

    @staticmethod
    @torch.no_grad()
    def apply(quantized: fx.GraphModule, graph: fx.GraphModule, batches: Iterable, progress: Progress = silent) -> None:
        """Correct the biases of layers with an offset in place; see edge_mpq.rounding."""
        for name, nodes in ir.weighted(quantized).items():
            offset, grid = noisy_bias.added(graph).get(name), simulation.weight_quantizer(quantized, name)
            bias, weight = ir.tensor_argument(quantized, nodes[0], 2), ir.weight_of(nodes[0])
            if offset is None or grid is None or bias is None or weight is None:
                continue
            held = ir.attribute(quantized, str(weight.target))
            ir.set_parameter(quantized, str(nodes[0].args[2].target), bias + (held - grid(held)) @ offset)


def run(task: Task, progress: Progress = silent) -> Outcome:
    """Noise, the default's plan, nearest rounding; see the family's contract."""
    rule = TakenBack()
    graph, ranges, made, trials = planned(task, progress, [at_fewest_bits("noisy_bias", task)], rounding=rule)
    quantized, _ = quantize(graph, made, task.calibration, rounding=rule, ranges=ranges, progress=progress)
    return Outcome(made, graph, quantized, ranges, trials)
