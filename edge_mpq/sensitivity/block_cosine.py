"""How much a layer's residual block changes what passes it, times the noise that rounding puts into the layer.

harm = (1 - cos(in, out)) |noise|**2 / |signal|**2: the mean cosine over tokens of the smallest residual block
that holds the layer (edge_mpq/residuals.py), 0 for layers in none; the quotient is that of
edge_mpq/sensitivity/relevance.py.  A block that turns its tokens little could be left out, and one
that turns them far is important.

The block score of Li et al., QuantMoE-Bench: Examining Post-Training Quantization for Mixture-of-Experts,
2024, arXiv 2406.08155, where it ranks whole blocks and is predicted (edge_mpq/training/block_predictor.py).
"""

from collections.abc import Iterable

from torch import fx

from edge_mpq.allocators import ScoreTable
from edge_mpq.cost import Menu
from edge_mpq.progress import Progress, silent
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target
from edge_mpq.residuals import cosines, innermost, residuals
from edge_mpq.sensitivity._one_at_a_time import widen
from edge_mpq.sensitivity.relevance import layer_noise

# A block that changes nothing still has layers, and of two plans the better rounds them less.
LEAST = 1e-6


def scores(
    graph: fx.GraphModule,
    menu: Menu,
    calibration: Iterable,
    ranges: RangeTable,
    target: Target,
    progress: Progress = silent,
) -> ScoreTable:
    """layer -> pair -> change made by the layer's block times noise as a share of the layer's signal."""
    batches = list(calibration)
    blocks = residuals(graph)
    turned = dict(zip(blocks, cosines(graph, blocks, batches, progress), strict=True))
    noise = layer_noise(graph, menu, batches, ranges, target, progress)
    block_of = innermost(blocks)
    change = {name: max(1.0 - turned[block_of[name]], LEAST) if name in block_of else 1.0 for name in menu}
    return {name: widen({pair: change[name] * noise[name][pair] for pair in pairs}) for name, pairs in menu.items()}
